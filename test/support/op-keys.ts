/** What the OP for tests signs with, and the logout tokens it signs. Knows neither oidc-provider nor HTTP. */
import { generateKeyPair, randomUUID } from 'node:crypto'
import { promisify } from 'node:util'
import { importJWK, type JWTPayload, SignJWT } from 'jose'
import type { JWK } from 'oidc-provider'

const generate = promisify(generateKeyPair)
let firstKeys: Promise<readonly JWK[]> | undefined

/** Those of RS256, PS256, ES256, and EdDSA or Ed25519. Generation 0 is made once per process. */
export function opKeys(generation = 0): Promise<readonly JWK[]> {
  if (generation > 0) return makeKeys(`-${generation}`)
  firstKeys ??= makeKeys('')
  return firstKeys
}

async function makeKeys(suffix: string): Promise<readonly JWK[]> {
  const [rsa, ec, ed] = await Promise.all([
    generate('rsa', { modulusLength: 2048 }),
    generate('ec', { namedCurve: 'P-256' }),
    generate('ed25519'),
  ])
  const rsaKey = rsa.privateKey.export({ format: 'jwk' })
  return [
    { ...rsaKey, use: 'sig', alg: 'RS256', kid: `rs256${suffix}` },
    { ...rsaKey, use: 'sig', alg: 'PS256', kid: `ps256${suffix}` },
    { ...ec.privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'ES256', kid: `es256${suffix}` },
    // No `alg`: one key for both of its names.
    { ...ed.privateKey.export({ format: 'jwk' }), use: 'sig', kid: `ed25519${suffix}` },
  ] as JWK[]
}

/** What may be published of them. */
export function publicKeys(keys: readonly JWK[]): JWK[] {
  return keys.map(
    ({ kty, use, alg, kid, crv, x, y, n, e }) => ({ kty, use, alg, kid, crv, x, y, n, e }) as JWK,
  )
}

export interface LogoutTokenOptions {
  readonly clientId: string
  readonly sub?: string
  readonly sid?: string
  /** On top of the good ones; `undefined` leaves one out. */
  readonly claims?: Record<string, unknown>
  /** @default { alg: 'RS256', typ: 'logout+jwt' } and the key's `kid` */
  readonly header?: Record<string, unknown> & { readonly alg?: string }
}

/** A logout token as `issuer` sends it (OpenID Connect Back-Channel Logout 1.0, section 2.4). */
export async function signLogoutToken(
  keys: readonly JWK[],
  issuer: string,
  { clientId, sub, sid, claims, header }: LogoutTokenOptions,
): Promise<string> {
  const { alg = 'RS256' } = header ?? {}
  const key = keys.find((jwk) => (alg.startsWith('Ed') ? jwk.crv === 'Ed25519' : jwk.alg === alg))
  if (!key) throw new TypeError(`no key for ${alg}`)
  const now = Math.floor(Date.now() / 1000)
  const good = {
    iss: issuer,
    aud: clientId,
    iat: now,
    exp: now + 120,
    jti: randomUUID(),
    sub,
    sid,
    events: { 'http://schemas.openid.net/event/backchannel-logout': {} },
  }
  return new SignJWT({ ...good, ...claims } as JWTPayload)
    .setProtectedHeader({ alg, typ: 'logout+jwt', kid: String(key.kid), ...header })
    .sign(await importJWK(key as object, alg))
}
