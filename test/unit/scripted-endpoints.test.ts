/** The scripted OP's endpoints beyond login, its ports, and what it posts to an app. */
import { createServer, type Server } from 'node:http'
import { request as requestByTls } from 'node:https'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { expect } from 'chai'
import { decodeJwt } from 'jose'
import { testCertificates } from '../support/certificates.ts'
import {
  resourceError,
  resourceUseDpopNonce,
  type ScriptedOp,
  startScriptedOp,
  useDpopNonce,
} from '../support/scripted-op.ts'

describe('a scripted OP', () => {
  let op: ScriptedOp

  beforeEach(async () => {
    op = await startScriptedOp()
  })

  afterEach(() => op.stop())

  const post = (path: string, form: Record<string, string> = {}, headers: Record<string, string> = {}) =>
    fetch(op.issuer + path, { method: 'POST', body: new URLSearchParams(form), headers })

  it('serves userinfo, revocation and a resource, each from its own queue', async () => {
    op.onUserinfo(resourceError('invalid_token'))
    op.onRevocation({ status: 503 })
    op.onResource(resourceUseDpopNonce('n'))
    const refused = [await post('/userinfo'), await post('/revocation'), await post('/resource/1?a=b')]
    expect(refused.map(({ status }) => status)).to.deep.equal([401, 503, 401])
    expect(refused[0]?.headers.get('www-authenticate')).to.equal('Bearer error="invalid_token"')
    expect(refused[2]?.headers.get('www-authenticate')).to.equal('DPoP error="use_dpop_nonce"')
    expect(refused[2]?.headers.get('dpop-nonce')).to.equal('n')
    expect(op.callsTo('resource')[0]).to.include({ path: '/resource/1', url: `${op.issuer}/resource/1?a=b` })

    expect(await (await fetch(`${op.issuer}/userinfo`)).json()).to.include({ sub: 'alice' })
    expect(await (await post('/revocation')).text()).to.equal('')
    const served = await fetch(`${op.issuer}/resource`, { method: 'DELETE' })
    expect(served.status).to.equal(200)
    expect(op.calls.at(-1)).to.include({ endpoint: 'resource', method: 'DELETE', via: 'main' })
  })

  it('keeps a JSON body as it came', async () => {
    const headers = { 'content-type': 'application/json' }
    await fetch(`${op.issuer}/resource`, { method: 'PUT', body: '{"a": "b=c"}', headers })
    expect(op.calls[0]?.body).to.equal('{"a": "b=c"}')
    expect([...(op.calls[0]?.params ?? [])]).to.deep.equal([])
  })

  it('answers a refresh with rotated tokens, everything else with pending', async () => {
    const refresh = { grant_type: 'refresh_token', refresh_token: 'old' }
    const bearer = await (await post('/token', refresh)).json()
    expect(bearer).to.have.keys('access_token', 'token_type', 'expires_in', 'refresh_token')
    const bound = await (await post('/token', refresh, { dpop: 'a proof' })).json()
    expect(bound).to.include({ token_type: 'DPoP' })
    expect(bound).to.not.have.property('refresh_token', (bearer as { refresh_token: string }).refresh_token)
    expect(await (await post('/token')).json()).to.deep.equal({ error: 'authorization_pending' })
  })

  it('challenges a token request for a DPoP nonce [AUTH-7]', async () => {
    op.onToken(useDpopNonce('n'))
    const answer = await post('/token')
    expect(answer.status).to.equal(400)
    expect(answer.headers.get('dpop-nonce')).to.equal('n')
    expect(await answer.json()).to.deep.equal({ error: 'use_dpop_nonce' })
  })

  describe('posts to an app', () => {
    let app: Server
    let url: string
    let received: { authorization?: string | undefined; type: string | undefined; body: string }[]

    beforeEach((done) => {
      received = []
      app = createServer(async (req, res) => {
        const { authorization, 'content-type': type } = req.headers
        received.push({ authorization, type, body: await text(req) })
        res.writeHead(204).end()
      }).listen(0, '127.0.0.1', done)
    })

    beforeEach(() => {
      url = `http://127.0.0.1:${(app.address() as AddressInfo).port}/`
    })

    afterEach((done) => {
      app.close(done)
    })

    it('a push for the last request, or whatever it is told to', async () => {
      const start = await post('/backchannel', { client_notification_token: 'secret' })
      const { auth_req_id } = (await start.json()) as { auth_req_id: string }
      expect(await op.push(url, { response: { refresh_token: 'r' } })).to.include({ status: 204 })
      await op.push(url, { payload: [] }, { token: 'forged' })
      await op.pushError(url, 'access_denied', { description: 'no' })
      const [push, array, error] = received
      expect(push).to.include({ authorization: 'Bearer secret', type: 'application/json' })
      expect(JSON.parse(push?.body ?? '')).to.include({ auth_req_id, refresh_token: 'r' })
      expect(array).to.include({ authorization: 'Bearer forged', body: '[]' })
      expect(JSON.parse(error?.body ?? '')).to.deep.equal({
        auth_req_id,
        error: 'access_denied',
        error_description: 'no',
      })
    })

    it('a push that overtakes the acknowledgement [PING-11]', async () => {
      op.onBackchannel(async () => {
        await op.push(url, { authReqId: 'early' })
        return { json: { auth_req_id: 'early', expires_in: 120 } }
      })
      await post('/backchannel', { client_notification_token: 'secret' })
      expect(JSON.parse(received[0]?.body ?? '')).to.include({ auth_req_id: 'early' })
    })

    it('no push for a request that it has not acknowledged', async () => {
      const error = await op.push(url).catch(String)
      expect(error).to.contain('not acknowledged')
    })

    it('a logout token in a form', async () => {
      await op.logout(url, { claims: { sid: 'session' } })
      await op.logout(url, { token: 'nonsense' })
      const tokens = received.map(({ body }) => new URLSearchParams(body).get('logout_token') ?? '')
      expect(received[0]?.type).to.equal('application/x-www-form-urlencoded')
      expect(decodeJwt(tokens[0] ?? '')).to.include({ sub: 'alice', sid: 'session' })
      expect(tokens[1]).to.equal('nonsense')
    })
  })
})

