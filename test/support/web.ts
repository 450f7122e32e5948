/**
 * One app with express-session and `ciba()` in ping mode, its scripted OP, and browsers whose cookies the tests hold
 * in their own hands. For the tests of routes and sessions. Knows nothing of what is asserted.
 */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import express5, { type Express, type NextFunction, type Request, type Response } from 'express'
import session, { type SessionData, type SessionOptions } from 'express-session'
// @ts-expect-error: the alias of the older Express has no types
import express4 from 'express4'
import request, { type Response as Answer } from 'supertest'
import { type CibaMiddleware, type CibaOptions, ciba } from '../../lib/index.ts'
import type { ResponseOverrides } from './id-tokens.ts'
import { type ScriptedOp, startScriptedOp, tokenError } from './scripted-op.ts'

export type ExpressFactory = typeof express5

/** What to run every table under. */
export const expressVersions: readonly { readonly name: string; readonly express: ExpressFactory }[] = [
  { name: 'Express 5', express: express5 },
  { name: 'Express 4', express: express4 as unknown as ExpressFactory },
]

type Done = (error?: unknown) => void

/** A session store whose writes can be watched, delayed and made to fail. */
class TestSessionStore extends session.MemoryStore {
  /** Ids of the sessions, in order of their first appearance. */
  readonly seen: string[] = []
  readonly destroyed: string[] = []
  /** How many sessions were asked for: a poll that waits has its session in hand by then. */
  loads = 0
  /** How many of the next `set()` calls fail. */
  failures = 0
  /** Awaited by every `set()` before anything is stored. */
  beforeSet: ((id: string) => Promise<unknown> | undefined) | undefined

  override get(id: string, done: (error: unknown, data?: SessionData | null) => void): void {
    this.loads++
    super.get(id, done)
  }

  override set(id: string, data: SessionData, done?: Done): void {
    const snapshot = JSON.parse(JSON.stringify(data)) as SessionData
    if (!this.seen.includes(id)) this.seen.push(id)
    if (this.failures > 0) {
      this.failures--
      setImmediate(() => done?.(new Error('the session database is down')))
      return
    }
    const hold = this.beforeSet?.(id)
    if (hold !== undefined) hold.then(() => super.set(id, snapshot, done), done)
    else super.set(id, snapshot, done)
  }

  override destroy(id: string, done?: Done): void {
    this.destroyed.push(id)
    super.destroy(id, done)
  }

  read(id: string): Promise<SessionData | undefined> {
    return new Promise((resolve, reject) => {
      super.get(id, (error, data) => (error ? reject(error) : resolve(data ?? undefined)))
    })
  }

  async ids(): Promise<string[]> {
    return new Promise((resolve) => {
      this.all((_error, sessions) => resolve(Object.keys(sessions ?? {})))
    })
  }
}

/** One browser: keeps the session cookie, and shows it. */
export class Browser {
  cookie: string | undefined
  readonly #origin: string

  constructor(origin: string, cookie?: string) {
    this.#origin = origin
    this.cookie = cookie
  }

  /** The id in the session cookie. */
  get sessionId(): string | undefined {
    return this.cookie && decodeURIComponent(this.cookie).match(/s:([^.]+)\./)?.[1]
  }

