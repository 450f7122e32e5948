/**
 * From a token response, however it came, to a grant: every check of the tokens, and what we keep of them. Knows
 * nothing of how the response was asked for.
 */

import createDebug from 'debug'
import type * as oauth from 'oauth4webapi'
import type { AuthorizationDetail, Expectations, Grant, IdTokenClaims, TokenSet } from '../grant.ts'
import type { Connection } from './connection.ts'
import type { DpopKey } from './dpop.ts'
import { type ProcessGrantResponseOptions, processTokenResponse } from './token-response.ts'

const debug = createDebug('express-ciba:op')

/** The authentication request that a token response answers. */
export interface Answered {
  readonly authReqId: string
  readonly expectations: Expectations
  readonly dpopKey?: DpopKey | undefined
}

/**
 * Checks a token response and keeps what it granted. Rejects when any check fails; nothing of it may be used then
 * [TOK-21].
 */
export async function validateGrant(
  connection: Connection,
  server: oauth.AuthorizationServer,
  response: Response,
  { authReqId, expectations, dpopKey }: Answered,
  options: ProcessGrantResponseOptions = {},
): Promise<Grant> {
  const { client, validation, config } = connection
  const { requestedAt, acrValues, maxAge, expectedSubject, nonce, scope } = expectations
  const processed = await processTokenResponse(server, client, response, {
    ...validation,
    ...options,
    authReqId,
    requestedAt: Math.floor(requestedAt / 1000),
    ...(acrValues && config.idTokenChecks?.acr !== false && { acrValues }),
    ...(maxAge === undefined ? {} : { maxAge }),
    ...(expectedSubject === undefined ? {} : { expectedSubject }),
    ...(nonce === undefined ? {} : { nonce }),
  })
  const { result, jws } = processed
  const claims = processed.claims as unknown as IdTokenClaims
  const tokens = tokensOf(result, { scope, idToken: jws as string })
  checkScope(tokens.scope, scope)
  const { authorizationTypes } = expectations
  checkAuthorizationDetails(tokens, authorizationTypes)
  await checkEcosystem(connection, claims, false)
  return {
    claims,
    tokens,
    grantedAt: Date.now(),
    ...(dpopKey && { dpopKey }),
    ...(authorizationTypes && { authorizationTypes }),
  }
}

/** Seconds, a year: more would not be a date any more. */
const longestLife = 31_536_000

/** What we keep of a token response; `before` has what the OP need not repeat. */
export function tokensOf(
  result: oauth.TokenEndpointResponse,
  before: Pick<TokenSet, 'scope' | 'idToken' | 'refreshToken' | 'authorizationDetails'>,
): TokenSet {
  const { access_token, token_type, expires_in, scope, refresh_token } = result
  // It goes into a header, whose errors would quote it (RFC 6749 appendix A.12) [SEC-11].
  if (!/^[\x20-\x7e]+$/.test(access_token))
    throw new Error('"access_token" has characters that it must not have')
  const refreshToken = refresh_token ?? before.refreshToken
  const authorizationDetails = detailsOf(result) ?? before.authorizationDetails
  return {
    accessToken: access_token,
    tokenType: token_type as TokenSet['tokenType'],
    // Absent means unknown [TOK-20].
    ...(expires_in === undefined ? {} : { expiresAt: Date.now() + Math.min(expires_in, longestLife) * 1000 }),
    // Absent means as requested (RFC 6749 §5.1) [TOK-20].
    scope: scope ?? before.scope,
    idToken: before.idToken,
    ...(refreshToken === undefined ? {} : { refreshToken }),
    ...(authorizationDetails && { authorizationDetails }),
  }
}

/** How long the application's own check may take: the OP has redeemed the request, and somebody waits. */
export const ecosystemTimeoutMs = 10_000

/** Asks the application's own check; why it refused may quote the claims, so nobody learns it here [SEC-11]. */
export async function checkEcosystem(
  { config }: Connection,
  claims: IdTokenClaims,
  isRefresh: boolean,
): Promise<void> {
  const { validateIdTokenClaims } = config
  if (!validateIdTokenClaims) return
  let timer: NodeJS.Timeout | undefined
  const tooLong = new Promise<never>((_, reject) => {
    timer = setTimeout(reject, ecosystemTimeoutMs, new Error('it took too long'))
  })
  try {
    await Promise.race([(async () => validateIdTokenClaims(claims, { isRefresh }))(), tooLong])
  } catch (cause) {
    throw new Error('the "validateIdTokenClaims" option refused the ID token', { cause })
  } finally {
    clearTimeout(timer)
  }
}

function checkScope(granted: string, requested: string): void {
  const asked = requested.split(' ')
  const unasked = granted.split(' ').filter((one) => !asked.includes(one))
  if (unasked.length > 0) debug('the OP granted scopes that were not requested: %j', unasked) // [TOK-20]
}

function detailsOf(result: oauth.TokenEndpointResponse): readonly AuthorizationDetail[] | undefined {
  const details: unknown = result.authorization_details
  if (details === undefined) return undefined
  const isList = Array.isArray(details) && details.every((one) => typeof one?.type === 'string')
  if (!isList)
    throw new Error('"response" body "authorization_details" must be an array of objects with a "type"')
  return details as readonly AuthorizationDetail[]
}

/** The OP may grant less, and say more of it (RFC 9396 §7.1), but nothing of another kind [TOK-20]. */
export function checkAuthorizationDetails(tokens: TokenSet, types: readonly string[] = []): void {
  if (tokens.authorizationDetails?.every(({ type }) => types.includes(type)) === false) {
    throw new Error('"authorization_details" of a type that was not requested')
  }
}
