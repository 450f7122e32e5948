/**
 * One instance, a process of its own: takes its settings from the environment, listens at a free port and says at which
 * one. Knows nothing of what the app does.
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createClient } from 'redis'
import { createApp } from './app.ts'

const { INSTANCE = '1', REDIS_URL = '', DELIVERY_MODE, SECRET = '', SESSION_SECRET = '' } = process.env

// Whoever started us has died without a word: leave nothing behind.
process.once('disconnect', () => process.exit(1))
if (!process.connected) process.exit(1)

const redis = createClient({ url: REDIS_URL })
redis.on('error', ({ message }: Error) => console.error(`instance ${INSTANCE}: redis: ${message}`))
await redis.connect()

// ISSUER_BASE_URL, CLIENT_ID, CLIENT_SECRET and BASE_URL are read from the environment.
const { app, close } = createApp(
  { deliveryMode: DELIVERY_MODE === 'ping' ? 'ping' : 'poll', allowInsecureRequests: true },
  { redis, secrets: { transactions: SECRET, sessions: SESSION_SECRET }, name: INSTANCE },
)
const server = createServer(app)
await once(server.listen(0, '127.0.0.1'), 'listening')
process.send?.({ port: (server.address() as AddressInfo).port })

process.once('SIGTERM', async () => {
  const closed = once(server, 'close')
  server.close()
  await close()
  // Answers that are on their way still save a session.
  await closed
  await redis.close()
  process.exit()
})
