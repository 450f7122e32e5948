/**
 * Refreshes tokens (RFC 6749 §6, OpenID Connect Core §12). Knows nothing of who needs them, or where they are kept.
 */

import createDebug from 'debug'
import * as oauth from 'oauth4webapi'
import { CibaError } from '../errors.ts'
import type { Grant, IdTokenClaims } from '../grant.ts'
import type { OpAnswer } from './answer.ts'
import type { Connection } from './connection.ts'
import { proofFor } from './dpop.ts'
import { checkAuthorizationDetails, checkEcosystem, tokensOf } from './granted.ts'
import { watchKeys } from './keys-watch.ts'
import { sendWithNonce } from './token-request.ts'
import { processTokenResponse } from './token-response.ts'
import { wasNeverSent } from './transport.ts'

const debug = createDebug('express-ciba:op')

/** Everything that a refresh can come to. */
export type RefreshAnswer =
  | { readonly type: 'granted'; readonly grant: Grant }
  /** The OP takes the refresh token no more, or its answer did not pass the checks: the person must approve anew. */
  | { readonly type: 'refused'; readonly error: string }
  /** The OP refuses it for a reason that no approval would change. */
  | { readonly type: 'failed'; readonly error: string }
  /** No answer, or none that means anything; `sent` if the OP may have seen the request. */
  | {
      readonly type: 'unavailable'
      readonly sent: boolean
      readonly retryAfterMs: number
      readonly cause?: unknown
    }

/** Uses the refresh token of `grant`, once. Never rejects. */
export async function refresh(
  connection: Connection,
  grant: Grant,
  timeoutMs: number,
): Promise<RefreshAnswer> {
  const { client, clientAuth, dpop } = connection
  const sentAt = Date.now()
  const http = connection.tokenHttp(timeoutMs)
  let server: oauth.AuthorizationServer
  try {
    server = await connection.discover()
  } catch (cause) {
    return { type: 'unavailable', sent: false, retryAfterMs: 0, cause }
  }
  // No OP gets the tokens of another: a session may come from a second `ciba()` in the same app.
  if (grant.claims.iss !== server.issuer) return { type: 'refused', error: 'another issuer' }
  let DPoP: oauth.DPoPHandle | undefined
  try {
    DPoP = await proofFor(dpop, grant)
  } catch {
    return { type: 'refused', error: 'invalid_dpop_proof' }
  }
  let answer: OpAnswer
  let response: Response
  try {
    const { refreshToken = '' } = grant.tokens
    const send = () =>
      oauth.refreshTokenGrantRequest(server, client, clientAuth, refreshToken, {
        ...http,
        ...(DPoP && { DPoP }),
      })
    ;[response, answer] = await sendWithNonce(send, DPoP)
  } catch (cause) {
    return { type: 'unavailable', sent: !wasNeverSent(cause), retryAfterMs: 0, cause }
  }
  const { status, error, retryAfterMs } = answer
  if (status !== 200) {
    debug('refresh: the OP answered %d %s', status, error ?? '')
    if (error === undefined || status === 429) {
      return { type: 'unavailable', sent: status !== 429, retryAfterMs }
    }
    return { type: error === 'invalid_grant' ? 'refused' : 'failed', error }
  }
  try {
    const grantOf = (text: string) =>
      validate(connection, server, new Response(text, { headers: response.headers }), grant, sentAt)
    return { type: 'granted', grant: await unlessWithoutKeys(grantOf, answer.text) }
  } catch (reason) {
    debug('refresh refused: %s', (reason as Error).message)
    return { type: 'refused', error: 'invalid_token_response' }
  }
}

