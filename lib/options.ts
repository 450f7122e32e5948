/**
 * The options of the client: what it needs to speak with the OP, with or without Express. Knows nothing of
 * routes and sessions.
 */

import { randomBytes } from 'node:crypto'
import { invalidOption } from './errors.ts'
import {
  alternatives,
  bool,
  checkOption,
  checkSecretOption,
  func,
  numberBetween,
  object,
  oneOf,
  type Parse,
  text,
  url,
} from './option-checks.ts'
import {
  type AuthenticationRequestParameters,
  checkAuthenticationRequest,
  hintNames,
} from './protocol/authentication-request.ts'
import type { OpConfig } from './protocol/op.ts'
import type { CustomFetch } from './protocol/transport.ts'
import type { TransactionStore } from './store.ts'
import { MemoryTransactionStore } from './stores/memory.ts'
import type { DeliveryMode } from './transaction.ts'

/** The options that concern the OP, our registration there, and where transactions are kept. */
export interface CibaClientOptions {
  /**
   * The OP's issuer URL, https; its metadata is found by discovery when it is first needed. An issuer with a path
   * needs its exact trailing slash. Environment variable: `ISSUER_BASE_URL`.
   */
  readonly issuerBaseURL?: string | undefined
  /** Our `client_id` at the OP. Environment variable: `CLIENT_ID`. */
  readonly clientID?: string | undefined
  /** Our `client_secret` at the OP. Environment variable: `CLIENT_SECRET`. */
  readonly clientSecret?: string | undefined
  /**
   * The public URL of this app, https; required in ping mode. The client notification endpoint that the OP must
   * know is this URL followed by `routes.notification` (CIBA Core §4). Environment variable: `BASE_URL`.
   */
  readonly baseURL?: string | undefined
  /**
   * Seals the records of transactions and makes notification tokens. At least 8 characters, better 32 random
   * bytes in hex. With an array the first one is used, all are accepted: for rotation. Required with a shared
   * store. Environment variable: `SECRET`.
   *
   * @default random for each process
   */
  readonly secret?: string | readonly string[] | undefined
  /**
   * How the OP delivers the result, as registered for this client (`backchannel_token_delivery_mode`, CIBA Core
   * §5).
   *
   * @default 'poll'
   */
  readonly deliveryMode?: DeliveryMode | undefined
  /**
   * How this client authenticates at the OP (`token_endpoint_auth_method`, OpenID Connect Core §9).
   *
   * @default 'client_secret_basic'
   */
  readonly clientAuthMethod?: 'client_secret_basic' | 'client_secret_post' | undefined
  /**
   * The only acceptable signing algorithm(s) of ID tokens; asymmetric (OpenID Connect Core §3.1.3.7).
   *
   * @default what the OP lists, without `none` and `HS…`; RS256 if it lists nothing
   */
  readonly idTokenSigningAlg?: string | readonly string[] | undefined
  /**
   * Defaults for every authentication request: every member of it but the hint.
   *
   * @default { scope: 'openid' }
   */
  readonly authorizationParams?: AuthenticationRequestParameters | undefined
  /** Where transactions are kept. @default a new `MemoryTransactionStore` */
  readonly store?: TransactionStore | undefined
  /**
   * Seconds that the OP may take to answer, 1 to 300. Token requests are never given less than 30 (CIBA Core
   * §10.1).
   *
   * @default 60 for token requests, 10 for others
   */
  readonly httpTimeout?: number | undefined
  /** Seconds that the OP's clock and ours may be apart, 0 to 300. @default 30 */
  readonly clockTolerance?: number | undefined
  /** Sends the requests to the OP instead of the built-in transport, for example through a proxy. */
  readonly customFetch?: CustomFetch | undefined
  /** Allows plain http for the OP and `baseURL`: for development only. @default false */
  readonly allowInsecureRequests?: boolean | undefined
}

