/** `kill -9` of the instance between the ping and the tokens in the record, and what the OP then says to another one. */
import { expect } from 'chai'
import { expectSignedInOnce, fate, faultStage, Visitor } from '../support/fault-stage.ts'
import type { Instance } from '../support/instances.ts'
import { pending, tokenError } from '../support/scripted-op.ts'

/** Longer than the lease of a token request: 60 seconds for the request, 20 for the checks, and 5 more. */
const leaseSeconds = 90

for (const deliveryMode of ['poll', 'ping'] as const) {
  describe(`an instance is killed while it fetches the tokens, in ${deliveryMode} mode`, function () {
    this.timeout(20_000)

    const stage = faultStage()
    let a: Instance
    let b: Instance
    let visitor: Visitor
    let before: Visitor
    let transaction: string

    beforeEach(async () => {
      a = await stage.instance({ deliveryMode })
      b = await stage.instance({ deliveryMode })
      visitor = new Visitor(a)
      transaction = await visitor.begin()
      before = visitor.copy(b)
    })

    /** Makes A ask for the tokens, which is its end, with a browser that waits there. */
    async function kill(now?: () => Promise<void>): Promise<void> {
      if (deliveryMode === 'poll') await stage.travel(2)
      const poll = fate(visitor.poll(transaction, 20))
      if (deliveryMode === 'ping') stage.op.ping(a.notificationUrl).catch(() => {})
      await now?.()
      await a.ended
      expect(await poll).to.equal('cut off')
      visitor.moveTo(b)
    }

    async function expectLogin(tokenRequests: number): Promise<void> {
      expect(await visitor.outcome(transaction)).to.deep.equal({ transaction, status: 'complete' })
      await expectSignedInOnce(stage, { visitor, before, transaction })
      expect(stage.op.callsTo('token')).to.have.length(tokenRequests)
      expect(stage.op.callsTo('backchannel')).to.have.length(1)
      expect(stage.op.violations()).to.deep.equal([])
      const said = await b.said('express-ciba:login')
      expect(said.map(({ event }) => event)).to.deep.equal(['signedIn'])
    }

    /** The OP has handed out the tokens, to whoever does not live any more. */
    async function expectReport(): Promise<void> {
      const ended = { transaction, status: 'failed', error: 'outcome_unknown' }
      expect(await visitor.outcome(transaction)).to.deep.equal(ended)
      expect((await visitor.poll(transaction)).body, 'for good').to.deep.equal(ended)
      const said = await b.said('express-ciba:transaction')
      expect(said).to.have.length(1)
      expect(said[0]).to.include({ event: 'ended', status: 'failed', error: 'outcome_unknown' })
      expect(await b.said('express-ciba:login')).to.deep.equal([])
      expect((await stage.sessions()).filter(({ login }) => login)).to.deep.equal([])
      expect(await visitor.user()).to.equal(undefined)
      expect(stage.op.callsTo('token')).to.have.length(2)
      expect(stage.op.violations()).to.deep.equal([])
    }

    /** In poll mode the record must not look as if nobody had asked. */
    async function expectNoRequestWithinLease(): Promise<void> {
      const { status, body } = await visitor.poll(transaction, 0.2)
      expect([status, body['status']]).to.deep.equal([200, 'pending'])
      expect(stage.op.callsTo('token'), 'the one of the killed one may be in flight').to.have.length(1)
      await stage.travel(leaseSeconds)
    }

    it('before the lease is written: another one asks at once', async () => {
      await a.trap('leased.write:before', 'kill')
      await kill()
      stage.op.onToken(() => stage.op.tokens())
      await expectLogin(1)
    })

    it('after the lease is written, before the request is sent: another one asks when the lease is over', async () => {
      await a.trap('token:before', 'kill')
      await kill()
      stage.op.onToken(() => stage.op.tokens())
      expect((await visitor.poll(transaction, 0.2)).body).to.have.property('status', 'pending')
      expect(stage.op.callsTo('token')).to.have.length(0)
      await stage.travel(leaseSeconds)
      await expectLogin(1)
    })

    async function killInFlight(): Promise<void> {
      stage.op.onToken({ hang: true })
      await kill(async () => {
        await stage.op.waitForCall('token')
        await a.kill()
      })
      await expectNoRequestWithinLease()
    }

    it('during the request, to which the OP still has the tokens: another one gets them after the lease', async () => {
      await killInFlight()
      stage.op.onToken(() => stage.op.tokens())
      await expectLogin(2)
    })

    it('during the request, and the person has not decided: another one goes on asking', async () => {
      await killInFlight()
      stage.op.onToken(pending(), () => stage.op.tokens())
      await expectLogin(3)
    })

    it('during the request, and the person has denied: another one says so', async () => {
      await killInFlight()
      stage.op.onToken(tokenError('access_denied'))
      expect(await visitor.outcome(transaction)).to.include({ status: 'denied', error: 'access_denied' })
    })

    it('during the request, by which the OP has consumed the auth_req_id: that is reported [POLL-13]', async () => {
      await killInFlight()
      stage.op.onToken(tokenError('invalid_grant'))
      await expectReport()
    })

    it('after the tokens have come, before they are written: that is reported [POLL-13]', async () => {
      stage.op.onToken(() => stage.op.tokens(), tokenError('invalid_grant'))
      await a.trap('token:after', 'kill')
      await kill()
      await expectNoRequestWithinLease()
      await expectReport()
    })

    it('after the tokens have come, while they are written: that is reported [POLL-13]', async () => {
      stage.op.onToken(() => stage.op.tokens(), tokenError('invalid_grant'))
      await a.trap('complete.write:before', 'kill')
      await kill()
      await expectNoRequestWithinLease()
      await expectReport()
    })

    it('after the tokens are written: another one brings them at once', async () => {
      stage.op.onToken(() => stage.op.tokens())
      await a.trap('complete.write:after', 'kill')
      await kill()
      await expectLogin(1)
    })
  })
}

