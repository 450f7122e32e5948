/** Redis is killed and comes back, with its data or empty, stands still or is slow, at each step of a login. */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'chai'
import type { RedisClientOptions } from 'redis'
import { type Answer, expectSignedInOnce, fate, faultStage, Visitor } from '../support/fault-stage.ts'
import type { Instance } from '../support/instances.ts'
import { redisServer } from '../support/redis-server.ts'
import { startSlowProxy } from '../support/slow-proxy.ts'
import { until } from '../support/web.ts'

/** How long Redis is away: long enough that whatever is sent meanwhile is sent. */
const awayMs = 300
const reconnectStrategy = 20

const troubles = [
  { what: 'is killed and comes back with its data', keepsData: true, isKilled: true },
  { what: 'stands still for a while', keepsData: true, isKilled: false },
  { what: 'is killed and comes back empty', keepsData: false, isKilled: true },
] as const

for (const { what, keepsData, isKilled } of troubles) {
  describe(`Redis ${what}`, function () {
    this.timeout(20_000)

    const stage = faultStage({ keepsData })
    let instance: Instance
    let visitor: Visitor

    beforeEach(async () => {
      instance = await stage.instance(
        { deliveryMode: 'ping' },
        { redis: { socket: { path: stage.redis.socketPath, tls: false, reconnectStrategy } } },
      )
      visitor = new Visitor(instance)
    })

    /** @param act - what happens while it is away */
    async function trouble(act: () => Promise<unknown>, one = instance): Promise<void> {
      if (isKilled) {
        await stage.redis.kill()
        await until('it has noticed', async () => !(await one.isConnected()))
      } else stage.redis.freeze()
      await act()
      await sleep(awayMs)
      if (isKilled) await stage.redis.start()
      else stage.redis.release()
    }

    const approve = async () => {
      stage.op.onToken(() => stage.op.tokens())
      expect((await stage.op.ping(instance.notificationUrl)).status).to.equal(204)
    }

    /** What is under way when the connection breaks is refused, as by a Redis that reads its data: the browser comes again. */
    async function answerOf(transaction: string, poll: Promise<Answer>): Promise<Answer> {
      let answer = await poll
      for (let again = 0; isKilled && answer.status === 503 && again < 5; again++) {
        expect(Number(answer.headers.get('retry-after'))).to.be.within(1, 60)
        answer = await visitor.poll(transaction, 5)
      }
      return answer
    }

    async function expectComplete(transaction: string, poll: Promise<Answer>): Promise<void> {
      const { body } = await answerOf(transaction, poll)
      expect(body).to.deep.equal({ transaction, status: 'complete' })
    }

    async function expectLost(transaction: string, poll: Promise<Answer>): Promise<void> {
      const { status, body } = await answerOf(transaction, poll)
      expect([status, body['error']]).to.deep.equal([404, 'unknown_transaction'])
    }

    async function expectOneOfEach(): Promise<void> {
      expect(stage.op.callsTo('backchannel')).to.have.length(1)
      expect(stage.op.callsTo('token')).to.have.length(1)
      expect(stage.op.violations()).to.deep.equal([])
      expect((await instance.said('express-ciba:login')).map(({ event }) => event)).to.deep.equal([
        'signedIn',
      ])
    }

    /** Another login on the same connections. */
    async function expectToGoOn(): Promise<void> {
      const other = new Visitor(instance)
      const transaction = await other.begin()
      const authReqId = String(stage.op.callsTo('backchannel').at(-1)?.answer?.['auth_req_id'])
      stage.op.onToken(() => stage.op.tokens({ authReqId }))
      expect((await stage.op.ping(instance.notificationUrl, { authReqId })).status).to.equal(204)
      expect(await other.outcome(transaction)).to.have.property('status', 'complete')
      expect(await other.user()).to.equal('alice')
    }

    it(`while a login starts: ${keepsData ? 'it starts' : '503, and it starts again'}, and the OP is asked once for it`, async () => {
      await instance.trap('backchannel:after', 'hang')
      const start = visitor.start()
      await instance.trapped('backchannel:after')
      await trouble(() => instance.openTraps())
      const { status, headers } = await start
      expect(status).to.equal(keepsData ? 202 : 503)
      if (!keepsData) expect(Number(headers.get('retry-after'))).to.be.within(1, 60)
      expect(stage.op.callsTo('backchannel')).to.have.length(1)
      await expectToGoOn()
    })

    it(`while a browser waits: ${keepsData ? 'the same poll brings the login' : 'it is told that there is no such login'}`, async () => {
      const transaction = await visitor.begin()
      const before = visitor.copy()
      const poll = visitor.poll(transaction, 15)
      await until('it waits', async () => (await stage.redis.subscribers()).length > 0)
      await trouble(async () => {})
      if (keepsData) {
        await approve()
        await expectComplete(transaction, poll)
        await expectSignedInOnce(stage, { visitor, before, transaction })
        await expectOneOfEach()
      } else {
        await expectLost(transaction, poll)
        expect((await stage.op.ping(instance.notificationUrl)).status, 'of the lost one').to.equal(401)
      }
      await expectToGoOn()
    })

    it(`while the tokens are in flight: ${keepsData ? 'they are kept' : 'the login is lost with the rest'}`, async () => {
      const transaction = await visitor.begin()
      const before = visitor.copy()
      let answer = () => {}
      const answered = new Promise<void>((resolve) => {
        answer = resolve
      })
      stage.op.onToken(async () => {
        await answered
        return stage.op.tokens()
      })
      const poll = visitor.poll(transaction, 15)
      await until('it waits', async () => (await stage.redis.subscribers()).length > 0)
      await stage.op.ping(instance.notificationUrl)
      await stage.op.waitForCall('token')
      await trouble(async () => answer())
      if (keepsData) {
        await expectComplete(transaction, poll)
        await expectSignedInOnce(stage, { visitor, before, transaction })
        await expectOneOfEach()
      } else {
        await expectLost(transaction, poll)
        expect(await stage.sessions()).to.deep.equal([])
      }
      await expectToGoOn()
    })

    it('while the session is saved: the login is brought all the same, once', async () => {
      const transaction = await visitor.begin()
      const before = visitor.copy()
      await instance.trap('login.set:before', 'hang')
      const poll = visitor.poll(transaction, 15)
      await approve()
      await instance.trapped('login.set:before')
      await trouble(() => instance.openTraps())
      await expectComplete(transaction, poll)
      expect(await visitor.user()).to.equal('alice')
      if (keepsData) await expectSignedInOnce(stage, { visitor, before, transaction })
      await expectOneOfEach()
      await expectToGoOn()
    })

    it('while the browser comes back with its new cookie: it is signed in, and the session before ends', async () => {
      const transaction = await visitor.begin()
      const before = visitor.copy()
      const poll = visitor.poll(transaction, 15)
      await approve()
      await poll
      await instance.trap('session.destroy:before', 'hang')
      const user = visitor.user()
      await instance.trapped('session.destroy:before')
      await trouble(() => instance.openTraps())
      expect(await user).to.equal('alice')
      if (keepsData) await expectSignedInOnce(stage, { visitor, before, transaction })
      expect((await stage.sessions()).map(({ id }) => id)).not.to.include(before.sessionId)
      await expectOneOfEach()
    })

    if (!isKilled) return

    if (keepsData) {
      it('while the tokens are in flight, and the client of the app queues nothing: they are kept', async () => {
        const redis: RedisClientOptions = {
          socket: { path: stage.redis.socketPath, tls: false, reconnectStrategy },
          disableOfflineQueue: true,
        }
        const hasty = await stage.instance({ deliveryMode: 'ping' }, { redis })
        const known = new Visitor(hasty)
        const transaction = await known.begin()
        const before = known.copy()
        await hasty.trap('token:after', 'hang')
        stage.op.onToken(() => stage.op.tokens())
        await stage.op.ping(hasty.notificationUrl)
        await hasty.trapped('token:after')
        await trouble(() => hasty.openTraps(), hasty)
        while ((await fate(known.poll(transaction))) !== 'answered 200') await sleep(20)
        expect(await known.outcome(transaction)).to.deep.equal({ transaction, status: 'complete' })
        await expectSignedInOnce(stage, { visitor: known, before, transaction })
        expect(stage.op.callsTo('token')).to.have.length(1)
      })
    }

    it('and the client of the app queues nothing: 503 and Retry-After, from us and to the OP, at once', async () => {
      const redis: RedisClientOptions = {
        socket: { path: stage.redis.socketPath, tls: false, reconnectStrategy },
        disableOfflineQueue: true,
      }
      const hasty = await stage.instance({ deliveryMode: 'ping' }, { redis })
      const known = new Visitor(hasty)
      const transaction = await known.begin()
      await stage.redis.kill()
      await until('it has noticed', async () => !(await hasty.isConnected()))
      const [start, poll, ping] = await Promise.all([
        new Visitor(hasty).start('bob'),
        known.poll(transaction),
        stage.op.ping(hasty.notificationUrl),
      ])
      expect([start.status, start.body['error']]).to.deep.equal([503, 'temporarily_unavailable'])
      expect(Number(start.headers.get('retry-after'))).to.be.within(1, 60)
      // express-session has no session for it, and hands that to the app.
      expect([poll.status, poll.body['uncaught']]).to.deep.equal([500, true])
      expect(ping.status).to.equal(503)
      expect(Number(ping.headers.get('retry-after'))).to.be.within(1, 60)
      expect(stage.op.callsTo('backchannel'), 'nobody was asked').to.have.length(1)
      await stage.redis.start()
      const again = () => fate(new Visitor(hasty).start('carol'))
      while ((await again()) !== 'answered 202') await sleep(20)
    })
  })
}