describe('a scripted OP that serves by TLS', () => {
  let op: ScriptedOp

  beforeEach(async () => {
    const { server, ca } = await testCertificates()
    const rejecting = { ...server, ca, rejectUnauthorized: true }
    op = await startScriptedOp({ tls: server, mtls: rejecting })
  })

  afterEach(() => op.stop())

  async function get(url: string, identity?: { cert: string; key: string }): Promise<number | undefined> {
    const { ca } = await testCertificates()
    return new Promise((resolve, reject) => {
      requestByTls(url, { ca, ...identity, agent: false }, (res) => resolve(res.resume().statusCode))
        .once('error', reject)
        .end()
    })
  }

  it('names the second port in its metadata, and tells who came to which', async () => {
    const { client } = await testCertificates()
    const { mtls_endpoint_aliases: aliases, token_endpoint } = op.metadata
    const { token_endpoint: alias } = aliases as { token_endpoint: string }
    expect(alias).to.equal(`${op.mtlsOrigin}/token`)
    expect(alias)
      .to.match(/^https:/)
      .and.not.to.equal(token_endpoint)
    expect(await get(String(token_endpoint), client)).to.equal(400)
    expect(await get(alias, client)).to.equal(400)
    expect(op.calls.map(({ via, url }) => [via, url])).to.deep.equal([
      ['main', token_endpoint],
      ['mtls', alias],
    ])
    expect(op.calls[0]?.certificate).to.equal(undefined)
    expect(op.calls[1]?.certificate).to.match(/^([0-9A-F]{2}:){31}[0-9A-F]{2}$/)
  })

  it('takes nobody without a certificate, if told so', async () => {
    const { selfSigned } = await testCertificates()
    for (const identity of [undefined, selfSigned]) {
      expect(await get(`${op.mtlsOrigin}/token`, identity).catch(() => 'refused')).to.equal('refused')
    }
    expect(op.calls).to.deep.equal([])
  })

  it('records a certificate that nobody has signed, unless told otherwise', async () => {
    const { server, selfSigned } = await testCertificates()
    const lenient = await startScriptedOp({ mtls: server })
    try {
      await get(`${lenient.mtlsOrigin}/token`, selfSigned)
      expect(lenient.calls[0]?.certificate).to.be.a('string')
    } finally {
      await lenient.stop()
    }
  })

  it('cuts connections, goes down and comes back on both ports', async () => {
    const { client } = await testCertificates()
    op.onToken({ reset: 'before-answer' })
    const { issuer, mtlsOrigin } = op
    expect(await get(`${mtlsOrigin}/token`, client).catch(() => 'refused')).to.equal('refused')
    await op.down()
    expect(await get(`${issuer}/token`).catch((error) => error.code)).to.equal('ECONNREFUSED')
    await op.up()
    expect([op.issuer, op.mtlsOrigin]).to.deep.equal([issuer, mtlsOrigin])
    expect(await get(`${mtlsOrigin}/token`, client)).to.equal(400)
  })
})
