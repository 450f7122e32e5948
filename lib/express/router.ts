/**
 * The routes that browsers call, and what every request passes through. Knows nothing of what happens behind
 * `req.ciba`.
 */

import type { NextFunction, Request, RequestHandler, Response } from 'express'
import type { Core } from '../core.ts'
import { CibaError } from '../errors.ts'
import { sendEmpty, sendError, sendJson } from './answers.ts'
import { readBody } from './body.ts'
import { RequestContext } from './context.ts'
import { refuseCrossSite } from './cross-site.ts'
import { confirmLogin, isUnconfirmed } from './login.ts'
import { type LoginPage, loginPage } from './login-page.ts'
import { setLoginPage } from './login-page-place.ts'
import { endIfLoggedOut, logoutHandler } from './logout.ts'
import type { ResolvedOptions } from './options.ts'
import { routeKey } from './page-links.ts'
import { browserScripts, clientHandler } from './page-scripts.ts'
import { takeReturnTo } from './return-to.ts'
import { freezeSession, hasSession, noSession, refreshSession, saveNewest } from './session.ts'
import { type ContextParts, startTransaction } from './start.ts'
import { newestLogin } from './tokens.ts'

type Handler = (req: Request, res: Response) => Promise<void>
/** Names the transaction, and answers where it is given something to answer with: to programs. */
type FormHandler = (req: Request, res?: Response) => Promise<string>

/** What {@link router} needs. */
export interface RouterParts extends ContextParts {
  readonly options: ResolvedOptions
  /** The routes that browsers do not call. */
  readonly withoutSession: Readonly<Record<'notification' | 'jwks' | 'backchannelLogout', RequestHandler>>
}

/** Gives every request its `req.ciba`, and serves our routes. */
export function router(parts: RouterParts): RequestHandler {
  const { options } = parts
  const handlers = new Map<string, Handler>()
  const add = (path: string | false, handler: Handler) =>
    path !== false && handlers.set(routeKey(path), (req, res) => serve(handler, req, res, parts))
  const scripts =
    options.routes.clientScript !== false || options.loginPage !== false ? browserScripts() : undefined
  const page = loginPage(options, scripts)
  if (page) handlers.set(routeKey(page.path), page.handle)
  const addForm = (path: string | false, handler: FormHandler) =>
    add(path, async (req, res) => {
      if (page?.isForm(req)) page.redirect(req, res, await handler(req))
      else await handler(req, res)
    })
  addForm(options.routes.start, startHandler(parts))
  add(options.routes.poll, (req, res) => pollHandler(parts, req, res))
  addForm(options.routes.cancel, cancelHandler)
  const afterLogout = asSeenByBrowsers(options, options.postLogoutRedirect)
  add(options.routes.logout, (req, res) => logoutHandler(req, res, afterLogout))
  const withoutSession = new Map<string, RequestHandler>()
  for (const [name, handler] of Object.entries(parts.withoutSession)) {
    const route = options.routes[name as keyof typeof parts.withoutSession]
    if (route !== false) withoutSession.set(routeKey(route), handler)
  }
  if (options.routes.clientScript !== false && scripts) {
    withoutSession.set(routeKey(options.routes.clientScript), clientHandler(scripts.client))
  }

  let isSessionInDoubt = true
  let hasSeenSession = false

  return function cibaRouter(req: Request, res: Response, next: NextFunction): void {
    const path = routeKey(req.path)
    const own = withoutSession.get(path)
    if (own) {
      own(req, res, next)
      return
    }
    const handler = handlers.get(path)
    const isPage = handler !== undefined && handler === page?.handle
    const fail = (error: unknown) =>
      failAs(isPage || page?.isForm(req) ? page : undefined, error, req, res, next)
    const isMissing = !hasSession(req)
    hasSeenSession ||= !isMissing
    // Said about the first request of all. Later ones that need no session go on: the session store may be away for a
    // while, or the cookie be for other paths.
    const isAnError = isMissing && (isSessionInDoubt || handler !== undefined)
    isSessionInDoubt = false
    if (page) setLoginPage(req, page.path, options.client.baseURL)
    if (isAnError) {
      fail(isPage && hasSeenSession ? sessionsAway() : noSession())
      return
    }
    req.ciba = new RequestContext(parts, req, res)
    const go = () => {
      // Express 4 would let a rejection go unhandled.
      if (handler) handler(req, res).catch(fail)
      else next()
    }
    const checked = checkLogin(parts, req)
    if (checked !== undefined) checked.then(go, fail)
    else go()
  }
}

