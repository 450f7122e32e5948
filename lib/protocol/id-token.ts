/**
 * The checks of ID token claims that oauth4webapi leaves to its caller (OpenID Connect Core §3.1.3.7,
 * CIBA Core §10.3.1). Pure: time comes in as data, and keys, signatures or HTTP are none of its business.
 */

import { createHash, createHmac, hash, timingSafeEqual } from 'node:crypto'
import * as oauth from 'oauth4webapi'
import { sameSecret } from '../constant-time.ts'

/** The claim that ties an ID token to the authentication request it answers (CIBA Core §10.3.1). */
export const AUTH_REQ_ID_CLAIM = 'urn:openid:params:jwt:claim:auth_req_id'

/** The claim that ties an ID token to the refresh token delivered with it (CIBA Core §10.3.1). */
export const RT_HASH_CLAIM = 'urn:openid:params:jwt:claim:rt_hash'

/** What an ID token has to say because of what was asked for; an absent member asks for nothing. */
export interface IdTokenExpectations {
  /** Other audiences that may stand beside the client (OpenID Connect Core §3.1.3.7 item 3). */
  readonly trustedAudiences?: readonly string[]
  /** The `auth_req_id`, compared when the token carries the claim (CIBA Core §10.3.1). */
  readonly authReqId?: string
  /**
   * When the authentication request was sent, in seconds since the epoch; a token issued before that is
   * refused (OpenID Connect Core §3.1.3.7 item 10).
   */
  readonly requestedAt?: number
  /** The `acr_values` asked for: `acr` must be one of them. An empty list asks for none (CIBA Core §7.1). */
  readonly acrValues?: readonly string[]
  /**
   * The most seconds that may have passed since `auth_time`, until `requestedAt` if that is given, else until now (OpenID
   * Connect Core §3.1.3.7 item 13).
   */
  readonly maxAge?: number
  /** The `sub` of the person who has to be the one that approved (RFC 10027 §6.1.15). */
  readonly expectedSubject?: string
  /**
   * The `nonce` that was sent, for an OP that takes one; CIBA Core knows none (OpenID Connect Core §2). `false`: the
   * token may have any.
   */
  readonly nonce?: string | false
}

/** The client's idea of the OP's time, in seconds. */
export interface Clock {
  /** Seconds since the epoch, skew included. */
  readonly now: number
  readonly skew: number
  readonly tolerance: number
}

/** The clock that oauth4webapi uses for `client`: by default no skew, 30 s tolerance [CFG-9]. */
export function clockOf(client: oauth.Client, epochMs: number): Clock {
  const skew = finite(client[oauth.clockSkew]) ?? 0
  const tolerance = finite(client[oauth.clockTolerance]) ?? 30
  return { now: Math.floor(epochMs / 1000) + skew, skew, tolerance: tolerance < 0 ? 30 : tolerance }
}

/**
 * Compares `claims` with what was asked for.
 *
 * @throws oauth4webapi's `OperationProcessingError`, its `cause` the name of the claim and never a value.
 */
export function checkExpectations(
  claims: oauth.IDToken,
  clientId: string,
  expected: IdTokenExpectations,
  clock: Clock,
): void {
  checkAudience(claims, clientId, expected.trustedAudiences)
  checkAge(claims, expected, clock)
  const authReqId = claims[AUTH_REQ_ID_CLAIM]
  if (expected.authReqId !== undefined && authReqId !== undefined && !same(authReqId, expected.authReqId)) {
    throw unexpected(AUTH_REQ_ID_CLAIM)
  }
  if (expected.acrValues !== undefined && expected.acrValues.length > 0) {
    const acr = claims['acr']
    if (acr === undefined) throw missing('acr')
    if (typeof acr !== 'string' || !expected.acrValues.includes(acr)) throw unexpected('acr')
  }
  if (expected.expectedSubject !== undefined && !same(claims.sub, expected.expectedSubject)) {
    throw unexpected('sub')
  }
  if (typeof expected.nonce === 'string') {
    if (claims.nonce === undefined) throw missing('nonce')
    if (!same(claims.nonce, expected.nonce)) throw unexpected('nonce')
  }
}

/**
 * Checks what every ID token has to fulfil, whatever was asked for.
 *
 * @param nonceAllowed - whether the authentication request had a `nonce`, or any one will do.
 * @throws oauth4webapi's `OperationProcessingError`, its `cause` the name of the claim and never a value.
 */
