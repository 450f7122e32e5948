/**
 * Clients of `createCibaClient()` beside a scripted OP, and a server without Express that takes their notifications.
 * Asserts nothing.
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import {
  type CibaClient,
  type CibaClientOptions,
  createCibaClient,
  MemoryTransactionStore,
} from '../../lib/index.ts'
import { parse } from './scripted-endpoints.ts'
import { type ScriptedOp, type ScriptedOpOptions, startScriptedOp } from './scripted-op.ts'

/** What clients seal with that share a store. */
export const sharedSecret = 'the secret of these clients'

/** An http server that hands what is posted to a client. */
export interface NotificationServer {
  readonly origin: string
  readonly url: string
  /** Takes it from now on; `proceed: false` never asks the OP of its own accord. */
  serve(client: CibaClient, options?: { readonly proceed?: boolean }): void
  close(): Promise<void>
}

export async function startNotificationServer(): Promise<NotificationServer> {
  let taker: { readonly client: CibaClient; readonly proceed: boolean } | undefined
  const server = createServer((req, res) => {
    const { authorization } = req.headers
    text(req)
      .then((body) => taker?.client.notify(authorization, parse(body)))
      .then(
        (answer) => {
          const { status = 404, proceed } = answer ?? {}
          if (proceed && taker?.proceed) res.once('close', proceed)
          res.writeHead(status, status === 401 ? { 'www-authenticate': 'Bearer' } : {}).end()
        },
        () => res.writeHead(503).end(),
      )
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    origin,
    url: `${origin}/ciba/notification`,
    serve(client, { proceed = true } = {}) {
      taker = { client, proceed }
    },
    async close() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}

export interface ClientSceneOptions {
  /** Of the client. @default poll mode, {@link sharedSecret}, and the store of the scene */
  readonly client?: CibaClientOptions
  readonly op?: ScriptedOpOptions
}

export interface ClientScene {
  readonly op: ScriptedOp
  readonly client: CibaClient
  readonly store: MemoryTransactionStore
  /** Where the OP pings and pushes; `client` takes it. */
  readonly notifications: NotificationServer
  /** What `client` was made with. */
  readonly options: CibaClientOptions
  /** Another process with the same options, but for these. */
  another(options?: CibaClientOptions): CibaClient
}

/** Sets scenes that end with the test that set them. */
export function clientScenes(): (options?: ClientSceneOptions) => Promise<ClientScene> {
  const cleanup: (() => unknown)[] = []

  afterEach(async () => {
    for (const end of cleanup.splice(0).reverse()) await end()
  })

  return async ({ client: given, op: opOptions } = {}) => {
    const op = await startScriptedOp(opOptions)
    cleanup.push(() => op.stop())
    const notifications = await startNotificationServer()
    cleanup.push(() => notifications.close())
    const store = new MemoryTransactionStore()
    cleanup.push(() => store.close())
    const options: CibaClientOptions = {
      issuerBaseURL: op.issuer,
      clientID: op.clientId,
      clientSecret: op.clientSecret,
      baseURL: notifications.origin,
      secret: sharedSecret,
      store,
      allowInsecureRequests: true,
      ...given,
    }
    const another = (own?: CibaClientOptions) => {
      const client = createCibaClient({ ...options, ...own })
      cleanup.push(() => client.close())
      return client
    }
    const client = another()
    notifications.serve(client)
    return { op, client, store, notifications, options, another }
  }
}