/** What a refresh that brought nothing means to who needs the token. */
export function refreshError(answer: Exclude<RefreshAnswer, { readonly type: 'granted' }>): CibaError {
  if (answer.type === 'failed') {
    return new CibaError('ERR_CIBA_OP_FAILED', `the OP does not refresh the access token: ${answer.error}`)
  }
  if (answer.type === 'refused') {
    return new CibaError(
      'ERR_CIBA_INVALID_TOKEN',
      `the OP does not refresh the access token: ${answer.error}`,
    )
  }
  const { sent, retryAfterMs, cause } = answer
  if (cause instanceof CibaError) return cause
  const details = { cause, ...(retryAfterMs > 0 && { retryAfter: Math.ceil(retryAfterMs / 1000) }) }
  return sent
    ? new CibaError('ERR_CIBA_OP_FAILED', 'the OP did not refresh the access token', details)
    : new CibaError('ERR_CIBA_OP_UNREACHABLE', 'the OP cannot be reached', details)
}

/** What {@link validate} throws when the OP's keys could not be had. */
class WithoutKeys extends Error {}

/**
 * The OP has used up the old refresh token: the new one must not be lost because its keys cannot be had just now. The ID
 * token is the one part that needs them, and one that need not come (OpenID Connect Core §12.2).
 */
async function unlessWithoutKeys(grantOf: (text: string) => Promise<Grant>, text: string): Promise<Grant> {
  try {
    return await grantOf(text)
  } catch (reason) {
    if (!(reason instanceof WithoutKeys)) throw reason
    const { id_token: _, ...rest } = JSON.parse(text) as Record<string, unknown>
    return grantOf(JSON.stringify(rest))
  }
}

/** A refreshed ID token must be about the same person, for the same audience [TOK-23]. */
async function validate(
  connection: Connection,
  server: oauth.AuthorizationServer,
  response: Response,
  before: Grant,
  sentAt: number,
): Promise<Grant> {
  const keys = watchKeys(connection.keysFetch)
  const { result, claims, jws } = await processTokenResponse(
    server,
    connection.client,
    response,
    {
      ...connection.validation,
      tokenType: before.tokens.tokenType,
      requestedAt: Math.floor(sentAt / 1000),
      expectedSubject: before.claims.sub,
      nonce: false, // compared with the first one's instead
      [oauth.customFetch]: keys.fetch,
    },
    'optional',
  ).catch((reason: Error) => {
    throw keys.trouble() === undefined ? reason : new WithoutKeys(reason.message)
  })
  const tokens = tokensOf(result, { ...before.tokens, idToken: jws ?? before.tokens.idToken })
  // A refresh cannot widen what the person has allowed (RFC 9396 §6.1) [TOK-20].
  checkAuthorizationDetails(tokens, before.authorizationTypes)
  if (claims === undefined) return { ...before, tokens }
  const now = claims as unknown as IdTokenClaims
  checkContinuity(before.claims, now)
  await checkEcosystem(connection, now, true)
  // It is the same authentication, in the same session at the OP, though a refreshed ID token need not say so again.
  const kept = ['sid', 'acr', 'amr', 'auth_time'].filter((name) => before.claims[name] !== undefined)
  const same = Object.fromEntries(kept.map((name) => [name, before.claims[name]]))
  return { ...before, claims: { ...same, ...now }, tokens }
}

function isGivenTwice(before: IdTokenClaims, now: IdTokenClaims, claim: string): boolean {
  return before[claim] !== undefined && now[claim] !== undefined
}

/** OpenID Connect Core §12.2. */
function checkContinuity(before: IdTokenClaims, now: IdTokenClaims): void {
  const audience = (claims: IdTokenClaims) => [claims.aud].flat().sort().join(' ')
  const changed =
    (now.iss !== before.iss && 'iss') ||
    (audience(now) !== audience(before) && 'aud') ||
    (now.azp !== before.azp && 'azp') ||
    (isGivenTwice(before, now, 'auth_time') && now.auth_time !== before.auth_time && 'auth_time') ||
    (now['nonce'] !== undefined && now['nonce'] !== before['nonce'] && 'nonce')
  if (changed) throw new Error(`the refreshed ID token has another "${changed}"`)
}
