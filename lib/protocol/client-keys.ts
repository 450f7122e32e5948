/**
 * Our own keys: from the forms in which an operator has them to what signing, decrypting and publishing need. Knows
 * nothing of what is signed, or for whom.
 */

import {
  createHash,
  createPrivateKey,
  createPublicKey,
  type JsonWebKey,
  KeyObject,
  sign,
  verify,
  type webcrypto,
} from 'node:crypto'
import { types } from 'node:util'

type CryptoKey = webcrypto.CryptoKey

/** A private key: JWK, `KeyObject`, `CryptoKey` or PEM. */
export type PrivateKeyMaterial = Jwk | JwkOfOthers | KeyObject | CryptoKey | string

/** Node's own type for it has another name in its newest types. */
interface Jwk {
  readonly kty?: string | undefined
  readonly [member: string]: unknown
}

/** The types of others for a JWK, that of browsers among them, have no index signature. */
interface JwkOfOthers {
  readonly kty?: string | undefined
  readonly alg?: string | undefined
}

/** A private key, with the `kid` under which the OP knows it; by default a JWK's own, else its RFC 7638 thumbprint. */
export type PrivateKeyInput =
  | PrivateKeyMaterial
  | { readonly key: KeyObject | CryptoKey | string; readonly kid: string }

/** The public half of a key, as it is published (RFC 7517). */
export interface PublicJwk {
  readonly kty: string
  readonly kid: string
  readonly use: 'sig' | 'enc'
  /** Absent where one key serves several algorithms. */
  readonly alg?: string
  readonly [member: string]: string | readonly string[] | undefined
}

/** A key that signs. */
export interface SigningKey {
  readonly kid: string
  /** The JWS algorithm (RFC 7518 §3.1). */
  readonly alg: string
  readonly publicJwk: PublicJwk
  /** For WebCrypto; imported on first use. */
  readonly privateKey: () => Promise<CryptoKey>
}

/** A key that decrypts. */
export interface DecryptionKey {
  readonly kid: string
  /** The JWE key management algorithm that the JWK is for; the first is what we register. */
  readonly algs: readonly [string, ...string[]]
  readonly publicJwk: PublicJwk
  readonly key: KeyObject
}

/** A key that cannot be used; the message completes "the option must be", and never shows the key. */
export class UnusableKey extends Error {}

const signingAlgsByType: Readonly<Record<string, readonly [string, ...string[]]>> = {
  rsa: ['PS256', 'PS384', 'PS512', 'RS256', 'RS384', 'RS512'],
  prime256v1: ['ES256'],
  secp384r1: ['ES384'],
  secp521r1: ['ES512'],
  ed25519: ['EdDSA', 'Ed25519'],
}

const ecdhAlgs = ['ECDH-ES', 'ECDH-ES+A128KW', 'ECDH-ES+A192KW', 'ECDH-ES+A256KW'] as const
/** Neither RSA1_5 nor anything with a shared secret [TOK-19]. */
const decryptionAlgsByType: Readonly<Record<string, readonly [string, ...string[]]>> = {
  rsa: ['RSA-OAEP-256', 'RSA-OAEP', 'RSA-OAEP-384', 'RSA-OAEP-512'],
  prime256v1: ecdhAlgs,
  secp384r1: ecdhAlgs,
  secp521r1: ecdhAlgs,
  x25519: ecdhAlgs,
}

/**
 * A key that signs with `alg`; by default with the algorithm that a JWK or `CryptoKey` names, else with `algIfPossible`,
 * else with PS256, ES… or EdDSA [CFG-10].
 *
 * @throws UnusableKey
 */
export function signingKey(
  input: unknown,
  {
    alg,
    algIfPossible,
  }: { readonly alg?: string | undefined; readonly algIfPossible?: string | undefined } = {},
): SigningKey {
  const { key, kid, named } = readKey(input, 'sig')
  const possible = signingAlgsByType[typeOf(key)]
  if (!possible) throw new UnusableKey('a private RSA, P-256, P-384, P-521 or Ed25519 key')
  const chosen = alg ?? named ?? possible.find((one) => one === algIfPossible) ?? possible[0]
  if (!possible.includes(chosen)) {
    throw new UnusableKey(
      `a key for ${JSON.stringify(chosen)}, but it is one for ${possible.join(', ')}; see the algorithm option beside it`,
    )
  }
  const publicJwk = publicJwkOf(key, kid, 'sig', chosen)
  let imported: Promise<CryptoKey> | undefined
  return Object.freeze({
    kid: publicJwk.kid,
    alg: chosen,
    publicJwk,
    privateKey: () => {
      imported ??= crypto.subtle.importKey(
        'pkcs8',
        key.export({ type: 'pkcs8', format: 'der' }),
        webCryptoAlgorithm(chosen),
        false,
        ['sign'],
      )
      return imported
    },
  })
}

/**
 * A key that decrypts.
 *
 * @throws UnusableKey
 */
export function decryptionKey(input: unknown): DecryptionKey {
  const { key, kid, named } = readKey(input, 'enc')
  const possible = decryptionAlgsByType[typeOf(key)]
  if (!possible) throw new UnusableKey('a private RSA, P-256, P-384, P-521 or X25519 key')
  if (named !== undefined && !possible.includes(named)) {
    throw new UnusableKey(`a key for ${possible.join(', ')}, but it says that it is for ${named}`)
  }
  const publicJwk = publicJwkOf(key, kid, 'enc', named ?? possible[0])
  const algs: DecryptionKey['algs'] = named === undefined ? possible : [named]
  return Object.freeze({ kid: publicJwk.kid, algs, publicJwk, key })
}

