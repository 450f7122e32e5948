/**
 * What runs in the process of an app instance: Express, express-session on connect-redis, `ciba()` on a
 * RedisTransactionStore, with traps at every border. Takes orders from its parent and says what happens. Asserts nothing.
 */
import { subscribe } from 'node:diagnostics_channel'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { RedisStore } from 'connect-redis'
import express, { type ErrorRequestHandler, type Request, type Response } from 'express'
import session from 'express-session'
import { createClient, type RedisClientOptions } from 'redis'
import { type CibaEvents, type CibaOptions, ciba, requireCiba } from '../../lib/index.ts'
import { RedisTransactionStore } from '../../lib/stores/redis.ts'
import { channelNames } from './events.ts'
import { instanceSecret, type Trap, TrappedSessions, Traps, trappedFetch, trappedStore } from './traps.ts'

/** What an instance is set up with: as far as JSON can say it. */
export interface InstanceSettings {
  readonly options: CibaOptions
  /** Of the clients of Redis. */
  readonly redis: RedisClientOptions
  /** The Redis of the sessions, where it is another one. */
  readonly sessions?: RedisClientOptions
  /** Sends requests to the OP by the transport of the lib, which has no traps. */
  readonly ownTransport?: boolean
  /** How far its clock is ahead, from the start. */
  readonly aheadMs?: number
}

/** What an instance is told; it answers each, as soon as it is done. */
export type Order = { readonly number: number } & (
  | { readonly setUp: InstanceSettings }
  | { readonly trap: Trap }
  | { readonly openTraps: true }
  /** How far the clock is ahead. */
  | { readonly clockMs: number }
  | { readonly takeDown: true }
  /** Says whether Redis is there, as far as it knows; everything said before has then arrived. */
  | { readonly look: true }
)

/** What an instance says. */
export type Report =
  | { readonly ready: true }
  | {
      readonly done: number
      readonly origin?: string
      readonly isConnected?: boolean
      readonly fault?: string
    }
  | { readonly trapped: string }
  /** What no instance may ever do. */
  | { readonly trouble: string }
  | { readonly channel: keyof CibaEvents; readonly message: CibaEvents[keyof CibaEvents] }

/**
 * @public a child process imports it
 */
export function runInstance(): void {
  const say = (report: Report) => process.send?.(report)
  for (const trouble of ['unhandledRejection', 'uncaughtException'] as const) {
    process.on(trouble, (error: Error) => say({ trouble: `${trouble}: ${error?.stack}` }))
  }
  process.once('disconnect', () => process.exit())
  for (const channel of channelNames) {
    subscribe(channel, (message) => say({ channel, message: message as CibaEvents[typeof channel] }))
  }
  const { now } = Date
  let aheadMs = 0
  Date.now = () => now() + aheadMs
  const traps = new Traps(
    (point) => say({ trapped: point }),
    (frozenMs) => {
      aheadMs += frozenMs
    },
  )
  let served: Awaited<ReturnType<typeof serve>> | undefined

  async function obey(order: Order): Promise<{ origin?: string; isConnected?: boolean }> {
    if ('clockMs' in order) aheadMs = order.clockMs
    else if ('trap' in order) traps.set(order.trap)
    else if ('setUp' in order) {
      aheadMs = order.setUp.aheadMs ?? aheadMs
      served = await serve(order.setUp, traps)
      return { origin: served.origin }
    } else if ('look' in order) {
      return { isConnected: served?.isConnected() === true }
    } else {
      traps.open()
      if ('takeDown' in order) {
        await served?.close()
        aheadMs = 0
      }
    }
    return {}
  }

  process.on('message', (order: Order) => {
    obey(order).then(
      (result) => say({ done: order.number, ...result }),
      (error: Error) => say({ done: order.number, fault: String(error.stack) }),
    )
  })
  say({ ready: true })
}

async function clientOf(options: RedisClientOptions) {
  const client = createClient(options)
  client.on('error', () => {})
  await client.connect()
  return client
}

async function serve(settings: InstanceSettings, traps: Traps) {
  const client = await clientOf(settings.redis)
  const sessionClient = settings.sessions ? await clientOf(settings.sessions) : client
  const store = new RedisTransactionStore({ client })
  const server = createServer()
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const auth = ciba({
    allowInsecureRequests: true,
    startLimiter: false,
    baseURL: origin,
    secret: instanceSecret,
    ...settings.options,
    store: trappedStore(traps, store),
    ...(!settings.ownTransport && { customFetch: trappedFetch(traps) }),
    afterAuthentication: async () => traps.pass('afterAuthentication'),
  })
  const app = express()
  app.use((req: Request, res: Response, next) => {
    const name = req.path.split('/').at(-1)
    // The last that can be seen of an answer: it is with the operating system.
    res.once('finish', () => {
      traps.pass(`${name}:sent`)?.catch(() => {})
    })
    next()
  })
  const sessions = new TrappedSessions(traps, new RedisStore({ client: sessionClient }))
  app.use(session({ secret: 'of a test', resave: false, saveUninitialized: false, store: sessions }))
  app.use(auth)
  app.get('/me', requireCiba(), (req, res) => {
    res.json(req.ciba.user)
  })
  // What comes here was not answered by us.
  const report: ErrorRequestHandler = (error, _req, res, _next) => {
    if (res.headersSent) return
    const { status = 500, code, message } = error as { status?: number; code?: string; message: string }
    res.status(status).json({ uncaught: code ?? true, message })
  }
  server.on('request', app.use(report))
  async function close(): Promise<void> {
    server.closeAllConnections()
    server.close()
    await auth.close()
    await store.close()
    for (const one of [client, sessionClient]) if (one.isOpen) one.destroy()
  }
  return { origin, close, isConnected: () => client.isReady }
}
