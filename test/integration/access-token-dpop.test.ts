/** Tokens that are bound to a key, from the login on (RFC 9449) [AUTH-7]. */
import { expect } from 'chai'
import { exportJWK } from 'jose'
import type { CibaOptions } from '../../lib/index.ts'
import { MemoryTransactionStore } from '../../lib/index.ts'
import { dpopProofOf } from '../support/client-jwts.ts'
import type { ResponseOverrides } from '../support/id-tokens.ts'
import { type Call, resourceUseDpopNonce, tokenError, useDpopNonce } from '../support/scripted-op.ts'
import { handled, signIn, storedLogin, tokenRoutes } from '../support/signed-in.ts'
import { generate } from '../support/signing-keys.ts'
import { Browser, type Web, type WebOptions, webs } from '../support/web.ts'

const bound = (expires_in: number, response: ResponseOverrides['response'] = {}): ResponseOverrides => ({
  response: {
    access_token: 'access-0',
    refresh_token: 'refresh-0',
    token_type: 'DPoP',
    expires_in,
    ...response,
  },
})

const own: WebOptions['own'] = (app, web) => {
  tokenRoutes(app, web)
  app.get(
    '/resource',
    handled(async (req, res) => {
      const response = await req.ciba.fetch(`${web.op.issuer}/resource/1?a=b#c`)
      res.json({ status: response.status, body: await response.text() })
    }),
  )
}