describe('the Redis of the transactions stands still for longer than the store waits', function () {
  this.timeout(30_000)

  const stage = faultStage()
  /** Of the transactions; that of the sessions is well. */
  const records = redisServer()
  afterEach(() => records.release())

  it('503 and Retry-After to who starts, looks, waits or pings; what the OP grants meanwhile is kept', async () => {
    const { op } = stage
    const instance = await stage.instance(
      { deliveryMode: 'ping' },
      {
        redis: { socket: { path: records.socketPath, tls: false } },
        sessions: { socket: { path: stage.redis.socketPath, tls: false } },
      },
    )
    const visitor = new Visitor(instance)
    const waits = new Visitor(instance)
    const looks = new Visitor(instance)
    const transaction = await visitor.begin('alice')
    const before = visitor.copy()
    const authReqId = String(op.callsTo('backchannel')[0]?.answer?.['auth_req_id'])
    const handles = [await waits.begin('bob'), await looks.begin('carol')] as const
    let answer = () => {}
    const answered = new Promise<void>((resolve) => {
      answer = resolve
    })
    op.onToken(async () => {
      await answered
      return op.tokens({ authReqId })
    })
    await op.ping(instance.notificationUrl, { authReqId })
    await op.waitForCall('token')
    records.freeze()
    answer()
    const answers = await Promise.all([
      new Visitor(instance).start('dave'),
      waits.poll(handles[0], 20),
      looks.poll(handles[1]),
      op.ping(instance.notificationUrl),
      visitor.poll(transaction),
    ])
    expect(answers.map(({ status }) => status)).to.deep.equal([503, 503, 503, 503, 503])
    for (const { headers } of answers) expect(Number(headers.get('retry-after'))).to.be.within(1, 60)
    expect(op.callsTo('backchannel'), 'nobody was asked').to.have.length(3)
    records.release()
    expect(await visitor.outcome(transaction)).to.deep.equal({ transaction, status: 'complete' })
    expect(await visitor.user()).to.equal('alice')
    expect(await before.user()).to.equal(undefined)
    expect((await stage.sessions()).filter(({ login }) => login)).to.have.length(1)
    expect((await waits.poll(handles[0])).body).to.have.property('status', 'pending')
    expect((await looks.poll(handles[1])).body).to.have.property('status', 'pending')
    expect(await new Visitor(instance).begin('dave')).to.be.a('string')
    expect(
      op.callsTo('token').filter(({ params }) => params.get('auth_req_id') === authReqId),
    ).to.have.length(1)
    expect(op.violations()).to.deep.equal([])
  })
})

