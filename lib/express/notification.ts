/**
 * The client notification endpoint (CIBA Core §9, §10.2, §10.3), where the OP pings or pushes. Needs no session, sets no
 * cookie, never redirects [PING-6].
 */

import type { NextFunction, Request, RequestHandler, Response } from 'express'
import { CibaError } from '../errors.ts'
import type { Notifications, Notified } from '../notifications.ts'
import type { DeliveryMode } from '../transaction.ts'
import { sendEmpty, sendError, sendJson, takesOnly } from './answers.ts'
import { largestPushBytes, readBody } from './body.ts'
import { freezeSession } from './session.ts'

/** Checks in the order of PING-15, except that a token is verified before anything is read [SEC-13]. */
export function notificationHandler(
  notifications: Notifications,
  deliveryMode: DeliveryMode,
): RequestHandler {
  const isPush = deliveryMode === 'push'
  return async function cibaNotification(req: Request, res: Response, next: NextFunction): Promise<void> {
    // express-session may have run already: it must add no cookie to this answer.
    freezeSession(req)
    if (!takesOnly(['POST'], req, res)) return
    try {
      const id = tokenOf(req, notifications)
      if (id === undefined) {
        refuse(res)
        return
      }
      const body = await readNotification(req, id, notifications, isPush)
      answer(res, await notifications.take(id, body), isPush)
    } catch (error) {
      sendError(res, error, next)
    }
  }
}

async function readNotification(
  req: Request,
  id: string,
  notifications: Notifications,
  isPush: boolean,
): Promise<unknown> {
  try {
    return await readBody(req, ['json'], isPush ? largestPushBytes : undefined)
  } catch (error) {
    notifications.refuse(id)
    throw error
  }
}

function answer(res: Response, notified: Notified, isPush: boolean): void {
  if (notified.verdict === 'unauthorized') refuse(res)
  else if (notified.verdict === 'accepted') {
    // The OP counts itself answered only now, and may refuse a token request that comes earlier [PING-7].
    if (res.closed) notified.proceed()
    else res.once('close', notified.proceed)
    sendEmpty(res, 204)
  } else if (notified.verdict === 'invalid') {
    // Which check failed is for our log only.
    const description = 'the tokens did not pass the checks'
    sendJson(res, 400, { error: 'invalid_token_response', error_description: description })
  } else {
    const mustBe = isPush
      ? 'the body must have "auth_req_id", and either the tokens or an "error"'
      : '"auth_req_id" must be a non-empty string'
    throw new CibaError('ERR_CIBA_INVALID_REQUEST', mustBe)
  }
}

/** Several `Authorization` headers are as good as none [PING-2]; Node shows only the first in `headers`. */
function tokenOf(req: Request, notifications: Notifications): string | undefined {
  if (!hasSeveral(req, 'authorization')) return notifications.verify(req.headers.authorization)
  notifications.refuse(undefined)
  return undefined
}

/** Not by `headersDistinct`, which sorts all headers for whoever sends forged pings. */
function hasSeveral({ rawHeaders }: Request, name: string): boolean {
  let count = 0
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const one = rawHeaders[at] as string
    if (one.length === name.length && one.toLowerCase() === name) count += 1
  }
  return count > 1
}

/** One answer for every kind of bad token [PING-4]. */
function refuse(res: Response): void {
  res.setHeader('WWW-Authenticate', 'Bearer')
  sendEmpty(res, 401)
}
