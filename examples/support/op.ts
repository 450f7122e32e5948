/**
 * A real OP (oidc-provider) on loopback, with CIBA poll and ping and a page that stands in for people's phones
 * (`/device`). For the examples and the integration tests: everything lives in memory and ends with `close()`.
 */
import { createServer } from 'node:http'
import { Provider } from 'oidc-provider'
import type { DeviceRequest } from './devices.ts'
import { type EmbeddedOp, embedOp } from './embedded-op.ts'
import { type OpClient, opConfiguration } from './op-configuration.ts'
import { listen } from './servers.ts'

export type { DeviceRequest } from './devices.ts'
export type { Approval, EmbeddedOp, OpCounts } from './embedded-op.ts'
export { type OpClient, USER_CODE } from './op-configuration.ts'

export interface OpOptions {
  clients: OpClient[]
  /** 0 for a free one. @default 0 */
  port?: number
  /** Account ids; `login_hint` is one of them, or one of them with `@example.com`. @default ['alice', 'bob'] */
  accounts?: string[]
  /** Seconds until a request expires when the client does not say. @default 120 */
  expiresIn?: number
  /**
   * Awaited before the acknowledgement is sent, so that a decision made here overtakes it. A rejection makes the OP
   * answer 500.
   */
  onRequest?: (request: DeviceRequest) => void | Promise<void>
}

/** Starts an OP. Rejects when the port is in use. */
export async function startOp(options: OpOptions): Promise<EmbeddedOp> {
  const { clients, port = 0, accounts = ['alice', 'bob'], expiresIn = 120, onRequest } = options
  const server = createServer()
  const issuer = `http://127.0.0.1:${await listen(server, port)}`
  const { op } = await embedOp({
    issuer,
    servers: [server],
    ...(onRequest && { onRequest }),
    makeProvider: async (hooks) =>
      new Provider(issuer, await opConfiguration({ clients, accounts, expiresIn }, hooks)),
  })
  return op
}
