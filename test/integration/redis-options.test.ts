/** The options of RedisTransactionStore, and what it makes of the functions that an app gives it for its client. */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'chai'
import { createClient, createCluster, createSentinel } from 'redis'
import { RedisTransactionStore, type RedisTransactionStoreOptions } from '../../lib/stores/redis.ts'
import { until } from '../support/web.ts'

const sendCommand = async () => null
const subscribe = async () => () => {}

describe('the options of RedisTransactionStore', () => {
  const client = createClient()
  const wrong: Record<string, [unknown, string]> = {
    nothing: [undefined, '"client" option is required, or "sendCommand" and "subscribe" instead'],
    'a prefix alone': [
      { prefix: 'x' },
      '"client" option is required, or "sendCommand" and "subscribe" instead',
    ],
    'an unknown name': [{ client, prefx: 'x' }, '"prefx" option is unknown, did you mean "prefix"?'],
    'the address of a Redis': [
      { client: 'redis://user:pw@host' },
      '"client" option must be a client of node-redis 5 or later; for other clients give "sendCommand" and ' +
        '"subscribe", received a string with an @',
    ],
    'another client': [
      { client: { call() {}, sendCommand() {}, ssubscribe() {}, duplicate() {} } },
      '"client" option must be a client of node-redis 5 or later; for other clients give "sendCommand" and ' +
        '"subscribe", received object',
    ],
    'an empty prefix': [
      { client, prefix: '' },
      '"prefix" option must be a text that is not empty, received ""',
    ],
    'a command that is none': [
      { sendCommand: 'GET', subscribe },
      '"sendCommand" option must be a function, received "GET"',
    ],
    'commands alone': [{ sendCommand }, '"subscribe" option is required beside "sendCommand"'],
    'subscriptions alone': [{ subscribe }, '"sendCommand" option is required beside "subscribe"'],
    'a client and commands': [
      { client, sendCommand, subscribe },
      '"sendCommand" option cannot be given beside "client"',
    ],
    'a client and subscriptions': [
      { client, subscribe },
      '"subscribe" option cannot be given beside "client"',
    ],
  }

  for (const [what, [options, message]] of Object.entries(wrong)) {
    it(`refuse ${what}`, () => {
      expect(() => new RedisTransactionStore(options as RedisTransactionStoreOptions))
        .to.throw(TypeError, message)
        .with.property('code', 'ERR_CIBA_INVALID_OPTION')
    })
  }

  it('take every client of node-redis, in types too', () => {
    const cluster = createCluster({ rootNodes: [{}] })
    const sentinel = createSentinel({ name: 'main', sentinelRootNodes: [{ host: 'localhost', port: 1 }] })
    for (const given of [client, createClient({ RESP: 2 }), cluster, sentinel]) {
      expect(new RedisTransactionStore({ client: given })).to.be.an('object')
    }
    expect(new RedisTransactionStore({ sendCommand, subscribe, prefix: 'x:' })).to.be.an('object')
  })
})

describe('RedisTransactionStore with the functions of an app', () => {
  const stores: RedisTransactionStore[] = []

  afterEach(() => Promise.all(stores.splice(0).map((store) => store.close())))

  function open(options: Partial<{ sendCommand: unknown; subscribe: unknown }>): RedisTransactionStore {
    const store = new RedisTransactionStore({
      sendCommand,
      subscribe,
      ...options,
    } as RedisTransactionStoreOptions)
    stores.push(store)
    return store
  }

  const record = { id: 'one', version: 1, purgeAt: Date.now() + 60_000, data: 'sealed' }

  it('rejects with the error of a command, thrown or not', async () => {
    for (const failing of [
      () => Promise.reject(new Error('LOADING')),
      () => {
        throw new Error('LOADING')
      },
    ]) {
      const store = open({ sendCommand: failing })
      for (const act of [store.read('one'), store.write(record, 0)]) {
        expect(await act.catch(({ message }: Error) => message)).to.equal('LOADING')
      }
    }
  })

  it('takes the answers of clients that count in texts', async () => {
    expect(await open({ sendCommand: async () => '1' }).write(record, 0)).to.equal(true)
    expect(await open({ sendCommand: async () => '0' }).write(record, 0)).to.equal(false)
  })

  it('subscribes again where that failed, as long as somebody waits', async () => {
    let tries = 0
    let calls = 0
    const store = open({
      async subscribe() {
        if (tries++ === 0) throw new Error('not now')
        return () => {}
      },
    })
    store.watch('one', () => calls++)
    await until('it is subscribed at last', () => calls === 1)
    expect(tries).to.equal(2)
    const stop = open({
      async subscribe() {
        tries++
        throw new Error('never')
      },
    }).watch('one', () => calls++)
    await until('it was tried', () => tries === 3)
    stop()
    await sleep(1_100)
    expect([tries, calls]).to.deep.equal([3, 1])
  })

  it('never subscribes to a channel before the last subscription has ended', async () => {
    const order: string[] = []
    let waiting = 0
    const store = open({
      async subscribe(channel: string) {
        order.push(`on ${channel}`)
        await sleep(15)
        return async () => {
          await sleep(15)
          order.push(`off ${channel}`)
        }
      },
    })
    for (let time = 0; time < 5; time++) {
      const stop = store.watch('one', () => waiting++)
      await until('it is subscribed', () => waiting > time)
      stop()
    }
    await until('all has ended', () => order.length === 10)
    expect(order).to.deep.equal(Array(5).fill(['on ciba:one', 'off ciba:one']).flat())
  })

  it('ends a subscription that arrives after the last has left, or after close()', async () => {
    let open_ = 0
    const slow = {
      async subscribe() {
        open_++
        await sleep(30)
        return () => {
          open_--
        }
      },
    }
    const stop = open(slow).watch('one', () => {})
    await until('it is under way', () => open_ === 1)
    stop()
    await until('it has ended', () => open_ === 0)
    const closing = open(slow)
    closing.watch('one', () => {})
    await until('it is under way', () => open_ === 1)
    await closing.close()
    expect(open_).to.equal(0)
  })

  it('tries an end that failed again', async () => {
    let ends = 0
    let calls = 0
    const store = open({
      subscribe: async () => async () => {
        if (ends++ === 0) throw new Error('the connection was lost')
      },
    })
    const stop = store.watch('one', () => calls++)
    await until('it is subscribed', () => calls === 1)
    stop()
    await until('it has ended', () => ends === 2)
  })
})
