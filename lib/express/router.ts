/**
 * The routes that browsers call, and what every request passes through. Knows nothing of what happens behind
 * `req.ciba`.
 */

import type { NextFunction, Request, RequestHandler, Response } from 'express'
import { CibaError } from '../errors.ts'
import { sendEmpty, sendError, sendJson } from './answers.ts'
import { readBody } from './body.ts'
import { type ContextParts, RequestContext, startTransaction } from './context.ts'
import { refuseCrossSite } from './cross-site.ts'
import { endIfLoggedOut, logoutHandler } from './logout.ts'
import type { ResolvedOptions } from './options.ts'
import { hasSession, noSession, refreshSession, saveNewest } from './session.ts'
import { newestLogin } from './tokens.ts'

type Handler = (req: Request, res: Response) => Promise<void>

/** What {@link router} needs. */
export interface RouterParts extends ContextParts {
  readonly options: ResolvedOptions
  /** The routes that browsers do not call. */
  readonly withoutSession: Readonly<Record<'notification' | 'jwks' | 'backchannelLogout', RequestHandler>>
}

/** Gives every request its `req.ciba`, and serves our routes. */
export function router(parts: RouterParts): RequestHandler {
  const { options, client } = parts
  const handlers = new Map<string, Handler>()
  const add = (path: string | false, handler: Handler) =>
    path !== false && handlers.set(canonical(path), handler)
  add(options.routes.start, startHandler(parts))
  add(options.routes.poll, pollHandler)
  add(options.routes.cancel, cancelHandler)
  const afterLogout = asSeenByBrowsers(options)
  add(options.routes.logout, (req, res) => logoutHandler(req, res, afterLogout))
  const withoutSession = new Map<string, RequestHandler>()
  for (const [name, handler] of Object.entries(parts.withoutSession)) {
    const route = options.routes[name as keyof typeof parts.withoutSession]
    if (route !== false) withoutSession.set(canonical(route), handler)
  }

  let isSessionInDoubt = true

  return function cibaRouter(req: Request, res: Response, next: NextFunction): void {
    const path = canonical(req.path)
    const own = withoutSession.get(path)
    if (own) {
      own(req, res, next)
      return
    }
    const handler = handlers.get(path)
    const isMissing = !hasSession(req)
    // Said about the first request of all. Later ones that need no session go on: the session store may be away for a
    // while, or the cookie be for other paths.
    const isAnError = isMissing && (isSessionInDoubt || handler !== undefined)
    isSessionInDoubt = false
    if (isAnError) {
      next(noSession())
      return
    }
    req.ciba = new RequestContext(parts, req, res)
    const go = () => {
      if (!handler) next()
      // Express 4 would let a rejection go unhandled.
      else serve(handler, req, res, options).catch((error: unknown) => sendError(res, error, next))
    }
    const isSignedIn = req.ciba.isAuthenticated()
    if (isSignedIn) saveNewest(req, (login) => newestLogin(client, login))
    if (options.routes.backchannelLogout === false || !isSignedIn) go()
    else endIfLoggedOut(client, req).then(go, (error: unknown) => sendError(res, error, next))
  }
}

async function serve(
  handler: Handler,
  req: Request,
  res: Response,
  { client }: ResolvedOptions,
): Promise<void> {
  if (req.method !== 'POST') {
    res.set('Allow', 'POST')
    throw new CibaError('ERR_CIBA_METHOD_NOT_ALLOWED', 'this route takes POST only')
  }
  refuseCrossSite(req, client.baseURL)
  req.body = await readBody(req, ['json', 'form'])
  await handler(req, res)
}

function startHandler(parts: RouterParts): Handler {
  const { startParams, hideUnknownUser } = parts.options
  return async (req, res) => {
    const request = await startParams(req)
    sendJson(res, 202, await startTransaction(parts, req, request, hideUnknownUser))
  }
}

async function pollHandler(req: Request, res: Response): Promise<void> {
  const wait = waitOf(req)
  const status = await req.ciba.poll(transactionOf(req), { wait })
  if (status.status === 'pending') {
    res.set('Retry-After', String(status.interval))
  }
  if (status.status !== 'complete' && wait > 0) await refreshSession(req)
  sendJson(res, 200, status)
}

async function cancelHandler(req: Request, res: Response): Promise<void> {
  await req.ciba.cancel(transactionOf(req))
  sendEmpty(res, 204)
}

function transactionOf(req: Request): string {
  const { transaction } = req.body as Record<string, unknown>
  if (typeof transaction === 'string' && transaction !== '') return transaction
  throw new CibaError('ERR_CIBA_INVALID_REQUEST', '"transaction" must be a non-empty string')
}

function waitOf(req: Request): number {
  const { wait = 0 } = req.body as Record<string, unknown>
  const seconds = typeof wait === 'string' && wait.trim() !== '' ? Number(wait) : wait
  if (typeof seconds === 'number' && seconds >= 0) return seconds
  throw new CibaError('ERR_CIBA_INVALID_REQUEST', '"wait" must be a number of seconds')
}

/** A path of the app is below that of its `baseURL`. */
function asSeenByBrowsers({ client, postLogoutRedirect }: ResolvedOptions): string {
  const { baseURL } = client
  if (!postLogoutRedirect.startsWith('/') || !baseURL) return postLogoutRedirect
  return `${baseURL.pathname.replace(/\/$/, '')}${postLogoutRedirect}`
}

/** As Express matches by default: in any case, with or without a slash at the end. */
function canonical(path: string): string {
  const lower = path.toLowerCase()
  return lower.length > 1 && lower.endsWith('/') ? lower.slice(0, -1) : lower
}
