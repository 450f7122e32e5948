/**
 * `ciba(options)`: builds the parts and joins them.
 */

import createDebug from 'debug'
import type { RequestHandler } from 'express'
import { createCore } from './core.ts'
import type { RequestContext } from './express/context.ts'
import { Holds } from './express/holds.ts'
import { jwksHandler } from './express/jwks.ts'
import { startCounter } from './express/limiter.ts'
import { backchannelLogoutHandler } from './express/logout.ts'
import { notificationHandler } from './express/notification.ts'
import { type CibaOptions, type ResolvedOptions, resolveOptions } from './express/options.ts'
import { router } from './express/router.ts'
import type { ContextParts } from './express/start.ts'
import { publishedKeys } from './protocol/published-keys.ts'

const debug = createDebug('express-ciba')

declare global {
  namespace Express {
    interface Request {
      /** Set by `ciba()` on every request. */
      ciba: RequestContext
    }
  }
}

/** What {@link ciba} returns: a middleware with a little more. */
export interface CibaMiddleware extends RequestHandler {
  /**
   * The handler of the notification route alone, to mount ahead of the session middleware, which it does not need:
   * `app.post('/ciba/notification', auth.notification)`.
   */
  readonly notification: RequestHandler
  /**
   * Answers waiting browsers with `pending`, follows token requests in flight to their end, and leaves nothing
   * running. Call it after `server.close()`. With the `client` option that is up to the client's own `close()`.
   */
  close(): Promise<void>
}

/**
 * Middleware that signs people in by CIBA: gives every request its `req.ciba`, and serves `/ciba/start`, `/ciba/poll`,
 * `/ciba/cancel`, `/ciba/notification`, `/ciba/logout`, `/ciba/login` and `/ciba/client.js`, and more by the `routes` option. Needs
 * express-session before it.
 *
 * The OP is not contacted before the first start, so an OP that is down does not keep the app from booting.
 *
 * @throws TypeError with `code: 'ERR_CIBA_INVALID_OPTION'`, naming the option and the remedy.
 */
export function ciba(options: CibaOptions = {}): CibaMiddleware {
  const resolved = resolveOptions(options, process.env)
  const core = resolved.core ?? createCore(resolved.client)
  const { flow } = core
  const parts: ContextParts = {
    core,
    flow,
    afterAuthentication: resolved.afterAuthentication,
    countStart: startCounter(resolved.startLimiters, core.pseudonymKey),
    longPollTimeoutMs: resolved.longPollTimeoutMs,
    holds: new Holds(),
    hideUnknownUser: resolved.hideUnknownUser,
    ...(resolved.idpLogout && {
      atTheOp: { postLogoutRedirect: resolved.client.absolute(resolved.postLogoutRedirect) },
    }),
  }
  const { deliveryMode } = resolved.client.op
  const notification = notificationHandler(flow.notifications, deliveryMode)
  const withoutSession = {
    notification,
    jwks: jwksHandler(publishedKeys(resolved.client.op)),
    backchannelLogout: backchannelLogoutHandler(core),
  }
  const middleware = router({ ...parts, options: resolved, withoutSession })
  announce(resolved)
  const close = async () => {
    if (!resolved.core) await core.close()
  }
  return Object.assign(middleware, { notification, close })
}

let hasWarned = false

function announce({ client, routes }: ResolvedOptions): void {
  const { deliveryMode } = client.op
  if (deliveryMode !== 'poll' && routes.notification !== false) {
    // Both sides of what must fit together, to be seen in one line [CFG-5].
    debug('the OP must %s %s', deliveryMode, client.absolute(routes.notification))
  }
  if (client.ownsStore && process.env['NODE_ENV'] === 'production' && !hasWarned) {
    hasWarned = true
    process.emitWarning(
      'express-ciba keeps transactions in the memory of this process: logins under way, and whom the OP has logged out, are lost on restart, and several instances do not see each other\'s. Give the "store" option to change that, or a MemoryTransactionStore to say that it is meant.',
      { code: 'EXPRESS_CIBA_MEMORY_STORE' },
    )
  }
}
