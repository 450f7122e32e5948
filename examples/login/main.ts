/** `npm start`: runs the app of `app.ts`, an OP and a stand-in for the phone on this machine, until Ctrl-C. */
import { randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { parseArgs } from 'node:util'
import { type EmbeddedOp, startOp } from '../support/op.ts'
import { createApp } from './app.ts'

const USAGE = `Usage: npm start -- [--mode poll|ping]

  --mode poll   the app asks the OP for the outcome (default)
  --mode ping   the OP tells the app that there is one
  --help        this text

Environment: PORT (default 3000) for the app, OP_PORT (default 3001) for the OP; 0 for any free port.`

class UsageError extends Error {}

interface Settings {
  help: boolean
  mode: 'poll' | 'ping'
  port: number
  opPort: number
}

async function run({ mode, port, opPort }: Settings): Promise<void> {
  // The two need each other's address: the app listens first, and answers once it exists.
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(port, '127.0.0.1', resolve)
  })
  const baseURL = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const client = { clientId: 'login-example', clientSecret: randomBytes(32).toString('base64url') }

  let op: EmbeddedOp
  try {
    op = await startOp({
      port: opPort,
      clients: [{ ...client, deliveryMode: mode, notificationEndpoint: `${baseURL}/ciba/notification` }],
    })
  } catch (error) {
    server.close()
    throw error
  }

  const { app, close } = createApp({
    issuerBaseURL: op.issuer,
    clientID: client.clientId,
    clientSecret: client.clientSecret,
    baseURL,
    deliveryMode: mode,
    devicePage: op.devicePage,
  })
  server.on('request', app)

  console.log(`
The app:    ${baseURL}
The phone:  ${op.devicePage}

Open both, side by side. Sign in as alice or bob in the app, then approve on the phone.
Delivery mode: ${mode}. Ctrl-C ends everything.
`)

  let stopping = false
  async function stop(): Promise<void> {
    if (stopping) return
    stopping = true
    await close()
    server.close()
    server.closeAllConnections()
    await op.close()
  }
  process.on('SIGINT', stop).on('SIGTERM', stop)
}

function readSettings(args: string[], env: NodeJS.ProcessEnv): Settings {
  const { mode, help } = readArguments(args)
  if (mode !== 'poll' && mode !== 'ping') throw new UsageError(`--mode must be poll or ping, not ${mode}`)
  const { PORT, OP_PORT } = env
  return { mode, help, port: readPort('PORT', PORT, 3000), opPort: readPort('OP_PORT', OP_PORT, 3001) }
}

function readArguments(args: string[]): { mode: string; help: boolean } {
  try {
    return parseArgs({
      args,
      options: {
        mode: { type: 'string', default: 'poll' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }).values
  } catch (error) {
    throw new UsageError((error as Error).message)
  }
}

function readPort(name: string, value: string | undefined, fallback: number): number {
  if (!value) return fallback
  const port = Number(value)
  if (!Number.isInteger(port) || port < 0 || port > 65535)
    throw new UsageError(`${name} must be a port, not ${value}`)
  return port
}

try {
  const settings = readSettings(process.argv.slice(2), process.env)
  if (settings.help) console.log(USAGE)
  else await run(settings)
} catch (error) {
  process.exitCode = 1
  const { code, port } = error as { code?: string; port?: number }
  if (error instanceof UsageError) console.error(`${error.message}\n\n${USAGE}`)
  else if (code === 'EADDRINUSE')
    console.error(`Port ${port} is already in use. Choose others: PORT=4000 OP_PORT=4001 npm start`)
  else throw error
}
