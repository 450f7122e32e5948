/**
 * The routes by which a login ends: the browser's own, and the one that the OP calls (OpenID Connect Back-Channel Logout
 * §2.5). Knows nothing of tokens.
 */

import createDebug from 'debug'
import type { NextFunction, Request, RequestHandler, Response } from 'express'
import type { Core } from '../core.ts'
import { CibaError } from '../errors.ts'
import { publish } from '../events.ts'
import { InvalidLogoutToken } from '../protocol/logout.ts'
import { shortId } from '../transaction.ts'
import { sendEmpty, sendError, sendJson, takesOnly } from './answers.ts'
import { readBody } from './body.ts'
import { freezeSession, type Login, loginOf, signOut } from './session.ts'

const debug = createDebug('express-ciba:session')

/** Signs out. A program gets JSON or nothing, a form goes on to a page. */
export async function logoutHandler(req: Request, res: Response, postLogoutRedirect: string): Promise<void> {
  const { endSessionURL } = await req.ciba.logout()
  if (req.is('application/x-www-form-urlencoded') && req.accepts(['json', 'html']) === 'html') {
    res.set('Cache-Control', 'no-store').redirect(303, endSessionURL ?? postLogoutRedirect)
  } else if (endSessionURL === undefined) sendEmpty(res, 204)
  else sendJson(res, 200, { endSessionURL })
}

/** Takes the OP's logout tokens. Needs no session. */
export function backchannelLogoutHandler({ tokens, logoutMarks }: Core): RequestHandler {
  return async function cibaBackchannelLogout(
    req: Request,
    res: Response,
    next: NextFunction,
  ): Promise<void> {
    freezeSession(req)
    if (!takesOnly(['POST'], req, res)) return
    try {
      const { logout_token: token } = await readBody(req, ['form'])
      if (typeof token !== 'string') throw invalid('"logout_token" must be there, once')
      await logoutMarks.add(await tokens.verifyLogoutToken(token))
      sendEmpty(res, 200)
    } catch (error) {
      if (error instanceof InvalidLogoutToken) debug('logout token refused: %s', error.message)
      sendError(
        res,
        error instanceof InvalidLogoutToken ? invalid('the logout token is not valid') : error,
        next,
      )
    }
  }
}

/** Signs the session of a request out if the OP has ended its login. Rejects when the stores fail. */
export async function endIfLoggedOut({ logoutMarks, keeper }: Core, req: Request): Promise<void> {
  const login = loginOf(req)
  if (!login || !(await logoutMarks.has(markedLogin(login)))) return
  debug('signed out by the OP')
  const { transaction, user, tokens } = login
  // A refresh under way goes on without us, but must not bring the session back.
  await keeper.end(transaction, tokens)
  await signOut(req)
  publish('express-ciba:login', () => ({
    transaction: shortId(transaction),
    event: 'signedOut',
    by: 'op',
    subject: user.sub,
  }))
}

function markedLogin({ user: { iss, sub, sid }, at }: Login) {
  return { iss, sub, at, ...(typeof sid === 'string' && { sid }) }
}

function invalid(message: string): CibaError {
  return new CibaError('ERR_CIBA_INVALID_REQUEST', message)
}