describe('req.ciba with DPoP', () => {
  const start = webs()

  const startWithDpop = (dpop: CibaOptions['dpop'] = true, more: CibaOptions = {}): Promise<Web> =>
    start({ own, ciba: { deliveryMode: 'ping', dpop, ...more } })

  const jktOf = async (web: Web, call: Call | undefined) =>
    (await dpopProofOf(call as Call, web.op.calls)).jkt

  it('proves the key of the login at the token endpoint, the userinfo endpoint and the resource', async () => {
    const web = await startWithDpop()
    const browser = await signIn(web, bound(0))
    await browser.get('/token')
    await browser.get('/userinfo')
    expect((await browser.get('/resource')).body.status).to.equal(200)
    const [first, refresh] = web.op.callsTo('token')
    const jkt = await jktOf(web, first)
    for (const call of [refresh, ...web.op.callsTo('userinfo'), ...web.op.callsTo('resource')]) {
      expect(await jktOf(web, call)).to.equal(jkt)
    }
    const { tokens } = (await browser.get('/tokens')).body
    expect(tokens.tokenType).to.equal('dpop')
    expect(web.op.callsTo('resource')[0]?.headers.authorization).to.equal(`DPoP ${tokens.accessToken}`)
    expect(web.op.callsTo('userinfo')[0]?.headers.authorization).to.equal(`DPoP ${tokens.accessToken}`)
  })

  it('has a key of its own for each login, which the session store does not see [SEC-9]', async () => {
    const web = await startWithDpop()
    const logins = []
    for (const person of ['alice', 'bob']) {
      const browser = await signIn(web, { ...bound(300), claims: { sub: person } })
      await browser.get('/resource')
      logins.push(await storedLogin(web, browser))
    }
    const [one, other] = await Promise.all(web.op.callsTo('resource').map((call) => jktOf(web, call)))
    expect(one).to.not.equal(other)
    for (const login of logins) {
      expect(login?.dpopKey?.split('.'), 'a JWE').to.have.length(5)
      expect(JSON.stringify(login)).to.not.include('"d":')
    }
  })

  it('uses the one key that is configured for all logins', async () => {
    const { privateKey } = await generate('ec', { namedCurve: 'P-256' })
    const web = await startWithDpop(await exportJWK(privateKey))
    for (const person of ['alice', 'bob']) {
      const browser = await signIn(web, { ...bound(300), claims: { sub: person } })
      await browser.get('/resource')
      expect(await storedLogin(web, browser)).to.not.have.property('dpopKey')
    }
    const [one, other] = await Promise.all(web.op.callsTo('resource').map((call) => jktOf(web, call)))
    expect(one).to.equal(other)
  })

  it('keeps the key through refreshes, on every instance with the secret', async () => {
    const shared = { store: new MemoryTransactionStore(), secret: 'shared by both instances' }
    const web = await startWithDpop(true, shared)
    const browser = await signIn(web, bound(0))
    await browser.get('/token')
    const other = await start({
      own,
      ciba: { ...shared, dpop: true, issuerBaseURL: web.op.issuer },
      session: { store: web.sessions },
    })
    web.op.onToken(await web.op.refreshed(bound(300, { id_token: undefined })))
    const atOther = new Browser(other.origin, browser.cookie)
    await atOther.get('/userinfo')
    const [first] = web.op.callsTo('token')
    const jkt = await jktOf(web, first)
    expect(await jktOf(web, web.op.callsTo('userinfo')[0])).to.equal(jkt)
  })

  it('rejects with 401 where the key was sealed with another secret', async () => {
    const web = await startWithDpop(true, { secret: 'the secret of the first' })
    const browser = await signIn(web, bound(300))
    expect((await browser.get('/resource')).body.status).to.equal(200)
    const other = await start({
      own,
      ciba: { secret: 'another secret', dpop: true, issuerBaseURL: web.op.issuer },
      session: { store: web.sessions },
    })
    expect((await new Browser(other.origin, browser.cookie).get('/resource')).status).to.equal(401)
    expect(other.errors[0]).to.include({ code: 'ERR_CIBA_INVALID_TOKEN' })
  })

  describe('at a refresh', () => {
    it('answers a nonce challenge at once, with the nonce [AUTH-7]', async () => {
      const web = await startWithDpop()
      const browser = await signIn(web, bound(0))
      web.op.onToken(useDpopNonce('nonce-1'))
      expect((await browser.get('/token')).status).to.equal(200)
      const [, challenged, answered] = web.op.callsTo('token') as readonly Call[]
      expect((await dpopProofOf(challenged as Call, web.op.calls)).nonce).to.equal(undefined)
      expect((await dpopProofOf(answered as Call, web.op.calls)).nonce).to.equal('nonce-1')
      expect(answered?.params.get('refresh_token')).to.equal('refresh-0')
    })

    it('gives up at a second challenge', async () => {
      const web = await startWithDpop()
      const browser = await signIn(web, bound(0))
      web.op.onToken(useDpopNonce('nonce-1'), useDpopNonce('nonce-2'))
      expect((await browser.get('/token')).status).to.equal(502)
      expect(web.op.callsTo('token')).to.have.length(3)
    })

    it('does not answer another error by a second attempt', async () => {
      const web = await startWithDpop()
      const browser = await signIn(web, bound(0))
      web.op.onToken(tokenError('invalid_dpop_proof', 400, { 'dpop-nonce': 'nonce-1' }))
      expect((await browser.get('/token')).status).to.equal(502)
      expect(web.op.callsTo('token')).to.have.length(2)
    })

    it('refuses a bearer token [TOK-2]', async () => {
      const web = await startWithDpop()
      const browser = await signIn(web, bound(0))
      web.op.onToken(await web.op.refreshed({ response: { token_type: 'Bearer' } }))
      expect((await browser.get('/token')).status).to.equal(401)
      expect((await storedLogin(web, browser))?.tokens.tokenType).to.equal('dpop')
    })
  })

  describe('at the userinfo endpoint', () => {
    it('answers a nonce challenge once', async () => {
      const web = await startWithDpop()
      const browser = await signIn(web, bound(300))
      web.op.onUserinfo(resourceUseDpopNonce('nonce-1'))
      expect((await browser.get('/userinfo')).body).to.include({ sub: 'alice' })
      const [, answered] = web.op.callsTo('userinfo')
      expect((await dpopProofOf(answered as Call, web.op.calls)).nonce).to.equal('nonce-1')
    })

    it('takes a second challenge for a refusal', async () => {
      const web = await startWithDpop()
      const browser = await signIn(web, bound(300))
      web.op.onUserinfo(resourceUseDpopNonce('nonce-1'), resourceUseDpopNonce('nonce-2'))
      expect((await browser.get('/userinfo')).status).to.equal(401)
      expect(web.op.callsTo('userinfo')).to.have.length(2)
    })
  })
})