describe('an instance is killed while it takes a ping', function () {
  this.timeout(20_000)

  const stage = faultStage()
  let a: Instance
  let b: Instance
  let visitor: Visitor
  let before: Visitor
  let transaction: string

  beforeEach(async () => {
    a = await stage.instance({ deliveryMode: 'ping' })
    b = await stage.instance({ deliveryMode: 'ping' })
    // It waits at the other one from the beginning.
    visitor = new Visitor(b)
    transaction = await visitor.begin()
    before = visitor.copy()
    stage.op.onToken(() => stage.op.tokens())
  })

  const pong = () =>
    stage.op.ping(a.notificationUrl).then(
      ({ status }) => status,
      () => 'cut off',
    )

  async function expectLogin(outcome: Promise<unknown>): Promise<void> {
    expect(await outcome).to.deep.equal({ transaction, status: 'complete' })
    await expectSignedInOnce(stage, { visitor, before, transaction })
    expect(stage.op.callsTo('token')).to.have.length(1)
    expect(stage.op.violations()).to.deep.equal([])
  }

  for (const isWaiting of [true, false]) {
    const who = isWaiting ? 'the browser that waits at another one' : 'the browser that comes later'

    it(`after its 204: ${who} has the tokens fetched`, async () => {
      await a.trap('notification:sent', 'kill')
      const waiting = isWaiting ? visitor.outcome(transaction) : undefined
      expect(await pong()).to.equal(204)
      await a.ended
      await expectLogin(waiting ?? visitor.outcome(transaction))
    })

    it(`after the ping is written, before its 204: ${who} has them fetched`, async () => {
      await a.trap('ready.write:after', 'kill')
      const waiting = isWaiting ? visitor.outcome(transaction) : undefined
      expect(await pong()).to.equal('cut off')
      await expectLogin(waiting ?? visitor.outcome(transaction))
    })
  }

  it('before the ping is written: the OP pings another one [PING-10]', async () => {
    await a.trap('ready.write:before', 'kill')
    expect(await pong()).to.equal('cut off')
    expect((await stage.op.ping(b.notificationUrl)).status).to.equal(204)
    await expectLogin(visitor.outcome(transaction))
  })

  it('before the ping is written, and the OP pings once: slow polling finds them [PING-12]', async () => {
    await a.trap('ready.write:before', 'kill')
    expect(await pong()).to.equal('cut off')
    expect((await visitor.poll(transaction)).body).to.have.property('status', 'pending')
    expect(stage.op.callsTo('token')).to.have.length(0)
    await stage.travel(31)
    await expectLogin(visitor.outcome(transaction))
  })

  it('after the ping is written, and the OP repeats it at another one: one token request [PING-10]', async () => {
    await a.trap('ready.write:after', 'kill')
    expect(await pong()).to.equal('cut off')
    expect((await stage.op.ping(b.notificationUrl)).status).to.equal(204)
    await expectLogin(visitor.outcome(transaction))
  })
})
