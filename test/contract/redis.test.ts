import { createCluster } from 'redis'
import { RedisTransactionStore } from '../../lib/stores/redis.ts'
import { transactionStoreContract } from '../../lib/testing/index.ts'
import { commandsOf } from '../support/redis-commands.ts'
import { redisServer } from '../support/redis-server.ts'

describe('RedisTransactionStore, as every TransactionStore', () => {
  let one: RedisTransactionStore
  let other: RedisTransactionStore

  /** Hooks run in order: the stores close before the clients that they were given. */
  const server = (options?: { cluster: boolean }) => {
    afterEach(() => Promise.all([one.close(), other.close()]))
    return redisServer(options)
  }

  context('with two clients of node-redis', () => {
    const redis = server()

    beforeEach(async () => {
      one = new RedisTransactionStore({ client: await redis.client() })
      other = new RedisTransactionStore({ client: await redis.client() })
    })

    transactionStoreContract(it, () => ({ one, other }))
  })

  context('with a prefix, RESP 2 at one and replies as buffers at the other', () => {
    const redis = server()

    beforeEach(async () => {
      const prefix = 'an app:{of ours}:'
      one = new RedisTransactionStore({ client: await redis.client({ RESP: 2 }), prefix })
      const commandOptions = { typeMapping: { 36: Buffer } }
      other = new RedisTransactionStore({ client: await redis.client({ commandOptions }), prefix })
    })

    transactionStoreContract(it, () => ({ one, other }))
  })

  context('with commands and subscriptions of any client', () => {
    const redis = server()

    beforeEach(async () => {
      one = new RedisTransactionStore(await commandsOf(redis))
      other = new RedisTransactionStore({ client: await redis.client() })
    })

    transactionStoreContract(it, () => ({ one, other }))
  })

  context('in a cluster', () => {
    const redis = server({ cluster: true })
    const clusters: { destroy(): unknown }[] = []

    const cluster = async () => {
      const client = createCluster({ rootNodes: [{ url: `redis://127.0.0.1:${redis.port}` }] })
      clusters.push(client)
      await client.connect()
      return client
    }

    beforeEach(async () => {
      one = new RedisTransactionStore({ client: await cluster() })
      other = new RedisTransactionStore({ client: await cluster() })
    })
    afterEach(async () => {
      for (const client of clusters.splice(0)) client.destroy()
    })

    transactionStoreContract(it, () => ({ one, other }))
  })
})