/** The names of {@link CibaClientOptions}; the compiler complains when one is missing. */
export const clientOptionNames: readonly (keyof CibaClientOptions)[] = Object.keys({
  issuerBaseURL: true,
  clientID: true,
  clientSecret: true,
  baseURL: true,
  secret: true,
  deliveryMode: true,
  clientAuthMethod: true,
  idTokenSigningAlg: true,
  authorizationParams: true,
  store: true,
  httpTimeout: true,
  clockTolerance: true,
  customFetch: true,
  allowInsecureRequests: true,
} satisfies Record<keyof CibaClientOptions, true>) as (keyof CibaClientOptions)[]

/** Checked options with every default in place. */
export interface ResolvedClientOptions {
  readonly op: OpConfig
  readonly baseURL?: URL
  readonly secrets: readonly [string, ...string[]]
  readonly authorizationParams: AuthenticationRequestParameters
  readonly store: TransactionStore
  /** Whether the store was made here, so that closing it is up to us. */
  readonly ownsStore: boolean
  readonly tokenTimeoutMs: number
}

const deliveryModes = ['poll', 'ping'] as const
const clientAuthMethods = ['client_secret_basic', 'client_secret_post'] as const
const leastTokenTimeout = 30

/**
 * Checks the options, and reads those from `env` that are absent.
 *
 * @throws TypeError `ERR_CIBA_INVALID_OPTION`, naming the option and the remedy.
 */
export function resolveClientOptions(
  options: CibaClientOptions,
  env: NodeJS.ProcessEnv,
): ResolvedClientOptions {
  const allowInsecureRequests =
    checkOption('allowInsecureRequests', options.allowInsecureRequests, bool, 'true or false') ?? false
  const deliveryMode =
    checkOption('deliveryMode', options.deliveryMode, oneOf(deliveryModes), alternatives(deliveryModes)) ??
    'poll'
  const httpTimeout = checkOption(
    'httpTimeout',
    options.httpTimeout,
    numberBetween(1, 300),
    'a number of seconds from 1 to 300',
  )
  const baseURL = resolveBaseURL(
    either(options.baseURL, env['BASE_URL']),
    deliveryMode,
    allowInsecureRequests,
  )
  const store = checkOption(
    'store',
    options.store,
    transactionStore,
    'a TransactionStore: read, write and watch',
  )
  return Object.freeze({
    op: Object.freeze({
      ...resolveOp(options, env, allowInsecureRequests),
      deliveryMode,
      timeoutMs: (httpTimeout ?? 10) * 1000,
    }),
    ...(baseURL && { baseURL }),
    secrets: resolveSecrets(either(options.secret, env['SECRET']), store),
    authorizationParams: resolveAuthorizationParams(options.authorizationParams),
    store: store ?? new MemoryTransactionStore(),
    ownsStore: store === undefined,
    tokenTimeoutMs: Math.max(leastTokenTimeout, httpTimeout ?? 60) * 1000,
  })
}

type OpIdentity = Omit<OpConfig, 'deliveryMode' | 'timeoutMs'>

function resolveOp(
  options: CibaClientOptions,
  env: NodeJS.ProcessEnv,
  allowInsecureRequests: boolean,
): OpIdentity {
  const issuerValue = either(options.issuerBaseURL, env['ISSUER_BASE_URL'])
  const https = allowInsecureRequests ? 'https or http URL' : 'https URL'
  const issuer = checkOption(
    'issuerBaseURL',
    issuerValue,
    url(allowInsecureRequests),
    `the OP's issuer, an ${https}`,
  )
  const clientID = checkOption(
    'clientID',
    either(options.clientID, env['CLIENT_ID']),
    text,
    'a non-empty string',
  )
  const clientSecret = checkSecretOption(
    'clientSecret',
    either(options.clientSecret, env['CLIENT_SECRET']),
    text,
    'a non-empty string',
  )
  if (!issuer) throw missing('issuerBaseURL', 'ISSUER_BASE_URL', 'the issuer URL of the OP')
  if (!clientID) throw missing('clientID', 'CLIENT_ID', 'the client_id that the OP has registered')
  if (!clientSecret)
    throw missing('clientSecret', 'CLIENT_SECRET', 'the client_secret that the OP has registered')
  const algs = checkOption(
    'idTokenSigningAlg',
    options.idTokenSigningAlg,
    signingAlgs,
    'an asymmetric JWS algorithm such as "ES256", or an array of them',
  )
  const customFetch = checkOption<CustomFetch>(
    'customFetch',
    options.customFetch,
    func,
    'a function like fetch',
  )
  return {
    issuer,
    clientID,
    clientSecret,
    clientAuthMethod:
      checkOption(
        'clientAuthMethod',
        options.clientAuthMethod,
        oneOf(clientAuthMethods),
        alternatives(clientAuthMethods),
      ) ?? 'client_secret_basic',
    clockTolerance:
      checkOption(
        'clockTolerance',
        options.clockTolerance,
        numberBetween(0, 300),
        'a number of seconds from 0 to 300',
      ) ?? 30,
    allowInsecureRequests,
    ...(algs && { idTokenSigningAlgs: algs }),
    ...(customFetch && { customFetch }),
  }
}

