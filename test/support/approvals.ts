/**
 * Routes of an app that asks for approvals and uses them, and the steps of those who take part. Knows nothing of what is
 * asserted.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { inspect } from 'node:util'
import express, { type NextFunction, type Request, type Response } from 'express'
import type { Response as Answer } from 'supertest'
import { type ApprovalMessage, type ApprovalRequest, CibaError } from '../../lib/index.ts'
import type { ResponseOverrides } from './id-tokens.ts'
import { handled } from './signed-in.ts'
import type { Browser, Web, WebOptions } from './web.ts'

/** What a browser posts to `/approval` unless told otherwise. */
export const payment = { action: { pay: '9.99', to: 'ACME' } } as const

/**
 * `POST /approval` asks for what is posted, `POST /use` uses `{ transaction, action }`, with `{ fetch }` too, and
 * `POST /poll-own` polls in an own route. A {@link CibaError} is answered as JSON, with its code.
 */
export const approvalRoutes: NonNullable<WebOptions['own']> = (app) => {
  app.use(express.json())
  app.post(
    '/approval',
    handled(async (req, res) => res.json(await req.ciba.requestApproval(req.body as ApprovalRequest))),
  )
  app.post(
    '/use',
    handled(async (req, res) => {
      const { transaction, action, fetch: url } = req.body
      const approval = await req.ciba.useApproval(transaction, action)
      const fetched = url === undefined ? undefined : await approval.fetch(url, { method: 'POST', body: 'a' })
      res.json({ ...approval, ...(fetched && { fetched: await fetched.json() }) })
    }),
  )
  app.post(
    '/poll-own',
    handled(async (req, res) => res.json(await req.ciba.poll(req.body.transaction, { wait: req.body.wait }))),
  )
  app.post(
    '/sign-out',
    handled(async (req, res) => res.json(await req.ciba.logout())),
  )
  app.use((error: Error, _req: Request, res: Response, next: NextFunction) => {
    if (!(error instanceof CibaError)) next(error)
    else {
      const { code, status, retryAfter, message } = error
      res.status(status).json({ code, error: error.error, message, ...(retryAfter && { retryAfter }) })
    }
  })
}

/** Asks for an approval, and returns the handle. */
export async function ask(browser: Browser, request: object = payment): Promise<string> {
  const { status, body, text } = await browser.post('/approval', request)
  if (status !== 200) throw new Error(`the approval was answered ${status}: ${text}`)
  return body.transaction
}

/** Asks for an approval that the person gives at once. */
export async function approved(
  web: Web,
  browser: Browser,
  request: object = payment,
  overrides: ResponseOverrides = {},
): Promise<string> {
  const transaction = await ask(browser, request)
  await web.approve(overrides)
  const { body, text } = await browser.poll(transaction, 5)
  if (body.status !== 'complete') throw new Error(`the poll was answered: ${text}`)
  return transaction
}

/** Uses it for the {@link payment}, unless told otherwise. */
export function use(
  browser: Browser,
  transaction: string,
  action: unknown = payment.action,
): Promise<Answer> {
  return browser.post('/use', { transaction, action })
}

/** A browser where alice has just signed in, or whoever is named, and has shown up with the new session. */
export async function signedIn(web: Web, sub = 'alice', browser = web.browser()): Promise<Browser> {
  const transaction = await browser.begin(sub)
  await web.approve({ claims: { sub } })
  await browser.poll(transaction, 5)
  const { body } = await browser.get('/me')
  if (body.user?.sub !== sub) throw new Error(`${sub} is not signed in`)
  return browser
}

/** Collects what is published about approvals, until the test ends. */
export function approvalMessages(): ApprovalMessage[] {
  const messages: ApprovalMessage[] = []
  const listener = (message: unknown) => void messages.push(message as ApprovalMessage)
  beforeEach(() => {
    messages.length = 0
    subscribe('express-ciba:approval', listener)
  })
  afterEach(() => void unsubscribe('express-ciba:approval', listener))
  return messages
}

/** All of it, as a log would have it, with what is not enumerable. */
export const everythingOf = (value: unknown): string =>
  inspect(value, { depth: 10, showHidden: true, maxStringLength: null, maxArrayLength: null })
