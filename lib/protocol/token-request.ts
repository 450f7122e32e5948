/**
 * One token request (CIBA Core §10.1): sent once, its answer sorted into a closed set of results. Knows nothing
 * of when to ask, or what to do about the result.
 */

import * as oauth from 'oauth4webapi'
import type { Grant } from '../grant.ts'
import { type OpAnswer, readAnswer } from './answer.ts'
import type { Connection } from './connection.ts'
import { answerChallenge } from './dpop.ts'
import { type Answered, validateGrant } from './granted.ts'
import { wasNeverSent } from './transport.ts'

/** Everything that a token request can come to. Faults of the network and of the OP are results, not exceptions. */
export type TokenAnswer =
  | { readonly type: 'granted'; readonly grant: Grant }
  /** `authorization_pending` [POLL-4]. */
  | { readonly type: 'stillPending' }
  /** `slow_down` [POLL-3]. */
  | { readonly type: 'slowedDown'; readonly retryAfterMs: number }
  /**
   * 503, 429, another 5xx, or a proxy's 408 or 425 [POLL-8, POLL-9]; `sent` if it may hide that the OP has answered, as
   * a gateway's 504 does [POLL-13].
   */
  | { readonly type: 'busy'; readonly retryAfterMs: number; readonly sent: boolean }
  /** No answer; `sent` if the OP may have seen the request all the same [POLL-10, POLL-13]. */
  | { readonly type: 'unanswered'; readonly sent: boolean; readonly cause: unknown }
  | { readonly type: 'denied' | 'expired'; readonly error: string }
  /** Every other word of the OP ends it [POLL-11]; `reason` is for the log and holds no value of any token. */
  | { readonly type: 'failed'; readonly error: string; readonly reason: string }

/** Asks for the tokens, once. Never rejects. */
export async function requestTokens(
  connection: Connection,
  answered: Answered,
  timeoutMs: number,
): Promise<TokenAnswer> {
  const { client, clientAuth, dpop } = connection
  const http = connection.tokenHttp(timeoutMs)
  let server: oauth.AuthorizationServer
  try {
    server = await connection.discover()
  } catch (cause) {
    return { type: 'unanswered', sent: false, cause }
  }
  let DPoP: oauth.DPoPHandle | undefined
  try {
    DPoP = await dpop?.handle(answered.dpopKey)
  } catch (error) {
    // Started before the option was there: no later try can do better.
    return { type: 'failed', error: 'invalid_dpop_proof', reason: (error as Error).message }
  }
  let answer: OpAnswer
  let response: Response
  try {
    const resource = answered.expectations.resource?.map((uri): [string, string] => ['resource', uri])
    const send = () =>
      oauth.backchannelAuthenticationGrantRequest(server, client, clientAuth, answered.authReqId, {
        ...http,
        additionalParameters: new URLSearchParams(resource),
        ...(DPoP && { DPoP }),
      })
    ;[response, answer] = await sendWithNonce(send, DPoP)
  } catch (cause) {
    return { type: 'unanswered', sent: !wasNeverSent(cause), cause }
  }
  if (answer.status !== 200) return sort(answer, DPoP !== undefined)
  try {
    const again = new Response(answer.text, { headers: response.headers })
    return { type: 'granted', grant: await validateGrant(connection, server, again, answered) }
  } catch (error) {
    // The tokens are not used, the error's own cause may hold them, and nothing is tried again [TOK-21].
    return { type: 'failed', error: 'invalid_token_response', reason: (error as Error).message }
  }
}

/** Sends again, once and at once, where the OP wants a nonce in the DPoP proof: it has not looked further [AUTH-7]. */
export async function sendWithNonce(
  send: () => Promise<Response>,
  DPoP: oauth.DPoPHandle | undefined,
): Promise<[Response, OpAnswer]> {
  const response = await send()
  const answer = await readAnswer(response)
  if (!DPoP || answer.error !== 'use_dpop_nonce') return [response, answer]
  answerChallenge(DPoP)
  const second = await send()
  return [second, await readAnswer(second)]
}

/** By the JSON `error` of a 4xx, whatever else the answer says [ERR-1, ERR-3]; then by status. */
function sort({ status, error, retryAfterMs }: OpAnswer, isDpop: boolean): TokenAnswer {
  if (error === 'authorization_pending') return { type: 'stillPending' }
  // Challenged again: the OP has not looked at the request, so asking again later is as good as ever [AUTH-7].
  if (error === 'use_dpop_nonce' && isDpop) return { type: 'stillPending' }
  if (error === 'slow_down') return { type: 'slowedDown', retryAfterMs }
  if (error === 'access_denied') return { type: 'denied', error }
  if (error === 'expired_token') return { type: 'expired', error }
  if (status >= 500) return { type: 'busy', retryAfterMs, sent: status !== 503 }
  if (status === 429) return { type: 'busy', retryAfterMs, sent: false }
  if (error === undefined && (status === 408 || status === 425))
    return { type: 'busy', retryAfterMs, sent: true }
  if (error !== undefined) return { type: 'failed', error, reason: `the OP answered ${status}` }
  return {
    type: 'failed',
    error: 'invalid_token_response',
    reason: `the OP answered ${status} without an error code`,
  }
}
