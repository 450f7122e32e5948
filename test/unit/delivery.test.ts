import { getEventListeners } from 'node:events'
import { expect } from 'chai'
import { type Claim, Delivery } from '../../lib/delivery.ts'
import { Jobs } from '../../lib/jobs.ts'
import { Ledger } from '../../lib/ledger.ts'
import { retentionMs, type Transaction } from '../../lib/transaction.ts'
import { FakeClock, settle } from '../support/fake-clock.ts'
import { FakeStore, grant, plainSealer, see } from '../support/fake-op.ts'
import { complete } from '../support/transactions.ts'

describe('Delivery', () => {
  let clock: FakeClock
  let store: FakeStore
  let ledger: Ledger
  let jobs: Jobs
  let delivery: Delivery
  const { id } = complete
  let ended: string[]
  const endOther = async (session: string) => ended.push(session)

  beforeEach(async () => {
    ended = []
    clock = new FakeClock()
    store = new FakeStore()
    ledger = new Ledger(store, plainSealer, clock)
    jobs = new Jobs()
    delivery = new Delivery({ ledger, clock, jobs })
    await ledger.create({ ...complete, expiresAt: clock.now() + 600_000 })
  })
  afterEach(() => {
    store.close()
    expect(store.listeners, 'nobody watches on').to.equal(0)
  })

  const named = (holder: string) => ({ holder, until: clock.now() + 900_000 })
  const stored = async () => (await ledger.read(id))?.transaction
  const claimed = async (holder = 'me'): Promise<Claim> =>
    (await delivery.claim(complete, holder)) ?? expect.fail('nothing to claim')
  const isClaimable = async () => (await delivery.claim(complete, 'somebody else')) !== undefined
  const sent = async (holder = 'me', to = 'new', isBroken = false): Promise<Claim> => {
    const claim = await claimed(holder)
    await claim.sent(to, isBroken)
    return claim
  }

  describe('claim()', () => {
    it('hands the grant to one taker at a time (SEC-7)', async () => {
      const claims = await Promise.all(['a', 'b', 'c'].map((holder) => delivery.claim(complete, holder)))
      const [claim, ...more] = claims.filter((one) => one !== undefined)
      expect(claim?.grant).to.deep.equal(grant)
      expect(more).to.have.length(0)
    })

    it('hands it to another when the taker is not heard of for ten seconds', async () => {
      await claimed()
      await clock.advance(9_999)
      expect(await isClaimable()).to.equal(false)
      await clock.advance(1)
      expect(await isClaimable()).to.equal(true)
    })

    it('has nothing to hand out once it was delivered or refused', async () => {
      for (const outcome of ['delivered', 'refused'] as const) {
        const transaction = { ...complete, id: outcome, expiresAt: clock.now() + 600_000 }
        await ledger.create(transaction)
        const claim = await delivery.claim(transaction, 'me')
        await (outcome === 'refused'
          ? claim?.settle(outcome)
          : delivery.confirm(outcome, named('me'), endOther))
        expect(await delivery.claim(transaction, 'me')).to.equal(undefined)
      }
    })

    it('has nothing to hand out of a transaction that is unknown, or not complete', async () => {
      await ledger.create({
        ...complete,
        id: 'denied',
        state: 'denied',
        error: 'access_denied',
      } as Transaction)
      for (const other of ['unknown', 'denied']) {
        expect(await delivery.claim({ ...complete, id: other }, 'me')).to.equal(undefined)
      }
    })

    it('rejects when the store fails', async () => {
      store.failsRead = () => true
      const outcome = await delivery.claim(complete, 'me').catch((error) => error.code)
      expect(outcome).to.equal('ERR_CIBA_STORE_FAILED')
    })
  })

  describe('settle()', () => {
    it('drops the tokens for good when refused (SEC-9)', async () => {
      await (await claimed()).settle('refused')
      expect(await stored()).to.include({ state: 'complete', delivery: 'refused' })
      expect(await stored()).to.not.have.any.keys('grant', 'claim')
    })

    it('leaves the tokens for another try when released', async () => {
      await (await claimed()).settle('released')
      expect(await stored()).to.deep.include({ delivery: 'undelivered', grant })
      expect(await isClaimable()).to.equal(true)
    })

    it('changes nothing once somebody else has taken over', async () => {
      const late = await claimed()
      await clock.advance(10_000)
      await claimed('somebody else')
      for (const outcome of ['released', 'refused'] as const) await late.settle(outcome)
      expect(await stored()).to.deep.include({ delivery: 'undelivered', grant })
      expect(await stored()).to.have.nested.property('claim.holder', 'somebody else')
    })

    it('tries again while the store fails, and closing waits for it', async () => {
      const claim = await claimed()
      store.failsWrite = () => true
      let ended = false
      void claim.settle('refused')
      void jobs.ended().then(() => {
        ended = true
      })
      await clock.advance(3_000)
      expect(ended).to.equal(false)
      store.failsWrite = () => false
      await clock.advance(2_000)
      expect(ended).to.equal(true)
      expect(await stored()).to.include({ delivery: 'refused' })
    })

    it('gives up after a while without a word: the claim runs out by itself', async () => {
      const claim = await claimed()
      store.failsWrite = () => true
      const settled = claim.settle('refused')
      await clock.advance(5_000)
      await settled
      store.failsWrite = () => false
      await clock.advance(5_000)
      expect(await isClaimable()).to.equal(true)
    })
  })

  describe('renew()', () => {
    it('needs no write in the first half of the claim', async () => {
      const claim = await claimed()
      await clock.advance(4_999)
      const { length } = store.written
      expect(await claim.renew()).to.equal(true)
      expect(store.written).to.have.length(length)
    })

    it('makes the claim last another ten seconds in the second half, and after', async () => {
      const claim = await claimed()
      for (const pause of [5_000, 9_000, 12_000]) {
        await clock.advance(pause)
        expect(await claim.renew()).to.equal(true)
        await clock.advance(9_999)
        expect(await isClaimable()).to.equal(false)
      }
    })

    it('is false when somebody else took over (SEC-7)', async () => {
      const claim = await claimed()
      await clock.advance(10_000)
      await claimed('somebody else')
      expect(await claim.renew()).to.equal(false)
    })

    it('stays false however often it is asked (SEC-7)', async () => {
      const claim = await claimed()
      await clock.advance(10_000)
      await claimed('somebody else')
      await claim.renew()
      expect(await claim.renew(), 'again').to.equal(false)
    })

    it('does not count a renewal that the store did not take', async () => {
      const claim = await claimed()
      await clock.advance(8_000)
      store.failsWrite = () => true
      expect(await claim.renew().catch((error) => error.code)).to.equal('ERR_CIBA_STORE_FAILED')
      store.failsWrite = () => false
      await clock.advance(2_000)
      expect(await isClaimable(), 'ran out').to.equal(true)
      expect(await claim.renew()).to.equal(false)
    })
  })

  describe('sent()', () => {
    it('leaves the tokens where they are, for another answer five seconds later', async () => {
      await sent()
      expect(await stored()).to.deep.include({ delivery: 'undelivered', grant })
      await clock.advance(4_999)
      expect(await isClaimable()).to.equal(false)
      await clock.advance(1)
      expect(await isClaimable()).to.equal(true)
    })

    it('leaves them for another answer at once when this one broke off', async () => {
      await sent('me', 'new', true)
      expect(await isClaimable()).to.equal(true)
    })

    it('tells the next taker which session did not arrive, and the one after that of both', async () => {
      expect((await sent()).lost).to.deep.equal([])
      await clock.advance(5_000)
      expect((await sent('a second', 'newer')).lost).to.deep.equal(['new'])
      await clock.advance(5_000)
      expect((await claimed('a third')).lost).to.deep.equal(['new', 'newer'])
    })

    it('does not forget that session when the next taker fails', async () => {
      await sent()
      await clock.advance(5_000)
      await (await claimed('a second')).settle('released')
      expect((await claimed('a third')).lost).to.deep.equal(['new'])
    })

    it('counts from when the answer left, though the store took its time', async () => {
      const claim = await claimed()
      store.failsWrite = () => true
      const recorded = claim.sent('new', false)
      await clock.advance(3_000)
      store.failsWrite = () => false
      await clock.advance(2_000)
      await recorded
      expect(await stored()).to.have.nested.property('arrival.at', clock.now() - 5_000)
      expect(await isClaimable()).to.equal(true)
    })

    it('changes nothing once somebody else has taken over, or the browser has shown up', async () => {
      const late = await claimed()
      await clock.advance(10_000)
      await claimed('somebody else')
      await late.sent('new', false)
      expect(await stored()).to.not.have.property('arrival')
      await delivery.confirm(id, named('somebody else'), endOther)
      await late.sent('new', false)
      expect(await stored())
        .to.include({ delivery: 'delivered' })
        .and.not.have.any.keys('arrival', 'claim')
    })
  })

  describe('confirm()', () => {
    const isUnconfirmed = () => delivery.isUnconfirmed(id, named('me'))

    it('drops the tokens for good (SEC-9)', async () => {
      await sent()
      await delivery.confirm(id, named('me'), endOther)
      expect(await stored()).to.include({ state: 'complete', delivery: 'delivered' })
      expect(await stored()).to.not.have.any.keys('grant', 'claim')
      expect(isUnconfirmed()).to.equal(false)
    })

    it('does so before it is recorded that the answer has left, and after the claim ran out', async () => {
      await claimed()
      await clock.advance(20_000)
      await delivery.confirm(id, named('me'), endOther)
      expect(await stored()).to.include({ delivery: 'delivered' })
    })

    it('believes the first browser that shows up, and ends what others of its answers brought (SEC-7)', async () => {
      await sent()
      await clock.advance(5_000)
      await sent('somebody else', 'newer')
      await delivery.confirm(id, named('me'), endOther)
      expect(await stored())
        .to.include({ delivery: 'delivered' })
        .and.not.have.any.keys('grant', 'claim')
      expect(ended).to.deep.equal(['newer'])
      expect(isUnconfirmed()).to.equal(false)
    })

    it('waits for an answer that is just being given, where its own was never recorded', async () => {
      await claimed()
      await clock.advance(10_000)
      await claimed('somebody else')
      await delivery.confirm(id, named('me'), endOther)
      expect(await stored()).to.deep.include({ delivery: 'undelivered', grant })
      expect(isUnconfirmed()).to.equal(true)
      await delivery.confirm(id, named('somebody else'), endOther)
      expect(await stored()).to.include({ delivery: 'delivered' })
      await delivery.confirm(id, named('me'), endOther)
      expect(isUnconfirmed()).to.equal(false)
    })

    it('takes a late browser, although who took over has given up (SEC-9)', async () => {
      await sent()
      await clock.advance(5_000)
      await (await claimed('somebody else')).settle('released')
      await delivery.confirm(id, named('me'), endOther)
      expect(await stored())
        .to.include({ delivery: 'delivered' })
        .and.not.have.any.keys('grant')
    })

    it('rejects when the store fails, and is asked again', async () => {
      await sent()
      store.failsRead = () => true
      const outcome = await delivery.confirm(id, named('me'), endOther).catch((error) => error.code)
      expect(outcome).to.equal('ERR_CIBA_STORE_FAILED')
      expect(isUnconfirmed()).to.equal(true)
    })

    it('has nothing to do for a record that is gone, or once it has been done', async () => {
      await delivery.confirm('gone', named('me'), endOther)
      expect(delivery.isUnconfirmed('gone', named('me'))).to.equal(false)
      await sent()
      await Promise.all([
        delivery.confirm(id, named('me'), endOther),
        delivery.confirm(id, named('me'), endOther),
      ])
      const { length } = store.written
      await delivery.confirm(id, named('me'), endOther)
      expect(store.written).to.have.length(length)
    })

    it('is not asked for any more once the record is gone, and until then it is', async () => {
      const { until } = (await claimed()).name
      expect(until).to.equal(Number((await stored())?.expiresAt) + retentionMs)
      await clock.advance(until - clock.now() - 1)
      expect(delivery.isUnconfirmed(id, { holder: 'me', until })).to.equal(true)
      await clock.advance(1)
      expect(delivery.isUnconfirmed(id, { holder: 'me', until })).to.equal(false)
    })
  })

  describe('untilSettled()', () => {
    /** What `untilSettled` has resolved to so far, for somebody who has come now. */
    const waiting = () => {
      const seen: { over: boolean; transaction?: Transaction | undefined } = { over: false }
      const settled = delivery.untilSettled(id, clock.now())
      void settled.then((transaction) => Object.assign(seen, { over: true, transaction }))
      return seen
    }

    for (const outcome of ['delivered', 'refused', 'released'] as const) {
      it(`ends when the claim is ${outcome}`, async () => {
        const claim = await claimed()
        const seen = waiting()
        await clock.advance(1_000)
        expect(seen.over).to.equal(false)
        await (outcome === 'delivered' ? delivery.confirm(id, named('me'), endOther) : claim.settle(outcome))
        await settle()
        const state = { delivery: outcome === 'released' ? 'undelivered' : outcome }
        expect(seen.transaction).to.include(state).and.not.have.property('claim')
        expect(clock.timers).to.equal(0)
      })
    }

    it('ends when the answer leaves that was under way, and goes on waiting for who comes later', async () => {
      const claim = await claimed()
      const seen = waiting()
      await clock.advance(1_000)
      await claim.sent('new', false)
      await settle()
      expect(seen.transaction).to.have.nested.property('arrival.to', 'new')
      await clock.advance(1)
      const later = waiting()
      await clock.advance(4_998)
      expect(later.over).to.equal(false)
      await clock.advance(1)
      expect(later.over).to.equal(true)
      expect(await isClaimable()).to.equal(true)
    })

    it('ends when the claim runs out, also if no wake-up ever comes', async () => {
      store.losesWakeUps = true
      await claimed()
      await clock.advance(4_000)
      const seen = waiting()
      await clock.advance(5_999)
      expect(seen.over).to.equal(false)
      await clock.advance(1)
      expect(seen.over).to.equal(true)
      expect(await isClaimable()).to.equal(true)
    })

    it('goes on waiting when the claim is renewed', async () => {
      const claim = await claimed()
      const seen = waiting()
      await clock.advance(8_000)
      expect(await claim.renew()).to.equal(true)
      await settle()
      expect(seen.over).to.equal(false)
      await delivery.confirm(id, named('me'), endOther)
      await clock.advance(10_000)
      expect(seen.transaction).to.include({ delivery: 'delivered' })
    })

    it('ends when a signal aborts, also if it has aborted before', async () => {
      await claimed()
      const leaving = new AbortController()
      const seen = see(delivery.untilSettled(id, 0, new AbortController().signal, leaving.signal))
      await settle()
      expect(seen.over).to.equal(false)
      leaving.abort()
      await settle()
      expect(seen.value).to.include({ delivery: 'undelivered' })
      expect(getEventListeners(leaving.signal, 'abort')).to.have.length(0)
      expect(await delivery.untilSettled(id, 0, leaving.signal)).to.include({ delivery: 'undelivered' })
      expect(clock.timers).to.equal(0)
    })

    it('has nothing to wait for without a claim, or without a transaction', async () => {
      expect(await delivery.untilSettled(id, 0)).to.include({ delivery: 'undelivered' })
      expect(await delivery.untilSettled('unknown', 0)).to.equal(undefined)
    })
  })
})
