/**
 * An Express app with express-session and `ciba()` on a free port, and browsers that visit it. Knows nothing of the
 * OP behind it.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import express5, { type ErrorRequestHandler, type Express } from 'express'
import session, { type SessionOptions } from 'express-session'
// @ts-expect-error: it comes without types, and those of Express 5 fit
import express4 from 'express4'
import request, { type Agent, type Response } from 'supertest'
import { type CibaMiddleware, type CibaOptions, ciba, requireCiba } from '../../lib/index.ts'

export type ExpressVersion = 'express' | 'express4'
export const expressVersions: readonly ExpressVersion[] = ['express', 'express4']

export interface AppOptions {
  /** @default 'express' */
  readonly express?: ExpressVersion
  /** Of `ciba()`; a function gets the origin of the app, which is also the default of `baseURL`. */
  readonly options: CibaOptions | ((origin: string) => CibaOptions | Promise<CibaOptions>)
  readonly session?: Partial<SessionOptions>
  /** Mounts what comes ahead of the session. */
  readonly before?: (app: Express, auth: CibaMiddleware) => void
  /** Mounts what comes behind `ciba()`, beside `GET /me`. */
  readonly after?: (app: Express) => void
}

/** How a transaction stands, as the poll route says it. */
export interface Status {
  readonly transaction: string
  readonly status: string
  readonly error?: string
  readonly expiresIn?: number
  readonly interval?: number
}

/** One person at one browser: keeps its cookies. */
export interface Browser {
  readonly agent: Agent
  start(body?: object): Promise<Response>
  /** Starts, and returns the handle; rejects when the start is refused. */
  begin(body?: object): Promise<string>
  /** @param wait - in seconds */
  poll(transaction: string, wait?: number): Promise<Response>
  /** Polls until the transaction is over. */
  outcome(transaction: string): Promise<Status>
  cancel(transaction: string): Promise<Response>
  /** Who is signed in. */
  user(): Promise<string | undefined>
}

export interface TestApp {
  readonly origin: string
  /** Where the OP pings. */
  readonly notificationUrl: string
  readonly auth: CibaMiddleware
  browser(): Browser
  close(): Promise<void>
}

/** Plain http on loopback, the client of the scripted OP, no limit on starts. `options` go on top. */
const defaults: CibaOptions = {
  clientID: 'client',
  clientSecret: 'a client secret of more than 32 bytes',
  allowInsecureRequests: true,
  startLimiter: false,
}

export async function startApp(given: AppOptions): Promise<TestApp> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, '127.0.0.1', resolve)
  })
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const stopListening = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
  let auth: CibaMiddleware
  try {
    const own = typeof given.options === 'function' ? await given.options(origin) : given.options
    auth = ciba({ ...defaults, baseURL: origin, ...own })
    server.on('request', compose(given, auth))
  } catch (error) {
    await stopListening()
    throw error
  }
  return {
    origin,
    notificationUrl: `${origin}/ciba/notification`,
    auth,
    browser: () => browserAt(origin),
    async close() {
      await Promise.all([stopListening(), auth.close()])
    },
  }
}

function compose(given: AppOptions, auth: CibaMiddleware): Express {
  const app = given.express === 'express4' ? (express4 as typeof express5)() : express5()
  given.before?.(app, auth)
  app.use(session({ secret: 'of a test', resave: false, saveUninitialized: false, ...given.session }))
  app.use(auth)
  app.get('/me', requireCiba(), (req, res) => {
    res.json(req.ciba.user)
  })
  given.after?.(app)
  // What reaches it was not answered by us.
  const report: ErrorRequestHandler = (error, _req, res, _next) => {
    const { status = 500, code, message } = error as { status?: number; code?: string; message: string }
    res.status(status).json({ uncaught: code, message })
  }
  return app.use(report)
}

function browserAt(origin: string): Browser {
  const agent = request.agent(origin)
  const poll: Browser['poll'] = (transaction, wait = 0) =>
    agent.post('/ciba/poll').send({ transaction, wait }).then()
  const start: Browser['start'] = (body = { loginHint: 'alice' }) =>
    agent.post('/ciba/start').send(body).then()
  return {
    agent,
    start,
    async begin(body) {
      const { status, body: answer, text } = await start(body)
      if (status !== 202) throw new Error(`the start was answered ${status}: ${text}`)
      return (answer as Status).transaction
    },
    poll,
    async outcome(transaction) {
      for (;;) {
        const { status, body, text } = await poll(transaction, 20)
        if (status !== 200) throw new Error(`the poll was answered ${status}: ${text}`)
        if ((body as Status).status !== 'pending') return body as Status
      }
    },
    cancel: (transaction) => agent.post('/ciba/cancel').send({ transaction }).then(),
    async user() {
      const { status, body } = await agent.get('/me')
      return status === 200 ? (body as { sub: string }).sub : undefined
    },
  }
}
