/**
 * The guard of protected routes. Knows nothing of how anybody signs in.
 */

import type { NextFunction, Request, RequestHandler, Response } from 'express'
import { CibaError } from '../errors.ts'
import { sendError } from './answers.ts'
import type { RequestContext } from './context.ts'
import { hasSession, noSession } from './session.ts'

/**
 * Lets a request pass if somebody is signed in; answers 401 `unauthenticated` as JSON if not. Must come after
 * `app.use(ciba(…))`.
 */
export function requireCiba(): RequestHandler {
  return function cibaGuard(req: Request, res: Response, next: NextFunction): void {
    const { ciba } = req as { ciba?: RequestContext }
    if (ciba === undefined) {
      next(new TypeError('requireCiba() needs app.use(ciba(…)) before it'))
      return
    }
    if (ciba.isAuthenticated()) next()
    // Whoever is signed in must not be told to sign in, only because the session store is away.
    else if (!hasSession(req)) next(noSession())
    else sendError(res, new CibaError('ERR_CIBA_UNAUTHENTICATED', 'sign in first'), next)
  }
}
