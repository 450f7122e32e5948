/** Two instances whose clocks are five seconds apart: the OP's interval is kept as the OP sees it, and nothing is done twice. */
import { expect } from 'chai'
import { expectSignedInOnce, faultStage, Visitor } from '../support/fault-stage.ts'
import type { Instance } from '../support/instances.ts'
import { pending } from '../support/scripted-op.ts'
import { until } from '../support/web.ts'

for (const aheadMs of [5_000, -5_000]) {
  const where = aheadMs > 0 ? 'ahead of' : 'behind'
  describe(`an instance whose clock is five seconds ${where} that of the other`, function () {
    this.timeout(30_000)

    const stage = faultStage()
    let wrong: Instance
    let right: Instance

    async function start(deliveryMode: 'poll' | 'ping') {
      wrong = await stage.instance({ deliveryMode }, { aheadMs })
      right = await stage.instance({ deliveryMode })
    }

    /** Time passes, and leaves the clocks as far apart as they are. */
    async function travel(seconds: number): Promise<void> {
      await stage.travel(seconds)
      await wrong.clock(seconds * 1000 + aheadMs)
    }

    for (const first of ['wrong', 'right'] as const) {
      it(`keeps the interval when a browser moves from the ${first} one to the other [POLL-1]`, async () => {
        await start('poll')
        const { op } = stage
        const [asks, takesOver] = first === 'wrong' ? [wrong, right] : [right, wrong]
        op.onToken(pending())
        const visitor = new Visitor(asks)
        const transaction = await visitor.begin()
        const before = visitor.copy(right)
        await visitor.poll(transaction, 1.3)
        expect(op.callsTo('token')).to.have.length(1)
        op.onToken(() => op.tokens())
        visitor.moveTo(takesOver)
        expect((await visitor.poll(transaction, 0.4)).body, 'too early').to.have.property('status', 'pending')
        await travel(7)
        expect(await visitor.outcome(transaction)).to.have.property('status', 'complete')
        expect(op.violations()).to.deep.equal([])
        await expectSignedInOnce(stage, { visitor, before, transaction })
      })
    }

    it('keeps the interval where browsers wait at both [POLL-1, POLL-2]', async () => {
      await start('poll')
      const { op } = stage
      op.onToken(pending(), () => op.tokens())
      const visitor = new Visitor(wrong)
      const transaction = await visitor.begin()
      const windows = [visitor, visitor.copy(right)]
      const outcomes = await Promise.all(windows.map((one) => one.poll(transaction, 25)))
      expect(outcomes.map(({ status }) => status)).to.deep.equal([200, 200])
      expect(outcomes.map(({ body }) => body['status'])).to.include('complete')
      expect(op.callsTo('token')).to.have.length(2)
      expect(op.violations()).to.deep.equal([])
    })

    for (const holder of ['wrong', 'right'] as const) {
      it(`asks nothing while the ${holder} one asks, for as long as that may take [POLL-2]`, async () => {
        await start('poll')
        const { op } = stage
        const [asks, waits] = holder === 'wrong' ? [wrong, right] : [right, wrong]
        const visitor = new Visitor(asks)
        const transaction = await visitor.begin()
        const before = visitor.copy(right)
        // As long as the request may take to be answered, and checked.
        let answer = () => {}
        const answered = new Promise<void>((resolve) => {
          answer = resolve
        })
        op.onToken(async () => {
          await answered
          return op.tokens()
        })
        const asking = visitor.poll(transaction, 20)
        await op.waitForCall('token')
        await travel(79)
        expect((await before.copy(waits).poll(transaction, 0.3)).body).to.have.property('status', 'pending')
        expect(op.callsTo('token')).to.have.length(1)
        answer()
        expect((await asking).body).to.have.property('status', 'complete')
        await expectSignedInOnce(stage, { visitor, before, transaction })
        expect(op.violations()).to.deep.equal([])
      })
    }

    for (const receiver of ['wrong', 'right'] as const) {
      it(`asks after the 204 of the ${receiver} one, which has the ping, and once [PING-7, POLL-2]`, async () => {
        await start('ping')
        const { op } = stage
        const [pinged, waits] = receiver === 'wrong' ? [wrong, right] : [right, wrong]
        op.onToken(() => op.tokens())
        const visitor = new Visitor(waits)
        const transaction = await visitor.begin()
        const before = visitor.copy()
        const waiting = visitor.poll(transaction, 20)
        await until('it waits', async () => (await stage.redis.subscribers()).length === 1)
        // The answer takes its time.
        await pinged.trap('ready.write:after', 'hang')
        const pong = op.ping(pinged.notificationUrl)
        await pinged.trapped('ready.write:after')
        const early = op.waitForCall('token', 1, 500).then(
          () => 'early',
          () => 'not before the 204',
        )
        expect(await early).to.equal('not before the 204')
        await pinged.openTraps()
        expect((await pong).status).to.equal(204)
        expect((await waiting).body).to.have.property('status', 'complete')
        await expectSignedInOnce(stage, { visitor, before, transaction })
        expect(op.callsTo('token')).to.have.length(1)
      })
    }
  })
}
