import { getEventListeners } from 'node:events'
import { expect } from 'chai'
import type { TokenAnswer } from '../../lib/protocol/token-request.ts'
import type { Transaction } from '../../lib/transaction.ts'
import { timerMarginMs } from '../../lib/transition.ts'
import { settle } from '../support/fake-clock.ts'
import {
  FakeWorld,
  granted,
  type Seen,
  see,
  stillPending,
  tokenTimeoutMs,
  validationTimeoutMs,
} from '../support/fake-op.ts'

const intervalMs = 5_000 + timerMarginMs

describe('Flow', () => {
  let world: FakeWorld
  let id: string
  let startedAt: number

  beforeEach(async () => {
    world = new FakeWorld('poll')
    startedAt = world.clock.now()
    ;({ id } = await world.start())
  })
  afterEach('nothing is left behind', async () => {
    expect(await world.end(id), 'listeners, timers').to.deep.equal([0, 0])
  })

  const wait = (timeoutMs: number, flow = world.flow, signal?: AbortSignal): Seen<Transaction | undefined> =>
    see(flow.wait(id, { timeoutMs, ...(signal && { signal }) }))
  const look = (flow = world.flow, owner = 'owner') => flow.wait(id, { timeoutMs: 0, owner })
  /** When the token requests came, counted from the start. */
  const asked = () => world.op.tokenRequests.map(({ at }) => at - startedAt)
  const answer = (result: TokenAnswer) => world.answer(result)

  describe('wait() without a timeout, a look', () => {
    it('says how things stand without asking when that is not due (POLL-1)', async () => {
      await world.clock.advance(intervalMs - 1)
      expect(await look()).to.include({ state: 'pending', authReqId: 'auth-req-1' })
      expect(asked()).to.deep.equal([])
    })

    it('asks when that is due, and sees what it comes to', async () => {
      await world.clock.advance(intervalMs)
      for (const result of [stillPending, granted]) {
        const seen = see(look())
        await settle()
        expect(seen.over).to.equal(false)
        await answer(result)
        expect(seen.value?.state).to.equal(result === granted ? 'complete' : 'pending')
        await world.clock.advance(intervalMs)
      }
      expect(world.op.tokenRequests.map(({ authReqId }) => authReqId)).to.deep.equal([
        'auth-req-1',
        'auth-req-1',
      ])
    })

    it('does not wait forever for a slow OP, whose answer is not lost', async () => {
      await world.clock.advance(intervalMs)
      const seen = see(look())
      await world.clock.advance(2_000)
      expect(seen.value?.state).to.equal('pending')
      await answer(granted)
      expect((await look())?.state).to.equal('complete')
      expect(asked()).to.have.length(1)
    })

    it('asks once when two find it due in the same instant (POLL-2, SEC-10)', async () => {
      await world.clock.advance(intervalMs)
      const looks = [see(look()), see(look()), see(look(world.newFlow()))]
      await settle()
      expect(asked()).to.have.length(1)
      await answer(stillPending)
      for (const { value } of looks) expect(value?.state).to.equal('pending')
    })

    it('sees the end of its own token request without a wake-up of the store', async () => {
      world.store.losesWakeUps = true
      await world.clock.advance(intervalMs)
      const seen = see(look())
      await settle()
      await answer(granted)
      expect(seen.value?.state).to.equal('complete')
    })

    it('does not wait for the token request of somebody else', async () => {
      await world.clock.advance(intervalMs)
      void look()
      await settle()
      const seen = see(look(world.newFlow()))
      await settle()
      expect(seen.value?.state).to.equal('pending')
    })

    it('knows nothing of unknown transactions, and of those of others (SEC-6)', async () => {
      expect(await world.flow.wait('unknown', { timeoutMs: 0 })).to.equal(undefined)
      expect(await look(world.flow, 'somebody else')).to.equal(undefined)
      expect((await look(world.flow, 'owner'))?.id).to.equal(id)
    })

    it('tries only once to lease a token request, when the store refuses', async () => {
      let attempts = 0
      world.store.failsWrite = () => {
        attempts += 1
        return attempts < 1_000
      }
      await world.clock.advance(intervalMs)
      const seen = see(look())
      await world.clock.advance(20_000)
      expect([seen.over, attempts, asked().length]).to.deep.equal([true, 1, 0])
    })

    it('rejects when the store fails', async () => {
      world.store.failsRead = () => true
      const seen = see(look())
      await settle()
      expect(seen.error).to.include({ code: 'ERR_CIBA_STORE_FAILED', status: 503 })
    })
  })

  describe('wait()', () => {
    it('asks once an interval, counted from each answer (POLL-1, POLL-4)', async () => {
      const waiter = wait(20_000)
      await world.clock.advance(intervalMs)
      await world.clock.advance(2_000)
      await answer(stillPending)
      await world.clock.advance(intervalMs - 1)
      expect(asked()).to.deep.equal([intervalMs])
      await world.clock.advance(1)
      expect(asked()).to.deep.equal([intervalMs, 2 * intervalMs + 2_000])
      expect(waiter.over).to.equal(false)
      await answer(granted)
      expect(waiter.value?.state).to.equal('complete')
    })

    it('gives the token request its full timeout (POLL-6)', async () => {
      wait(10_000)
      await world.clock.advance(10_000)
      expect(world.op.tokenRequests[0]?.timeoutMs).to.equal(tokenTimeoutMs)
    })

    it('ends when its time is over', async () => {
      const waiter = wait(4_000)
      await world.clock.advance(3_999)
      expect(waiter.over).to.equal(false)
      await world.clock.advance(1)
      expect(waiter.value?.state).to.equal('pending')
    })

    it('ends when its time is over, also while a token request is in flight, which goes on', async () => {
      const waiter = wait(7_000)
      await world.clock.advance(7_000)
      expect(waiter.value?.state).to.equal('pending')
      await answer(granted)
      expect((await world.stored(id))?.state).to.equal('complete')
    })

    it('ends when its signal aborts, and the token request in flight goes on', async () => {
      const leaving = new AbortController()
      const waiter = wait(60_000, world.flow, leaving.signal)
      await world.clock.advance(intervalMs)
      expect(waiter.over).to.equal(false)
      leaving.abort()
      await settle()
      expect(waiter.value?.state).to.equal('pending')
      expect(getEventListeners(leaving.signal, 'abort')).to.have.length(0)
      await answer(granted)
      expect((await world.stored(id))?.state).to.equal('complete')
    })

    it('does not begin to wait with a signal that has aborted, and asks nobody', async () => {
      await world.clock.advance(intervalMs)
      const waiter = wait(60_000, world.flow, AbortSignal.abort())
      await settle()
      expect(waiter.value?.state).to.equal('pending')
      expect(asked()).to.deep.equal([])
    })

    it('wakes as soon as another instance writes', async () => {
      const waiter = wait(60_000)
      await world.clock.advance(1_000)
      await world.newFlow().cancel(id)
      await settle()
      expect(waiter.value?.state).to.equal('cancelled')
    })

    it('loses at most five seconds when no wake-up ever comes', async () => {
      world.store.losesWakeUps = true
      const waiter = wait(60_000)
      await world.clock.advance(intervalMs)
      await answer(stillPending)
      await world.newFlow().cancel(id)
      await world.clock.advance(4_999)
      expect(waiter.over).to.equal(false)
      await world.clock.advance(1)
      expect(waiter.value?.state).to.equal('cancelled')
    })

    it('tries for one lease at a time, whatever wakes it meanwhile', async () => {
      let attempts = 0
      world.store.beforeWrite = (transaction) =>
        new Promise((resolve) => {
          if (!('lease' in transaction)) return resolve()
          attempts += 1
          world.clock.after(8_000, resolve)
        })
      wait(60_000)
      await world.clock.advance(intervalMs + 7_999)
      expect(attempts).to.equal(1)
      await world.clock.advance(1)
      expect(asked()).to.have.length(1)
      world.store.beforeWrite = async () => {}
    })

    it('makes do with wake-ups for nothing', async () => {
      let ring = () => {}
      world.store.watch = (_, listener) => {
        ring = listener
        return () => {}
      }
      const waiter = wait(20_000)
      for (let time = 0; time < 200; time++) {
        ring()
        await world.clock.advance(100)
        world.op.tokenRequests.at(-1)?.answer(stillPending)
      }
      expect(waiter.value?.state).to.equal('pending')
      expect(asked()).to.have.length(3)
    })

    it('ends as expired at the deadline, and the OP is not asked from then on (POLL-5)', async () => {
      world.op.answers.push(...Array(30).fill(stillPending))
      const waiter = wait(600_000)
      await world.clock.advance(119_999)
      expect(waiter.over).to.equal(false)
      await world.clock.advance(1)
      expect(waiter.value).to.include({ state: 'expired', error: 'expired_token' })
      expect(asked()).to.deep.equal(Array.from({ length: 23 }, (_, index) => (index + 1) * intervalMs))
    })

    it('waits for the token request in flight beyond the deadline: nothing granted is lost (POLL-5)', async () => {
      world.op.answers.push(...Array(22).fill(stillPending))
      const waiter = wait(600_000)
      await world.clock.advance(119_000)
      expect(asked()).to.have.length(23)
      await world.clock.advance(20_000)
      expect(waiter.over).to.equal(false)
      await answer(granted)
      expect(waiter.value?.state).to.equal('complete')
    })

    it('waits for nothing when the transaction is unknown, or somebody else started it', async () => {
      expect(await world.flow.wait('unknown', { timeoutMs: 60_000 })).to.equal(undefined)
      expect(await world.flow.wait(id, { timeoutMs: 60_000, owner: 'other' })).to.equal(undefined)
    })

    it('ends when the transaction vanishes', async () => {
      const waiter = wait(60_000)
      await settle()
      world.store.close()
      await world.clock.advance(5_000)
      expect(waiter).to.deep.equal({ over: true, value: undefined })
    })
  })

  describe('token requests', () => {
    it('never happen while nobody waits (POLL-2)', async () => {
      await world.clock.advance(119_000)
      expect(asked()).to.deep.equal([])
    })

    it('are one at a time, however many wait, on however many instances (POLL-2, SEC-10)', async () => {
      const flows = [world.flow, world.flow, world.newFlow(), world.newFlow()]
      const waiters = flows.map((flow) => wait(60_000, flow))
      await world.clock.advance(intervalMs)
      expect(asked()).to.have.length(1)
      await answer(stillPending)
      await world.clock.advance(intervalMs)
      expect(asked()).to.have.length(2)
      await answer(granted)
      for (const { value } of waiters) expect(value?.state).to.equal('complete')
      expect(world.op.mostInFlight).to.equal(1)
    })

    it('are taken over by another instance when one crashes, after the lease (POLL-2, POLL-13)', async () => {
      wait(intervalMs + 1)
      await world.clock.advance(intervalMs)
      const survivor = wait(200_000, world.newFlow())
      await world.clock.advance(tokenTimeoutMs + validationTimeoutMs + 4_999)
      expect(asked()).to.have.length(1)
      await world.clock.advance(1)
      expect(asked()).to.have.length(2)
      await answer({ type: 'failed', error: 'invalid_grant', reason: '' })
      expect(survivor.value).to.include({ state: 'failed', error: 'outcome_unknown' })
    })

    for (const who of ['the same instance', 'another instance']) {
      it(`are not believed any more once ${who} has taken over (POLL-2)`, async () => {
        wait(intervalMs + 1)
        await world.clock.advance(intervalMs)
        wait(200_000, who === 'the same instance' ? world.flow : world.newFlow())
        await world.clock.advance(tokenTimeoutMs + validationTimeoutMs + 5_000)
        expect(asked()).to.have.length(2)
        world.op.tokenRequests[0]?.answer({ type: 'denied', error: 'access_denied' })
        await settle()
        expect((await world.stored(id))?.state).to.equal('pending')
      })
    }

    it('are less patient when the store was slow to grant the lease (POLL-2)', async () => {
      let slowness = 3_000
      world.store.beforeWrite = (transaction) =>
        new Promise((resolve) => {
          if (!('lease' in transaction)) return resolve()
          world.clock.after(slowness, resolve)
        })
      wait(200_000)
      await world.clock.advance(intervalMs + slowness)
      expect(world.op.tokenRequests[0]?.timeoutMs).to.equal(tokenTimeoutMs - slowness)
      await answer(stillPending)
      slowness = tokenTimeoutMs + 1_000
      await world.clock.advance(intervalMs + slowness)
      expect(asked(), 'not sent at all').to.have.length(1)
      expect(await world.stored(id)).to.include({ failures: 1, answerLost: false })
      world.store.beforeWrite = async () => {}
      await world.clock.advance(60_000)
    })

    it('bring every answer into the record', async () => {
      wait(600_000)
      const states: unknown[] = []
      for (const result of [
        { type: 'slowedDown', retryAfterMs: 0 },
        { type: 'busy', retryAfterMs: 20_000, sent: false },
        { type: 'unanswered', sent: true, cause: new Error('the cause is not stored') },
        { type: 'denied', error: 'access_denied' },
      ] as const) {
        await world.clock.advance(20_000 + timerMarginMs)
        await answer(result)
        const stored = await world.stored(id)
        states.push(stored && [stored.state, 'interval' in stored && stored.interval])
        expect(JSON.stringify(stored)).to.not.include('cause')
      }
      expect(states).to.deep.equal([
        ['pending', 10],
        ['pending', 10],
        ['pending', 10],
        ['denied', false],
      ])
      expect(await world.stored(id)).to.include({ error: 'access_denied' })
    })

    for (const [what, fails] of [
      ['writes', ({ state }: Transaction) => state === 'complete'],
      ['everything', () => true],
    ] as const) {
      it(`lose nothing when the store refuses ${what} as the tokens arrive`, async () => {
        wait(10_000)
        await world.clock.advance(intervalMs)
        world.store.failsWrite = fails
        if (what === 'everything') world.store.failsRead = () => true
        await answer(granted)
        await world.clock.advance(30_000)
        world.store.failsWrite = world.store.failsRead = () => false
        await world.clock.advance(2_000)
        expect(await look()).to.deep.include({ state: 'complete', grant: granted.grant })
        expect(asked()).to.have.length(1)
      })
    }

    it('are not sent while their lease cannot be stored, and the store is not stormed', async () => {
      const leaving = new AbortController()
      const waiter = wait(60_000, world.flow, leaving.signal)
      let attempts = 0
      world.store.failsWrite = () => {
        attempts += 1
        if (attempts > 1_000) leaving.abort()
        return true
      }
      await world.clock.advance(intervalMs + 10_000)
      expect(asked()).to.deep.equal([])
      expect(attempts, 'attempts in ten seconds').to.be.below(100)
      if (!waiter.over) leaving.abort()
      await settle()
    })
  })
})