/** The JWS algorithms that WebCrypto and we know, for a key that is described by a JWK. */
export function webCryptoAlgorithm(
  alg: string,
): webcrypto.RsaHashedImportParams | webcrypto.EcKeyImportParams {
  const hash = `SHA-${alg.slice(2)}`
  if (alg.startsWith('PS')) return { name: 'RSA-PSS', hash }
  if (alg.startsWith('RS')) return { name: 'RSASSA-PKCS1-v1_5', hash }
  if (alg.startsWith('ES'))
    return { name: 'ECDSA', namedCurve: `P-${alg === 'ES512' ? '521' : alg.slice(2)}` }
  return { name: 'Ed25519' } as webcrypto.EcKeyImportParams
}

/** The public keys, each once; two keys with one `kid` could not be told apart [CFG-10]. */
export function jwksOf(keys: readonly { readonly publicJwk: PublicJwk }[]): readonly PublicJwk[] {
  const byKid = new Map<string, PublicJwk>()
  for (const { publicJwk } of keys) {
    const known = byKid.get(publicJwk.kid)
    if (known && thumbprint(known) !== thumbprint(publicJwk)) {
      throw new UnusableKey(`keys with different "kid"s, but two have ${JSON.stringify(publicJwk.kid)}`)
    }
    byKid.set(publicJwk.kid, known ? merged(known, publicJwk) : publicJwk)
  }
  return [...byKid.values()]
}

/** One key in two roles: it may serve several algorithms. */
function merged(known: PublicJwk, other: PublicJwk): PublicJwk {
  if (known.use !== other.use) throw new UnusableKey('different keys for signing and for decrypting')
  const { alg, ...rest } = { ...known, ...other }
  return known.alg === other.alg && alg !== undefined ? { ...rest, alg } : rest
}

interface ReadKey {
  readonly key: KeyObject
  readonly kid?: string
  /** The algorithm that the key itself says it is for. */
  readonly named?: string
}

const forms = 'a private key: JWK, KeyObject, CryptoKey, PEM, or { key, kid }'

function readKey(input: unknown, wanted: 'sig' | 'enc'): ReadKey {
  const { key, kid, named, use = wanted } = parse(input)
  if (use !== wanted) throw new UnusableKey(`a key whose "use" is "${wanted}"`)
  if (kid !== undefined && (typeof kid !== 'string' || kid === '')) {
    throw new UnusableKey('a key whose "kid" is a non-empty string')
  }
  if (key.type !== 'private') throw new UnusableKey('a private key, not a public or a secret one')
  const { modulusLength } = key.asymmetricKeyDetails ?? {}
  if (modulusLength !== undefined && modulusLength < 2048) {
    throw new UnusableKey('an RSA key of at least 2048 bits')
  }
  return {
    key,
    ...(kid === undefined ? {} : { kid }),
    ...(named === undefined ? {} : { named }),
  }
}

function parse(input: unknown): { key: KeyObject; kid?: unknown; named?: string | undefined; use?: unknown } {
  try {
    if (typeof input === 'string') return { key: createPrivateKey(input) }
    if (input instanceof KeyObject) return { key: input }
    if (types.isCryptoKey(input)) return { key: KeyObject.from(input), named: algOf(input) }
    if (typeof input === 'object' && input !== null) {
      if ('kty' in input) {
        const jwk = input as JsonWebKey & { kid?: unknown; alg?: string; use?: unknown }
        const key = createPrivateKey({ key: jwk, format: 'jwk' })
        if (isWhole(key)) return { key, kid: jwk.kid, named: jwk.alg, use: jwk.use }
      }
      if (
        'key' in input &&
        'kid' in input &&
        !(typeof input.key === 'object' && 'key' in (input.key ?? {}))
      ) {
        return { ...parse(input.key), kid: input.kid }
      }
    }
  } catch {
    // The parser's own error may quote its input [SEC-11].
  }
  throw new UnusableKey(forms)
}

/** Node.js takes a JWK with the private part of another key, or with none to speak of. */
function isWhole(key: KeyObject): boolean {
  if (key.asymmetricKeyType !== 'rsa' && key.asymmetricKeyType !== 'ec') return true
  const probe = Buffer.from('probe')
  return verify('sha256', probe, createPublicKey(key), sign('sha256', probe, key))
}

function algOf({ algorithm }: CryptoKey): string | undefined {
  const { name, hash } = algorithm as webcrypto.RsaHashedKeyAlgorithm
  const bits = hash?.name.slice('SHA-'.length)
  if (name === 'RSA-PSS') return `PS${bits}`
  if (name === 'RSASSA-PKCS1-v1_5') return `RS${bits}`
  if (name === 'RSA-OAEP') return bits === '1' ? 'RSA-OAEP' : `RSA-OAEP-${bits}`
  return undefined
}

/** The curve of an EC key, the type of any other. */
function typeOf(key: KeyObject): string {
  return key.asymmetricKeyDetails?.namedCurve ?? key.asymmetricKeyType ?? 'unknown'
}

function publicJwkOf(key: KeyObject, kid: string | undefined, use: 'sig' | 'enc', alg: string): PublicJwk {
  const jwk = createPublicKey(key).export({ format: 'jwk' }) as { kty: string }
  return Object.freeze({ ...jwk, kid: kid ?? thumbprint(jwk), use, alg })
}

/** RFC 7638: the required members in alphabetical order. */
export function thumbprint(jwk: Readonly<Record<string, unknown>>): string {
  const members = ['crv', 'e', 'kty', 'n', 'x', 'y'].filter((name) => jwk[name] !== undefined)
  const text = JSON.stringify(Object.fromEntries(members.map((name) => [name, jwk[name]])))
  return createHash('sha256').update(text).digest('base64url')
}
