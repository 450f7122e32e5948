/**
 * The keys of the scripted OP, and what it signs with them. Signs by hand, because a signing library would refuse
 * most of what a test wants signed. Knows nothing of what is in a token.
 */
import { constants, createHash, createHmac, generateKeyPair, type KeyObject, sign } from 'node:crypto'
import { promisify } from 'node:util'

type Json = Record<string, unknown>

export type SigningKey = { readonly kid: string; readonly privateKey: KeyObject }

const algs = ['ES256', 'RS256', 'PS256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'] as const
type Alg = (typeof algs)[number]

export type SigningKeys = { readonly [alg in Alg]: SigningKey } & {
  /** All public keys with `kid`, `alg` and `use`. */
  readonly jwks: { readonly keys: readonly Json[] }
}

export const generate = promisify(generateKeyPair)
const generations = new Map<number, Promise<SigningKeys>>()

/** The keys that the scripted OP publishes: made once per process and generation, on first use. */
export function signingKeys(generation = 1): Promise<SigningKeys> {
  const keys = generations.get(generation) ?? generateKeys(generation)
  generations.set(generation, keys)
  return keys
}

async function generateKeys(generation: number): Promise<SigningKeys> {
  const [rsa, p256, p384, p521, ed25519] = await Promise.all([
    generate('rsa', { modulusLength: 2048 }),
    generate('ec', { namedCurve: 'P-256' }),
    generate('ec', { namedCurve: 'P-384' }),
    generate('ec', { namedCurve: 'P-521' }),
    generate('ed25519'),
  ])
  // One key may go by two algorithms, under two names: generating RSA keys is slow.
  const pairs = {
    ES256: p256,
    RS256: rsa,
    PS256: rsa,
    ES384: p384,
    ES512: p521,
    EdDSA: ed25519,
    Ed25519: ed25519,
  }
  const kid = (alg: Alg) => `${alg.toLowerCase()}-${generation}`
  const keys = algs.map((alg) => [alg, { kid: kid(alg), privateKey: pairs[alg].privateKey }] as const)
  const jwks = {
    keys: algs.map((alg) => ({
      ...pairs[alg].publicKey.export({ format: 'jwk' }),
      kid: kid(alg),
      alg,
      use: 'sig',
    })),
  }
  return { ...(Object.fromEntries(keys) as { [alg in Alg]: SigningKey }), jwks }
}

/** Another key for ES256 under the `kid` of the published one. */
export async function withForeignKey(published: SigningKeys): Promise<SigningKeys> {
  const { privateKey } = await generate('ec', { namedCurve: 'P-256' })
  return { ...published, ES256: { ...published.ES256, privateKey } }
}

export const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')

/** The hash that goes with an algorithm: SHA-256 where its name says no other, SHA-512 for Ed25519. */
const hashOf = (alg: unknown): string =>
  alg === 'EdDSA' || alg === 'Ed25519' ? 'sha512' : `sha${/(384|512)$/.exec(String(alg))?.[0] ?? 256}`

/** `at_hash` or `rt_hash` of a token: the left half of its hash (OpenID Connect Core §3.1.3.6). */
export function halfHash(token: string, alg: unknown = 'ES256'): string {
  const digest = createHash(hashOf(alg)).update(token).digest()
  return digest.subarray(0, digest.length / 2).toString('base64url')
}

/**
 * A compact JWS, signed with the key that `header.alg` names, or for HS256, HS384 and HS512 with the secret; ES256
 * unless told. `claims` may be any JSON value.
 */
export function signJws(claims: unknown, keys: SigningKeys, clientSecret: string, header: Json = {}): string {
  const { alg = 'ES256' } = header
  if (/^HS/.test(String(alg))) {
    const input = `${encode({ alg, ...header })}.${encode(claims)}`
    return `${input}.${createHmac(hashOf(alg), clientSecret).update(input).digest('base64url')}`
  }
  const { kid, privateKey: key } = keys[algs.find((known) => known === alg) ?? 'ES256']
  const input = `${encode({ alg: 'ES256', kid, ...header })}.${encode(claims)}`
  const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }
  const hash = key.asymmetricKeyType === 'ed25519' ? null : hashOf(alg)
  const signature = sign(hash, Buffer.from(input), {
    key,
    dsaEncoding: 'ieee-p1363',
    ...(alg === 'PS256' && pss),
  })
  return `${input}.${signature.toString('base64url')}`
}
