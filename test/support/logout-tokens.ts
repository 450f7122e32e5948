/**
 * Logout tokens (OpenID Connect Back-Channel Logout 1.0): the good one, and one for every defect a client has to
 * refuse. Knows nothing of HTTP.
 */
import { forge, forgeries } from './id-tokens.ts'
import { signingKeys, withForeignKey } from './signing-keys.ts'
import {
  goodTokenResponse,
  issueJwt,
  type JwtOverrides,
  random,
  seconds,
  type TokenContext,
} from './token-response.ts'

type Json = Record<string, unknown>

/** Who ends whose logins. */
export type LogoutContext = Omit<TokenContext, 'authReqId'>

export const logoutEvent = 'http://schemas.openid.net/event/backchannel-logout'

/** The logout token that a client must accept (§2.4): about `sub`, typ `logout+jwt`, ES256. */
export function goodLogoutToken(context: LogoutContext, overrides: JwtOverrides = {}): Promise<string> {
  const claims = {
    iss: context.issuer,
    aud: context.clientId,
    iat: seconds(),
    exp: seconds(120),
    jti: random(16),
    events: { [logoutEvent]: {} },
    sub: context.subject ?? 'alice',
    ...overrides.claims,
  }
  return issueJwt(context, claims, { ...overrides, header: { typ: 'logout+jwt', ...overrides.header } })
}

/** One reason to refuse a logout token that is good in every other respect. */
export interface LogoutDefect {
  /** `BCL-` and the section. */
  readonly id: string
  readonly what: string
  /** What the client must have been told for this to be a defect. */
  readonly needs?: { readonly idTokenSigningAlg: 'ES256' }
  make(context: LogoutContext): Promise<string>
}

const changed = (
  id: string,
  what: string,
  change: (context: LogoutContext) => JwtOverrides | Promise<JwtOverrides>,
): LogoutDefect => ({
  id,
  what,
  make: async (context) => goodLogoutToken(context, await change(context)),
})

const claims = (what: string, change: Json | ((context: LogoutContext) => Json)): LogoutDefect =>
  changed('BCL-2.4', what, (context) => ({
    claims: typeof change === 'function' ? change(context) : change,
  }))

const forged = (what: string, by: (typeof forgeries)[keyof typeof forgeries]): LogoutDefect => ({
  id: 'BCL-2.6',
  what,
  make: async (context) => forge(await goodLogoutToken(context), by, { ...context, authReqId: '' }),
})

const foreignKey = (what: string, header: Json): LogoutDefect =>
  changed('BCL-2.6', what, async () => ({ header, keys: await withForeignKey(await signingKeys()) }))

const instead = (what: string, make: LogoutDefect['make']): LogoutDefect => ({ id: 'BCL-2.6', what, make })

/** What must not be in a logout token's place: an ID token of the same person (§2.4). */
async function idToken(context: LogoutContext): Promise<string> {
  return String((await goodTokenResponse({ ...context, authReqId: 'id' }))['id_token'])
}

const minute = 60
const day = 24 * 3600

export const defectiveLogoutTokens: readonly LogoutDefect[] = [
  claims('iss with 1 appended', ({ issuer }) => ({ iss: `${issuer}1` })),
  claims('no iss', { iss: undefined }),
  claims('aud with 1 appended', ({ clientId }) => ({ aud: `${clientId}1` })),
  claims('no aud', { aud: undefined }),
  claims('empty aud', { aud: [] }),
  claims('no iat', { iat: undefined }),
  claims('iat in text', () => ({ iat: String(seconds()) })),
  claims('iat 10 minutes ago, exp fresh', () => ({ iat: seconds(-10 * minute) })),
  claims('iat a day ahead', () => ({ iat: seconds(day), exp: seconds(day + minute) })),
  claims('expired 6 minutes ago, iat fresh', () => ({ exp: seconds(-6 * minute) })),
  claims('exp in text', () => ({ exp: String(seconds(minute)) })),
  claims('no jti', { jti: undefined }),
  claims('empty jti', { jti: '' }),
  claims('jti that is a number', { jti: 5 }),
  claims('no events', { events: undefined }),
  claims('events null', { events: null }),
  claims('events in an array', { events: [logoutEvent] }),
  claims('events in text', { events: logoutEvent }),
  claims('no events in events', { events: {} }),
  claims('another event', { events: { 'urn:example:event': {} } }),
  claims('event that is no object', { events: { [logoutEvent]: true } }),
  claims('event null', { events: { [logoutEvent]: null } }),
  claims('neither sub nor sid', { sub: undefined }),
  claims('empty sub', { sub: '' }),
  claims('sub that is a number', { sub: 5 }),
  claims('sid that is a number', { sid: 5 }),
  claims('sid that is a number, no sub', { sub: undefined, sid: 5 }),
  claims('empty sid, no sub', { sub: undefined, sid: '' }),
  claims('nonce', { nonce: 'n-0S6_WzA2Mj' }),
  claims('empty nonce', { nonce: '' }),
  changed('BCL-2.4', 'typ of an access token', () => ({ header: { typ: 'at+jwt' } })),
  changed('BCL-2.4', 'typ of a request object', () => ({ header: { typ: 'oauth-authz-req+jwt' } })),
  forged('flipped signature bits', forgeries.bitsFlipped),
  forged('alg none', forgeries.unsigned),
  forged('HS256 with the client secret', forgeries.hmacSigned),
  forged('no signature', ({ header, payload }) => `${header}.${payload}.`),
  foreignKey('foreign key under an unknown kid', { kid: 'unknown' }),
  foreignKey('foreign key under the published kid', {}),
  {
    ...changed('BCL-2.6', 'RS256 by a published key, ES256 pinned', () => ({ header: { alg: 'RS256' } })),
    needs: { idTokenSigningAlg: 'ES256' },
  },
  changed('BCL-2.6', 'unknown critical header', () => ({ header: { crit: ['urn:x'], 'urn:x': true } })),
  instead('an ID token', idToken),
  instead('two parts', async () => 'a.b'),
  instead('no JWT', async () => 'not a jwt'),
  instead('empty', async () => ''),
]
