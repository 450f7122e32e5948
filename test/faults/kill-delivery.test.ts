/** `kill -9` of the instance between the tokens in the record and the browser that has come back with its new cookie. */
import { expect } from 'chai'
import { expectSignedInOnce, fate, faultStage, Visitor } from '../support/fault-stage.ts'
import type { Instance } from '../support/instances.ts'

/** Longer than one answer may take to bring a login, and than a browser has to show up with it. */
const claimSeconds = 11

for (const deliveryMode of ['poll', 'ping'] as const) {
  describe(`an instance is killed while it signs a browser in, in ${deliveryMode} mode`, function () {
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
      stage.op.onToken(() => stage.op.tokens())
    })

    async function poll() {
      if (deliveryMode === 'poll') await stage.travel(2)
      else await stage.op.ping(a.notificationUrl)
      return visitor.poll(transaction, 20)
    }

    async function killed(): Promise<void> {
      expect(await fate(poll())).to.equal('cut off')
      await a.ended
      visitor.moveTo(b)
    }

    /** @param orphans - sessions with the login whose cookie has never left */
    async function expectLogin(orphans = 0): Promise<void> {
      expect(await visitor.outcome(transaction)).to.deep.equal({ transaction, status: 'complete' })
      await expectArrival(orphans)
      const said = await b.said('express-ciba:login')
      expect(said.map(({ event }) => event)).to.deep.equal(['signedIn'])
    }

    async function expectArrival(orphans = 0): Promise<void> {
      await expectSignedInOnce(stage, { visitor, before, transaction }, orphans)
      expect(stage.op.callsTo('token')).to.have.length(1)
      expect(stage.op.violations()).to.deep.equal([])
    }

    async function expectPatience(): Promise<void> {
      const since = Date.now()
      const { status, body } = await visitor.poll(transaction)
      expect([status, body['status']], 'the killed one may still be at it').to.deep.equal([200, 'pending'])
      expect(Date.now() - since).to.be.below(4_000)
    }

    it('before the claim is written: another one brings the login at once', async () => {
      await a.trap('claimed.write:before', 'kill')
      await killed()
      await expectLogin()
    })

    for (const [when, point] of [
      ['after the claim is written', 'claimed.write:after'],
      ['while afterAuthentication runs', 'afterAuthentication'],
      ['before the session is saved', 'login.set:before'],
    ] as const) {
      it(`${when}: another one brings the login when the claim is over`, async () => {
        await a.trap(point, 'kill')
        await killed()
        if (point === 'afterAuthentication') await expectPatience()
        await stage.travel(claimSeconds)
        await expectLogin()
      })
    }

    it('after the session is saved, before the answer leaves: the same, in another session', async () => {
      await a.trap('login.set:after', 'kill')
      await killed()
      const [orphan] = (await stage.sessions()).filter(({ login }) => login)
      await stage.travel(claimSeconds)
      // Nobody knows its id any more: it goes with its time to live.
      await expectLogin(1)
      expect(orphan?.id).to.be.a('string').and.not.equal(visitor.sessionId)
    })

    for (const [when, point] of [
      ['after the answer has left', 'poll:sent'],
      ['after it is written that the answer has left', 'sent.write:after'],
    ] as const) {
      it(`${when}, which the browser has got: it is signed in at another one, and the session before ends`, async () => {
        await a.trap(point, 'kill')
        expect((await poll()).body).to.deep.equal({ transaction, status: 'complete' })
        await a.ended
        visitor.moveTo(b)
        await expectArrival()
        expect(await b.said('express-ciba:login'), 'said where it happened').to.deep.equal([])
      })
    }

    it('after the answer has left, which got lost: another one brings it when the claim is over', async () => {
      await a.trap('poll:sent', 'kill')
      await poll()
      await a.ended
      Object.assign(visitor, { cookie: before.cookie })
      visitor.moveTo(b)
      await expectPatience()
      await stage.travel(claimSeconds)
      await expectLogin(1)
    })

    it('after it is written that the answer has left, which got lost: the session that it brought ends', async () => {
      await a.trap('sent.write:after', 'kill')
      await poll()
      await a.ended
      Object.assign(visitor, { cookie: before.cookie })
      visitor.moveTo(b)
      await stage.travel(claimSeconds)
      expect(await visitor.outcome(transaction)).to.deep.equal({ transaction, status: 'complete' })
      await expectArrival()
    })

    for (const [when, point] of [
      ['before the session before has ended', 'session.destroy:before'],
      ['before the tokens have left the record', 'delivered.write:before'],
      ['after the tokens have left the record', 'delivered.write:after'],
    ] as const) {
      it(`at the first request with the new cookie, ${when}: another one makes up for it`, async () => {
        expect((await poll()).body).to.deep.equal({ transaction, status: 'complete' })
        await a.trap(point, 'kill')
        expect(await fate(visitor.send('GET', '/me'))).to.equal('cut off')
        await a.ended
        visitor.moveTo(b)
        await expectArrival()
      })
    }
  })
}
