/**
 * One token request (CIBA Core §10.1): sent once, its answer sorted into a closed set of results. Knows nothing
 * of when to ask, or what to do about the result.
 */

import createDebug from 'debug'
import * as oauth from 'oauth4webapi'
import type { Expectations, Grant, IdTokenClaims, TokenSet } from '../grant.ts'
import { type OpAnswer, readAnswer } from './answer.ts'
import {
  type ProcessGrantResponseOptions,
  processBackchannelAuthenticationGrantResponse,
} from './token-response.ts'
import { wasNeverSent } from './transport.ts'

const debug = createDebug('express-ciba:op')

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

/** What a token request needs to know of the OP. */
export interface TokenEndpoint {
  readonly server: oauth.AuthorizationServer
  readonly client: oauth.Client
  /** Sends the request: endpoint, client authentication and transport are decided already. */
  readonly send: () => Promise<Response>
  /** How the OP's keys are fetched, and which algorithms may sign. */
  readonly validation: ProcessGrantResponseOptions
}

/** Asks for the tokens, once. Never rejects. */
export async function requestTokens(
  endpoint: TokenEndpoint,
  authReqId: string,
  expectations: Expectations,
): Promise<TokenAnswer> {
  let answer: OpAnswer
  let response: Response
  try {
    response = await endpoint.send()
    answer = await readAnswer(response)
  } catch (cause) {
    return { type: 'unanswered', sent: !wasNeverSent(cause), cause }
  }
  if (answer.status !== 200) return sort(answer)
  try {
    const { headers } = response
    const grant = await validate(endpoint, new Response(answer.text, { headers }), authReqId, expectations)
    return { type: 'granted', grant }
  } catch (error) {
    // The tokens are not used, the error's own cause may hold them, and nothing is tried again [TOK-21].
    return { type: 'failed', error: 'invalid_token_response', reason: (error as Error).message }
  }
}

/** By the JSON `error` of a 4xx, whatever else the answer says [ERR-1, ERR-3]; then by status. */
function sort({ status, error, retryAfterMs }: OpAnswer): TokenAnswer {
  if (error === 'authorization_pending') return { type: 'stillPending' }
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

async function validate(
  { server, client, validation }: TokenEndpoint,
  response: Response,
  authReqId: string,
  { requestedAt, scope, acrValues, maxAge, expectedSubject }: Expectations,
): Promise<Grant> {
  const result = await processBackchannelAuthenticationGrantResponse(server, client, response, {
    ...validation,
    strict: true,
    authReqId,
    requestedAt: Math.floor(requestedAt / 1000),
    ...(acrValues && { acrValues }),
    ...(maxAge === undefined ? {} : { maxAge }),
    ...(expectedSubject === undefined ? {} : { expectedSubject }),
  })
  const { access_token, token_type, expires_in, id_token, refresh_token } = result
  const unasked = result.scope?.split(' ').filter((one) => !scope.split(' ').includes(one)) ?? []
  if (unasked.length > 0) debug('the OP granted scopes that were not requested: %s', unasked.join(' ')) // [TOK-20]
  return {
    claims: oauth.getValidatedIdTokenClaims(result) as unknown as IdTokenClaims,
    tokens: {
      accessToken: access_token,
      tokenType: token_type as TokenSet['tokenType'],
      // Absent means unknown [TOK-20].
      ...(expires_in === undefined ? {} : { expiresAt: Date.now() + expires_in * 1000 }),
      // Absent means as requested (RFC 6749 §5.1) [TOK-20].
      scope: result.scope ?? scope,
      idToken: id_token as string,
      ...(refresh_token === undefined ? {} : { refreshToken: refresh_token }),
    },
  }
}
