/** The OP of the test kit as a client sees it that speaks plain HTTP: nothing of the library is in here. */
import { execFile } from 'node:child_process'
import { createServer, type IncomingHttpHeaders, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { expect } from 'chai'
import { createRemoteJWKSet, decodeProtectedHeader, type JWTPayload, jwtVerify } from 'jose'
import {
  startTestProvider,
  type TestClient,
  type TestProvider,
  type TestProviderOptions,
  USER_CODE,
} from '../../lib/testing/index.ts'

const CIBA_GRANT = 'urn:openid:params:grant-type:ciba'
const app: TestClient = { clientID: 'app', clientSecret: 'app-secret', deliveryMode: 'poll' }

interface Answer {
  status: number
  body: Record<string, unknown>
}

describe('startTestProvider(), asked over HTTP', () => {
  const cleanup: (() => Promise<void>)[] = []

  afterEach(async () => {
    for (const close of cleanup.splice(0).reverse()) await close()
  })

  async function start(options: TestProviderOptions = {}): Promise<TestProvider> {
    const op = await startTestProvider({ clients: [app], ...options })
    cleanup.push(() => op.close())
    return op
  }

  async function listen(handler: RequestListener): Promise<string> {
    const server = createServer(handler)
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve)
    })
    cleanup.push(async () => {
      server.close()
      server.closeAllConnections()
    })
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  async function post(url: string, client: TestClient, form: Record<string, string>): Promise<Answer> {
    const body = new URLSearchParams(form)
    const headers: Record<string, string> = {}
    if (client.clientAuthMethod === 'client_secret_post') {
      body.set('client_id', client.clientID)
      body.set('client_secret', String(client.clientSecret))
    } else {
      const credentials = Buffer.from(`${client.clientID}:${client.clientSecret}`)
      headers['authorization'] = `Basic ${credentials.toString('base64')}`
    }
    const response = await fetch(url, { method: 'POST', headers, body })
    return { status: response.status, body: (await response.json()) as Record<string, unknown> }
  }

  function authenticate(op: TestProvider, form: Record<string, string> = {}, client = app): Promise<Answer> {
    return post(`${op.issuer}/backchannel`, client, { scope: 'openid', login_hint: 'alice', ...form })
  }

  function requestToken(op: TestProvider, authReqId: unknown, client = app): Promise<Answer> {
    return post(`${op.issuer}/token`, client, { grant_type: CIBA_GRANT, auth_req_id: String(authReqId) })
  }

  async function verify(op: TestProvider, idToken: unknown): Promise<JWTPayload> {
    const keys = createRemoteJWKSet(new URL(`${op.issuer}/jwks`))
    return (await jwtVerify(String(idToken), keys, { issuer: op.issuer, audience: 'app' })).payload
  }

  /** An RP's notification endpoint; `pings` grows as they arrive. */
  async function notifications(onPing: () => number | undefined = () => 204) {
    const pings: { headers: IncomingHttpHeaders; body: string }[] = []
    const origin = await listen(async (req, res) => {
      let body = ''
      for await (const chunk of req) body += chunk
      pings.push({ headers: req.headers, body })
      const status = onPing()
      if (status !== undefined) res.writeHead(status).end()
    })
    const client: TestClient = { ...app, deliveryMode: 'ping', notificationEndpoint: `${origin}/ping` }
    return { pings, client }
  }

  it('publishes CIBA metadata', async () => {
    const op = await start()
    const response = await fetch(`${op.issuer}/.well-known/openid-configuration`)
    const metadata = (await response.json()) as Record<string, unknown>
    expect(metadata).to.include({ issuer: op.issuer, token_endpoint: `${op.issuer}/token` })
    expect(metadata).to.have.property('backchannel_authentication_endpoint', `${op.issuer}/backchannel`)
    expect(metadata['backchannel_token_delivery_modes_supported']).to.have.members(['poll', 'ping'])
    expect(metadata['id_token_signing_alg_values_supported']).to.include.members(['RS256', 'ES256', 'EdDSA'])
    expect(metadata['acr_values_supported']).to.deep.equal(['urn:example:loa:1', 'urn:example:loa:2'])
    expect(op.counts).to.deep.equal({ backchannel: 0, token: 0, ping: 0, jwks: 0, discovery: 1 })
  })

  context('a request is pending', () => {
    it('shows it on the device and answers authorization_pending', async () => {
      const op = await start()
      const { status, body } = await authenticate(op, { binding_message: 'Blue fox 42', acr_values: 'a b' })
      expect(status).to.equal(200)
      expect(body).to.have.all.keys('auth_req_id', 'expires_in', 'interval')
      expect(body).to.include({ expires_in: 120, interval: 1 })
      const request = await op.waitForRequest()
      expect(request).to.include({
        authReqId: body['auth_req_id'],
        accountId: 'alice',
        clientID: 'app',
        bindingMessage: 'Blue fox 42',
        scope: 'openid',
      })
      expect(request.acrValues).to.deep.equal(['a', 'b'])
      expect([...op.requests.keys()]).to.deep.equal([request.authReqId])
      const answer = await requestToken(op, request.authReqId)
      expect(answer.status).to.equal(400)
      expect(answer.body['error']).to.equal('authorization_pending')
      expect(op.counts).to.include({ backchannel: 1, token: 1, ping: 0 })
    })

    it('hands every request out once, to whoever waits for its account', async () => {
      const op = await start()
      const forBob = op.waitForRequest('bob')
      const forAnyone = op.waitForRequest()
      const alice = await authenticate(op)
      const bob = await authenticate(op, { login_hint: 'bob@example.com' })
      const aliceAgain = await authenticate(op)
      expect((await forBob).authReqId).to.equal(bob.body['auth_req_id'])
      expect((await forAnyone).authReqId).to.equal(alice.body['auth_req_id'])
      expect((await op.waitForRequest()).authReqId).to.equal(aliceAgain.body['auth_req_id'])
    })

    it('forgets it when it expires, and answers expired_token', async () => {
      const op = await start({ expiresIn: 1 })
      const { body } = await authenticate(op)
      const { authReqId, expiresAt } = await op.waitForRequest()
      while (op.requests.size > 0) await sleep(20)
      expect(Date.now()).to.be.at.least(expiresAt - 5)
      expect((await requestToken(op, body['auth_req_id'])).body['error']).to.equal('expired_token')
      await op.approve(authReqId).then(
        () => expect.fail('approved what has expired'),
        (error) => expect(error).to.be.an('error'),
      )
    })

    it('honours requested_expiry', async () => {
      const op = await start()
      expect((await authenticate(op, { requested_expiry: '33' })).body['expires_in']).to.equal(33)
    })
  })

  context('approved', () => {
    it('issues tokens, once', async () => {
      const op = await start()
      const { body } = await authenticate(op)
      await op.approve((await op.waitForRequest()).authReqId)
      expect(op.requests.size).to.equal(0)
      const tokens = await requestToken(op, body['auth_req_id'])
      expect(tokens.status).to.equal(200)
      expect(tokens.body).to.have.all.keys('access_token', 'expires_in', 'id_token', 'scope', 'token_type')
      const claims = await verify(op, tokens.body['id_token'])
      expect(claims).to.have.all.keys('sub', 'aud', 'exp', 'iat', 'iss', 'auth_time')
      expect(claims.sub).to.equal('alice')
      expect((await requestToken(op, body['auth_req_id'])).body['error']).to.equal('invalid_grant')
    })

    it('puts acr and auth_time into the ID token', async () => {
      const op = await start()
      for (const form of [{}, { acr_values: 'urn:example:loa:2' }]) {
        const { body } = await authenticate(op, form)
        await op.approve(String(body['auth_req_id']), { acr: 'urn:example:loa:2', authTime: 1_700_000_000 })
        const tokens = await requestToken(op, body['auth_req_id'])
        const claims = await verify(op, tokens.body['id_token'])
        expect(claims).to.include({ acr: 'urn:example:loa:2', auth_time: 1_700_000_000 })
      }
    })

    for (const alg of ['RS256', 'ES256', 'EdDSA'] as const) {
      it(`signs with ${alg}`, async () => {
        const client: TestClient = { ...app, idTokenSigningAlg: alg, clientAuthMethod: 'client_secret_post' }
        const op = await start({ clients: [client] })
        const { body } = await authenticate(op, {}, client)
        await op.approve(String(body['auth_req_id']))
        const tokens = await requestToken(op, body['auth_req_id'], client)
        expect(decodeProtectedHeader(String(tokens.body['id_token']))).to.have.property('alg', alg)
        expect(await verify(op, tokens.body['id_token'])).to.have.property('sub', 'alice')
      })
    }

    it('issues a refresh token for offline_access, and answers at userinfo', async () => {
      const op = await start()
      const { body } = await authenticate(op, { scope: 'openid email offline_access' })
      await op.approve(String(body['auth_req_id']))
      const tokens = await requestToken(op, body['auth_req_id'])
      expect(tokens.body['refresh_token']).to.be.a('string')
      const headers = { authorization: `Bearer ${tokens.body['access_token']}` }
      const userInfo = await (await fetch(`${op.issuer}/me`, { headers })).json()
      expect(userInfo).to.deep.equal({ sub: 'alice', email: 'alice@example.com', email_verified: true })
      const refreshed = await post(`${op.issuer}/token`, app, {
        grant_type: 'refresh_token',
        refresh_token: String(tokens.body['refresh_token']),
      })
      expect(refreshed.body['access_token']).to.be.a('string').and.not.equal(tokens.body['access_token'])
    })
  })

  context('denied', () => {
    it('answers access_denied', async () => {
      const op = await start()
      const { body } = await authenticate(op)
      await op.deny((await op.waitForRequest()).authReqId)
      expect(op.requests.size).to.equal(0)
      const { status, body: answer } = await requestToken(op, body['auth_req_id'])
      expect(status).to.equal(400)
      expect(answer['error']).to.equal('access_denied')
    })
  })

  context('expired on command', () => {
    it('answers expired_token from now on, and can be decided no more', async () => {
      const op = await start()
      const { body } = await authenticate(op)
      await op.expire('alice')
      expect(op.requests.size).to.equal(0)
      for (let time = 0; time < 2; time++) {
        expect((await requestToken(op, body['auth_req_id'])).body['error']).to.equal('expired_token')
      }
      const decision = await op.approve(String(body['auth_req_id'])).catch((error: Error) => error)
      expect(decision).to.match(/it has expired/)
    })
  })

  context('refused', () => {
    const withCode: TestClient = { ...app, userCode: true }
    const cases: [string, TestClient, Record<string, string>, string | undefined][] = [
      ['an unknown person', app, { login_hint: 'mallory' }, 'unknown_user_id'],
      [
        'a binding message that is too long',
        app,
        { binding_message: 'x'.repeat(41) },
        'invalid_binding_message',
      ],
      ['a binding message with a line break', app, { binding_message: 'a\nb' }, 'invalid_binding_message'],
      ['no user code', withCode, {}, 'missing_user_code'],
      ['a wrong user code', withCode, { user_code: '0000' }, 'invalid_user_code'],
      ['the right user code', withCode, { user_code: USER_CODE }, undefined],
    ]
    for (const [name, client, form, error] of cases) {
      it(`answers ${error ?? 'with an acknowledgement'} to ${name}`, async () => {
        const op = await start({ clients: [client] })
        const answer = await authenticate(op, form, client)
        expect(answer.status).to.equal(error ? 400 : 200)
        expect(answer.body['error']).to.equal(error)
        expect(op.requests.size).to.equal(error ? 0 : 1)
      })
    }
  })

  context('in ping mode', () => {
    const token = { client_notification_token: 'token-of-this-request' }

    it('pings when the person decides', async () => {
      const { pings, client } = await notifications()
      const op = await start({ clients: [client] })
      for (const decide of [op.approve, op.deny]) {
        const { body } = await authenticate(op, token, client)
        await decide(String(body['auth_req_id']))
        const ping = pings.pop()
        expect(ping?.headers).to.include({
          authorization: 'Bearer token-of-this-request',
          'content-type': 'application/json',
        })
        expect(ping?.body).to.equal(JSON.stringify({ auth_req_id: body['auth_req_id'] }))
      }
      expect(op.counts.ping).to.equal(2)
    })

    it('pings before the acknowledgement when the person is that fast', async () => {
      const order: string[] = []
      const { client } = await notifications(() => {
        order.push('ping')
        return 204
      })
      const op = await start({ clients: [client], autoApprove: true, pings: 'early' })
      const { body } = await authenticate(op, token, client)
      order.push('acknowledgement')
      expect(order).to.deep.equal(['ping', 'acknowledgement'])
      expect((await requestToken(op, body['auth_req_id'], client)).status).to.equal(200)
    })

    it('keeps the decision when the ping is refused', async () => {
      const { client } = await notifications(() => 500)
      const op = await start({ clients: [client] })
      const { body } = await authenticate(op, token, client)
      await op.approve(String(body['auth_req_id']))
      expect((await requestToken(op, body['auth_req_id'], client)).status).to.equal(200)
    })

    it('ends a ping under way on close', async () => {
      let arrived = () => {}
      const ping = new Promise<void>((resolve) => {
        arrived = resolve
      })
      const { client } = await notifications(() => {
        arrived()
        return undefined
      })
      const op = await start({ clients: [client] })
      const { body } = await authenticate(op, token, client)
      const approval = op.approve(String(body['auth_req_id']))
      await ping
      const before = Date.now()
      await op.close()
      await approval
      expect(Date.now() - before).to.be.below(1000)
    })
  })

  context('two at once', () => {
    it('never mix', async () => {
      const [one, two] = [await start(), await start()]
      const { body } = await authenticate(one)
      expect(two.requests.size).to.equal(0)
      expect((await requestToken(two, body['auth_req_id'])).body['error']).to.equal('invalid_grant')
      await one.approve(String(body['auth_req_id']))
      const tokens = await requestToken(one, body['auth_req_id'])
      expect(tokens.status).to.equal(200)
      expect(two.counts).to.include({ backchannel: 0, token: 1 })
      const keys = createRemoteJWKSet(new URL(`${two.issuer}/jwks`))
      const outcome = await jwtVerify(String(tokens.body['id_token']), keys).catch((error) => error.code)
      expect(outcome).to.equal('ERR_JWS_SIGNATURE_VERIFICATION_FAILED')
    })
  })

  context('closed', () => {
    it('refuses connections and ends waits', async () => {
      const op = await start()
      await authenticate(op)
      const waiting = op.waitForRequest('bob').catch((error: Error) => error)
      await op.close()
      await op.close()
      expect(await waiting).to.be.an('error')
      expect(op.requests.size).to.equal(0)
      expect(await authenticate(op).catch((error) => error)).to.be.an('error')
    })

    it('lets the process end', async () => {
      const module = JSON.stringify(new URL('../../lib/testing/index.ts', import.meta.url).href)
      const script = `
        const { startTestProvider } = await import(${module})
        const client = { clientID: 'app', clientSecret: 'secret', clientAuthMethod: 'client_secret_post' }
        const op = await startTestProvider({ clients: [client] })
        const body = new URLSearchParams({ client_id: 'app', client_secret: 'secret', scope: 'openid', login_hint: 'alice' })
        const response = await fetch(op.issuer + '/backchannel', { method: 'POST', body })
        process.stdout.write(String(response.status))
        await op.close()`
      const args = ['--import', 'tsx', '--input-type=module', '--eval', script]
      const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 8000 })
      expect(stdout).to.equal('200')
    })
  })
})
