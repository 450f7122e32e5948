/**
 * The client notification endpoint (CIBA Core §9, §10.2), where the OP pings. Needs no session, sets no cookie,
 * never redirects [PING-6].
 */

import type { NextFunction, Request, RequestHandler, Response } from 'express'
import { CibaError } from '../errors.ts'
import type { Flow } from '../flow.ts'
import { sendEmpty, sendError } from './answers.ts'
import { readBody } from './body.ts'
import { freezeSession } from './session.ts'

/** Checks in the order of PING-15, except that a token is verified before anything is read [SEC-13]. */
export function notificationHandler(flow: Flow): RequestHandler {
  return async function cibaNotification(req: Request, res: Response, next: NextFunction): Promise<void> {
    // express-session may have run already: it must add no cookie to this answer.
    freezeSession(req)
    if (req.method !== 'POST') {
      res.set('Allow', 'POST')
      sendEmpty(res, 405)
      return
    }
    try {
      const id = tokenOf(req, flow)
      if (id === undefined) {
        refuse(res)
        return
      }
      const body = await readBody(req, ['json'])
      const notified = await flow.notify(id, body)
      if (notified.verdict === 'unauthorized') refuse(res)
      else if (notified.verdict === 'malformed') {
        throw new CibaError('ERR_CIBA_INVALID_REQUEST', '"auth_req_id" must be a non-empty string')
      } else {
        // The OP counts itself answered only now, and may refuse a token request that comes earlier [PING-7].
        if (res.closed) notified.proceed()
        else res.once('close', notified.proceed)
        sendEmpty(res, 204)
      }
    } catch (error) {
      sendError(res, error, next)
    }
  }
}

/** Several `Authorization` headers are as good as none [PING-2]; Node shows only the first in `headers`. */
function tokenOf(req: Request, flow: Flow): string | undefined {
  const several = (req.headersDistinct['authorization']?.length ?? 0) > 1
  return several ? undefined : flow.verifyNotification(req.headers.authorization)
}

/** One answer for every kind of bad token [PING-4]. */
function refuse(res: Response): void {
  res.set('WWW-Authenticate', 'Bearer')
  sendEmpty(res, 401)
}
