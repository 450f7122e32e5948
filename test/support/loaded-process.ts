/**
 * What runs in the process of an app that has to stand a load, or ends as an operator ends it: Express, express-session,
 * `ciba()`, on Redis or in memory. Tells its parent how much memory it takes and what is left of it. Asserts nothing.
 */
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { RedisStore } from 'connect-redis'
import express, { type NextFunction, type Request, type Response } from 'express'
import session, { MemoryStore } from 'express-session'
import { createClient, type RedisClientOptions } from 'redis'
import {
  type CibaOptions,
  ciba,
  MemoryTransactionStore,
  type MemoryTransactionStoreOptions,
  type TransactionStore,
} from '../../lib/index.ts'
import { RedisTransactionStore } from '../../lib/stores/redis.ts'

/** As far as JSON can say it. */
export interface LoadedSettings {
  readonly options: CibaOptions
  /** Transactions and sessions are there, and not in memory. */
  readonly redis?: RedisClientOptions
  readonly memory?: MemoryTransactionStoreOptions
  /** Milliseconds after which Node gives up a request that does not come. @default Node's own, as the next */
  readonly requestTimeout?: number
  readonly keepAliveTimeout?: number
  /** Milliseconds after SIGTERM in which answers may leave. */
  readonly graceMs?: number
  /** The app parses bodies, too. */
  readonly parses?: boolean
  /** The OP has a {@link crowd}. */
  readonly hasCrowd?: boolean
}

/** What it is asked. */
export type LoadedQuestion = 'memory' | 'counts' | 'connections'

export interface LoadedCounts {
  /** Requests that Express has got. */
  requests: number
  storeReads: number
  storeWrites: number
  sessionReads: number
  sessionWrites: number
  /** What the app's error handler got. */
  errors: string[]
}

/** What it says. */
export type LoadedReport =
  | { readonly origin: string }
  | { readonly number: number; readonly answer: unknown }
  | { readonly trouble: string }
  /** `auth.close()` has ended. */
  | { readonly closedMs: number }
  /** All is closed; what keeps the process alive a second later, if anything does. */
  | { readonly left: readonly string[] }

/** The hints of people about whom the OP is not asked: it would be the slowest of all. */
export const crowd = 'crowd-'

/** @public a child process imports it */
export async function runLoaded(settings: LoadedSettings): Promise<void> {
  const say = (report: LoadedReport) => process.send?.(report)
  for (const trouble of ['unhandledRejection', 'uncaughtException'] as const) {
    process.on(trouble, (error: Error) => say({ trouble: `${trouble}: ${error?.stack}` }))
  }
  process.once('disconnect', () => process.exit())
  const counts: LoadedCounts = {
    requests: 0,
    storeReads: 0,
    storeWrites: 0,
    sessionReads: 0,
    sessionWrites: 0,
    errors: [],
  }
  const client = settings.redis && createClient(settings.redis).on('error', () => {})
  await client?.connect()
  const transactions = client
    ? new RedisTransactionStore({ client })
    : new MemoryTransactionStore(settings.memory)
  const sessions = client ? new RedisStore({ client }) : new MemoryStore()
  countCalls(sessions, counts)

  const server = createServer({ ...settings, connectionsCheckingInterval: 500 })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const auth = ciba({
    allowInsecureRequests: true,
    baseURL: origin,
    secret: 'of all instances',
    ...settings.options,
    ...(settings.hasCrowd && { customFetch: withCrowd() }),
    store: counted(transactions, counts),
  })
  const app = express()
  app.use((_req, _res, next) => {
    counts.requests += 1
    next()
  })
  app.use('/ciba/notification', auth.notification)
  if (settings.parses) app.use(express.json(), express.urlencoded({ extended: false }))
  app.use(session({ secret: 'of a test', resave: false, saveUninitialized: false, store: sessions }))
  app.use(auth)
  app.get('/me', (req, res) => {
    res.json({ user: req.ciba.user })
  })
  app.get('/token', async (req, res) => {
    res.json({ token: await req.ciba.getAccessToken() })
  })
  app.use((error: Error & { status?: number }, _req: Request, res: Response, _next: NextFunction) => {
    counts.errors.push(`${error.name}: ${error.message}`)
    if (res.headersSent) res.destroy()
    else res.status(error.status ?? 500).end()
  })
  server.on('request', app)

  const answers: Record<LoadedQuestion, () => unknown> = {
    memory() {
      globalThis.gc?.()
      return process.memoryUsage()
    },
    counts: () => counts,
    connections: () => new Promise((resolve) => server.getConnections((_error, count) => resolve(count))),
  }
  process.on('message', async ({ number, ask }: { number: number; ask: LoadedQuestion }) => {
    say({ number, answer: await answers[ask]() })
  })

  // As the README says.
  process.once('SIGTERM', async () => {
    const since = Date.now()
    const closed = once(server, 'close')
    server.close()
    server.keepAliveTimeout = 1
    const late = setTimeout(() => server.closeAllConnections(), settings.graceMs ?? 10_000)
    await auth.close()
    say({ closedMs: Date.now() - since })
    await closed
    clearTimeout(late)
    await transactions.close()
    client?.destroy()
    // By itself now: nothing but the parent is left. Whoever is still here in a second says why.
    process.removeAllListeners('disconnect').removeAllListeners('message')
    process.channel?.unref()
    setTimeout(() => say({ left: process.getActiveResourcesInfo() }), 1_000).unref()
  })
  say({ origin })
}

function counted(store: TransactionStore, counts: LoadedCounts): TransactionStore {
  return {
    read(id) {
      counts.storeReads += 1
      return store.read(id)
    },
    write(record, expectedVersion) {
      counts.storeWrites += 1
      return store.write(record, expectedVersion)
    },
    watch: (id, listener) => store.watch(id, listener),
  }
}

function countCalls(store: session.Store, counts: LoadedCounts): void {
  const get = store.get.bind(store)
  const set = store.set.bind(store)
  Object.assign(store, {
    get(...args: Parameters<typeof get>) {
      counts.sessionReads += 1
      get(...args)
    },
    set(...args: Parameters<typeof set>) {
      counts.sessionWrites += 1
      set(...args)
    },
  })
}

/** Answers for the crowd at once that they have not decided yet, and asks the OP about all others. */
function withCrowd(): NonNullable<CibaOptions['customFetch']> {
  const ids = new Set<string>()
  return async (url, init) => {
    const form = new URLSearchParams(typeof init.body === 'string' ? init.body : String(init.body ?? ''))
    if (form.get('login_hint')?.startsWith(crowd)) {
      const id = randomUUID()
      ids.add(id)
      return Response.json({ auth_req_id: id, expires_in: 600, interval: 5 })
    }
    if (ids.has(form.get('auth_req_id') ?? '')) {
      return Response.json({ error: 'authorization_pending' }, { status: 400 })
    }
    return fetch(url, init as RequestInit)
  }
}
