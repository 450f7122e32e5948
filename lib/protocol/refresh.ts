/**
 * Refreshes tokens (RFC 6749 §6, OpenID Connect Core §12). Knows nothing of who needs them, or where they are kept.
 */

import createDebug from 'debug'
import * as oauth from 'oauth4webapi'
import type { Grant, IdTokenClaims } from '../grant.ts'
import type { OpAnswer } from './answer.ts'
import type { Connection } from './connection.ts'
import { proofFor } from './dpop.ts'
import { checkEcosystem, tokensOf } from './granted.ts'
import { sendWithNonce } from './token-request.ts'
import { processTokenResponse } from './token-response.ts'
import { wasNeverSent } from './transport.ts'

const debug = createDebug('express-ciba:op')

/** Everything that a refresh can come to. */
export type RefreshAnswer =
  | { readonly type: 'granted'; readonly grant: Grant }
  /** The OP takes the refresh token no more, or its answer did not pass the checks: the person must approve anew. */
  | { readonly type: 'refused'; readonly error: string }
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
    ;[response, answer] = await sendWithNonce(send, DPoP !== undefined)
  } catch (cause) {
    return { type: 'unavailable', sent: !wasNeverSent(cause), retryAfterMs: 0, cause }
  }
  const { status, error, retryAfterMs } = answer
  if (status !== 200) {
    debug('refresh: the OP answered %d %s', status, error ?? '')
    const isBusy = error === undefined || status === 429
    return isBusy ? { type: 'unavailable', sent: status !== 429, retryAfterMs } : { type: 'refused', error }
  }
  try {
    const again = new Response(answer.text, { headers: response.headers })
    return { type: 'granted', grant: await validate(connection, server, again, grant, sentAt) }
  } catch (reason) {
    debug('refresh refused: %s', (reason as Error).message)
    return { type: 'refused', error: 'invalid_token_response' }
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
  const { result, claims, jws } = await processTokenResponse(
    server,
    connection.client,
    response,
    {
      ...connection.validation(),
      tokenType: before.tokens.tokenType,
      requestedAt: Math.floor(sentAt / 1000),
      expectedSubject: before.claims.sub,
      nonce: false, // compared with the first one's instead
    },
    'optional',
  )
  const tokens = tokensOf(result, { ...before.tokens, idToken: jws ?? before.tokens.idToken })
  if (claims === undefined) return { ...before, tokens }
  const now = claims as unknown as IdTokenClaims
  checkContinuity(before.claims, now)
  await checkEcosystem(connection, now, true)
  // A logout token may go on naming the session at the OP, though a refreshed ID token need not.
  const { sid } = before.claims
  return { ...before, claims: { ...(sid !== undefined && { sid }), ...now }, tokens }
}

/** OpenID Connect Core §12.2. */
function checkContinuity(before: IdTokenClaims, now: IdTokenClaims): void {
  const audience = (claims: IdTokenClaims) => [claims.aud].flat().sort().join(' ')
  const changed =
    (now.iss !== before.iss && 'iss') ||
    (audience(now) !== audience(before) && 'aud') ||
    (now.azp !== before.azp && 'azp') ||
    (now.auth_time !== undefined && now.auth_time !== before.auth_time && 'auth_time') ||
    (now['nonce'] !== undefined && now['nonce'] !== before['nonce'] && 'nonce')
  if (changed) throw new Error(`the refreshed ID token has another "${changed}"`)
}