export function checkInvariants(
  claims: oauth.IDToken,
  clientId: string,
  nonceAllowed: boolean,
  clock: Clock,
): void {
  // OpenID Connect Core §2: a longer or richer subject breaks the columns that users keep it in [TOK-12].
  if (!/^\p{ASCII}{1,255}$/u.test(claims.sub)) throw unexpected('sub')
  // oauth4webapi looks at azp only beside several audiences [TOK-7].
  if (claims.azp !== undefined && claims.azp !== clientId) throw unexpected('azp')
  if (claims.iat > clock.now + clock.tolerance) {
    throw unexpected('iat', 'value, issued in the future', oauth.JWT_TIMESTAMP_CHECK)
  }
  if (claims.nonce !== undefined && !nonceAllowed) throw unexpected('nonce')
}

/**
 * Checks that the tokens of `response` are those the ID token was issued with, as far as it says so
 * (OpenID Connect Core §3.1.3.8, CIBA Core §10.3.1).
 *
 * @param alg - of the JWS; it names the hash.
 * @throws oauth4webapi's `OperationProcessingError`, its `cause` the name of the claim and never a value.
 */
export function checkTokenHashes(
  claims: oauth.IDToken,
  response: oauth.TokenEndpointResponse,
  alg: string,
): void {
  const atHash = claims['at_hash']
  if (atHash !== undefined && !same(atHash, leftHalfHash(response.access_token, alg))) {
    throw unexpected('at_hash')
  }
  const rtHash = claims[RT_HASH_CLAIM]
  if (rtHash === undefined) return
  // A hash of a refresh token that did not come along: somebody has taken it out [TOK-14].
  if (response.refresh_token === undefined) throw unexpected(RT_HASH_CLAIM)
  if (!same(rtHash, leftHalfHash(response.refresh_token, alg))) throw unexpected(RT_HASH_CLAIM)
}

/**
 * Requires what ties pushed tokens together; they did not come from the OP's own endpoint (CIBA Core §10.3.1).
 *
 * @throws oauth4webapi's `OperationProcessingError`, its `cause` the name of the claim.
 */
export function requirePushClaims(claims: oauth.IDToken, response: oauth.TokenEndpointResponse): void {
  if (claims[AUTH_REQ_ID_CLAIM] === undefined) throw missing(AUTH_REQ_ID_CLAIM) // [PUSH-4]
  if (claims['at_hash'] === undefined) throw missing('at_hash') // [PUSH-5]
  if (response.refresh_token !== undefined && claims[RT_HASH_CLAIM] === undefined)
    throw missing(RT_HASH_CLAIM) // [PUSH-6]
}

/**
 * Verifies a JWS with HS256, HS384 or HS512 (OpenID Connect Core §3.1.3.7 item 8); oauth4webapi knows none of them
 * [TOK-9].
 *
 * @throws oauth4webapi's `OperationProcessingError`
 */
export function verifyMac(jws: string, secret: string): void {
  const end = jws.lastIndexOf('.')
  const expected = createHmac(`sha${signingAlgOf(jws).slice(2)}`, secret)
    .update(jws.slice(0, end))
    .digest()
  const received = Buffer.from(jws.slice(end + 1), 'base64url')
  if (received.length === expected.length && timingSafeEqual(received, expected)) return
  throw new oauth.OperationProcessingError('JWT signature verification failed', {
    code: oauth.INVALID_RESPONSE,
  })
}

/**
 * The base64url left half of the hash of `value`, as in `at_hash` (OpenID Connect Core §3.1.3.6).
 *
 * @param alg - of the ID token; it names the hash, SHA-512 for `EdDSA` and `Ed25519`.
 * @throws oauth4webapi's `UnsupportedOperationError` for an algorithm without a hash of its own.
 */
export function leftHalfHash(value: string, alg: string): string {
  const digest = digestOf(value, alg)
  return digest.subarray(0, digest.length / 2).toString('base64url')
}

/** The `alg` of a JWS whose header was found well-formed before. */
export function signingAlgOf(jws: string): string {
  return (decode(jws.slice(0, jws.indexOf('.'))) as { alg: string }).alg
}

/**
 * Reads whom an `id_token_hint` is about (CIBA Core §7.1). Nothing is verified: it is our own stored token,
 * and an expired one is welcome [REQ-6].
 *
 * @throws TypeError for anything but a JWS with a `sub`; the message never shows the value.
 */
