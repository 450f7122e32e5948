/**
 * What the OP pushes (CIBA Core §10.3.1, §12): tokens, or an error. Knows nothing of HTTP frameworks or of the
 * transaction behind it.
 */

import createDebug from 'debug'
import * as oauth from 'oauth4webapi'
import type { Expectations, Grant } from '../grant.ts'
import { isAuthReqId } from './acknowledgement.ts'
import { safeCode } from './answer.ts'
import type { Connection } from './connection.ts'
import { validateGrant } from './granted.ts'
import { watchKeys } from './keys-watch.ts'

const debug = createDebug('express-ciba:op')

/** A body that has the form of a push; nothing in it is checked yet. */
export interface Push {
  readonly authReqId: string
  /** The error code; `undefined` if tokens were pushed. */
  readonly error?: string
  readonly body: object
}

/** Everything that a push can come to. */
export type PushAnswer =
  | { readonly type: 'granted'; readonly grant: Grant }
  | { readonly type: 'denied' | 'expired' | 'failed'; readonly error: string }
  /** A check failed; nothing of it may be used [PUSH-9]. */
  | { readonly type: 'invalid' }
  /** The OP's keys cannot be had: it may push again. */
  | { readonly type: 'unavailable'; readonly cause: unknown }

const tokenNames = ['access_token', 'id_token', 'refresh_token'] as const

/** Tokens or an error, but not both [PUSH-7]; `undefined` for everything else. */
export function parsePush(body: unknown): Push | undefined {
  if (typeof body !== 'object' || body === null) return undefined
  const members = body as Record<string, unknown>
  const { auth_req_id: authReqId, error } = members
  if (!isAuthReqId(authReqId)) return undefined
  if (error === undefined) return members['access_token'] === undefined ? undefined : { authReqId, body }
  const hasTokens = tokenNames.some((name) => members[name] !== undefined)
  if (typeof error !== 'string' || error === '' || hasTokens) return undefined
  return { authReqId, error: safeCode(error), body }
}

/** Checks a push against what was asked for. Never rejects. */
export async function processPush(
  connection: Connection,
  { authReqId, error, body }: Push,
  expectations: Expectations,
): Promise<PushAnswer> {
  if (error === 'access_denied') return { type: 'denied', error }
  if (error === 'expired_token') return { type: 'expired', error }
  if (error !== undefined) return { type: 'failed', error }
  let server: oauth.AuthorizationServer
  try {
    server = await connection.discover()
  } catch (cause) {
    return { type: 'unavailable', cause }
  }
  const keys = watchKeys(connection.keysFetch)
  try {
    const response = new Response(JSON.stringify(body), { headers: { 'content-type': 'application/json' } })
    const grant = await validateGrant(
      connection,
      server,
      response,
      { authReqId, expectations },
      {
        pushed: true,
        [oauth.customFetch]: keys.fetch,
      },
    )
    return { type: 'granted', grant }
  } catch (reason) {
    debug('push refused: %s', (reason as Error).message)
    const cause = keys.trouble()
    return cause === undefined ? { type: 'invalid' } : { type: 'unavailable', cause }
  }
}
