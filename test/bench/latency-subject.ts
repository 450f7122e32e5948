/**
 * An instance of the latency benchmark: an app as the README has it, which says how many browsers it holds. The bare one
 * answers at once, to show what a round trip alone takes here.
 */
import express from 'express'
import { ciba, MemoryTransactionStore, type StoredRecord, type TransactionStore } from '../../lib/index.ts'
import { RedisTransactionStore } from '../../lib/stores/redis.ts'
import type { LatencyConfig } from './latency-terms.ts'
import { connectRedis, sessions } from './login-terms.ts'
import { clientID, clientSecret } from './op.ts'
import { listen, runSubject } from './subject.ts'

await runSubject(async ({ side, issuer, redis: path }: LatencyConfig) => {
  const app = express()
  if (side === 'bare') {
    app.post('/ciba/notification', express.json(), (_req, res) => {
      res.status(204).end()
    })
    return { origin: (await listen(app)).origin }
  }
  const redis = await connectRedis(path)
  const store = watched(redis ? new RedisTransactionStore({ client: redis }) : new MemoryTransactionStore())
  const { origin } = await listen(app)
  const auth = ciba({
    issuerBaseURL: issuer,
    clientID,
    clientSecret,
    baseURL: origin,
    deliveryMode: 'ping',
    secret: 'a secret of more than 32 bytes, the same everywhere',
    store,
    allowInsecureRequests: true,
  })
  app.post('/ciba/notification', auth.notification)
  app.use(sessions(redis))
  app.use(auth)
  return { origin, answers: { watching: () => store.watching } }
})

/** A store that says how many of its records somebody waits for. */
function watched(store: TransactionStore): TransactionStore & { readonly watching: number } {
  let watching = 0
  return {
    read: (id: string) => store.read(id),
    write: (record: StoredRecord, expectedVersion: number) => store.write(record, expectedVersion),
    watch(id: string, listener: () => void) {
      watching++
      const stop = store.watch(id, listener)
      return () => {
        watching--
        stop()
      }
    },
    get watching() {
      return watching
    },
  }
}
