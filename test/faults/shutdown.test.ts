/** Instances that end in order while something is under way: they finish it, or leave it to the others, and exit by themselves. */
import { expect } from 'chai'
import type { CibaOptions } from '../../lib/index.ts'
import { open, post } from '../support/flood.ts'
import { type LoadedApp, loadedApps } from '../support/loaded.ts'
import type { LoadedSettings } from '../support/loaded-process.ts'
import { redisServer } from '../support/redis-server.ts'
import { type Answer, type ScriptedOp, startScriptedOp } from '../support/scripted-op.ts'
import { until, Visitor, type VisitorAnswer } from '../support/visitor.ts'

describe('an instance that is told to end', function () {
  this.timeout(30_000)

  const start = loadedApps()
  const redis = redisServer()
  let op: ScriptedOp

  beforeEach(async () => {
    op = await startScriptedOp()
  })
  afterEach(async () => {
    redis.release()
    await op.stop()
  })

  function startInstance(options: CibaOptions = {}, more: Partial<LoadedSettings> = {}): Promise<LoadedApp> {
    const { issuer: issuerBaseURL, clientId: clientID, clientSecret } = op
    const own = { issuerBaseURL, clientID, clientSecret, deliveryMode: 'ping', startLimiter: false } as const
    const settings = { socket: { path: redis.socketPath, tls: false } } as const
    return start({ options: { ...own, ...options }, redis: settings, ...more })
  }

  /** It has exited by itself, with nothing left running, and `auth.close()` has taken no longer than `withinMs`. */
  async function expectEnded(app: LoadedApp, withinMs: number): Promise<void> {
    expect(await app.ended).to.deep.equal({ code: 0, signal: null })
    expect(app.left, 'what was left running').to.equal(undefined)
    expect(app.closedMs).to.be.below(withinMs)
  }

  /** Answers the next token request when it is told to. */
  async function holdTokens(): Promise<() => void> {
    const tokens = await op.tokens()
    let answer = () => {}
    const told = new Promise<void>((resolve) => {
      answer = resolve
    })
    op.onToken(async () => {
      await told
      return tokens
    })
    return () => answer()
  }

  it('lets a hundred waiting browsers go with "pending" and Retry-After, and ends their connections', async () => {
    const app = await startInstance()
    const visitors = Array.from({ length: 100 }, () => new Visitor(app.origin))
    const { sessionReads } = await app.counts()
    const polls = await Promise.all(
      visitors.map(async (visitor) => {
        const transaction = await visitor.begin()
        return { transaction, poll: visitor.poll(transaction, 25) }
      }),
    )
    await until('they wait', async () => (await app.counts()).sessionReads >= sessionReads + 100)
    app.end()
    for (const { transaction, poll } of polls) {
      const { status, body, headers } = await poll
      expect(status).to.equal(200)
      expect(body).to.include({ transaction, status: 'pending', interval: 1 })
      expect(headers.get('retry-after')).to.equal('1')
      expect(headers.get('connection')).to.equal('close')
    }
    await expectEnded(app, 2_000)
  })

  it('follows the token request in flight to its end: the browser is signed in by another, with these tokens', async () => {
    const [a, b] = await Promise.all([startInstance(), startInstance()])
    const visitor = new Visitor(a.origin)
    const transaction = await visitor.begin()
    const answerTokens = await holdTokens()
    const poll = visitor.poll(transaction, 25)
    expect((await op.ping(a.notificationUrl)).status).to.equal(204)
    await op.waitForCall('token')
    a.end()
    // Whoever waits goes at once, not when the OP answers.
    expect((await poll).body).to.include({ status: 'pending' })
    expect(a.closedMs).to.equal(undefined)
    visitor.origin = b.origin
    const goesOn = visitor.poll(transaction, 20)
    answerTokens()
    expect((await goesOn).body).to.deep.equal({ transaction, status: 'complete' })
    expect(await visitor.user()).to.equal('alice')
    expect(op.callsTo('token')).to.have.length(1)
    await expectEnded(a, 5_000)
  })

  it('answers whoever still comes meanwhile: a poll at once, a start with 503 and Retry-After', async () => {
    const app = await startInstance()
    const visitor = new Visitor(app.origin)
    const transaction = await visitor.begin()
    const answerTokens = await holdTokens()
    await op.ping(app.notificationUrl)
    await op.waitForCall('token')
    // Connections that are busy when it is told to end are the only ones on which anybody can still come.
    const [first, second] = await Promise.all([open(app.origin), open(app.origin)])
    const { cookie } = visitor
    const poll = post('/ciba/poll', JSON.stringify({ transaction, wait: 25 }), { cookie })
    const started = post('/ciba/start', JSON.stringify({ loginHint: 'bob' }), { cookie })
    const { requests } = await app.counts()
    for (const [wire, request] of [
      [first, poll],
      [second, started],
    ] as const) {
      // All but the last byte.
      wire.socket.write(request.slice(0, -1))
    }
    await until('they are there', async () => (await app.counts()).requests >= requests + 2)
    app.end()
    await until('it takes no new connections', () => takesNobody(app))
    first.socket.write('}')
    second.socket.write('}')
    const polled = await first.whole()
    expect(polled)
      .to.match(/^HTTP\/1\.1 200 /)
      .and.include('"status":"pending"')
    expect(polled)
      .to.match(/\r\nRetry-After: 1\r\n/)
      .and.match(/\r\nConnection: close\r\n/)
    const refused = await second.whole()
    expect(refused)
      .to.match(/^HTTP\/1\.1 503 /)
      .and.include('"error":"temporarily_unavailable"')
    expect(refused)
      .to.match(/\r\nRetry-After: 5\r\n/)
      .and.match(/\r\nConnection: close\r\n/)
    expect(app.closedMs).to.equal(undefined)
    answerTokens()
    await expectEnded(app, 5_000)
  })

  it('leaves a ping that it has just taken to whoever the browser asks next', async () => {
    const [a, b] = await Promise.all([startInstance(), startInstance()])
    const visitor = new Visitor(a.origin)
    const transaction = await visitor.begin()
    op.onToken(await op.tokens())
    expect((await op.ping(a.notificationUrl)).status).to.equal(204)
    a.end()
    visitor.origin = b.origin
    expect((await visitor.poll(transaction, 20)).body).to.deep.equal({ transaction, status: 'complete' })
    expect(op.callsTo('token')).to.have.length(1)
    await expectEnded(a, 5_000)
  })

  it('finishes a start in flight, and another one goes on with it', async () => {
    const [a, b] = await Promise.all([startInstance(), startInstance()])
    const visitor = new Visitor(a.origin)
    op.onBackchannel({ json: { auth_req_id: 'of the last', expires_in: 120, interval: 1 }, delayMs: 500 })
    const starting = visitor.post('/ciba/start', { loginHint: 'alice' })
    await op.waitForCall('backchannel')
    a.end()
    const { status, body } = await starting
    expect(status).to.equal(202)
    op.onToken(await op.tokens())
    await op.ping(b.notificationUrl)
    visitor.origin = b.origin
    const { transaction } = body
    expect((await visitor.poll(String(transaction), 20)).body).to.deep.equal({
      transaction,
      status: 'complete',
    })
    await expectEnded(a, 5_000)
  })

  it('finishes a refresh under way: the session has the new tokens', async () => {
    const [a, b] = await Promise.all([startInstance(), startInstance()])
    const visitor = new Visitor(a.origin)
    const transaction = await visitor.begin()
    op.onToken(await op.tokens({ response: { expires_in: 1, refresh_token: 'the first' } }))
    await op.ping(a.notificationUrl)
    expect((await visitor.poll(transaction, 20)).body['status']).to.equal('complete')
    await until(
      'the token has expired',
      () => Date.now() > Number(op.callsTo('token')[0]?.answeredAt) + 1_000,
    )
    const refreshed = await op.refreshed({ response: { access_token: 'a newer one' } })
    op.onToken({ ...(refreshed as object), delayMs: 500 } as Answer)
    const asking = visitor.get('/token')
    await op.waitForCall('token', 2)
    a.end()
    expect((await asking).body).to.deep.equal({ token: 'a newer one' })
    visitor.origin = b.origin
    expect((await visitor.get('/token')).body).to.deep.equal({ token: 'a newer one' })
    expect(op.callsTo('token')).to.have.length(2)
    await expectEnded(a, 5_000)
  })

  it('waits no longer for an OP that hangs than httpTimeout', async () => {
    const app = await startInstance({ httpTimeout: 2 })
    op.onBackchannel({ hang: true })
    const starting = new Visitor(app.origin).post('/ciba/start', { loginHint: 'alice' })
    await op.waitForCall('backchannel')
    app.end()
    expect((await starting).status).to.equal(502)
    await expectEnded(app, 4_000)
    expect(app.closedMs).to.be.above(1_000)
  })

  it('exits while Redis is frozen, when the time for its answers is over', async () => {
    const app = await startInstance({}, { graceMs: 1_000 })
    const visitors = Array.from({ length: 20 }, () => new Visitor(app.origin))
    const transactions = await Promise.all(visitors.map((visitor) => visitor.begin()))
    const polls = visitors.map((visitor, n) => visitor.poll(transactions[n] as string, 25).catch(fate))
    await until('they wait', async () => (await redis.subscribers()).length > 0)
    redis.freeze()
    app.end()
    // Nothing is in flight at the OP: what the store fails to do keeps nobody.
    await expectEnded(app, 1_000)
    for (const answer of await Promise.all(polls)) expect(answer.status).to.equal(0)
  })
})

const fate = (): Pick<VisitorAnswer, 'status'> => ({ status: 0 })

function takesNobody({ origin }: LoadedApp): Promise<boolean> {
  return new Visitor(origin).get('/me').then(
    () => false,
    (error: Error) => (error.cause as NodeJS.ErrnoException | undefined)?.code === 'ECONNREFUSED',
  )
}
