/**
 * Runs several instances of an app behind a proxy, with one Redis and an OP; kills an instance when somebody presses
 * Enter. Knows nothing of what the app does.
 */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createInterface } from 'node:readline'
import { startOp } from '../support/op.ts'
import type { ExampleSettings, RunningExample } from '../support/web-example.ts'
import { Balancer } from './balancer.ts'
import { type Instance, Instances } from './instances.ts'
import { findRedis } from './redis.ts'

export interface ClusterSettings extends ExampleSettings {
  /** How many, at least 2. */
  readonly instances: number
}

export async function runCluster(settings: ClusterSettings): Promise<RunningExample> {
  /** What has been started, and how to end it. */
  const ends: (() => unknown)[] = []
  const stop = async () => {
    for (const end of ends.splice(0).reverse()) await end()
  }
  try {
    return { addresses: await start(settings, ends), stop }
  } catch (error) {
    await stop()
    throw error
  }
}

async function start(
  { name, mode, port, opPort, instances: count }: ClusterSettings,
  ends: (() => unknown)[],
): Promise<RunningExample['addresses']> {
  const redis = await findRedis(process.env['REDIS_URL'])
  ends.push(() => redis.stop())

  const server = createServer()
  await once(server.listen(port, '127.0.0.1'), 'listening')
  ends.push(() => {
    server.close()
    server.closeAllConnections()
  })
  const app = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  const clients = [{ clientID: `${name}-example`, clientSecret: randomBytes(32).toString('base64url') }]
  const op = await startOp({ port: opPort, baseURL: app, deliveryMode: mode, clients })
  ends.push(() => op.close())

  const { issuerBaseURL, clientID, clientSecret } = op.clientOptions
  const instances = new Instances({
    ...process.env,
    ISSUER_BASE_URL: issuerBaseURL,
    CLIENT_ID: clientID,
    CLIENT_SECRET: clientSecret,
    BASE_URL: app,
    DELIVERY_MODE: mode,
    // One for all of them: what one has sealed and signed, the others open and believe.
    SECRET: randomBytes(32).toString('hex'),
    SESSION_SECRET: randomBytes(32).toString('hex'),
    REDIS_URL: redis.url,
  })
  ends.push(() => instances.stop())
  await Promise.all(Array.from({ length: count }, (_, index) => instances.start(String(index + 1))))

  let last: Instance | undefined
  const balancer = new Balancer(
    () => instances.living,
    (instance, method, path) => {
      last = instance
      // The rest are pages and what belongs to them.
      if (method === 'POST') console.log(`instance ${instance.name}: ${method} ${path}`)
    },
  )
  server.on('request', balancer.handle)

  // The one where, most likely, a browser waits.
  const victim = () => instances.living.find((instance) => instance === last) ?? instances.living[0]
  const keyboard = createInterface({ input: process.stdin }).on('line', () => {
    const instance = victim()
    if (instance) instances.kill(instance)
    else console.log('All of them are gone. Wait until one is back.')
  })
  ends.push(() => keyboard.close())
  return { app, phone: op.devicePage }
}
