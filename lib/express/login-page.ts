/**
 * The login page's route, and what our other routes answer to its forms where a browser runs no script. Knows nothing of how
 * the page looks.
 */

import { randomBytes } from 'node:crypto'
import type { NextFunction, Request, Response } from 'express'
import { CibaError } from '../errors.ts'
import { unknownTransaction } from '../status.ts'
import { answerTo, retryAfterOf, sendEmpty, sendError, takesOnly } from './answers.ts'
import { asSeenByBrowser } from './login-page-place.ts'
import type { ResolvedOptions } from './options.ts'
import { relativeLink, routeKey, withQuery } from './page-links.ts'
import type { BrowserScripts } from './page-scripts.ts'
import { contentSecurityPolicy, noticeOf, type Page, renderPage, type View } from './page-views.ts'
import { parametersOf, wantedReturnTo } from './return-to.ts'

/** The login page of one middleware. */
export interface LoginPage {
  /** Its route. */
  readonly path: string
  /** Serves it. */
  handle(req: Request, res: Response): Promise<void>
  /** Whether a form of the page, and no program, has sent this. */
  isForm(req: Request): boolean
  /** Sends a browser that sent a form to the page of its transaction. */
  redirect(req: Request, res: Response, transaction: string): void
  /** Shows an error of a form, or of the page's own route, in the page; what must not be shown goes to `next`. */
  sendError(req: Request, res: Response, error: unknown, next: NextFunction): void
}

/** `undefined`: the page is switched off. */
export function loginPage(
  options: ResolvedOptions,
  scripts: BrowserScripts | undefined,
): LoginPage | undefined {
  const { loginPage: look, routes, client } = options
  const { start, poll, cancel } = routes
  if (look === false || routes.login === false || start === false || poll === false) return undefined
  const { login } = routes as { login: string }
  const defaultReturnTo = (req: Request) => asSeenByBrowser(req, look.returnTo)
  const formRoutes = [start, cancel].filter((path) => path !== false).map(routeKey)

  const send = (req: Request, res: Response, status: number, view: View, texts = look.texts(req)): void => {
    const nonce = randomBytes(18).toString('base64')
    const link = (path: string, query = {}) => withQuery(relativeLink(req.path, path), query)
    const returnTo = wantedReturnTo(req)
    const here = view.name === 'waiting' ? view.transaction : undefined
    const page: Page = {
      view,
      title: look.title,
      logo: look.logo,
      lang: look.lang,
      texts,
      links: {
        start: link(start),
        poll: link(poll),
        cancel: cancel === false ? undefined : link(cancel),
        login: link(login, { returnTo }),
        again: link(login, { again: '1', returnTo }),
        here: link(login, { transaction: here, returnTo }),
      },
      returnTo,
      defaultReturnTo: returnTo ?? defaultReturnTo(req),
      asksUserCode: client.op.userCodeParameter === true,
      nonce,
      script: scripts?.page,
    }
    res
      .status(status)
      .set({
        'Cache-Control': 'no-store',
        'Content-Security-Policy': contentSecurityPolicy(page),
        'Cross-Origin-Opener-Policy': 'same-origin',
        // Not no-referrer: a form would then come with the origin "null".
        'Referrer-Policy': 'same-origin',
        'X-Content-Type-Options': 'nosniff',
      })
      .type('html')
      .send(renderPage(page))
  }

  const show = async (req: Request, res: Response): Promise<void> => {
    const parameters = parametersOf(req)
    const [transaction, ...more] = parameters.getAll('transaction')
    const continueTo = wantedReturnTo(req) ?? defaultReturnTo(req)
    if (transaction === undefined) {
      const isKnown = req.ciba.isAuthenticated() && !parameters.has('again')
      send(req, res, 200, isKnown ? { name: 'signed-in', continueTo } : { name: 'form' })
      return
    }
    if (more.length > 0) throw unknownTransaction()
    const status = await req.ciba.poll(transaction).catch((error: unknown) => {
      // Another tab has signed in, and it is long over.
      if (isUnknown(error) && req.ciba.isAuthenticated()) return undefined
      throw error
    })
    if (status === undefined) send(req, res, 404, { name: 'signed-in', continueTo })
    else if (status.status === 'complete') {
      res.set('Cache-Control', 'no-store').redirect(303, status.returnTo ?? continueTo)
    } else if (status.status === 'pending') send(req, res, 200, { name: 'waiting', ...status })
    else send(req, res, 200, { name: 'outcome', ...status })
  }

  return {
    path: login,
    async handle(req, res) {
      if (!takesOnly(['GET', 'HEAD'], req, res)) return
      // A look can sign somebody in; whoever asks for the head alone does not want that.
      if (req.method === 'HEAD') sendEmpty(res.type('html'), 200)
      else await show(req, res)
    },
    isForm(req) {
      if (req.method !== 'POST' || !formRoutes.includes(routeKey(req.path))) return false
      return Boolean(req.is('application/x-www-form-urlencoded')) && req.accepts(['json', 'html']) === 'html'
    },
    redirect(req, res, transaction) {
      const link = withQuery(relativeLink(req.path, login), { transaction, returnTo: wantedReturnTo(req) })
      res.set('Cache-Control', 'no-store').redirect(303, link)
    },
    sendError(req, res, error, next) {
      const answer = answerTo(error)
      if (!answer || res.headersSent) {
        sendError(res, error, next)
        return
      }
      try {
        const retryAfter = retryAfterOf(answer)
        if (retryAfter !== undefined) res.set('Retry-After', String(retryAfter))
        const texts = look.texts(req)
        const notice = noticeOf(answer, retryAfter, { texts, lang: look.lang })
        send(req, res, answer.status, { name: 'form', notice }, texts)
      } catch (fault) {
        next(fault)
      }
    },
  }
}

function isUnknown(error: unknown): boolean {
  return error instanceof CibaError && error.code === 'ERR_CIBA_UNKNOWN_TRANSACTION'
}