export function subjectOfIdTokenHint(jwt: string): string {
  const parts = typeof jwt === 'string' ? jwt.split('.') : []
  if (parts.length === 5) {
    throw new TypeError('an encrypted ID token cannot be an "id_token_hint", use the signed JWT inside it')
  }
  let claims: unknown
  try {
    if (parts.length === 3) claims = decode(parts[1] ?? '')
  } catch {
    // The parser's own error quotes its input [SEC-11].
  }
  const sub = typeof claims === 'object' && claims !== null && 'sub' in claims ? claims.sub : undefined
  if (typeof sub !== 'string' || sub === '') {
    throw new TypeError('an "id_token_hint" must be a signed JWT with a "sub" claim')
  }
  return sub
}

function checkAudience(claims: oauth.IDToken, clientId: string, trusted?: readonly string[]): void {
  if (trusted === undefined || !Array.isArray(claims.aud)) return
  // oauth4webapi takes any company as long as azp is us [TOK-6].
  if (!claims.aud.every((audience) => audience === clientId || trusted.includes(audience))) {
    throw unexpected('aud', 'value, it includes additional untrusted audiences')
  }
}

function checkAge(claims: oauth.IDToken, { requestedAt, maxAge }: IdTokenExpectations, clock: Clock): void {
  // requestedAt was read off our clock, iat off theirs: the skew lies between the two [TOK-11].
  if (requestedAt !== undefined && claims.iat < Math.floor(requestedAt) + clock.skew - clock.tolerance) {
    throw unexpected('iat', 'value, issued before the authentication request', oauth.JWT_TIMESTAMP_CHECK)
  }
  if (maxAge === undefined) return
  if (claims.auth_time === undefined) throw missing('auth_time')
  // The OP judged the age when it was asked; whoever fetches the tokens may come later [TOK-16].
  const judgedAt = requestedAt === undefined ? clock.now : Math.floor(requestedAt) + clock.skew
  if (claims.auth_time + maxAge < judgedAt - clock.tolerance) {
    throw unexpected('auth_time', 'value, too much time has elapsed since', oauth.JWT_TIMESTAMP_CHECK)
  }
}

function digestOf(value: string, alg: string): Buffer {
  // oauth4webapi takes cSHAKE256 without name or customization, which is SHAKE256 (NIST SP 800-185 §3.3).
  if (/^ML-DSA-(?:44|65|87)$/.test(alg)) {
    return createHash('shake256', { outputLength: 64 }).update(value).digest()
  }
  const bits = /^(?:EdDSA|Ed25519)$/.test(alg) ? '512' : /^[REPH]S(256|384|512)$/.exec(alg)?.[1]
  if (bits !== undefined) return hash(`sha${bits}`, value, 'buffer')
  throw new oauth.UnsupportedOperationError('unsupported JWS algorithm for token hash calculation', {
    cause: { alg },
  })
}

const TITLES = {
  acr: 'authentication context class reference',
  at_hash: 'access token hash',
  aud: 'audience',
  auth_time: 'authentication time',
  azp: 'authorized party',
  iat: 'issued at',
  nonce: 'nonce',
  sub: 'subject',
  [AUTH_REQ_ID_CLAIM]: 'authentication request identifier',
  [RT_HASH_CLAIM]: 'refresh token hash',
} as const

function unexpected(
  claim: keyof typeof TITLES,
  what = 'value',
  code: string = oauth.JWT_CLAIM_COMPARISON,
): oauth.OperationProcessingError {
  const message = `unexpected JWT "${claim}" (${TITLES[claim]}) claim ${what}`
  return new oauth.OperationProcessingError(message, { code, cause: { claim } })
}

function missing(claim: keyof typeof TITLES): oauth.OperationProcessingError {
  const message = `JWT "${claim}" (${TITLES[claim]}) claim missing`
  return new oauth.OperationProcessingError(message, { code: oauth.INVALID_RESPONSE, cause: { claim } })
}

function same(actual: unknown, expected: string): boolean {
  return typeof actual === 'string' && sameSecret(actual, expected)
}

function decode(part: string): unknown {
  return JSON.parse(new TextDecoder().decode(Buffer.from(part, 'base64url')))
}

function finite(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined
}
