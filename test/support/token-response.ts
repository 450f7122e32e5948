/**
 * What a well-behaved OP issues: token responses, refreshed ones, pushes, and the ID tokens in them, each with
 * anything replaced that a test wants replaced. Knows nothing of HTTP.
 */
import { randomBytes } from 'node:crypto'
import { type Encryption, encryptToken } from './encryption.ts'
import { halfHash, type SigningKeys, signingKeys, signJws } from './signing-keys.ts'

type Json = Record<string, unknown>

/** Who issues the tokens, and for which request. */
export interface TokenContext {
  readonly issuer: string
  readonly clientId: string
  readonly clientSecret: string
  readonly authReqId: string
  /** @default 'alice' */
  readonly subject?: string
  /** Given when `acr_values` were sent. */
  readonly acr?: string
  /** Given when one was sent. */
  readonly nonce?: string
  /** Given when they were sent: granted as asked for. */
  readonly authorizationDetails?: readonly unknown[]
  /** When the person approved, in seconds. @default now */
  readonly authTime?: number
}

/** What to replace in a signed token; `undefined` leaves a claim or a header parameter out. */
export interface JwtOverrides {
  readonly claims?: Json
  /** Its `alg` names the signing key; HS256, HS384 and HS512 sign with the client secret. */
  readonly header?: Json
  /** Instead of the published ones. */
  readonly keys?: SigningKeys
  readonly encrypt?: Encryption
}

/** What to replace in a good token response; `undefined` leaves a member out. */
export interface ResponseOverrides extends JwtOverrides {
  readonly response?: Json
}

/** Makes a token response out of a context and what is to be replaced. */
export type Issue = (context: TokenContext, overrides?: ResponseOverrides) => Promise<Json>

/** Seconds since the epoch, `offset` seconds from now. */
export const seconds = (offset = 0): number => Math.floor(Date.now() / 1000) + offset

export const random = (bytes: number): string => randomBytes(bytes).toString('base64url')

export const cibaClaim = 'urn:openid:params:jwt:claim:'

/** The claims of an ID token that a client must accept; an override of `undefined` leaves the claim out. */
export function goodClaims(context: TokenContext, overrides: Json = {}): Json {
  return {
    iss: context.issuer,
    sub: context.subject ?? 'alice',
    aud: context.clientId,
    iat: seconds(),
    exp: seconds(300),
    auth_time: context.authTime ?? seconds(),
    acr: context.acr,
    nonce: context.nonce,
    ...overrides,
  }
}

/** Signs the claims, and encrypts them if told so. */
export async function issueJwt(
  { clientSecret }: Pick<TokenContext, 'clientSecret'>,
  claims: unknown,
  { header, keys, encrypt }: JwtOverrides = {},
): Promise<string> {
  const signed = signJws(claims, keys ?? (await signingKeys()), clientSecret, header)
  return encrypt ? encryptToken(signed, encrypt) : signed
}

/** The token response that a client must accept: fresh access token, ES256 ID token with `at_hash`. */
export const goodTokenResponse: Issue = async (context, overrides = {}) => {
  const accessToken = String(overrides.response?.['access_token'] ?? random(16))
  const at_hash = halfHash(accessToken, overrides.header?.['alg'])
  const claims = goodClaims(context, { at_hash, ...overrides.claims })
  return {
    access_token: accessToken,
    token_type: 'Bearer',
    expires_in: 300,
    id_token: await issueJwt(context, claims, overrides),
    ...(context.authorizationDetails && { authorization_details: context.authorizationDetails }),
    ...overrides.response,
  }
}

/**
 * The answer to a refresh: rotated refresh token, and an ID token of the same person and approval, without a `nonce`
 * (OpenID Connect Core §12.2). `response: { id_token: undefined }` leaves it out.
 */
export const goodRefreshResponse: Issue = (context, overrides = {}) =>
  goodTokenResponse(context, {
    ...overrides,
    claims: { nonce: undefined, ...overrides.claims },
    response: { refresh_token: random(16), ...overrides.response },
  })

/**
 * The push that a client must accept (CIBA Core §10.3.1): a token response with `auth_req_id`, which its ID token
 * confirms, as it does the refresh token if there is one.
 */
export const goodPush: Issue = async (context, overrides = {}) => {
  const refreshToken = overrides.response?.['refresh_token']
  const alg = overrides.header?.['alg']
  const claims = {
    [`${cibaClaim}auth_req_id`]: context.authReqId,
    ...(typeof refreshToken === 'string' && { [`${cibaClaim}rt_hash`]: halfHash(refreshToken, alg) }),
    ...overrides.claims,
  }
  return { auth_req_id: context.authReqId, ...(await goodTokenResponse(context, { ...overrides, claims })) }
}
