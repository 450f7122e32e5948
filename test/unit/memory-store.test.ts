import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { mock } from 'node:test'
import { fileURLToPath } from 'node:url'
import { expect } from 'chai'
import { CibaError } from '../../lib/errors.ts'
import type { StoredRecord } from '../../lib/store.ts'
import { MemoryTransactionStore } from '../../lib/stores/memory.ts'

const start = 1_800_000_000_000
const record = (id: string, lifeMs = 60_000, version = 1): StoredRecord => ({
  id,
  version,
  purgeAt: Date.now() + lifeMs,
  data: 'sealed',
})

async function refusal(store: MemoryTransactionStore, id: string): Promise<CibaError> {
  return store.write(record(id), 0).then(
    () => expect.fail('accepted'),
    (error) => error,
  )
}

describe('MemoryTransactionStore', () => {
  let store: MemoryTransactionStore

  beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'Date'], now: start }))
  afterEach(() => {
    store?.close()
    // In this order: a spy on the mocked timers would otherwise put those back.
    mock.restoreAll()
    mock.timers.reset()
  })

  for (const maxTransactions of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, '5', null]) {
    it(`refuses ${JSON.stringify(maxTransactions)} as its bound`, () => {
      expect(() => new MemoryTransactionStore({ maxTransactions: maxTransactions as never })).to.throw(
        TypeError,
        '"maxTransactions" option must be a positive integer',
      )
    })
  }

  context('full', () => {
    beforeEach(async () => {
      store = new MemoryTransactionStore({ maxTransactions: 2 })
      for (const id of ['a', 'b']) expect(await store.write(record(id), 0)).to.equal(true)
    })

    it('refuses another transaction with 503 and a time to come back (SEC-13)', async () => {
      const error = await refusal(store, 'c')
      expect(error).to.be.instanceOf(CibaError)
      expect(error).to.include({ code: 'ERR_CIBA_STORE_FULL', status: 503, retryAfter: 30 })
      expect(await store.read('c')).to.equal(undefined)
    })

    it('lets those under way go on', async () => {
      expect(await store.write(record('a', 60_000, 2), 1)).to.equal(true)
      expect((await store.read('a'))?.version).to.equal(2)
      expect(await store.write(record('b'), 0), 'a version conflict, not a full store').to.equal(false)
    })

    it('has room again once a record is purged', async () => {
      mock.timers.tick(59_999)
      expect((await refusal(store, 'c')).code).to.equal('ERR_CIBA_STORE_FULL')
      mock.timers.tick(1_000)
      expect(await store.write(record('c'), 0)).to.equal(true)
    })

    it('looks for room at most once a second, however many starts it refuses (SEC-13)', async () => {
      mock.timers.tick(59_500)
      await refusal(store, 'c')
      mock.timers.tick(999)
      expect((await refusal(store, 'c')).code, 'purged, but not found out').to.equal('ERR_CIBA_STORE_FULL')
      mock.timers.tick(1)
      expect(await store.write(record('c'), 0)).to.equal(true)
    })
  })

  context('left alone', () => {
    const sweepMs = 30_000

    it('sweeps with one timer for all records, and with none while it is empty', async () => {
      const timers = mock.method(globalThis, 'setTimeout')
      store = new MemoryTransactionStore()
      for (let index = 0; index < 100; index++) await store.write(record(`id-${index}`, 40_000), 0)
      expect(timers.mock.callCount()).to.equal(1)
      mock.timers.tick(sweepMs)
      expect(timers.mock.callCount(), 'goes on while there are records').to.equal(2)
      mock.timers.tick(10 * sweepMs)
      expect(timers.mock.callCount(), 'rests when it is empty').to.equal(2)
      await store.write(record('new'), 0)
      expect(timers.mock.callCount(), 'starts again with the next record').to.equal(3)
    })

    it('lets go of what is purged', async () => {
      store = new MemoryTransactionStore({ maxTransactions: 1 })
      await store.write(record('a', 29_800), 0)
      mock.timers.tick(29_500)
      // Within a second of this the store will not look for room by itself.
      expect((await refusal(store, 'b')).code).to.equal('ERR_CIBA_STORE_FULL')
      mock.timers.tick(500)
      expect(await store.write(record('b'), 0)).to.equal(true)
    })

    it('keeps what is not purged yet', async () => {
      store = new MemoryTransactionStore()
      await store.write(record('a', 10 * sweepMs), 0)
      for (let sweep = 0; sweep < 9; sweep++) mock.timers.tick(sweepMs)
      expect((await store.read('a'))?.version).to.equal(1)
    })
  })

  it('forgets everything and stops sweeping when closed', async () => {
    const set = mock.method(globalThis, 'setTimeout')
    const cleared = mock.method(globalThis, 'clearTimeout')
    store = new MemoryTransactionStore()
    await store.write(record('a'), 0)
    let rings = 0
    store.watch('a', () => {
      rings += 1
    })
    store.close()
    expect(cleared.mock.calls[0]?.arguments[0]).to.equal(set.mock.calls[0]?.result)
    expect(await store.read('a')).to.equal(undefined)
    mock.timers.tick(300_000)
    expect(set.mock.callCount()).to.equal(1)
    await store.write(record('a'), 0)
    expect(rings).to.equal(0)
    store.close()
    store.close()
  })
})

describe('a process with a MemoryTransactionStore', () => {
  it('ends although there are records', async function () {
    this.timeout(20_000)
    const module = new URL('../../lib/stores/memory.ts', import.meta.url).href
    const script = `
      const { MemoryTransactionStore } = await import(${JSON.stringify(module)})
      const store = new MemoryTransactionStore()
      await store.write({ id: 'a', version: 1, purgeAt: Date.now() + 60_000, data: 'sealed' }, 0)
      store.watch('a', () => {})
      console.log((await store.read('a')).version)`
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
      cwd: fileURLToPath(new URL('../../', import.meta.url)),
      stdio: ['ignore', 'pipe', 'inherit'],
      timeout: 10_000,
    })
    const [output, [code]] = await Promise.all([text(child.stdout), once(child, 'exit')])
    expect(output.trim()).to.equal('1')
    expect(code, 'ended by itself').to.equal(0)
  })
})