  async send(
    method: 'get' | 'head' | 'put' | 'options' | 'post' | 'delete' | 'patch',
    path: string,
    body?: object | string,
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    const sent = request(this.#origin)[method](path).redirects(0)
    if (this.cookie) sent.set('Cookie', this.cookie)
    const answer = await sent.set(headers).send(body)
    this.cookie = cookiesOf(answer).at(-1)?.split(';', 1)[0] ?? this.cookie
    return answer
  }

  post(path: string, body?: object | string, headers?: Record<string, string>): Promise<Answer> {
    return this.send('post', path, body, headers)
  }

  get(path: string): Promise<Answer> {
    return this.send('get', path)
  }

  /** Starts a login for `loginHint`, and returns the handle. */
  async begin(loginHint = 'alice'): Promise<string> {
    const answer = await this.post('/ciba/start', { loginHint })
    if (answer.status !== 202) throw new Error(`the start was answered ${answer.status}: ${answer.text}`)
    return answer.body.transaction
  }

  poll(transaction: unknown, wait?: unknown): Promise<Answer> {
    return this.post('/ciba/poll', { transaction, wait })
  }

  /** A poll that is being held when this resolves. */
  async hold(
    transaction: string,
    { sessions }: Web,
    wait = 5,
  ): Promise<{ readonly answer: Promise<Answer> }> {
    const before = sessions.loads
    const answer = this.poll(transaction, wait)
    await until('the poll is held', () => sessions.loads > before)
    await sleep(30) // from the session on it is a matter of microtasks
    return { answer }
  }

  /** A second window with the cookie of this moment. */
  copy(): Browser {
    return new Browser(this.#origin, this.cookie)
  }
}

/** All `Set-Cookie` lines. */
export function cookiesOf(answer: Answer): readonly string[] {
  return (answer.headers['set-cookie'] as unknown as string[] | undefined) ?? []
}

export interface WebOptions {
  /** @default Express 5 */
  readonly express?: ExpressFactory
  readonly ciba?: CibaOptions
  /** `false` leaves express-session out. */
  readonly session?: Partial<SessionOptions> | false
  /** Where `ciba()` is mounted. @default '/' */
  readonly mount?: string
  /** Adds what comes between the session and `ciba()`. */
  readonly before?: (app: Express) => void
  /** Adds what comes after `ciba()`. */
  readonly own?: (app: Express, web: Web) => void
}

export interface Web {
  readonly op: ScriptedOp
  readonly origin: string
  readonly server: Server
  readonly sessions: TestSessionStore
  readonly auth: CibaMiddleware
  /** What reached the app's error handler. */
  readonly errors: unknown[]
  browser(): Browser
  /** The person approves the latest request, or the one with this `authReqId`; the OP pings. */
  approve(overrides?: ResponseOverrides & { authReqId?: string }): Promise<void>
  deny(): Promise<void>
  close(): Promise<void>
}

/**
 * Starts an app; besides the routes of `ciba()` it has `GET /me`, `GET /data` and `POST /data`.
 *
 * @public a child process imports it
 */
export async function startWeb(options: WebOptions = {}): Promise<Web> {
  const op = await startScriptedOp()
  const server = createServer()
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const sessions = new TestSessionStore()
  let auth: CibaMiddleware
  try {
    auth = ciba({ ...cibaOptions(op, origin), ...options.ciba })
  } catch (error) {
    server.close()
    await op.stop()
    throw error
  }
  const notification = `${origin}${options.mount ?? ''}${options.ciba?.routes?.notification || '/ciba/notification'}`
  const web: Web = {
    op,
    origin,
    server,
    sessions,
    auth,
    errors: [],
    browser: () => new Browser(origin),
    async approve({ authReqId, ...overrides } = {}) {
      const name = authReqId === undefined ? {} : { authReqId }
      op.onToken(await op.tokens({ ...overrides, ...name }))
      await op.ping(notification, name)
    },
    async deny() {
      op.onToken(tokenError('access_denied'))
      await op.ping(notification)
    },
    async close() {
      await auth.close()
      server.closeAllConnections()
      await new Promise<void>((resolve) => {
        server.close(() => resolve())
      })
      await op.stop()
    },
  }
  server.on('request', appOf(web, options))
  return web
}

/** What `ciba()` needs to get on with the scripted OP. */
export function cibaOptions(op: ScriptedOp, origin: string): CibaOptions {
  return {
    issuerBaseURL: op.issuer,
    clientID: op.clientId,
    clientSecret: op.clientSecret,
    allowInsecureRequests: true,
    deliveryMode: 'ping',
    baseURL: origin,
  }
}

function appOf(
  web: Web,
  { express = express5, session: sessionOptions = {}, ...options }: WebOptions,
): Express {
  const app = express()
  const { sessions: store } = web
  if (sessionOptions !== false) {
    const defaults = { secret: 'a session secret', resave: false, saveUninitialized: false, store }
    app.use(session({ ...defaults, ...sessionOptions }))
  }
  options.before?.(app)
  app.use(options.mount ?? '/', web.auth)
  app.get('/me', (req, res) => {
    res.json({ user: req.ciba.user, signedIn: req.ciba.isAuthenticated() })
  })
  app.get('/data', (req, res) => {
    res.json(req.session)
  })
  app.post('/data', express.json(), (req, res) => {
    Object.assign(req.session, req.body)
    res.end()
  })
  options.own?.(app, web)
  app.use((error: Error & { status?: number }, _req: Request, res: Response, next: NextFunction) => {
    web.errors.push(error)
    if (res.headersSent) next(error)
    else
      res
        .status(error.status ?? 500)
        .type('text')
        .send(`the app's own error page: ${error.message}`)
  })
  return app
}

/** Starts apps that end with the test that started them. */
export function webs(): (options?: WebOptions) => Promise<Web> {
  const running: Web[] = []
  afterEach(async () => {
    for (const web of running.splice(0)) await web.close()
  })
  return async (options) => {
    const web = await startWeb(options)
    running.push(web)
    return web
  }
}

/** Waits until `check` holds; fails after two seconds. */
export async function until(what: string, check: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 2_000
  while (!(await check())) {
    if (Date.now() > deadline) throw new Error(`it never happened: ${what}`)
    await sleep(5)
  }
}
