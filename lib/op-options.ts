/**
 * Checks the options that say who we are to the OP: registration, client authentication, keys. Knows nothing of where
 * transactions are kept.
 */

import { X509Certificate } from 'node:crypto'
import { createSecureContext } from 'node:tls'
import type { CibaClientOptions } from './client-options.ts'
import { invalidOption } from './errors.ts'
import {
  alternatives,
  bool,
  checkOption,
  checkSecretOption,
  either,
  func,
  missing,
  numberBetween,
  object,
  oneOf,
  type Parse,
  refuseUnknownOptions,
  text,
  url,
} from './option-checks.ts'
import {
  type DecryptionKey,
  decryptionKey,
  jwksOf,
  type SigningKey,
  signingKey,
  UnusableKey,
} from './protocol/client-keys.ts'
import type { ClientAuthMethod, OpConfig, ValidateIdTokenClaims } from './protocol/registration.ts'
import type { ClientCertificate, CustomFetch } from './protocol/transport.ts'

const clientAuthMethods = [
  'client_secret_basic',
  'client_secret_post',
  'client_secret_jwt',
  'private_key_jwt',
  'tls_client_auth',
  'self_signed_tls_client_auth',
] as const satisfies ClientAuthMethod[]

type Surroundings = Pick<OpConfig, 'allowInsecureRequests' | 'deliveryMode' | 'timeoutMs'>

/**
 * Checks the options, and reads those from `env` that are absent.
 *
 * @throws TypeError `ERR_CIBA_INVALID_OPTION`, naming the option and the remedy.
 */
export function resolveOp(
  options: CibaClientOptions,
  env: NodeJS.ProcessEnv,
  surroundings: Surroundings,
): OpConfig {
  const { allowInsecureRequests, deliveryMode } = surroundings
  const issuer = checkOption(
    'issuerBaseURL',
    either(options.issuerBaseURL, env['ISSUER_BASE_URL']),
    url(allowInsecureRequests),
    `the OP's issuer, an ${allowInsecureRequests ? 'https or http URL' : 'https URL'}`,
  )
  const clientID = checkOption(
    'clientID',
    either(options.clientID, env['CLIENT_ID']),
    text,
    'a non-empty string',
  )
  if (!issuer) throw missing('issuerBaseURL', 'ISSUER_BASE_URL', 'the issuer URL of the OP')
  if (!clientID) throw missing('clientID', 'CLIENT_ID', 'the client_id that the OP has registered')
  const clockTolerance =
    checkOption(
      'clockTolerance',
      options.clockTolerance,
      numberBetween(0, 300),
      'a number of seconds from 0 to 300',
    ) ?? 30
  const customFetch = checkOption<CustomFetch>(
    'customFetch',
    options.customFetch,
    func,
    'a function like fetch',
  )
  const mtls = resolveMtls(options.mtls, customFetch)
  const keys = resolveKeys(options)
  const dpop = resolveDpop(options.dpop, deliveryMode)
  return {
    ...surroundings,
    issuer,
    clientID,
    ...resolveClientAuth(options, env, keys.clientAssertionKeys !== undefined, mtls !== undefined),
    ...keys,
    ...resolveIdTokens(options),
    clockTolerance,
    userCodeParameter:
      checkOption('userCodeParameter', options.userCodeParameter, bool, 'true or false') ?? false,
    ...(mtls && { mtls }),
    ...(dpop && { dpop }),
    ...(customFetch && { customFetch }),
  }
}

function resolveClientAuth(
  options: CibaClientOptions,
  env: NodeJS.ProcessEnv,
  hasKey: boolean,
  hasCertificate: boolean,
): Pick<OpConfig, 'clientAuthMethod' | 'clientSecret'> {
  const secret = either(options.clientSecret, env['CLIENT_SECRET'])
  const clientSecret = checkSecretOption('clientSecret', secret, text, 'a non-empty string')
  const byWhatIsGiven = () => {
    if (hasKey) return 'private_key_jwt'
    return clientSecret === undefined && hasCertificate ? 'tls_client_auth' : 'client_secret_basic'
  }
  const clientAuthMethod =
    checkOption(
      'clientAuthMethod',
      options.clientAuthMethod,
      oneOf(clientAuthMethods),
      alternatives(clientAuthMethods),
    ) ?? byWhatIsGiven()
  const macs = [options.idTokenSigningAlg].flat().filter((alg) => macAlg.test(String(alg)))
  if (clientSecret === undefined && (clientAuthMethod.startsWith('client_secret') || macs.length > 0)) {
    throw missing('clientSecret', 'CLIENT_SECRET', 'the client_secret that the OP has registered')
  }
  if (clientAuthMethod === 'private_key_jwt' && !hasKey) {
    throw invalidOption('clientAssertionSigningKey', 'is required with "clientAuthMethod" private_key_jwt')
  }
  if (clientAuthMethod.endsWith('tls_client_auth') && !hasCertificate) {
    throw invalidOption('mtls', `is required with "clientAuthMethod" ${clientAuthMethod}`)
  }
  if (clientAuthMethod === 'client_secret_jwt') macs.push('HS256')
  for (const mac of macs) checkMacSecret(clientSecret as string, String(mac))
  checkAssertionAlg(options, clientAuthMethod)
  return { clientAuthMethod, ...(clientSecret === undefined ? {} : { clientSecret }) }
}

