/** A push that overtakes the acknowledgement of its own authentication request (PUSH-2, PING-11). */
import { expect } from 'chai'
import { CibaError } from '../../lib/errors.ts'
import type { Transaction } from '../../lib/transaction.ts'
import { settle } from '../support/fake-clock.ts'
import { FakeWorld, grant, type Seen, see } from '../support/fake-op.ts'

const early = 'early'
const tokens = { auth_req_id: early, access_token: 'a', id_token: 'i' }

describe('Flow, when a push overtakes the acknowledgement', () => {
  let world: FakeWorld
  let id: string

  beforeEach(() => {
    world = new FakeWorld('push')
  })
  afterEach('nothing is left behind, and the OP was never asked (PUSH-8)', async () => {
    expect(await world.end(id), 'listeners, timers').to.deep.equal([0, 0])
    expect(world.op.tokenRequests).to.deep.equal([])
  })

  const push = async (body: unknown, flow = world.flow): Promise<string> =>
    (await flow.notifications.take(id, body)).verdict
  const acknowledgement = { authReqId: early, expiresIn: 120, interval: 5 }

  /** Starts, with pushes before the OP acknowledges; gives the verdicts, too. */
  const startWith = async (...bodies: unknown[]) => {
    const verdicts: string[] = []
    world.op.onAuthenticate = async (token) => {
      id = world.flow.notifications.verify(`Bearer ${token}`) ?? expect.fail()
      for (const body of bodies) verdicts.push(await push(body))
      expect((await world.stored(id))?.state, 'before the acknowledgement').to.equal('pending')
      return acknowledgement
    }
    const started = await world.start()
    return { started, verdicts }
  }

  it('is applied when that brings the same auth_req_id', async () => {
    const { started, verdicts } = await startWith(tokens)
    expect(verdicts).to.deep.equal(['accepted'])
    expect(started).to.deep.include({ state: 'complete', authReqId: early, grant })
    expect(await world.stored(id)).to.deep.equal(started)
  })

  it('is applied when it is an error (PUSH-7)', async () => {
    world.op.onPush = async () => ({ type: 'denied', error: 'access_denied' })
    const { started } = await startWith({ auth_req_id: early, error: 'access_denied' })
    expect(started).to.include({ state: 'denied', error: 'access_denied' })
  })

  it('counts for nothing when it names another auth_req_id, and a good one is taken later', async () => {
    const { started, verdicts } = await startWith({ ...tokens, auth_req_id: 'another' })
    expect(verdicts).to.deep.equal(['accepted'])
    expect(started).to.include({ state: 'pending' }).and.not.have.property('earlyPush')
    expect(await push({ ...tokens, auth_req_id: 'another' })).to.equal('unauthorized')
    expect(await push(tokens)).to.equal('accepted')
    expect((await world.stored(id))?.state).to.equal('complete')
  })

  it('may come twice, or after a wrong one', async () => {
    const { started, verdicts } = await startWith({ ...tokens, auth_req_id: 'another' }, tokens, tokens)
    expect(verdicts).to.deep.equal(['accepted', 'accepted', 'accepted'])
    expect(started.state).to.equal('complete')
  })

  it('leaves no trace when it did not pass the checks (PUSH-9)', async () => {
    world.op.onPush = async () => ({ type: 'invalid' })
    const { started, verdicts } = await startWith(tokens)
    expect(verdicts).to.deep.equal(['invalid'])
    expect(started).to.include({ state: 'pending' }).and.not.have.property('earlyPush')
  })

  it('is dropped, tokens and all, when the acknowledgement never comes (SEC-9)', async () => {
    const fault = new CibaError('ERR_CIBA_OP_FAILED', 'the OP did not answer')
    world.op.onAuthenticate = async (token) => {
      id = world.flow.notifications.verify(`Bearer ${token}`) ?? expect.fail()
      expect(await push(tokens)).to.equal('accepted')
      expect(JSON.stringify(await world.stored(id))).to.include('the-access-token')
      throw fault
    }
    const start = see(world.start())
    await settle()
    expect(start.error).to.equal(fault)
    const kept = await world.stored(id)
    expect(kept?.state).to.equal('failed')
    expect(JSON.stringify(kept)).to.not.include('the-')
    expect(await push(tokens), 'once more').to.equal('accepted')
    expect((await world.stored(id))?.state).to.equal('failed')
  })

  context('while the OP takes its time', () => {
    let acknowledge: (authReqId?: string) => Promise<void>
    let start: Seen<Transaction>

    beforeEach(async () => {
      world.op.onAuthenticate = (token) => {
        id = world.flow.notifications.verify(`Bearer ${token}`) ?? expect.fail()
        return new Promise((resolve) => {
          acknowledge = async (authReqId = early) => {
            resolve({ ...acknowledgement, authReqId })
            await settle()
          }
        })
      }
      start = see(world.start())
      await settle()
    })

    it('is applied wherever it was taken, and whoever waits learns of it', async () => {
      const waiter = see(world.newFlow().wait(id, { timeoutMs: 60_000 }))
      expect(await push(tokens, world.newFlow())).to.equal('accepted')
      await world.clock.advance(1_000)
      expect(waiter.over).to.equal(false)
      await acknowledge()
      expect(start.value?.state).to.equal('complete')
      expect(waiter.value?.state).to.equal('complete')
    })

    it('is applied although the acknowledgement came while it was looked at', async () => {
      let answer = () => {}
      world.op.onPush = () =>
        new Promise((resolve) => {
          answer = () => resolve({ type: 'granted', grant })
        })
      const notified = see(world.flow.notifications.take(id, tokens))
      await settle()
      await acknowledge()
      expect(start.value?.state).to.equal('pending')
      answer()
      await settle()
      expect(notified.value?.verdict).to.equal('accepted')
      expect((await world.stored(id))?.state).to.equal('complete')
    })

    it('is unauthorized when the acknowledgement settles another auth_req_id in the last moment (PING-3)', async () => {
      world.store.beforeWrite = async (transaction) => {
        if (!('earlyPush' in transaction)) return
        world.store.beforeWrite = async () => {}
        await acknowledge('settled')
      }
      expect(await push(tokens)).to.equal('unauthorized')
      expect(start.value).to.include({ state: 'pending', authReqId: 'settled' })
      expect(JSON.stringify(await world.stored(id))).to.not.include('the-access-token')
    })

    it('does not bring back what was cancelled (POLL-14)', async () => {
      expect(await push(tokens)).to.equal('accepted')
      await world.flow.cancel(id)
      await acknowledge()
      expect(start.value?.state).to.equal('cancelled')
      expect(JSON.stringify(await world.stored(id))).to.not.include('the-access-token')
    })
  })
})
