/** A rolling restart: whoever waits at the instance that ends is signed in by the next, and sees nothing of it. */
import { expect } from 'chai'
import { type CibaOutcome, startCiba } from 'express-ciba/browser'
import { loadedApps } from '../support/loaded.ts'
import { redisServer } from '../support/redis-server.ts'
import { type Call, type ScriptedOp, startScriptedOp } from '../support/scripted-op.ts'
import { until } from '../support/visitor.ts'

const browsers = 50

describe('a rolling restart', function () {
  this.timeout(30_000)

  const start = loadedApps()
  const redis = redisServer()
  const { fetch: reallyFetch } = globalThis
  let op: ScriptedOp
  /** Who takes requests, the first that is up. */
  let upstreams: readonly string[]

  beforeEach(async () => {
    op = await startScriptedOp()
    globalThis.fetch = asBalancer
  })
  afterEach(async () => {
    globalThis.fetch = reallyFetch
    await op.stop()
  })

  const cookies = new Map<string, string>()

  /** As the browser client sees it: a cookie jar for each browser, and a balancer that tries the next if one is gone. */
  async function asBalancer(input: string | URL | Request, init: RequestInit = {}): Promise<Response> {
    const path = String(input)
    if (!path.startsWith('/')) return reallyFetch(input, init)
    const headers = new Headers(init.headers)
    const browser = String(headers.get('x-browser'))
    headers.set('cookie', cookies.get(browser) ?? '')
    for (const upstream of upstreams) {
      const answered = reallyFetch(upstream + path, { ...init, headers })
      const response = await answered.catch((error: Error) => {
        // It was never sent. Everything else a browser would see.
        if ((error.cause as NodeJS.ErrnoException | undefined)?.code === 'ECONNREFUSED') return undefined
        throw error
      })
      if (!response) continue
      const cookie = response.headers.getSetCookie().at(-1)?.split(';', 1)[0]
      if (cookie) cookies.set(browser, cookie)
      return response
    }
    throw new TypeError('nobody is up')
  }

  it(`of ${browsers} browsers that wait: all are signed in by another instance, and none sees an error`, async () => {
    const { issuer: issuerBaseURL, clientId: clientID, clientSecret } = op
    const settings = {
      options: { issuerBaseURL, clientID, clientSecret, deliveryMode: 'ping', startLimiter: false },
      redis: { socket: { path: redis.socketPath, tls: false } },
    } as const
    const [a, b] = await Promise.all([start(settings), start(settings)])
    upstreams = [a.origin, b.origin]
    const troubles: unknown[] = []
    const runs: Promise<CibaOutcome>[] = Array.from({ length: browsers }, (_, n) =>
      startCiba(
        { loginHint: `person-${n}` },
        {
          headers: { 'x-browser': String(n) },
          onTrouble: (error) => {
            if (error) troubles.push(error)
          },
        },
      ),
    )
    // Start and poll.
    await until('all wait at one', async () => (await a.counts()).requests >= 2 * browsers)
    await until('it has heard of them', async () => (await redis.subscribers()).length === 1)

    a.end()
    expect(await a.ended).to.deep.equal({ code: 0, signal: null })
    expect(a.left).to.equal(undefined)
    await until('all wait at the other', async () => (await b.counts()).requests >= browsers)
    const tokens = (call: Call) => op.tokens({ authReqId: String(call.params.get('auth_req_id')) })
    op.onToken(...Array<typeof tokens>(browsers).fill(tokens))
    for (const { answer } of op.callsTo('backchannel')) {
      const authReqId = String(answer?.['auth_req_id'])
      expect((await op.ping(b.notificationUrl, { authReqId })).status).to.equal(204)
    }
    const outcomes = await Promise.all(runs)
    expect(outcomes.map(({ status }) => status)).to.deep.equal(Array(browsers).fill('complete'))
    expect(troubles).to.deep.equal([])
    expect(op.callsTo('token')).to.have.length(browsers)
    expect(op.violations()).to.deep.equal([])
    for (let n = 0; n < browsers; n++) {
      const answer = await fetch('/me', { headers: { 'x-browser': String(n) } })
      expect(await answer.json()).to.have.nested.property('user.sub', 'alice')
    }
  })
})