/** RFC 7518 §3.2: a key of at least the size of the hash. */
function checkMacSecret(clientSecret: string, alg: string): void {
  const least = Number(alg.slice(2)) / 8
  if (Buffer.byteLength(clientSecret) < least) {
    throw invalidOption('clientSecret', `must be of at least ${least} bytes for ${alg}`)
  }
}

function checkAssertionAlg({ clientAssertionSigningAlg: alg }: CibaClientOptions, method: string): void {
  if (method === 'client_secret_jwt' && alg !== undefined && alg !== 'HS256') {
    throw invalidOption(
      'clientAssertionSigningAlg',
      'must be "HS256" with "clientAuthMethod" client_secret_jwt',
    )
  }
  if (method !== 'client_secret_jwt' && method !== 'private_key_jwt' && alg !== undefined) {
    throw invalidOption('clientAssertionSigningAlg', `has no meaning with "clientAuthMethod" ${method}`)
  }
}

type ConfiguredKeys = Pick<OpConfig, 'clientAssertionKeys' | 'requestObjectKeys' | 'idTokenDecryptionKeys'>

function resolveKeys(options: CibaClientOptions): ConfiguredKeys {
  const isSecretJwt = options.clientAuthMethod === 'client_secret_jwt'
  const assertionAlg = isSecretJwt ? undefined : options.clientAssertionSigningAlg
  const clientAssertionKeys = signingKeys(
    'clientAssertionSigningKey',
    options.clientAssertionSigningKey,
    'clientAssertionSigningAlg',
    assertionAlg,
  )
  const requestObjectKeys = signingKeys(
    'requestObjectSigningKey',
    options.requestObjectSigningKey,
    'requestObjectSigningAlg',
    options.requestObjectSigningAlg,
  )
  const idTokenDecryptionKeys = keysOf<DecryptionKey>(
    'idTokenDecryptionKey',
    options.idTokenDecryptionKey,
    decryptionKey,
  )
  const published: (SigningKey | DecryptionKey)[] = []
  for (const [option, keys = []] of [
    ['clientAssertionSigningKey', clientAssertionKeys],
    ['requestObjectSigningKey', requestObjectKeys],
    ['idTokenDecryptionKey', idTokenDecryptionKeys],
  ] as const) {
    published.push(...keys)
    usable(option, () => jwksOf(published))
  }
  return {
    ...(clientAssertionKeys && { clientAssertionKeys }),
    ...(requestObjectKeys && { requestObjectKeys }),
    ...(idTokenDecryptionKeys && { idTokenDecryptionKeys }),
  }
}

function signingKeys(
  option: string,
  value: unknown,
  algOption: string,
  algValue: unknown,
): readonly SigningKey[] | undefined {
  const alg = checkOption(algOption, algValue, signingAlg, 'an asymmetric JWS algorithm such as "ES256"')
  if (alg !== undefined && value === undefined && option === 'requestObjectSigningKey') {
    throw invalidOption(option, `is required with "${algOption}"`)
  }
  // The first one signs. In a rotation the next key may be one for another algorithm.
  return keysOf(option, value, (input, index) =>
    signingKey(input, index === 0 ? { alg } : { algIfPossible: alg }),
  )
}

function keysOf<Key extends object>(
  option: string,
  value: unknown,
  read: (input: unknown, index: number) => Key,
): readonly Key[] | undefined {
  if (value === undefined) return undefined
  const inputs: readonly unknown[] = Array.isArray(value) ? value : [value]
  if (inputs.length === 0) throw invalidOption(option, 'must be a key, or a non-empty array of keys')
  return Object.freeze(inputs.map((input, index) => usable(option, () => read(input, index))))
}

