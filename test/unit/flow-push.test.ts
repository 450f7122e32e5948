import { expect } from 'chai'
import { RequestRefusedError } from '../../lib/errors.ts'
import type { PushAnswer } from '../../lib/protocol/push.ts'
import { pushGraceMs, type Transaction } from '../../lib/transaction.ts'
import { settle } from '../support/fake-clock.ts'
import { FakeWorld, grant, granted, type Seen, see } from '../support/fake-op.ts'

const authReqId = 'auth-req-1'
const tokens = { auth_req_id: authReqId, access_token: 'a', id_token: 'i' }
const denial = { auth_req_id: authReqId, error: 'access_denied' }
const accepted = 'accepted'

describe('Flow in push mode', () => {
  let world: FakeWorld
  let id: string

  beforeEach(async () => {
    world = new FakeWorld('push')
    ;({ id } = await world.start())
  })
  afterEach('nothing is left behind, and the OP was never asked (PUSH-8)', async () => {
    expect(await world.end(id), 'listeners, timers').to.deep.equal([0, 0])
    expect(world.op.tokenRequests).to.deep.equal([])
  })

  const wait = (flow = world.flow): Seen<Transaction | undefined> =>
    see(flow.wait(id, { timeoutMs: 600_000 }))
  /** What a push comes to; what is to happen behind the 204 has happened. */
  const push = async (body: unknown = tokens, flow = world.flow): Promise<string> => {
    const notified = await flow.notifications.take(id, body)
    if (notified.verdict === 'accepted') notified.proceed()
    await settle()
    return notified.verdict
  }
  /** Pushes are looked at until `answer` is called. */
  const holdPushes = () => {
    const held: ((answer: PushAnswer) => void)[] = []
    world.op.onPush = () => new Promise((resolve) => held.push(resolve))
    return async (answer: PushAnswer, which = 0) => {
      held[which]?.(answer)
      await settle()
    }
  }

  describe('start()', () => {
    it('sends the notification token of this transaction (REQ-4)', () => {
      const { notificationToken } = world.op.authentications[0] ?? expect.fail()
      expect(world.newFlow().notifications.verify(`Bearer ${notificationToken}`)).to.equal(id)
    })
  })

  describe('notify()', () => {
    it('keeps the tokens for whoever polls (PUSH-9)', async () => {
      expect(await push()).to.equal(accepted)
      expect(await world.stored(id)).to.deep.include({ state: 'complete', grant, delivery: 'undelivered' })
      expect(await world.flow.wait(id, { timeoutMs: 0 })).to.include({ state: 'complete' })
    })

    it('has them checked against what was asked for (PUSH-3)', async () => {
      await push()
      const { expectations } = await world.start()
      const [seen, ...more] = world.op.pushes
      expect(more).to.have.length(0)
      expect(seen?.push).to.deep.equal({ authReqId, body: tokens })
      expect(seen?.expectations).to.deep.equal({ ...expectations, scope: 'openid' })
    })

    for (const [type, error] of [
      ['denied', 'access_denied'],
      ['expired', 'expired_token'],
      ['failed', 'transaction_failed'],
    ] as const) {
      it(`ends the transaction as ${type} (PUSH-7)`, async () => {
        const waiter = wait()
        world.op.onPush = async () => ({ type, error })
        expect(await push({ auth_req_id: authReqId, error })).to.equal(accepted)
        expect(waiter.value).to.include({ state: type, error })
      })
    }

    for (const body of [null, [], { auth_req_id: authReqId }, { ...tokens, ...denial }]) {
      it(`calls ${JSON.stringify(body)} malformed, and leaves the store alone (PING-15)`, async () => {
        world.store.failsRead = () => true
        expect(await push(body)).to.equal('malformed')
        expect(world.op.pushes).to.have.length(0)
      })
    }

    it('does not accept the auth_req_id of another transaction, and looks at nothing (PING-3, PUSH-4)', async () => {
      await world.start()
      for (const other of ['auth-req-2', 'auth-req-11', 'auth-req-', 'x']) {
        expect(await push({ ...tokens, auth_req_id: other })).to.equal('unauthorized')
        expect(await push({ ...denial, auth_req_id: other })).to.equal('unauthorized')
      }
      expect((await world.stored(id))?.state).to.equal('pending')
      expect(world.op.pushes).to.have.length(0)
    })

    it('does not accept pushes for what is purged, or never was (PING-17)', async () => {
      world.store.close()
      expect(await push()).to.equal('unauthorized')
    })

    it('stores nothing of what did not pass the checks, and takes the next (PUSH-9)', async () => {
      const waiter = wait()
      const { length } = world.store.written
      world.op.onPush = async () => ({ type: 'invalid' })
      expect(await push()).to.equal('invalid')
      expect(world.store.written).to.have.length(length)
      expect(waiter.over).to.equal(false)
      world.op.onPush = async () => granted
      expect(await push()).to.equal(accepted)
      expect(waiter.value?.state).to.equal('complete')
    })

    it('rejects while the keys of the OP cannot be had, and takes the next (PUSH-9)', async () => {
      world.op.onPush = async () => ({ type: 'unavailable', cause: new Error('no keys') })
      const notified = see(world.flow.notifications.take(id, tokens))
      await settle()
      expect(notified.error).to.include({ code: 'ERR_CIBA_OP_UNREACHABLE', status: 503 })
      expect((await world.stored(id))?.state).to.equal('pending')
      world.op.onPush = async () => granted
      expect(await push()).to.equal(accepted)
      expect((await world.stored(id))?.state).to.equal('complete')
    })

    it('lets the first one win, and looks at no other (PUSH-9)', async () => {
      expect(await push()).to.equal(accepted)
      const kept = await world.stored(id)
      world.op.onPush = () => expect.fail('looked at')
      for (const replay of [tokens, { ...tokens, access_token: 'another' }, denial]) {
        expect(await push(replay)).to.equal(accepted)
      }
      expect(await world.stored(id)).to.deep.equal(kept)
    })

    it('makes one login of two at once, on two instances (PUSH-9, SEC-10)', async () => {
      const answer = holdPushes()
      const other = { ...grant, claims: { ...grant.claims, sub: 'second' } }
      const both = [
        see(world.flow.notifications.take(id, tokens)),
        see(world.newFlow().notifications.take(id, tokens)),
      ]
      await settle()
      await answer({ type: 'granted', grant: other }, 1)
      await answer(granted, 0)
      for (const { value } of both) expect(value?.verdict).to.equal(accepted)
      expect(await world.stored(id)).to.have.nested.property('grant.claims.sub', 'second')
    })

    it('accepts pushes for what is over, to no effect (PING-17)', async () => {
      await world.flow.cancel(id)
      expect(await push()).to.equal(accepted)
      expect(await push(denial)).to.equal(accepted)
      expect(world.op.pushes).to.have.length(0)
      const kept = await world.stored(id)
      expect(kept?.state).to.equal('cancelled')
      expect(JSON.stringify(kept)).to.not.include('token')
    })

    it('loses against a cancellation while the tokens are looked at (POLL-14)', async () => {
      const answer = holdPushes()
      const notified = see(world.flow.notifications.take(id, tokens))
      await settle()
      await world.flow.cancel(id)
      await answer(granted)
      expect(notified.value?.verdict).to.equal(accepted)
      expect(await world.stored(id))
        .to.include({ state: 'cancelled' })
        .and.not.have.property('grant')
    })
  })

  describe('notify() while the store fails', () => {
    it('rejects at once when it cannot be read, and takes the next (PING-16)', async () => {
      world.store.failsRead = () => true
      const notified = see(world.flow.notifications.take(id, tokens))
      await settle()
      expect(notified.error).to.include({ code: 'ERR_CIBA_STORE_FAILED', status: 503 })
      world.store.failsRead = () => false
      expect(await push()).to.equal(accepted)
      expect((await world.stored(id))?.state).to.equal('complete')
    })

    it('loses nothing in a short failure: the OP may not push again', async () => {
      world.store.failsWrite = () => true
      const notified = see(world.flow.notifications.take(id, tokens))
      await world.clock.advance(3_000)
      expect(notified.over).to.equal(false)
      world.store.failsWrite = () => false
      await world.clock.advance(2_000)
      expect(notified.value?.verdict).to.equal(accepted)
      expect((await world.stored(id))?.state).to.equal('complete')
      expect(world.op.pushes).to.have.length(1)
    })

    it('gives up after five seconds, and takes the next (PING-16)', async () => {
      world.store.failsWrite = () => true
      const notified = see(world.flow.notifications.take(id, tokens))
      await world.clock.advance(5_001)
      expect(notified.error).to.include({ code: 'ERR_CIBA_STORE_FAILED', status: 503 })
      world.store.failsWrite = () => false
      expect((await world.stored(id))?.state).to.equal('pending')
      expect(await push()).to.equal(accepted)
      expect((await world.stored(id))?.state).to.equal('complete')
    })

    it('is taken once where the store stored it and lost its own answer (PUSH-9)', async () => {
      let failures = 1
      const write = world.store.write.bind(world.store)
      world.store.write = async (record, version) => {
        const stored = await write(record, version)
        if (failures-- > 0) throw new Error('the answer is lost')
        return stored
      }
      const notified = see(world.flow.notifications.take(id, tokens))
      await world.clock.advance(1_000)
      expect(notified.value?.verdict).to.equal(accepted)
      expect((await world.stored(id))?.state).to.equal('complete')
    })
  })

  describe('wait()', () => {
    it('ends as soon as any instance has taken the push', async () => {
      const waiters = [wait(), wait(world.newFlow())]
      await world.clock.advance(1_000)
      await push(tokens, world.newFlow())
      for (const { value } of waiters) expect(value?.state).to.equal('complete')
    })

    it('loses at most five seconds when no wake-up ever comes', async () => {
      world.store.losesWakeUps = true
      const waiter = wait()
      await push()
      expect(waiter.over).to.equal(false)
      await world.clock.advance(5_000)
      expect(waiter.value?.state).to.equal('complete')
    })

    it('ends as expired ten seconds after the deadline, and the OP is never asked (PUSH-8)', async () => {
      const waiter = wait()
      await world.clock.advance(120_000 + pushGraceMs - 1)
      expect(waiter.over).to.equal(false)
      await world.clock.advance(1)
      expect(waiter.value).to.include({ state: 'expired', error: 'expired_token' })
      expect(await push(), 'later still').to.equal(accepted)
      expect((await world.stored(id))?.state).to.equal('expired')
    })

    it('sees a push of the last moment', async () => {
      const waiter = wait()
      await world.clock.advance(120_000 + pushGraceMs - 1)
      await push()
      expect(waiter.value?.state).to.equal('complete')
    })

    it('looks without asking, however long nothing was pushed (PUSH-8)', async () => {
      for (let look = 0; look < 3; look++) {
        await world.clock.advance(30_000)
        expect(await world.flow.wait(id, { timeoutMs: 0 })).to.include({ state: 'pending' })
      }
    })

    it('treats a hidden person like any other (ERR-5, PUSH-8)', async () => {
      world.op.onAuthenticate = () => Promise.reject(new RequestRefusedError('unknown_user_id', undefined))
      const start = see(world.start({}, true))
      await world.clock.advance(0)
      ;({ id } = start.value ?? expect.fail('not started'))
      const waiter = wait()
      await world.clock.advance(120_000 + pushGraceMs - 1)
      expect(waiter.over).to.equal(false)
      await world.clock.advance(1)
      expect(waiter.value).to.include({ state: 'expired', error: 'expired_token' })
    })
  })

  describe('close()', () => {
    it('waits for the push that is being looked at, and keeps it', async () => {
      const answer = holdPushes()
      const notified = see(world.flow.notifications.take(id, tokens))
      await settle()
      const close = see(world.flow.close())
      await settle()
      expect(close.over).to.equal(false)
      await answer(granted)
      expect([close.over, notified.value?.verdict]).to.deep.equal([true, accepted])
      expect((await world.stored(id))?.state).to.equal('complete')
    })
  })
})
