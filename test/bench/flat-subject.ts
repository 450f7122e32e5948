/** An app whose store is full of transactions that are pending. */
import express from 'express'
import { ciba, createCibaClient, MemoryTransactionStore } from '../../lib/index.ts'
import { RedisTransactionStore } from '../../lib/stores/redis.ts'
import type { FlatConfig } from './flat-terms.ts'
import { inParallel } from './in-parallel.ts'
import { LocalOp, localOpOptions } from './local-op.ts'
import { connectRedis, sessions } from './login-terms.ts'
import { listen, runSubject } from './subject.ts'

await runSubject(async ({ pending, redis: path }: FlatConfig) => {
  const redis = await connectRedis(path)
  const client = createCibaClient({
    ...localOpOptions(new LocalOp()),
    store: redis
      ? new RedisTransactionStore({ client: redis })
      : new MemoryTransactionStore({ maxTransactions: 1_000_000 }),
  })
  await inParallel(Array(pending).keys(), 128, (number) => client.start({ loginHint: `person-${number}` }))
  const app = express()
  app.use(sessions(undefined))
  app.use(ciba({ client }))
  return { origin: (await listen(app)).origin }
})
