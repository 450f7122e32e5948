import { expect } from 'chai'
import { CibaError, RequestRefusedError } from '../../lib/errors.ts'
import { isOpen, type Transaction } from '../../lib/transaction.ts'
import { timerMarginMs } from '../../lib/transition.ts'
import { settle } from '../support/fake-clock.ts'
import { FakeWorld, granted, see, stillPending, tokenTimeoutMs } from '../support/fake-op.ts'

const firstWaitMs = 5_000 + timerMarginMs
const refusal = async (promise: Promise<unknown>): Promise<CibaError> =>
  promise.then(
    () => expect.fail('succeeded'),
    (error) => error,
  )

describe('Flow', () => {
  let world: FakeWorld

  beforeEach(() => {
    world = new FakeWorld('poll')
  })
  afterEach('nothing is left behind', async () => {
    for (const request of world.op.tokenRequests) request.answer(stillPending)
    await settle()
    world.store.close()
    expect([world.store.listeners, world.clock.timers], 'listeners, timers').to.deep.equal([0, 0])
  })

  describe('start()', () => {
    it('stores the transaction before the OP is asked (ACK-8, PING-11)', async () => {
      const { op, store } = world
      op.onAuthenticate = async () => {
        const [created, ...more] = store.written
        expect(created).to.include({ state: 'pending', owner: 'owner' }).and.not.have.property('authReqId')
        expect(more).to.have.length(0)
        return { authReqId: 'A', expiresIn: 90, interval: 7 }
      }
      const sentAt = world.clock.now()
      const started = await world.start()
      expect(started).to.include({ authReqId: 'A', interval: 7, expiresAt: sentAt + 90_000 })
      expect(await world.stored(started.id)).to.deep.equal(started)
      expect(started.expectations).to.deep.equal({ requestedAt: sentAt, scope: 'openid' })
    })

    it('makes an unguessable id for each transaction (SEC-6)', async () => {
      const ids = await Promise.all([1, 2, 3].map(async () => (await world.start()).id))
      expect(new Set(ids).size).to.equal(3)
      for (const id of ids) expect(id).to.match(/^[\w-]{22}$/)
    })

    it('brings the binding message that is sent (SEC-5)', async () => {
      const started = await world.start({ bindingMessage: 'auto' })
      expect(started.bindingMessage).to.match(/^[A-Z2-9]{3}-[A-Z2-9]{3}$/)
      const [sent] = world.op.authentications
      expect(sent?.request.parameters['binding_message']).to.equal(started.bindingMessage)
    })

    it('sends no notification token in poll mode (REQ-4)', async () => {
      await world.start()
      expect(world.op.authentications).to.have.length(1).and.to.have.nested.property('0.request')
      expect(world.op.authentications[0]?.notificationToken).to.equal(undefined)
    })

    for (const mode of ['ping', 'push'] as const) {
      it(`sends a notification token in ${mode} mode, the one of this transaction (REQ-4)`, async () => {
        world = new FakeWorld(mode)
        const { id } = await world.start()
        const [sent] = world.op.authentications
        expect(world.flow.notifications.verify(`Bearer ${sent?.notificationToken}`)).to.equal(id)
      })
    }

    it('neither stores nor asks what the OP does not take (CFG-7)', async () => {
      const fault = new CibaError('ERR_CIBA_INVALID_REQUEST', 'the OP takes no "userCode"')
      world.op.onPrepare = () => Promise.reject(fault)
      expect(await refusal(world.start())).to.equal(fault)
      expect([world.store.written.length, world.op.authentications.length]).to.deep.equal([0, 0])
    })

    it('does not ask anybody when the transaction cannot be stored (SEC-13)', async () => {
      const full = new CibaError('ERR_CIBA_STORE_FULL', 'full')
      world.store.beforeWrite = () => Promise.reject(full)
      expect(await refusal(world.start())).to.equal(full)
      expect(world.op.authentications).to.have.length(0)
    })

    for (const [what, fault, recorded] of [
      ['refuses', new RequestRefusedError('invalid_binding_message', 'too long'), 'invalid_binding_message'],
      ['fails', new CibaError('ERR_CIBA_OP_FAILED', 'the OP answered 500'), 'bad_gateway'],
      ['breaks a rule of ours', new Error('unheard of'), 'server_error'],
    ] as const) {
      it(`rejects and ends the transaction when the OP ${what}, and asks nobody again (REQ-16)`, async () => {
        world.op.onAuthenticate = () => Promise.reject(fault)
        expect(await refusal(world.start())).to.equal(fault)
        expect(world.op.authentications).to.have.length(1)
        expect(world.store.written.at(-1)).to.include({ state: 'failed', error: recorded })
        expect(world.store.written.at(-1)?.expiresAt).to.equal(world.clock.now())
      })
    }

    it('says why it did not start, also when that cannot be stored', async () => {
      const fault = new RequestRefusedError('invalid_scope', undefined)
      world.op.onAuthenticate = () => {
        world.store.failsWrite = () => true
        return Promise.reject(fault)
      }
      expect(await refusal(world.start())).to.equal(fault)
    })

    it('keeps trying to store the acknowledgement: the person has been asked', async () => {
      world.store.failsWrite = ({ authReqId }) => authReqId !== undefined
      const start = see(world.start())
      await world.clock.advance(3_000)
      expect(start.over).to.equal(false)
      world.store.failsWrite = () => false
      await world.clock.advance(2_000)
      expect(start.value).to.include({ state: 'pending', authReqId: 'auth-req-1' })
      expect(world.op.authentications).to.have.length(1)
    })

    it('gives up after five seconds of a failing store', async () => {
      world.store.failsWrite = ({ authReqId }) => authReqId !== undefined
      const start = see(world.start())
      await world.clock.advance(5_001)
      expect(start.error).to.include({ code: 'ERR_CIBA_STORE_FAILED' })
    })

    it('rejects after close()', async () => {
      await world.flow.close()
      expect((await refusal(world.start())).code).to.equal('ERR_CIBA_CLOSED')
      expect([world.store.written.length, world.op.authentications.length]).to.deep.equal([0, 0])
    })
  })

  describe('start() for a person whom the OP does not know (ERR-5)', () => {
    const unknown = new RequestRefusedError('unknown_user_id', undefined)
    const hidden = (parameters = {}) => world.start(parameters, true)
    /** A start that takes the OP a while. */
    const real = async (tookMs: number, request = {}, expiresIn = 77) => {
      world.op.onAuthenticate = () =>
        new Promise((resolve) => {
          world.clock.after(tookMs, () => resolve({ authReqId: 'A', expiresIn, interval: 3 }))
        })
      const start = see(world.start(request))
      await world.clock.advance(tookMs)
      return start.value as Transaction
    }
    const seconds = ({ expiresAt, expectations }: Transaction) =>
      (expiresAt - expectations.requestedAt) / 1000

    it('rejects with the code unless it shall be hidden', async () => {
      world.op.onAuthenticate = () => Promise.reject(unknown)
      expect(await refusal(world.start())).to.equal(unknown)
    })

    it('looks like a recent real one: expiry, interval, time taken', async () => {
      const genuine = await real(300)
      world.op.onAuthenticate = () => Promise.reject(unknown)
      const start = see(hidden())
      await world.clock.advance(299)
      expect(start.over).to.equal(false)
      await world.clock.advance(1)
      const decoy = start.value as Transaction
      expect([seconds(decoy), 'interval' in decoy && decoy.interval]).to.deep.equal([77, 3])
      expect(decoy.state).to.equal(genuine.state)
    })

    it('looks like a real one with the same requested expiry', async () => {
      await real(10)
      await real(20, { requestedExpiry: 300 }, 250)
      world.op.onAuthenticate = () => Promise.reject(unknown)
      const start = see(hidden({ requestedExpiry: 300 }))
      await world.clock.advance(20)
      expect(seconds(start.value as Transaction)).to.equal(250)
    })

    it('waits, is never asked for at the OP, and expires', async () => {
      world.op.onAuthenticate = () => Promise.reject(unknown)
      const start = see(hidden())
      await world.clock.advance(0)
      const { id, expiresAt } = start.value ?? expect.fail('not started')
      const wait = see(world.flow.wait(id, { timeoutMs: 600_000 }))
      await world.clock.advance(expiresAt - world.clock.now() - 1)
      expect(wait.over).to.equal(false)
      await world.clock.advance(1)
      expect(wait.value).to.include({ state: 'expired', error: 'expired_token' })
      expect(world.op.tokenRequests).to.have.length(0)
    })

    it('takes as long to poll as a real one', async () => {
      const { id: genuine } = await real(0)
      await world.clock.advance(3_000 + timerMarginMs)
      const asking = see(world.flow.wait(genuine, { timeoutMs: 0 }))
      await world.clock.advance(150)
      world.op.tokenRequests[0]?.answer(stillPending)
      await settle()
      expect(asking.over).to.equal(true)
      world.op.onAuthenticate = () => Promise.reject(unknown)
      const start = see(hidden())
      await world.clock.advance(3_000 + timerMarginMs)
      const { id } = start.value ?? expect.fail('not started')
      const poll = see(world.flow.wait(id, { timeoutMs: 0 }))
      await world.clock.advance(149)
      expect(poll.over).to.equal(false)
      await world.clock.advance(1)
      expect(poll.value).to.include({ state: 'pending', interval: 3 })
      expect(world.op.tokenRequests).to.have.length(1)
    })

    it('hides nothing but that', async () => {
      const fault = new RequestRefusedError('invalid_scope', undefined)
      world.op.onAuthenticate = () => Promise.reject(fault)
      expect(await refusal(hidden())).to.equal(fault)
    })
  })

  describe('cancel()', () => {
    it('ends the transaction, again and again (POLL-14)', async () => {
      const { id } = await world.start()
      for (let time = 0; time < 2; time++) expect(await world.flow.cancel(id, 'owner')).to.equal(true)
      expect(await world.stored(id)).to.include({ state: 'cancelled', error: 'cancelled' })
    })

    it('knows nothing of unknown transactions, and of those of others (SEC-6)', async () => {
      const { id } = await world.start()
      expect(await world.flow.cancel('unknown', 'owner')).to.equal(false)
      expect(await world.flow.cancel(id, 'somebody else')).to.equal(false)
      expect((await world.stored(id))?.state).to.equal('pending')
      expect(await world.flow.cancel(id), 'everything exists without an owner').to.equal(true)
    })

    it('lets who waits go at once', async () => {
      const { id } = await world.start()
      const wait = see(world.flow.wait(id, { timeoutMs: 60_000 }))
      await settle()
      await world.flow.cancel(id)
      await settle()
      expect(wait.value).to.include({ state: 'cancelled' })
    })

    it('wins over the token request in flight, and nothing is asked afterwards (POLL-14)', async () => {
      const { id } = await world.start()
      void world.flow.wait(id, { timeoutMs: 60_000 })
      await world.clock.advance(firstWaitMs)
      await world.flow.cancel(id)
      world.op.tokenRequests[0]?.answer(granted)
      await world.clock.advance(60_000)
      expect(await world.stored(id)).to.include({ state: 'cancelled' })
      const kept = await world.stored(id)
      expect(JSON.stringify(kept)).to.not.include('the-access-token')
      expect(await world.flow.notifications.take(id, { auth_req_id: 'auth-req-1' })).to.include({
        verdict: 'accepted',
      })
      expect(world.op.tokenRequests).to.have.length(1)
    })
  })

  describe('close()', () => {
    it('lets everybody who waits go, and asks nothing any more', async () => {
      const { id } = await world.start()
      const waits = [1, 2].map(() => see(world.flow.wait(id, { timeoutMs: 60_000 })))
      await world.clock.advance(1_000)
      await world.flow.close()
      await settle()
      for (const { value } of waits) expect(value && isOpen(value)).to.equal(true)
      await world.clock.advance(60_000)
      expect(await world.flow.wait(id, { timeoutMs: 60_000 })).to.include({ state: 'pending' })
      expect(world.op.tokenRequests).to.have.length(0)
    })

    it('waits for the token request in flight, and keeps what it brings', async () => {
      const { id } = await world.start()
      void world.flow.wait(id, { timeoutMs: 60_000 })
      await world.clock.advance(firstWaitMs)
      const close = see(world.flow.close())
      await world.clock.advance(tokenTimeoutMs / 2)
      expect(close.over).to.equal(false)
      world.op.tokenRequests[0]?.answer(granted)
      await settle()
      expect(close.over).to.equal(true)
      expect((await world.stored(id))?.state).to.equal('complete')
    })

    it('waits for a start in flight: the person has been asked', async () => {
      let acknowledge = () => {}
      world.op.onAuthenticate = () =>
        new Promise((resolve) => {
          acknowledge = () => resolve({ authReqId: 'A', expiresIn: 120, interval: 5 })
        })
      const start = see(world.start())
      await settle()
      const close = see(world.flow.close())
      await world.clock.advance(5_000)
      expect(close.over).to.equal(false)
      acknowledge()
      await settle()
      expect([close.over, start.value?.authReqId]).to.deep.equal([true, 'A'])
    })

    it('lets go who waits for the delivery of somebody else', async () => {
      const { id } = await world.start()
      const entry = await world.ledger.apply(id, { holder: 'x', ...granted } as never)
      if (entry?.transaction.state !== 'complete') return expect.fail('not complete')
      await world.flow.claim(entry.transaction)
      const leaving = new AbortController()
      const gone = see(world.flow.untilSettled(id, 0, leaving.signal))
      leaving.abort()
      await settle()
      expect(gone.over, 'who left').to.equal(true)
      const wait = see(world.flow.untilSettled(id, 0, new AbortController().signal))
      await settle()
      expect(wait.over).to.equal(false)
      await world.flow.close()
      await settle()
      const { timers } = world.clock
      await world.clock.advance(10_000)
      expect(timers, 'timers after close()').to.equal(0)
    })
  })
})
