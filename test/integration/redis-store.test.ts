/** What RedisTransactionStore asks of Redis, what it leaves there, and what it opens and closes. */
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'chai'
import type { StoredRecord } from '../../lib/index.ts'
import { RedisTransactionStore } from '../../lib/stores/redis.ts'
import { redisServer } from '../support/redis-server.ts'
import { until } from '../support/web.ts'

const record = (parts: Partial<StoredRecord> = {}): StoredRecord => ({
  id: randomBytes(16).toString('base64url'),
  version: 1,
  purgeAt: Date.now() + 60_000,
  data: 'sealed',
  ...parts,
})

describe('RedisTransactionStore', () => {
  const stores: RedisTransactionStore[] = []

  afterEach(() => Promise.all(stores.splice(0).map((store) => store.close())))

  const redis = redisServer()

  async function open(options?: Parameters<typeof redis.client>[0]): Promise<RedisTransactionStore> {
    const store = new RedisTransactionStore({ client: await redis.client(options) })
    stores.push(store)
    return store
  }

  /** A listener that is subscribed, and how often it was called. */
  async function waiting(store: RedisTransactionStore, id: string) {
    const calls = { count: 0 }
    const stop = store.watch(id, () => {
      calls.count++
    })
    await until('it is subscribed', () => calls.count > 0)
    return { calls, stop }
  }

  const channels = async () => (await redis.command('PUBSUB', 'SHARDCHANNELS')) as string[]

  describe('read() and write()', () => {
    it('take one command each', async () => {
      const store = await open()
      await store.write(record(), 0)
      await redis.resetCounts()
      const one = record()
      await store.write(one, 0)
      for (let version = 1; version < 10; version++) {
        await store.write({ ...one, version: version + 1 }, version)
        await store.read(one.id)
      }
      const { evalsha, get, ...others } = await redis.counts()
      expect([evalsha, get]).to.deep.equal([10, 9])
      // Those of the script, which are sent by nobody.
      expect(others).to.include({ getrange: 10, spublish: 10, set: 10 })
      expect(others).to.not.have.any.keys('eval', 'exists', 'ssubscribe', 'watch')
    })

    it('load the script once, and again when Redis has forgotten it', async () => {
      const store = await open()
      await store.write(record(), 0)
      await redis.resetCounts()
      for (let time = 0; time < 3; time++) {
        await redis.command('SCRIPT', 'FLUSH')
        expect(await store.write(record(), 0)).to.equal(true)
        expect(await store.write(record(), 0)).to.equal(true)
      }
      expect(await redis.counts()).to.include({ eval: 3 })
    })

    it('keep one key for each transaction, which goes by itself', async () => {
      const store = await open()
      const one = record()
      await store.write(one, 0)
      expect(await redis.command('KEYS', '*')).to.deep.equal([`ciba:${one.id}`])
      expect(Number(await redis.command('PTTL', `ciba:${one.id}`))).to.be.within(55_000, 60_000)
      await store.write({ ...one, version: 2, purgeAt: Date.now() }, 1)
      await until('it has gone', async () => ((await redis.command('KEYS', '*')) as string[]).length === 0)
    })

    it('go by the clock of the app where that of Redis is behind', async () => {
      const store = await open()
      const one = record({ purgeAt: Date.now() + 50 })
      await store.write(one, 0)
      await redis.command('PERSIST', `ciba:${one.id}`)
      await until('it is gone', async () => (await store.read(one.id)) === undefined)
      expect(await store.write({ ...one, version: 2 }, 1)).to.equal(false)
      expect(await store.write(record({ id: one.id }), 0)).to.equal(true)
    })

    it('reject where the key holds something else', async () => {
      const store = await open()
      await redis.command('SET', 'ciba:one', 'something')
      await redis.command('LPUSH', 'ciba:other', 'something')
      for (const id of ['one', 'other']) {
        const refused = await store.read(id).catch(({ message }: Error) => message)
        expect(refused).to.match(/holds something else|WRONGTYPE/)
      }
    })

    it('need few rights at Redis', async () => {
      const keys = ['resetkeys', '~ciba:*', 'resetchannels', '&ciba:*', '-@all']
      const commands = 'get set getrange spublish ssubscribe sunsubscribe eval evalsha time'
      const rights = [...keys, ...commands.split(' ').map((name) => `+${name}`)]
      await redis.command('ACL', 'SETUSER', 'least', 'on', '>pw', ...rights)
      const store = await open({ username: 'least', password: 'pw' })
      await until('it has the time', async () => (await redis.counts())['time'] === 1)
      const { calls, stop } = await waiting(store, 'one')
      expect(await store.write(record({ id: 'one' }), 0)).to.equal(true)
      expect(await store.read('one')).to.include({ version: 1 })
      await until('it is woken', () => calls.count > 1)
      stop()
      await until('nobody is subscribed', async () => (await channels()).length === 0)
    })

    it('write nothing where publishing is forbidden, and say so', async () => {
      await redis.command('ACL', 'SETUSER', 'app', 'on', '>pw', '~ciba:*', 'resetchannels', '+@all')
      const store = await open({ username: 'app', password: 'pw' })
      const refused = await store.write(record(), 0).catch(({ message }: Error) => message)
      expect(refused).to.match(/channel/)
      expect(await redis.command('DBSIZE')).to.equal(0)
    })
  })

  describe('watch()', () => {
    it('costs a look nothing: it subscribes only for those who stay', async () => {
      const store = await open()
      for (let time = 0; time < 20; time++) {
        const stop = store.watch('one', () => {})
        await store.read('one')
        stop()
      }
      await sleep(30)
      const counts = await redis.counts()
      expect(counts).to.include({ get: 20 }).and.to.not.have.any.keys('ssubscribe', 'subscribe')
      expect(await redis.subscribers()).to.deep.equal([])
    })

    it('subscribes once for all who wait for the same, until the last has gone', async () => {
      const store = await open()
      const all = await Promise.all(Array.from({ length: 20 }, () => waiting(store, 'one')))
      expect(await channels()).to.deep.equal(['ciba:one'])
      expect(await redis.counts()).to.include({ ssubscribe: 1 })
      for (const { stop } of all.slice(1)) stop()
      await sleep(30)
      expect(await channels()).to.deep.equal(['ciba:one'])
      all[0]?.stop()
      await until('nobody is subscribed', async () => (await channels()).length === 0)
    })

    it('leaves nothing subscribed, however people come and go', async () => {
      const store = await open()
      const visits = Array.from({ length: 300 }, async (_, n) => {
        await sleep(n % 23)
        const stop = store.watch(`id-${n % 7}`, () => {})
        await sleep((n * 7) % 41)
        stop()
      })
      await Promise.all(visits)
      await until('nobody is subscribed', async () => (await channels()).length === 0)
      expect((await redis.counts())['ssubscribe']).to.be.greaterThan(0)
      const { calls } = await waiting(store, 'id-1')
      await store.write(record({ id: 'id-1' }), 0)
      await until('it is woken', () => calls.count > 1)
      expect(await redis.subscribers()).to.have.length(1)
    })

    it('wakes who waits for what was written: the other instances get nothing to read', async () => {
      const [writer, waiter] = [await open(), await open()]
      const bytesOfWrites = async () => {
        const { calls, stop } = await waiting(waiter, 'one')
        const bytes = async () =>
          Number(/total_net_output_bytes:(\d+)/.exec(String(await redis.command('INFO', 'stats')))?.[1])
        const before = await bytes()
        const first = record({ id: 'one' })
        await writer.write(first, 0)
        for (let version = 1; version < 20; version++) {
          await writer.write({ ...first, version: version + 1 }, version)
        }
        const sent = (await bytes()) - before
        await until('it is woken by each', () => calls.count >= 21)
        expect(calls.count).to.equal(21)
        stop()
        await redis.command('DEL', 'ciba:one')
        return sent
      }
      await bytesOfWrites()
      const alone = await bytesOfWrites()
      const idle = await Promise.all(Array.from({ length: 5 }, () => open()))
      const others = await Promise.all(idle.map((store, n) => waiting(store, `other-${n}`)))
      const amongOthers = await bytesOfWrites()
      // The answers to INFO differ by a few bytes; a message to each other instance would be 5 * 20 * 40.
      expect(amongOthers - alone).to.be.below(200)
      expect(others.map(({ calls }) => calls.count)).to.deep.equal([1, 1, 1, 1, 1])
    })
  })

  describe('close()', () => {
    it('ends what the store has opened, and leaves the client alone', async () => {
      const client = await redis.client()
      const store = new RedisTransactionStore({ client })
      const { calls } = await waiting(store, 'one')
      expect(await redis.subscribers()).to.have.length(1)
      await store.close()
      await until('its connection has gone', async () => (await redis.subscribers()).length === 0)
      expect(await client.ping()).to.equal('PONG')
      store.watch('one', () => {
        calls.count++
      })()
      await sleep(30)
      expect(calls.count).to.equal(1)
      expect(await redis.subscribers()).to.deep.equal([])
      await store.close()
    })

    it('has nothing to do where nobody has waited', async () => {
      const store = await open()
      await store.write(record(), 0)
      const before = String(await redis.command('CLIENT', 'LIST')).split('\n').length
      await store.close()
      expect(String(await redis.command('CLIENT', 'LIST')).split('\n')).to.have.length(before)
    })
  })
})
