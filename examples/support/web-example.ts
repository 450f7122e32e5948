/**
 * Runs one example app, an OP and a stand-in for the phone on this machine. Knows nothing of what the app does.
 */
import { randomBytes } from 'node:crypto'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Express } from 'express'
import type { CibaOptions } from '../../lib/index.ts'
import { type ExampleOp, startOp } from './op.ts'

/** What `createApp()` of every example returns. */
export interface ExampleApp {
  readonly app: Express
  close(): Promise<void>
}

/** How an example was asked to run. */
export interface ExampleSettings {
  readonly name: string
  readonly mode: 'poll' | 'ping'
  /** 0 for any free one, as the next. */
  readonly port: number
  readonly opPort: number
}

/** An example that runs. */
export interface RunningExample {
  readonly addresses: { readonly app?: string; readonly phone: string }
  /** Resolves when it has ended by itself. */
  readonly ended?: Promise<void>
  stop(): Promise<void>
}

export async function runWebExample(
  createApp: (options: CibaOptions) => ExampleApp,
  { name, mode, port, opPort }: ExampleSettings,
): Promise<RunningExample> {
  // The two need each other's address: the app listens first, and answers once it exists.
  const server = createServer()
  const baseURL = await listen(server, port)
  let op: ExampleOp
  try {
    op = await startOp({
      port: opPort,
      baseURL,
      deliveryMode: mode,
      clients: [{ clientID: `${name}-example`, clientSecret: randomBytes(32).toString('base64url') }],
    })
  } catch (error) {
    server.close()
    throw error
  }
  const { app, close } = createApp(op.clientOptions)
  server.on('request', app)
  return {
    addresses: { app: baseURL, phone: op.devicePage },
    async stop() {
      server.close()
      await close()
      server.closeAllConnections()
      await op.close()
    },
  }
}

function listen(server: Server, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once('error', reject).listen(port, '127.0.0.1', () => {
      resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    })
  })
}
