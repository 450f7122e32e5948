/** RedisTransactionStore while Redis is away, frozen, empty or cut off: it costs time, never truth. */
import { expect } from 'chai'
import type { StoredRecord } from '../../lib/index.ts'
import { RedisTransactionStore } from '../../lib/stores/redis.ts'
import { outcomeOf } from '../support/redis-commands.ts'
import { redisServer } from '../support/redis-server.ts'
import { until } from '../support/web.ts'

const first: StoredRecord = { id: 'one', version: 1, purgeAt: Date.now() + 600_000, data: 'first' }
const second: StoredRecord = { ...first, version: 2, data: 'second' }

describe('RedisTransactionStore in trouble', function () {
  this.timeout(20_000)

  const stores: RedisTransactionStore[] = []

  afterEach(() => Promise.all(stores.splice(0).map((store) => store.close())))

  const redis = redisServer()

  beforeEach(() => {
    calls = 0
  })
  afterEach(() => redis.release())

  async function open(options?: Parameters<typeof redis.client>[0]): Promise<RedisTransactionStore> {
    const store = new RedisTransactionStore({ client: await redis.client(options) })
    stores.push(store)
    return store
  }

  let calls: number
  const count = () => {
    calls++
  }
  const subscribed = async (store: RedisTransactionStore) => {
    const stop = store.watch('one', count)
    await until('it is subscribed', () => calls > 0)
    calls = 0
    return stop
  }

  it('goes on when Redis comes back empty: what was there is gone, whoever waits hears of it', async () => {
    const store = await open()
    await store.write(first, 0)
    await subscribed(store)
    await redis.kill()
    await redis.start()
    await until('whoever waits reads again', () => calls > 0)
    expect(await store.read('one')).to.equal(undefined)
    expect(await store.write(second, 1)).to.equal(false)
    expect(await store.write(first, 0)).to.equal(true)
    const before = calls
    await store.write(second, 1)
    await until('a write wakes', () => calls > before)
    expect(await redis.subscribers()).to.have.length(1)
  })

  it('rejects what Redis does not answer while it is away, and waits with it while it restarts', async () => {
    const store = await open()
    await store.write(first, 0)
    await redis.kill()
    const early = store.read('one')
    await redis.start()
    expect(await early).to.equal(undefined)
    await redis.kill()
    const since = Date.now()
    const refused = await Promise.all([store.read('one'), store.write(first, 0)].map(outcomeOf))
    expect(Date.now() - since).to.be.within(4_900, 6_000)
    expect(refused).to.deep.equal(Array(2).fill('Redis has not answered within 5 seconds'))
    await redis.start()
    expect(await store.read('one')).to.equal(undefined)
  })

  it('does not know what came of a write to a frozen Redis, and has it written once', async () => {
    const store = await open()
    await store.write(first, 0)
    await subscribed(store)
    redis.freeze()
    const refused = await Promise.all([store.read('one'), store.write(second, 1)].map(outcomeOf))
    expect(refused).to.deep.equal(Array(2).fill('Redis has not answered within 5 seconds'))
    expect(calls).to.equal(0)
    redis.release()
    await until('it was written, and told', () => calls > 0)
    expect(await store.read('one')).to.deep.equal(second)
    expect(await store.write({ ...second, data: 'again' }, 1)).to.equal(false)
  })

  it('wakes whoever waits when the connection for messages was cut', async () => {
    const store = await open()
    await subscribed(store)
    for (let time = 0; time < 3; time++) {
      calls = 0
      await redis.command('CLIENT', 'KILL', 'TYPE', 'pubsub')
      await until('it reads again', () => calls > 0)
    }
    calls = 0
    await store.write(first, 0)
    await until('a write wakes', () => calls > 0)
    expect(await redis.command('PUBSUB', 'SHARDCHANNELS')).to.deep.equal(['ciba:one'])
  })

  it('leaves nothing subscribed when people leave while the connection is cut', async () => {
    const store = await open()
    const stop = await subscribed(store)
    const others = Array.from({ length: 20 }, (_, n) => store.watch(`id-${n}`, () => {}))
    const channels = async () => ((await redis.command('PUBSUB', 'SHARDCHANNELS')) as string[]).length
    await until('all are subscribed', async () => (await channels()) === 21)
    for (const end of others.slice(10)) end()
    await redis.command('CLIENT', 'KILL', 'TYPE', 'pubsub')
    for (const end of others.slice(0, 10)) end()
    stop()
    let empty = 0
    const deadline = Date.now() + 8_000
    while (empty < 5 && Date.now() < deadline) empty = (await channels()) === 0 ? empty + 1 : 0
    expect(await channels()).to.equal(0)
  })

  it('writes on when all connections were cut', async () => {
    const store = await open()
    await store.write(first, 0)
    await redis.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
    await until('it reads', async () => (await outcomeOf(store.read('one'))) === 'resolved')
    expect(await store.write(second, 1)).to.equal(true)
  })

  it('subscribes late for who began to wait while Redis was away', async () => {
    const store = await open()
    await redis.kill()
    store.watch('one', count)
    await redis.start()
    await until('it is told to read', () => calls > 0)
    calls = 0
    await store.write(first, 0)
    await until('a write wakes', () => calls > 0)
  })

  it('opens another connection when the strategy of the client is not to reconnect', async () => {
    const socket = { path: redis.socketPath, reconnectStrategy: false } as const
    const store = await open({ socket })
    const stop = await subscribed(store)
    await redis.command('CLIENT', 'KILL', 'TYPE', 'pubsub')
    await until('it has lost it', async () => (await redis.subscribers()).length === 0)
    stop()
    await until('a new one is subscribed', async () => {
      store.watch('one', count)
      return calls > 0
    })
    calls = 0
    await store.write(first, 0)
    await until('a write wakes', () => calls > 0)
    expect(await redis.subscribers()).to.have.length(1)
  })

  it('closes while Redis is away or frozen', async () => {
    const [away, frozen] = [await open(), await open()]
    await subscribed(frozen)
    redis.freeze()
    await frozen.close()
    redis.release()
    await redis.kill()
    away.watch('one', count)
    await away.close()
    await redis.start()
    expect(await redis.subscribers()).to.deep.equal([])
  })
})
