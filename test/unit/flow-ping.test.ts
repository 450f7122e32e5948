import { expect } from 'chai'
import type { Notified } from '../../lib/notifications.ts'
import type { TokenAnswer } from '../../lib/protocol/token-request.ts'
import type { Transaction } from '../../lib/transaction.ts'
import { pingGraceMs, timerMarginMs } from '../../lib/transition.ts'
import { settle } from '../support/fake-clock.ts'
import { FakeWorld, granted, type Seen, see, stillPending } from '../support/fake-op.ts'

const intervalMs = 5_000 + timerMarginMs
const authReqId = 'auth-req-1'

describe('Flow in ping mode', () => {
  let world: FakeWorld
  let id: string

  beforeEach(async () => {
    world = new FakeWorld('ping')
    ;({ id } = await world.start())
  })
  afterEach('nothing is left behind', async () => {
    expect(await world.end(id), 'listeners, timers').to.deep.equal([0, 0])
  })

  const asked = () => world.op.tokenRequests.length
  const answer = (result: TokenAnswer) => world.answer(result)
  const wait = (flow = world.flow): Seen<Transaction | undefined> => see(flow.wait(id, { timeoutMs: 60_000 }))
  /** Takes a ping; its 204 has not left before the returned function is called. */
  const ping = async (flow = world.flow, body: unknown = { auth_req_id: authReqId }) => {
    const notified: Notified = await flow.notifications.take(id, body)
    if (notified.verdict !== 'accepted') return expect.fail(notified.verdict)
    return async () => {
      notified.proceed()
      await settle()
    }
  }

  describe('notifications.verify()', () => {
    it('finds the transaction of a genuine token on any instance, without the store (PING-3)', async () => {
      const { notificationToken } = world.op.authentications[0] ?? expect.fail()
      world.store.failsRead = () => true
      for (const flow of [world.flow, world.newFlow()]) {
        expect(flow.notifications.verify(`Bearer ${notificationToken}`)).to.equal(id)
        expect(flow.notifications.verify(`Bearer ${notificationToken}1`)).to.equal(undefined)
        expect(flow.notifications.verify(undefined)).to.equal(undefined)
      }
    })
  })

  describe('notify()', () => {
    it('accepts a ping, and changes nothing but the state before its 204 has left (PING-7)', async () => {
      await ping()
      expect(await world.stored(id)).to.include({ state: 'ready' })
      expect(asked()).to.equal(0)
    })

    for (const body of [
      undefined,
      null,
      'text',
      [],
      {},
      { auth_req_id: 7 },
      { auth_req_id: '' },
      { authReqId },
    ]) {
      it(`calls ${JSON.stringify(body)} malformed, and leaves the store alone (PING-15)`, async () => {
        world.store.failsRead = () => true
        expect(await world.flow.notifications.take(id, body)).to.deep.equal({ verdict: 'malformed' })
      })
    }

    it('does not accept the auth_req_id of another transaction (PING-3)', async () => {
      const { authReqId: others } = await world.start()
      expect(others).to.equal('auth-req-2')
      for (const other of ['auth-req-2', 'auth-req-11', 'auth-req-', 'x']) {
        expect(await world.flow.notifications.take(id, { auth_req_id: other })).to.deep.equal({
          verdict: 'unauthorized',
        })
      }
      expect((await world.stored(id))?.state).to.equal('pending')
    })

    it('does not accept pings for what is purged, or never was (PING-17)', async () => {
      world.store.close()
      expect(await world.flow.notifications.take(id, { auth_req_id: authReqId })).to.deep.equal({
        verdict: 'unauthorized',
      })
    })

    it('rejects when the store fails (PING-16)', async () => {
      for (const failure of ['failsRead', 'failsWrite'] as const) {
        world.store[failure] = () => true
        const notified = see(world.flow.notifications.take(id, { auth_req_id: authReqId }))
        await settle()
        expect(notified.error).to.include({ code: 'ERR_CIBA_STORE_FAILED', status: 503 })
        world.store[failure] = () => false
      }
      expect((await world.stored(id))?.state).to.equal('pending')
    })

    it('accepts pings for what is over, to no effect (PING-17)', async () => {
      await world.flow.cancel(id)
      const proceed = await ping()
      world.store.failsRead = () => expect.fail('reads')
      await proceed()
      world.store.failsRead = () => false
      expect((await world.stored(id))?.state).to.equal('cancelled')
      expect(asked()).to.equal(0)
    })
  })

  describe('after a ping', () => {
    it('asks at once, though nobody waits and the interval has not passed (PING-8)', async () => {
      const proceed = await ping()
      await proceed()
      expect(asked()).to.equal(1)
      await answer(granted)
      expect(await world.stored(id)).to.deep.include({ state: 'complete', grant: granted.grant })
    })

    it('asks once, however often it is told to proceed', async () => {
      const proceed = await ping()
      await proceed()
      await proceed()
      expect(asked()).to.equal(1)
      await answer(stillPending)
      await world.clock.advance(2 * intervalMs)
      await proceed()
      expect(asked(), 'for nobody').to.equal(1)
    })

    it('lets nobody ask before its 204 has left, on no instance (PING-7)', async () => {
      const waiters = [wait(), wait(world.newFlow())]
      const proceed = await ping()
      await world.clock.advance(999)
      expect((await world.newFlow().wait(id, { timeoutMs: 0 }))?.state).to.equal('ready')
      expect(asked()).to.equal(0)
      await proceed()
      expect(asked()).to.equal(1)
      await answer(granted)
      for (const { value } of waiters) expect(value?.state).to.equal('complete')
    })

    it('loses one second when its receiver never proceeds', async () => {
      const waiter = wait(world.newFlow())
      await ping()
      await world.clock.advance(999)
      expect(asked()).to.equal(0)
      await world.clock.advance(1)
      expect(asked()).to.equal(1)
      await answer(granted)
      expect(waiter.value?.state).to.equal('complete')
    })

    it('does not ask twice when its receiver proceeds late', async () => {
      wait(world.newFlow())
      const proceed = await ping()
      await world.clock.advance(1_000)
      await proceed()
      expect([asked(), world.op.mostInFlight]).to.deep.equal([1, 1])
    })

    it('goes on by the interval when the OP says pending all the same (PING-9)', async () => {
      wait()
      await (await ping())()
      await answer(stillPending)
      await world.clock.advance(intervalMs - 1)
      expect(asked()).to.equal(1)
      await world.clock.advance(1)
      expect(asked()).to.equal(2)
    })

    it('learns of a denial too (PING-13)', async () => {
      const waiter = wait()
      await (await ping())()
      await answer({ type: 'denied', error: 'access_denied' })
      expect(waiter.value).to.include({ state: 'denied', error: 'access_denied' })
    })

    it('makes of fifty pings one token request per interval (PING-10)', async () => {
      for (let count = 0; count < 50; count++) {
        await (await ping())()
        await answer(stillPending)
        await world.clock.advance(100)
      }
      expect(asked()).to.equal(1)
      await world.clock.advance(1)
      await (await ping())()
      expect(asked()).to.equal(2)
    })

    it('leaves it to others when the store fails as it proceeds', async () => {
      const proceed = await ping()
      world.store.failsRead = () => true
      await proceed()
      world.store.failsRead = () => false
      expect(asked()).to.equal(0)
      wait()
      await world.clock.advance(1_000)
      expect(asked()).to.equal(1)
    })

    it('starts nothing new after close(), which leaves it to the other instances', async () => {
      const proceed = await ping()
      await world.flow.close()
      await proceed()
      expect(asked()).to.equal(0)
      wait(world.newFlow())
      await world.clock.advance(1_000)
      expect(asked()).to.equal(1)
    })
  })

  describe('a ping while a token request is in flight', () => {
    let leaving: AbortController

    beforeEach(async () => {
      leaving = new AbortController()
      void world.flow.wait(id, { timeoutMs: 60_000, signal: leaving.signal })
      await world.clock.advance(pingGraceMs)
      expect(asked()).to.equal(1)
    })

    it('lets it ask again at once, and not before the answer (PING-8, POLL-2)', async () => {
      await (await ping(world.newFlow()))()
      expect(asked()).to.equal(1)
      await answer(stillPending)
      expect(asked()).to.equal(2)
      await answer(granted)
      expect((await world.stored(id))?.state).to.equal('complete')
      expect(world.op.mostInFlight).to.equal(1)
    })

    it('asks again though nobody waits any more (PING-8)', async () => {
      leaving.abort()
      await (await ping(world.newFlow()))()
      await answer(stillPending)
      expect(asked()).to.equal(2)
    })

    it('asks again only once its 204 has left (PING-7)', async () => {
      const proceed = await ping(world.newFlow())
      await answer(stillPending)
      await world.clock.advance(500)
      expect(asked(), 'before the 204 has left').to.equal(1)
      await proceed()
      expect(asked()).to.equal(2)
    })

    it('asks no more when the answer is final', async () => {
      await (await ping())()
      await answer(granted)
      expect(asked()).to.equal(1)
    })

    it('heeds a slow_down (PING-9, POLL-3)', async () => {
      await (await ping())()
      await answer({ type: 'slowedDown', retryAfterMs: 0 })
      await world.clock.advance(10_000)
      expect(asked()).to.equal(1)
      await world.clock.advance(timerMarginMs)
      expect(asked()).to.equal(2)
    })
  })

  describe('without a ping', () => {
    it('falls back to slow polling after the grace, while somebody waits (PING-12)', async () => {
      wait()
      await world.clock.advance(pingGraceMs - 1)
      expect(asked()).to.equal(0)
      await world.clock.advance(1)
      expect(asked()).to.equal(1)
      await answer(stillPending)
      await world.clock.advance(intervalMs)
      expect(asked()).to.equal(2)
    })

    it('asks nothing while nobody waits', async () => {
      await world.clock.advance(110_000)
      expect(asked()).to.equal(0)
    })
  })

  describe('a ping that overtakes the acknowledgement (PING-11)', () => {
    /** Starts another transaction, with pings before the OP acknowledges it as `early`. */
    const startWith = async (...bodies: string[]) => {
      const verdicts: string[] = []
      world.op.onAuthenticate = async (token) => {
        id = world.flow.notifications.verify(`Bearer ${token}`) ?? expect.fail()
        for (const auth_req_id of bodies) {
          const notified = await world.flow.notifications.take(id, { auth_req_id })
          verdicts.push(notified.verdict)
          if (notified.verdict === 'accepted') notified.proceed()
          await settle()
        }
        expect(asked(), 'asked before the acknowledgement').to.equal(0)
        return { authReqId: 'early', expiresIn: 120, interval: 5 }
      }
      const started = await world.start()
      await settle()
      return { started, verdicts }
    }

    it('lets the start ask at once', async () => {
      const { started, verdicts } = await startWith('early')
      expect(verdicts).to.deep.equal(['accepted'])
      expect(started.state).to.equal('ready')
      expect(world.op.tokenRequests.map(({ authReqId }) => authReqId)).to.deep.equal(['early'])
      await answer(granted)
      expect((await world.stored(id))?.state).to.equal('complete')
    })

    it('counts for nothing when it names another auth_req_id', async () => {
      const { started } = await startWith('another')
      expect(started.state).to.equal('pending')
      expect(asked()).to.equal(0)
    })

    it('may come twice, or after a wrong one', async () => {
      await startWith('another', 'early', 'early')
      expect(asked()).to.equal(1)
    })

    it('is unauthorized when the acknowledgement settles another auth_req_id in the last moment (PING-3)', async () => {
      let acknowledge = () => {}
      world.op.onAuthenticate = (token) => {
        id = world.flow.notifications.verify(`Bearer ${token}`) ?? expect.fail()
        return new Promise((resolve) => {
          acknowledge = () => resolve({ authReqId: 'settled', expiresIn: 120, interval: 5 })
        })
      }
      const start = see(world.start())
      await settle()
      world.store.beforeWrite = async (transaction) => {
        if (!('earlyPing' in transaction)) return
        world.store.beforeWrite = async () => {}
        acknowledge()
        await settle()
      }
      expect(await world.flow.notifications.take(id, { auth_req_id: 'another' })).to.deep.equal({
        verdict: 'unauthorized',
      })
      expect(start.value).to.include({ state: 'pending', authReqId: 'settled' })
    })
  })
})
