/** `kill -9` of the instance while a login starts: before the browser has its handle, and right after. */
import { expect } from 'chai'
import { expectSignedInOnce, fate, faultStage, Visitor } from '../support/fault-stage.ts'
import type { Instance } from '../support/instances.ts'

/** Longer than a transaction that nobody has acknowledged lives, and is kept. */
const lifetimeSeconds = 600 + 1

for (const deliveryMode of ['poll', 'ping'] as const) {
  describe(`an instance is killed while a login starts, in ${deliveryMode} mode`, function () {
    this.timeout(20_000)

    const stage = faultStage()
    let a: Instance
    let b: Instance
    let visitor: Visitor

    beforeEach(async () => {
      a = await stage.instance({ deliveryMode })
      b = await stage.instance({ deliveryMode })
      visitor = new Visitor(a)
    })

    /** The browser has no handle: all that it can do is to start again, at the instance that is left. */
    async function startsAgain(): Promise<void> {
      const { op } = stage
      visitor.moveTo(b)
      const transaction = await visitor.begin()
      const before = visitor.copy()
      const [abandoned, known] = op.callsTo('backchannel').map((call) => call.answer?.['auth_req_id'])
      op.onToken(({ params }) => op.tokens({ authReqId: String(params.get('auth_req_id')) }))
      if (deliveryMode === 'ping') await op.ping(b.notificationUrl, { authReqId: String(known) })
      else await stage.travel(2)
      expect(await visitor.outcome(transaction)).to.deep.equal({ transaction, status: 'complete' })
      await expectSignedInOnce(stage, { visitor, before, transaction })
      expect(op.callsTo('token').map(({ params }) => params.get('auth_req_id'))).to.deep.equal([known])
      expect(op.callsTo('backchannel'), 'nothing is sent again by itself [REQ-16]').to.have.length(2)
      if (abandoned !== undefined && deliveryMode === 'ping') {
        // The person approves the first question, too: no session is there for it.
        op.onToken(({ params }) => op.tokens({ authReqId: String(params.get('auth_req_id')) }))
        const { status } = await op.ping(b.notificationUrl, { authReqId: String(abandoned) })
        expect(status).to.equal(204)
      }
      const signedIn = (await stage.sessions()).filter(({ login }) => login)
      expect(signedIn.map(({ login }) => login)).to.deep.equal([transaction])
      expect(op.violations()).to.deep.equal([])
    }

    it('before the record is written: nobody is asked, and the browser starts again', async () => {
      await a.trap('created.write:before', 'kill')
      expect(await fate(visitor.start())).to.equal('cut off')
      await a.ended
      expect(stage.op.callsTo('backchannel')).to.have.length(0)
      visitor.moveTo(b)
      expect(await visitor.begin()).to.be.a('string')
      expect(stage.op.callsTo('backchannel')).to.have.length(1)
    })

    it('after the record is written, before the request is sent: the same', async () => {
      await a.trap('backchannel:before', 'kill')
      expect(await fate(visitor.start())).to.equal('cut off')
      await a.ended
      visitor.moveTo(b)
      expect(await visitor.begin()).to.be.a('string')
      expect(stage.op.callsTo('backchannel')).to.have.length(1)
    })

    it('after the request is sent, before the acknowledgement comes: the browser starts again', async () => {
      stage.op.onBackchannel({ hang: true })
      const start = fate(visitor.start())
      await stage.op.waitForCall('backchannel')
      await a.kill()
      expect(await start).to.equal('cut off')
      await startsAgain()
    })

    it('after the acknowledgement has come, before it is written: the browser starts again', async () => {
      await a.trap('backchannel:after', 'kill')
      expect(await fate(visitor.start())).to.equal('cut off')
      await startsAgain()
    })

    it('after the acknowledgement is written, before the answer leaves: the browser starts again', async () => {
      await a.trap('waiting.write:after', 'kill')
      expect(await fate(visitor.start())).to.equal('cut off')
      await startsAgain()
    })

    it('after the answer has left: the browser that has it goes on at the other one', async () => {
      const { op } = stage
      await a.trap('start:sent', 'kill')
      const transaction = await visitor.begin()
      await a.ended
      const before = visitor.copy(b)
      visitor.moveTo(b)
      op.onToken(() => op.tokens())
      if (deliveryMode === 'ping') await op.ping(b.notificationUrl)
      else await stage.travel(2)
      expect(await visitor.outcome(transaction)).to.deep.equal({ transaction, status: 'complete' })
      await expectSignedInOnce(stage, { visitor, before, transaction })
      expect(op.callsTo('token')).to.have.length(1)
      expect(op.callsTo('backchannel')).to.have.length(1)
      expect(op.violations()).to.deep.equal([])
    })

    it('leaves a record that goes by itself', async () => {
      await a.trap('backchannel:after', 'kill')
      await fate(visitor.start())
      await a.ended
      const keys = (await stage.redis.command('KEYS', 'ciba:*')) as string[]
      expect(keys).to.have.length(1)
      const left = Number(await stage.redis.command('PTTL', keys[0] as string))
      expect(left).to.be.within(1, lifetimeSeconds * 1000)
    })
  })
}
