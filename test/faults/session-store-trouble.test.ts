/**
 * The session store of an app fails or hangs at each step of a login. What else it may do, and to which handlers, is in
 * `session-failures.test.ts` and `session-arrival.test.ts`.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'chai'
import { type Answer, expectSignedInOnce, faultStage, Visitor } from '../support/fault-stage.ts'
import type { Instance } from '../support/instances.ts'
import { until } from '../support/web.ts'

describe('the session store', function () {
  this.timeout(20_000)

  const stage = faultStage()
  let instance: Instance
  let visitor: Visitor

  beforeEach(async () => {
    instance = await stage.instance({ deliveryMode: 'ping' })
    visitor = new Visitor(instance)
    stage.op.onToken(() => stage.op.tokens())
  })

  const approve = () => stage.op.ping(instance.notificationUrl)

  function expectRetryLater({ status, body, headers }: Answer): void {
    expect([status, body['error']]).to.deep.equal([503, 'temporarily_unavailable'])
    expect(Number(headers.get('retry-after'))).to.be.within(1, 60)
  }

  /** The poll has its session, and waits. */
  const waiting = () => until('it waits', async () => (await stage.redis.subscribers()).length > 0)

  /** express-session hands it to the app, before we see the request. */
  function expectAppsError({ status, body }: Answer): void {
    expect([status, body['uncaught']]).to.deep.equal([500, true])
  }

  async function expectLogin(transaction: string, before: Visitor): Promise<void> {
    expect(await visitor.outcome(transaction)).to.deep.equal({ transaction, status: 'complete' })
    await expectSignedInOnce(stage, { visitor, before, transaction })
    expect(stage.op.callsTo('token')).to.have.length(1)
    expect(stage.op.violations()).to.deep.equal([])
  }

  describe('fails', () => {
    it('get(), at a start with a cookie: the error of the app, and nobody is asked', async () => {
      await visitor.begin()
      await instance.trap('session.get:before', 'fail')
      expectAppsError(await visitor.start())
      expect(stage.op.callsTo('backchannel')).to.have.length(1)
      expect(await visitor.begin()).to.be.a('string')
    })

    for (const when of ['before', 'after']) {
      it(`set(), at a start, ${when} it took effect: 503, and nobody is asked`, async () => {
        await instance.trap(`session.set:${when}`, 'fail')
        expectRetryLater(await visitor.start())
        expect(stage.op.callsTo('backchannel')).to.have.length(0)
        expect(await visitor.begin()).to.be.a('string')
      })
    }

    it('get(), at a poll: the error of the app, and the next poll brings the login', async () => {
      const transaction = await visitor.begin()
      const before = visitor.copy()
      await approve()
      await instance.trap('session.get:before', 'fail')
      expectAppsError(await visitor.poll(transaction))
      await expectLogin(transaction, before)
    })

    it('get(), at the end of a poll that waited in vain: the answer is the same', async () => {
      const transaction = await visitor.begin()
      const before = visitor.copy()
      const poll = visitor.poll(transaction, 0.5)
      await waiting()
      await instance.trap('session.get:before', 'fail')
      const { status, body } = await poll
      expect([status, body['status']]).to.deep.equal([200, 'pending'])
      await instance.trapped('session.get:before')
      await approve()
      await expectLogin(transaction, before)
    })

    for (const [what, point, times] of [
      ['get(), where the session before is read', 'session.get:before', 1],
      ['set(), before it took effect', 'login.set:before', 1],
      ['set(), three times', 'login.set:before', 3],
      ['set(), after it took effect', 'login.set:after', 1],
    ] as const) {
      it(`${what}, while the login is brought: 503, no session is left behind, and the next poll brings it`, async () => {
        const transaction = await visitor.begin()
        const before = visitor.copy()
        const poll = visitor.poll(transaction, 10)
        await waiting()
        await instance.trap(point, 'fail', { times })
        await approve()
        expectRetryLater(await poll)
        for (let more = 1; more < times; more++) expectRetryLater(await visitor.poll(transaction, 5))
        expect((await stage.sessions()).filter(({ login }) => login)).to.deep.equal([])
        expect(visitor.cookie).to.equal(before.cookie)
        await expectLogin(transaction, before)
      })
    }

    for (const [what, point] of [
      ['get()', 'session.get:before'],
      ['destroy(), before it took effect', 'session.destroy:before'],
      ['destroy(), after it took effect', 'session.destroy:after'],
    ] as const) {
      it(`${what}, at the first request with the new cookie: a later one ends the session before [SEC-7]`, async () => {
        const transaction = await visitor.begin()
        const before = visitor.copy()
        await approve()
        expect(await visitor.outcome(transaction)).to.have.property('status', 'complete')
        await instance.trap(point, 'fail')
        const first = await visitor.send('GET', '/me')
        if (point === 'session.get:before') expectAppsError(first)
        else expect(first.status).to.equal(200)
        await instance.trapped(point)
        await expectSignedInOnce(stage, { visitor, before, transaction })
      })
    }

    it('touch(), behind an answer: nothing happens to the process', async () => {
      const transaction = await visitor.begin()
      await instance.trap('session.touch:before', 'fail')
      const { status, body } = await visitor.poll(transaction)
      expect([status, body['status']]).to.deep.equal([200, 'pending'])
      await instance.trapped('session.touch:before')
      expect((await visitor.poll(transaction)).status).to.equal(200)
    })
  })

  describe('hangs', () => {
    it('set(), at a start: nobody is asked before it goes on', async () => {
      await instance.trap('session.set:before', 'hang')
      const start = visitor.start()
      await instance.trapped('session.set:before')
      await sleep(200)
      expect(stage.op.callsTo('backchannel')).to.have.length(0)
      await instance.openTraps()
      expect((await start).status).to.equal(202)
    })

    it('set(), while the login is brought, until another answer has brought it: nobody is signed in twice [SEC-7]', async () => {
      const transaction = await visitor.begin()
      const before = visitor.copy()
      await approve()
      await instance.trap('login.set:before', 'hang')
      const slow = before.copy()
      const late = slow.poll(transaction, 10)
      await instance.trapped('login.set:before')
      await stage.travel(11) // the claim is over
      await expectLogin(transaction, before)
      await instance.openTraps()
      const { headers } = await late
      expect(headers.getSetCookie()).to.deep.equal([])
      expect(slow.cookie).to.equal(before.cookie)
      await expectSignedInOnce(stage, { visitor, before, transaction })
    })

    it('set(), for less than that: the same answer brings the login', async () => {
      const transaction = await visitor.begin()
      const before = visitor.copy()
      await approve()
      await instance.trap('login.set:before', 'hang')
      const poll = visitor.poll(transaction, 10)
      await instance.trapped('login.set:before')
      await stage.travel(7)
      await instance.openTraps()
      expect((await poll).body).to.deep.equal({ transaction, status: 'complete' })
      await expectSignedInOnce(stage, { visitor, before, transaction })
    })

    it('destroy(), at the first request with the new cookie: that is answered all the same, within two seconds', async () => {
      const transaction = await visitor.begin()
      const before = visitor.copy()
      await approve()
      expect(await visitor.outcome(transaction)).to.have.property('status', 'complete')
      await instance.trap('session.destroy:before', 'hang')
      const since = Date.now()
      expect(await visitor.user()).to.equal('alice')
      expect(Date.now() - since).to.be.within(500, 2_000)
      await instance.openTraps()
      await expectSignedInOnce(stage, { visitor, before, transaction })
    })

    it('get(), at a request: the ping and the people without a cookie go on', async () => {
      const transaction = await visitor.begin()
      const before = visitor.copy()
      await instance.trap('session.get:before', 'hang')
      const poll = visitor.poll(transaction, 10)
      await instance.trapped('session.get:before')
      expect((await approve()).status).to.equal(204)
      await stage.op.waitForCall('token')
      expect(await new Visitor(instance).begin('bob')).to.be.a('string')
      await instance.openTraps()
      expect((await poll).body).to.deep.equal({ transaction, status: 'complete' })
      await expectSignedInOnce(stage, { visitor, before, transaction })
    })
  })
})