function resolveBaseURL(value: unknown, deliveryMode: DeliveryMode, allowHttp: boolean): URL | undefined {
  const mustBe = allowHttp ? 'the public URL of this app' : 'the public https URL of this app'
  const baseURL = checkOption('baseURL', value, url(allowHttp), mustBe)
  if (baseURL === undefined && deliveryMode === 'ping') {
    throw missing('baseURL', 'BASE_URL', 'with "deliveryMode" ping the OP must be able to call this app')
  }
  return baseURL
}

function resolveSecrets(value: unknown, store: TransactionStore | undefined): readonly [string, ...string[]] {
  const mustBe = 'a string of at least 8 characters, or a non-empty array of such strings'
  const secrets = checkSecretOption('secret', value, secretStrings, mustBe)
  if (secrets) return secrets
  if (store !== undefined && !(store instanceof MemoryTransactionStore)) {
    throw missing('secret', 'SECRET', 'all instances that share a "store" need the same one')
  }
  return [randomBytes(32).toString('base64url')]
}

function resolveAuthorizationParams(value: unknown): AuthenticationRequestParameters {
  const params = checkOption('authorizationParams', value, object, 'an object') ?? {}
  for (const hint of hintNames) {
    if (hint in params)
      throw invalidOption('authorizationParams', `must not contain "${hint}": who is asked differs each time`)
  }
  try {
    checkAuthenticationRequest({ ...params, loginHint: 'somebody' })
  } catch (error) {
    throw invalidOption('authorizationParams', `is not valid: ${(error as Error).message}`)
  }
  return Object.freeze(structuredClone({ scope: 'openid', ...params }))
}

/** Options beat the environment; `null` is a wrong option, not an absent one. */
function either(option: unknown, variable: string | undefined): unknown {
  return option === undefined ? variable : option
}

function missing(option: string, variable: string, why: string): TypeError {
  return invalidOption(option, `(or the environment variable ${variable}) is required: ${why}`)
}

const secretStrings: Parse<readonly [string, ...string[]]> = (value) => {
  const strings: readonly unknown[] = Array.isArray(value) ? value : [value]
  const sound = strings.length > 0 && strings.every((one) => typeof one === 'string' && one.length >= 8)
  return sound ? ([...strings] as unknown as readonly [string, ...string[]]) : undefined
}

const asymmetricAlg = /^((RS|PS|ES)(256|384|512)|EdDSA|Ed25519|ML-DSA-(44|65|87))$/

/** Neither `none` nor a MAC with a shared secret [CFG-8]. */
const signingAlgs: Parse<readonly string[]> = (value) => {
  const algs: readonly unknown[] = Array.isArray(value) ? value : [value]
  const sound = algs.length > 0 && algs.every((alg) => typeof alg === 'string' && asymmetricAlg.test(alg))
  return sound ? Object.freeze([...(algs as readonly string[])]) : undefined
}

const transactionStore: Parse<TransactionStore> = (value) => {
  const store = object(value) as TransactionStore | undefined
  const methods = [store?.read, store?.write, store?.watch]
  return methods.every((method) => typeof method === 'function') ? store : undefined
}