describe('Redis is slow', function () {
  this.timeout(20_000)

  const stage = faultStage()

  it('a login takes longer, at two instances, and happens once', async () => {
    const proxy = await startSlowProxy(stage.redis.socketPath, 30)
    try {
      const redis = { socket: { host: '127.0.0.1', port: proxy.port } }
      const deliveryMode = 'ping'
      const a = await stage.instance({ deliveryMode }, { redis })
      const b = await stage.instance({ deliveryMode }, { redis })
      const visitor = new Visitor(a)
      const transaction = await visitor.begin()
      const before = visitor.copy(b)
      stage.op.onToken(() => stage.op.tokens())
      visitor.moveTo(b)
      const windows = [visitor, visitor.copy(a)]
      const polls = windows.map((one) => one.poll(transaction, 15))
      const pings = [a, b, a].map((one) => stage.op.ping(one.notificationUrl))
      expect((await Promise.all(pings)).map(({ status }) => status)).to.deep.equal([204, 204, 204])
      const answers = await Promise.all(polls)
      const brought = answers.findIndex(({ headers }) => headers.getSetCookie().length > 0)
      const signedIn = windows[brought] as Visitor
      await expectSignedInOnce(stage, { visitor: signedIn, before, transaction })
      expect(stage.op.callsTo('token')).to.have.length(1)
      expect(stage.op.violations()).to.deep.equal([])
    } finally {
      await proxy.close()
    }
  })
})
