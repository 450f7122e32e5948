/** The scripted OP itself: a test that blames a client must be able to trust it. */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { setImmediate } from 'node:timers/promises'
import { expect } from 'chai'
import { compactVerify, createLocalJWKSet, createRemoteJWKSet, type JSONWebKeySet, jwtVerify } from 'jose'
import { defectiveIdTokens, signingKeys } from '../support/id-tokens.ts'
import {
  pending,
  redirect,
  type ScriptedOp,
  slowDown,
  startScriptedOp,
  unavailable,
  useDpopNonce,
} from '../support/scripted-op.ts'

describe('startScriptedOp()', () => {
  let op: ScriptedOp

  beforeEach(async () => {
    op = await startScriptedOp()
  })

  afterEach(() => op.stop())

  const post = (path: string, form: Record<string, string> = {}, signal?: AbortSignal): Promise<Response> =>
    fetch(op.issuer + path, {
      method: 'POST',
      body: new URLSearchParams(form),
      redirect: 'manual',
      ...(signal && { signal }),
    })
  const start = async (form: Record<string, string> = {}): Promise<string> =>
    ((await (await post('/backchannel', form)).json()) as { auth_req_id: string }).auth_req_id
  const askFor = (id: string, signal?: AbortSignal) => post('/token', { auth_req_id: id }, signal)
  const acknowledge = (json: object) =>
    op.onBackchannel({ json: { auth_req_id: 'id', expires_in: 120, ...json } })
  const failure = (promise: Promise<unknown>): Promise<unknown> =>
    promise.then(
      () => undefined,
      (error) => error,
    )

  it('publishes its metadata and a key for each algorithm', async () => {
    const metadata = await (await fetch(`${op.issuer}/.well-known/openid-configuration`)).json()
    expect(metadata).to.deep.equal(op.metadata)
    const { keys } = (await (await fetch(`${op.issuer}/jwks`)).json()) as {
      keys: { alg: string; d?: string }[]
    }
    expect(keys.map((key) => key.alg)).to.deep.equal(op.metadata['id_token_signing_alg_values_supported'])
    expect(keys.every((key) => key.d === undefined)).to.equal(true)
  })

  it('uses each answer once, then the default again', async () => {
    op.onToken(slowDown(), unavailable('7'), redirect('/elsewhere'), (call) => ({ json: [...call.params] }))
    const answers = []
    for (let index = 0; index < 5; index++) answers.push(await askFor('id'))
    expect(answers.map((answer) => answer.status)).to.deep.equal([400, 503, 302, 200, 400])
    expect(answers[1]?.headers.get('retry-after')).to.equal('7')
    expect(await answers[3]?.json()).to.deep.equal([['auth_req_id', 'id']])
    expect(await answers[4]?.json()).to.deep.equal({ error: 'authorization_pending' })
    expect(op.callsTo('token')).to.have.length(5)
  })

  it('reports a script that throws to the client', async () => {
    op.onToken(() => Promise.reject(new Error('oops')))
    const answer = await askFor('id')
    expect(answer.status).to.equal(500)
    expect(await answer.text()).to.contain('oops')
  })

  it('issues tokens that its published keys verify, with the acr that was asked for', async () => {
    const id = await start({ acr_values: 'gold silver' })
    op.onToken(() => op.tokens({ authReqId: id }))
    const { id_token } = (await (await askFor(id)).json()) as { id_token: string }
    const keys = createRemoteJWKSet(new URL(`${op.issuer}/jwks`))
    const { payload } = await jwtVerify(id_token, keys, { issuer: op.issuer, audience: op.clientId })
    expect(payload).to.include({ sub: 'alice', acr: 'gold' })
  })

  it('hangs until the client gives up, which ends the call unanswered', async () => {
    op.onToken({ hang: true })
    const abort = new AbortController()
    const asked = failure(askFor('id', abort.signal))
    const call = await op.waitForCall('token')
    expect(call.endedAt).to.equal(undefined)
    abort.abort()
    expect(await asked).to.have.property('name', 'AbortError')
    while (call.endedAt === undefined) await setImmediate()
    expect(call.answeredAt).to.equal(undefined)
  })

  it('resets before the answer, and in the middle of it', async () => {
    op.onToken({ reset: 'before-answer' }, { reset: 'mid-body' })
    expect(await failure(askFor('id'))).to.be.instanceOf(Error)
    const answer = await askFor('id')
    expect(answer.status).to.equal(200)
    expect(await failure(answer.text())).to.be.instanceOf(Error)
  })

  it('refuses connections while down and comes back on the same port', async () => {
    const { issuer } = op
    await start()
    await op.down()
    expect(await failure(start())).to.have.nested.property('cause.code', 'ECONNREFUSED')
    await op.up()
    expect(op.issuer).to.equal(issuer)
    expect(await start()).to.be.a('string')
  })

  it('stops while a client hangs, an answer is delayed and a test waits', async () => {
    op.onToken({ hang: true }, { delayMs: 60_000 })
    const asked = [failure(askFor('a')), failure(askFor('b'))]
    await op.waitForCall('token', 2)
    const waiting = failure(op.waitForCall('token', 3))
    await op.stop()
    expect(await Promise.all(asked)).to.satisfy((errors: unknown[]) =>
      errors.every((e) => e instanceof Error),
    )
    expect(String(await waiting)).to.contain('2 of 3 calls to token')
  })

  it('gives up waiting for a call that does not come', async () => {
    expect(String(await failure(op.waitForCall('token', 1, 10)))).to.contain('0 of 1 calls to token')
  })

  describe('violations()', () => {
    it('finds none in requests that keep to the interval', async () => {
      acknowledge({ interval: 0 })
      await start()
      await askFor('id')
      await askFor('id')
      expect(op.violations()).to.deep.equal([])
    })

    it('names a request that came too early [POLL-1]', async () => {
      acknowledge({ interval: 1 })
      await start()
      await askFor('id')
      await askFor('id')
      expect(op.violations()).to.have.length(1)
      expect(op.violations('id')[0]).to.match(/^token request 2 for id came \d+ ms early$/)
      expect(op.violations('another')).to.deep.equal([])
    })

    it('expects 5 s without an interval, and 5 s more after each slow_down [ACK-4, POLL-3]', async () => {
      acknowledge({})
      await start()
      op.onToken(pending(), slowDown(), slowDown())
      for (let index = 0; index < 4; index++) await askFor('id')
      const early = op.violations().map((violation) => Number(violation.match(/(\d+) ms early/)?.[1]))
      for (const [index, expected] of [5000, 10_000, 15_000].entries()) {
        expect(early[index]).to.be.within(expected - 1000, expected)
      }
    })

    it('names a request that overlaps another, but not for another auth_req_id [POLL-2]', async () => {
      const ids = [await start(), await start()] as const
      op.onToken({ hang: true })
      const hanging = failure(askFor(ids[0]))
      await op.waitForCall('token')
      await askFor(ids[1])
      expect(op.violations()).to.deep.equal([])
      await askFor(ids[0])
      expect(op.violations()).to.deep.equal([`token request 2 for ${ids[0]} overlaps request 1`])
      await op.down()
      await hanging
    })

    it('names a request after the deadline [POLL-5]', async () => {
      acknowledge({ expires_in: -1 })
      await start()
      await askFor('id')
      expect(op.violations()[0]).to.match(/^token request 1 for id came \d+ ms after the deadline$/)
    })

    it('excuses the one retry that a DPoP nonce asks for [AUTH-7]', async () => {
      const id = await start()
      op.onToken(useDpopNonce('a'), useDpopNonce('b'))
      await askFor(id)
      await askFor(id)
      expect(op.violations()).to.deep.equal([])
      await askFor(id)
      expect(op.violations()).to.deep.equal([`token request 3 for ${id} came after a second DPoP challenge`])
    })
  })

  describe('ping()', () => {
    let app: Server
    let url: string
    let received: { authorization: string | undefined; type: string | undefined; body: string }[]
    let status: number

    beforeEach((done) => {
      received = []
      status = 204
      app = createServer(async (req, res) => {
        const { authorization, 'content-type': type } = req.headers
        received.push({ authorization, type, body: await text(req) })
        res.writeHead(status, { 'x-seen': 'yes' }).end()
      }).listen(0, '127.0.0.1', done)
    })

    beforeEach(() => {
      url = `http://127.0.0.1:${(app.address() as AddressInfo).port}/ping`
    })

    afterEach((done) => {
      app.close(done)
    })

    it('sends the notification token and the auth_req_id of the last request', async () => {
      const id = await start({ client_notification_token: 'secret' })
      const pong = await op.ping(url)
      expect(pong).to.include({ status: 204, text: '' })
      expect(pong.headers.get('x-seen')).to.equal('yes')
      const body = JSON.stringify({ auth_req_id: id })
      expect(received).to.deep.equal([{ authorization: 'Bearer secret', type: 'application/json', body }])
    })

    it('finds the notification token in a signed request [SIG-1]', async () => {
      const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
      await start({
        request: `${encode({ alg: 'ES256' })}.${encode({ client_notification_token: 'signed' })}.x`,
      })
      await op.ping(url)
      expect(received[0]?.authorization).to.equal('Bearer signed')
    })

    it('sends whatever else it is told to', async () => {
      await start({ client_notification_token: 'secret' })
      await op.ping(url, { token: '', contentType: '', body: 'nonsense' })
      expect(received[0]).to.deep.equal({ authorization: undefined, type: undefined, body: 'nonsense' })
    })

    it('can overtake the acknowledgement [PING-11]', async () => {
      op.onBackchannel(async () => {
        await op.ping(url, { authReqId: 'early' })
        return { json: { auth_req_id: 'early', expires_in: 120 } }
      })
      expect(await start({ client_notification_token: 'secret' })).to.equal('early')
      expect(received[0]).to.include({ authorization: 'Bearer secret', body: '{"auth_req_id":"early"}' })
    })

    it('excuses one early request, if the client took it for genuine [PING-8]', async () => {
      const id = await start({ client_notification_token: 'secret' })
      await askFor(id)
      await op.ping(url)
      await askFor(id)
      expect(op.violations()).to.deep.equal([])
      await askFor(id)
      expect(op.violations()).to.have.length(1)
      status = 401
      await op.ping(url, { token: 'forged' })
      await askFor(id)
      expect(op.violations()).to.have.length(2)
    })
  })
})

describe('defectiveIdTokens', () => {
  const context = {
    issuer: 'https://op.test',
    clientId: 'client',
    clientSecret: 'secret',
    authReqId: 'id',
  }

  it('covers TOK-1 to TOK-19 under names of their own', () => {
    const ids = new Set(defectiveIdTokens.map((defect) => defect.id))
    expect([...ids]).to.deep.equal(Array.from({ length: 19 }, (_, index) => `TOK-${index + 1}`))
    expect(new Set(defectiveIdTokens.map((defect) => defect.what)).size).to.equal(defectiveIdTokens.length)
  })

  for (const { id, what, make } of defectiveIdTokens.filter(
    (defect) => !/TOK-(1|2|3|8|19)$/.test(defect.id),
  )) {
    it(`${id === 'TOK-9' ? 'breaks' : 'keeps'} the signature: ${what} [${id}]`, async () => {
      const { id_token } = await make(context)
      const { jwks } = await signingKeys()
      const verified = await compactVerify(String(id_token), createLocalJWKSet(jwks as JSONWebKeySet)).then(
        () => 'keeps',
        () => 'breaks',
      )
      expect(verified).to.equal(id === 'TOK-9' ? 'breaks' : 'keeps')
    })
  }
})