function usable<Result>(option: string, read: () => Result): Result {
  try {
    return read()
  } catch (error) {
    if (error instanceof UnusableKey) throw invalidOption(option, `must be ${error.message}`)
    throw error
  }
}

function resolveIdTokens(
  options: CibaClientOptions,
): Pick<OpConfig, 'idTokenSigningAlgs' | 'idTokenChecks' | 'validateIdTokenClaims'> {
  const idTokenSigningAlgs = checkOption(
    'idTokenSigningAlg',
    options.idTokenSigningAlg,
    idTokenAlgs,
    'a JWS algorithm such as "ES256", but not "none", or an array of them',
  )
  const checks = checkOption('idTokenChecks', options.idTokenChecks, object, 'an object') ?? {}
  refuseUnknownOptions(checks, ['acr', 'nonce'], 'idTokenChecks.')
  const { acr, nonce } = checks as NonNullable<CibaClientOptions['idTokenChecks']>
  const validateIdTokenClaims = checkOption<ValidateIdTokenClaims>(
    'validateIdTokenClaims',
    options.validateIdTokenClaims,
    func,
    'a function',
  )
  return {
    idTokenChecks: {
      acr: checkOption('idTokenChecks.acr', acr, bool, 'true or false') ?? true,
      nonce: checkOption('idTokenChecks.nonce', nonce, bool, 'true or false') ?? true,
    },
    ...(idTokenSigningAlgs && { idTokenSigningAlgs }),
    ...(validateIdTokenClaims && { validateIdTokenClaims }),
  }
}

function resolveMtls(value: unknown, customFetch: CustomFetch | undefined): OpConfig['mtls'] {
  if (value === undefined) return undefined
  if (value === true) {
    if (customFetch) return true
    throw invalidOption(
      'mtls',
      'must be { cert, key }, or true together with a "customFetch" that presents them',
    )
  }
  const mustBe = '{ cert, key, ca?, passphrase? } in PEM'
  const given = checkSecretOption('mtls', value, object, mustBe) as ClientCertificate
  refuseUnknownOptions(given, ['cert', 'key', 'ca', 'passphrase'], 'mtls.')
  if (customFetch) {
    throw invalidOption(
      'mtls',
      'must be true with "customFetch", which replaces our transport and has to present the certificate itself',
    )
  }
  const bits = rsaBitsOf(given)
  if (bits !== undefined && bits < 2048) {
    throw invalidOption('mtls', 'must be a certificate for an RSA key of at least 2048 bits') // [CFG-10]
  }
  if (!isUsable(given)) throw invalidOption('mtls', `must be ${mustBe}, and the key that of the certificate`)
  return Object.freeze({ ...given })
}

function rsaBitsOf({ cert }: ClientCertificate): number | undefined {
  try {
    return new X509Certificate(cert).publicKey.asymmetricKeyDetails?.modulusLength
  } catch {
    return undefined
  }
}

/** Without a reason, which could quote the key. */
function isUsable({ cert, key, ca = [], ...rest }: ClientCertificate): boolean {
  try {
    for (const one of [cert, ...[ca].flat()]) new X509Certificate(one)
    // Tells certificates and keys that do not fit each other; but goes without a key.
    createSecureContext({ cert, key, ...rest } as object)
    return key.length > 0
  } catch {
    return false
  }
}

function resolveDpop(value: unknown, deliveryMode: OpConfig['deliveryMode']): OpConfig['dpop'] {
  if (value === undefined || value === false) return undefined
  if (deliveryMode === 'push') {
    throw invalidOption(
      'dpop',
      'must be false in push mode, which has no token request; use "mtls" (CIBA Core §5)',
    )
  }
  return value === true ? 'perTransaction' : usable('dpop', () => signingKey(value))
}

const macAlg = /^HS(256|384|512)$/
const asymmetricAlg = /^((RS|PS|ES)(256|384|512)|EdDSA|Ed25519|ML-DSA-(44|65|87))$/

const signingAlg: Parse<string> = (value) =>
  typeof value === 'string' && asymmetricAlg.test(value) ? value : undefined

/** Never `none`; `HS…` needs the secret [CFG-8]. */
const idTokenAlgs: Parse<readonly string[]> = (value) => {
  const algs: readonly unknown[] = Array.isArray(value) ? value : [value]
  const isKnown = (alg: unknown) => typeof alg === 'string' && (asymmetricAlg.test(alg) || macAlg.test(alg))
  return algs.length > 0 && algs.every(isKnown) ? Object.freeze([...(algs as readonly string[])]) : undefined
}
