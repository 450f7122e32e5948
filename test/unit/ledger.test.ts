import { expect } from 'chai'
import { CibaError } from '../../lib/errors.ts'
import { deriveKeys } from '../../lib/keys.ts'
import { Ledger } from '../../lib/ledger.ts'
import { recordSealer } from '../../lib/record.ts'
import type { TransactionEvent } from '../../lib/transaction.ts'
import { FakeClock, settle } from '../support/fake-clock.ts'
import { FakeStore, grant, plainSealer } from '../support/fake-op.ts'
import { unacknowledged } from '../support/transactions.ts'

const { id } = unacknowledged
const ack: TransactionEvent = {
  type: 'acknowledged',
  authReqId: 'A',
  sentAt: 0,
  expiresIn: 9_999_999_999,
  interval: 5,
}
const granted: TransactionEvent = { type: 'granted', holder: 'me', grant }
const cancelled: TransactionEvent = { type: 'cancelled' }

async function refusal(promise: Promise<unknown>): Promise<CibaError> {
  const error: unknown = await promise.then(
    () => expect.fail('succeeded'),
    (error) => error,
  )
  expect(error).to.be.instanceOf(CibaError)
  return error as CibaError
}

describe('Ledger', () => {
  let clock: FakeClock
  let store: FakeStore
  let ledger: Ledger

  beforeEach(() => {
    clock = new FakeClock()
    store = new FakeStore()
    ledger = new Ledger(store, plainSealer, clock)
  })
  afterEach(() => store.close())

  describe('create() and read()', () => {
    it('stores a transaction as version 1', async () => {
      expect(await ledger.create(unacknowledged)).to.deep.equal({ transaction: unacknowledged, version: 1 })
      expect(await ledger.read(id)).to.deep.equal({ transaction: unacknowledged, version: 1 })
    })

    it('refuses an id that is taken', async () => {
      await ledger.create(unacknowledged)
      const error = await refusal(ledger.create({ ...unacknowledged, owner: 'somebody else' }))
      expect(error.code).to.equal('ERR_CIBA_STORE_FAILED')
      expect((await ledger.read(id))?.transaction.owner).to.equal(unacknowledged.owner)
    })

    it('knows nothing of an id that was never created', async () => {
      expect(await ledger.read('unknown')).to.equal(undefined)
    })
  })

  describe('apply()', () => {
    beforeEach(() => ledger.create(unacknowledged))

    it('applies an event to the newest version, or says that it changed nothing', async () => {
      const applied = await ledger.apply(id, ack)
      expect(applied).to.include({ version: 2, changed: true })
      expect(applied?.transaction).to.include({ authReqId: 'A' })
      expect(await ledger.read(id)).to.deep.equal({ transaction: applied?.transaction, version: 2 })
      expect(await ledger.apply(id, ack)).to.deep.equal({ ...applied, changed: false })
      expect(store.written).to.have.length(2)
    })

    it('tells the time of its clock to the state machine', async () => {
      const applied = await ledger.apply(id, ack)
      expect(applied?.transaction).to.include({ nextTokenRequestAt: clock.now() + 30_000 })
    })

    it('does nothing about a transaction that is no more', async () => {
      expect(await ledger.apply('unknown', cancelled)).to.equal(undefined)
    })

    it('tries again on the newest version when others are faster (SEC-10)', async () => {
      const stale = await ledger.read(id)
      await ledger.apply(id, ack)
      const applied = await ledger.apply(id, granted, stale)
      expect(applied).to.include({ version: 3, changed: true })
      expect(applied?.transaction).to.include({ state: 'complete', authReqId: 'A' })
    })

    it('reads nothing when an entry at hand is the newest', async () => {
      const entry = await ledger.read(id)
      store.failsRead = () => true
      expect(await ledger.apply(id, ack, entry)).to.include({ changed: true })
    })

    it('gives up its event when what was faster makes it too late', async () => {
      const stale = await ledger.read(id)
      await ledger.apply(id, cancelled)
      const applied = await ledger.apply(id, granted, stale)
      expect(applied).to.include({ version: 2, changed: false })
      expect(applied?.transaction.state).to.equal('cancelled')
    })

    it('loses no event of many at the same time (SEC-10)', async () => {
      await ledger.apply(id, ack)
      await clock.advance(60_000)
      const until = clock.now() + 65_000
      const takers = await Promise.all(
        Array.from({ length: 20 }, (_, index) =>
          ledger.apply(id, { type: 'leased', holder: `h${index}`, until }),
        ),
      )
      expect(takers.filter((one) => one?.changed)).to.have.length(1)
      const winner = `h${takers.findIndex((one) => one?.changed)}`
      const last = (await ledger.read(id))?.transaction
      expect(last).to.deep.include({ lease: { holder: winner, until } })
    })

    it('does nothing about a transaction that vanishes meanwhile', async () => {
      const stale = await ledger.read(id)
      store.close()
      expect(await ledger.apply(id, cancelled, stale)).to.equal(undefined)
    })
  })

  describe('when the store fails', () => {
    beforeEach(() => ledger.create(unacknowledged))

    it('rejects with ERR_CIBA_STORE_FAILED and the cause', async () => {
      store.failsRead = store.failsWrite = () => true
      for (const act of [
        () => ledger.create({ ...unacknowledged, id: 'other' }),
        () => ledger.read(id),
        () => ledger.apply(id, cancelled),
        () => ledger.apply(id, cancelled, { transaction: unacknowledged, version: 1 }),
      ]) {
        const error = await refusal(act())
        expect(error).to.include({ code: 'ERR_CIBA_STORE_FAILED', message: 'the transaction store failed' })
        expect((error.cause as Error).message).to.equal('the store is down')
      }
    })

    it('passes a CibaError of the store on as it is', async () => {
      const full = new CibaError('ERR_CIBA_STORE_FULL', 'full')
      store.beforeWrite = () => Promise.reject(full)
      expect(await refusal(ledger.create({ ...unacknowledged, id: 'other' }))).to.equal(full)
    })

    it('counts a record that cannot be opened among the failures', async () => {
      const sealed = new Ledger(store, recordSealer(deriveKeys(['a secret'])), clock)
      expect((await refusal(sealed.read(id))).code).to.equal('ERR_CIBA_STORE_FAILED')
    })
  })

  describe('insist()', () => {
    beforeEach(() => ledger.create(unacknowledged))

    it('tries again until the store is back, and loses nothing', async () => {
      let attempts = 0
      store.failsWrite = () => {
        attempts += 1
        return true
      }
      const insisted = ledger.insist(id, granted, 60_000, await ledger.read(id))
      await clock.advance(10_000)
      expect(attempts, 'at 0, 50, 150, 350 … and then every 2 s').to.equal(10)
      store.failsWrite = () => false
      await clock.advance(2_000)
      expect(await insisted).to.include({ version: 2, changed: true })
      expect((await ledger.read(id))?.transaction).to.deep.include({ state: 'complete', grant })
      expect(clock.timers).to.equal(0)
    })

    it('rejects when the patience is over, and not much earlier', async () => {
      store.failsWrite = () => true
      const insisted = refusal(ledger.insist(id, granted, 5_000))
      let over = false
      void insisted.then(() => {
        over = true
      })
      await clock.advance(3_000)
      expect(over).to.equal(false)
      await clock.advance(2_001)
      expect(over).to.equal(true)
      expect((await insisted).code).to.equal('ERR_CIBA_STORE_FAILED')
      expect(clock.timers).to.equal(0)
    })

    it('finds out that a write without an answer has happened after all', async () => {
      const write = store.write.bind(store)
      store.write = async (...args) => {
        store.write = write
        await write(...args)
        throw new Error('the connection was lost')
      }
      const insisted = ledger.insist(id, granted, 5_000)
      await clock.advance(50)
      expect(await insisted).to.include({ version: 2, changed: true })
      expect((await insisted)?.transaction).to.deep.include({ state: 'complete', grant })
      expect(store.written.filter(({ state }) => state === 'complete')).to.have.length(1)
    })

    it('succeeds at once when nothing fails', async () => {
      const insisted = ledger.insist(id, cancelled, 0)
      await settle()
      expect(await insisted).to.include({ changed: true })
    })
  })

  it('watches what the store watches', async () => {
    await ledger.create(unacknowledged)
    let rings = 0
    const stop = ledger.watch(id, () => {
      rings += 1
    })
    await ledger.apply(id, ack)
    await settle()
    expect(rings).to.equal(1)
    stop()
    await ledger.apply(id, cancelled)
    await settle()
    expect([rings, store.listeners]).to.deep.equal([1, 0])
  })
})
