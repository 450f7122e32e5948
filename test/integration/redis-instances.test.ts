/** Three instances of an app on one Redis, with transactions and sessions there: any of them takes any request [SEC-10]. */

import { expect } from 'chai'
import { RedisStore } from 'connect-redis'
import { RedisTransactionStore } from '../../lib/stores/redis.ts'
import { startApp, type TestApp } from '../support/app.ts'
import { redisServer } from '../support/redis-server.ts'
import { type ScriptedOp, startScriptedOp } from '../support/scripted-op.ts'
import { until } from '../support/web.ts'

describe('three instances on one Redis', function () {
  this.timeout(20_000)

  let op: ScriptedOp
  let apps: TestApp[]
  let stores: RedisTransactionStore[]
  let cookie: string

  beforeEach(async () => {
    op = await startScriptedOp()
    apps = []
    stores = []
    cookie = ''
  })
  afterEach(async () => {
    for (const app of apps) await app.close()
    for (const store of stores) await store.close()
    await op.stop()
  })

  const redis = redisServer()

  async function startInstance(store?: RedisTransactionStore): Promise<TestApp> {
    const client = await redis.client()
    const own = store ?? new RedisTransactionStore({ client })
    stores.push(own)
    const app = await startApp({
      options: {
        issuerBaseURL: op.issuer,
        deliveryMode: 'ping',
        baseURL: 'http://app.test',
        secret: 'of all instances',
        store: own,
      },
      session: { store: new RedisStore({ client }) },
    })
    apps.push(app)
    return app
  }

  async function post({ origin }: TestApp, path: string, body: object): Promise<Response> {
    const headers = { 'content-type': 'application/json', cookie }
    const answer = await fetch(origin + path, { method: 'POST', headers, body: JSON.stringify(body) })
    cookie = answer.headers.getSetCookie()[0]?.split(';')[0] ?? cookie
    return answer
  }

  async function begin(app: TestApp): Promise<string> {
    const answer = await post(app, '/ciba/start', { loginHint: 'alice' })
    return ((await answer.json()) as { transaction: string }).transaction
  }

  const userAt = async ({ origin }: TestApp) => (await fetch(`${origin}/me`, { headers: { cookie } })).status

  it('look at a transaction that is not due by one read, and by no subscription', async () => {
    const [a, b] = [await startInstance(), await startInstance()]
    const transaction = await begin(a)
    await redis.resetCounts()
    for (let look = 0; look < 5; look++) await post(b, '/ciba/poll', { transaction })
    // The other one is the session.
    expect(await redis.counts())
      .to.include({ get: 10 })
      .and.to.not.have.any.keys('ssubscribe', 'evalsha')
  })

  it('start at one, wait at another, ping at the third: one token request, one login [POLL-2, SEC-7]', async () => {
    const [a, b, c] = [await startInstance(), await startInstance(), await startInstance()]
    op.onToken(() => op.tokens())
    const transaction = await begin(a)
    const polls = [b, b, a, b].map((app) => post(app, '/ciba/poll', { transaction, wait: 15 }))
    await until('both wait', async () => (await redis.subscribers()).length === 2)
    const since = Date.now()
    expect((await op.ping(c.notificationUrl)).status).to.equal(204)
    const answers = await Promise.all(polls)
    const statuses = await Promise.all(
      answers.map(async (answer) => ((await answer.json()) as { status: string }).status),
    )
    expect(statuses.toSorted()).to.deep.equal(['complete', 'pending', 'pending', 'pending'])
    expect(answers[statuses.indexOf('complete')]?.headers.getSetCookie()).to.have.length(1)
    // Sooner than a browser that nothing wakes would have read again.
    expect(Date.now() - since).to.be.below(2_500)
    expect(op.callsTo('token')).to.have.length(1)
    for (const app of [a, b, c]) expect(await userAt(app)).to.equal(200)
    expect(await redis.command('PUBSUB', 'SHARDCHANNELS')).to.deep.equal([])
  })

  it('take twenty pings at once for one [PING-10, POLL-2]', async () => {
    const all = [await startInstance(), await startInstance(), await startInstance()]
    op.onToken(() => op.tokens())
    const transaction = await begin(all[0] as TestApp)
    const pings = Array.from({ length: 21 }, (_, n) => op.ping((all[n % 3] as TestApp).notificationUrl))
    expect((await Promise.all(pings)).map(({ status }) => status)).to.deep.equal(Array(21).fill(204))
    const answer = await post(all[1] as TestApp, '/ciba/poll', { transaction, wait: 15 })
    expect(await answer.json()).to.deep.equal({ transaction, status: 'complete' })
    expect(op.callsTo('token')).to.have.length(1)
    expect(op.violations()).to.deep.equal([])
  })

  it('lose no login when no message arrives: it costs seconds', async () => {
    const client = await redis.client()
    let isWaiting = false
    const deaf = new RedisTransactionStore({
      sendCommand: (args) => client.sendCommand(args),
      async subscribe() {
        isWaiting = true
        return () => {}
      },
    })
    const [a, b] = [await startInstance(), await startInstance(deaf)]
    op.onToken(() => op.tokens())
    const transaction = await begin(a)
    const poll = post(b, '/ciba/poll', { transaction, wait: 15 })
    await until('the browser waits', () => isWaiting)
    const since = Date.now()
    await op.ping(a.notificationUrl)
    expect(await (await poll).json()).to.deep.equal({ transaction, status: 'complete' })
    expect(Date.now() - since).to.be.within(1_000, 8_000)
    expect(op.callsTo('token')).to.have.length(1)
  })
})