/** Before anything of this request is saved: others may know more of its login. */
function saveNoOlder(core: Core, req: Request): void {
  saveNewest(
    req,
    (login) => newestLogin(core, login),
    ({ transaction }) => core.keeper.hasEnded(transaction),
  )
}

/** What a signed-in session needs before it is served; `undefined`: no time. */
function checkLogin(parts: RouterParts, req: Request): Promise<void> | undefined {
  const { options, core } = parts
  if (!req.ciba.isAuthenticated()) return undefined
  saveNoOlder(core, req)
  const isToConfirm = isUnconfirmed(parts, req)
  const mayBeOver = options.routes.backchannelLogout !== false
  if (!isToConfirm && !mayBeOver) return undefined
  const confirmed = isToConfirm ? confirmLogin(parts, req) : Promise.resolve()
  return mayBeOver ? confirmed.then(() => endIfLoggedOut(core, req)) : confirmed
}

async function serve(
  handler: Handler,
  req: Request,
  res: Response,
  { options: { client }, flow }: RouterParts,
): Promise<void> {
  if (req.method !== 'POST') {
    res.set('Allow', 'POST')
    throw new CibaError('ERR_CIBA_METHOD_NOT_ALLOWED', 'this route takes POST only')
  }
  refuseCrossSite(req, client.baseURL)
  req.body = await readBody(req, ['json', 'form'])
  if (flow.closing) endConnection(req, res)
  // Not awaited: nothing of this is needed while somebody waits.
  return handler(req, res)
}

/**
 * A server that closes keeps open what a browser keeps alive, and the browser or a balancer would send the next request
 * there: to nobody.
 */
function endConnection(req: Request, res: Response): void {
  // HTTP/2 has no such header.
  if (req.httpVersionMajor < 2) res.set('Connection', 'close')
}

function startHandler(parts: RouterParts): FormHandler {
  const { hideUnknownUser, options } = parts
  return async (req, res) => {
    const returnTo = takeReturnTo(req)
    const request = await options.startParams(req)
    const started = await startTransaction(parts, req, request, { hideUnknownUser, returnTo })
    if (res && parts.flow.closing) endConnection(req, res)
    if (res) sendJson(res, 202, started)
    return started.transaction
  }
}

async function pollHandler({ core, flow }: RouterParts, req: Request, res: Response): Promise<void> {
  const wait = waitOf(req)
  const { sessionID } = req
  const status = await req.ciba.poll(transactionOf(req), { wait }).catch((error: unknown) => {
    // Another answer may have brought a new session meanwhile: with "rolling" this one would bring the old one back.
    freezeSession(req)
    throw error
  })
  if (flow.closing) endConnection(req, res)
  if (status.status === 'pending') {
    res.setHeader('Retry-After', String(status.interval))
  }
  // A login has moved into a new session, or another answer brings it; whoever else has waited has only an old copy.
  if (wait > 0 && req.sessionID === sessionID) {
    await refreshSession(req)
    saveNoOlder(core, req)
  }
  sendJson(res, 200, status)
}

async function cancelHandler(req: Request, res?: Response): Promise<string> {
  takeReturnTo(req)
  const transaction = transactionOf(req)
  await req.ciba.cancel(transaction)
  if (res) sendEmpty(res, 204)
  return transaction
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

function failAs(
  page: LoginPage | undefined,
  error: unknown,
  req: Request,
  res: Response,
  next: NextFunction,
): void {
  if (page) page.sendError(req, res, error, next)
  else sendError(res, error, next)
}

/** Of a page that worked before: what its visitor can know. */
function sessionsAway(): CibaError {
  return new CibaError('ERR_CIBA_STORE_FAILED', 'the session store is away')
}

/** A path of the app is below that of its `baseURL`. */
function asSeenByBrowsers({ client: { baseURL } }: ResolvedOptions, pathOrURL: string): string {
  if (!pathOrURL.startsWith('/') || !baseURL) return pathOrURL
  return `${baseURL.pathname.replace(/\/$/, '')}${pathOrURL}`
}
