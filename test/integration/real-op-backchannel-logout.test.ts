/** Logout tokens that a real OP sends (OpenID Connect Back-Channel Logout 1.0), and what becomes of sessions. */
import { expect } from 'chai'
import express from 'express'
import { decodeJwt, decodeProtectedHeader } from 'jose'
import type { CibaOptions } from '../../lib/index.ts'
import { privateJwk, type Scene, scenes, timeTravel } from '../support/real-op.ts'

const route = '/ciba/backchannel-logout'

describe('the back-channel logout route with a real OP', function () {
  this.timeout(20_000)

  const scene = scenes()
  const pass = timeTravel()
  let sent: string[]

  beforeEach(() => {
    sent = []
  })

  const listening = (options: CibaOptions = {}, registration = {}): Promise<Scene> =>
    scene({
      options: { routes: { backchannelLogout: route }, ...options },
      registration,
      before(app) {
        app.use(route, express.urlencoded(), (req, _res, next) => {
          sent.push(req.body.logout_token)
          next()
        })
      },
    })

  const post = async ({ app }: Scene, token: string) =>
    app.browser().agent.post(route).type('form').send({ logout_token: token })

  it('ends all logins of the person, and nobody else’s', async () => {
    const one = await listening()
    const [second, bobs] = [one.app.browser(), one.app.browser()]
    expect(one.metadata).to.include({
      backchannel_logout_uri: `${one.app.origin}${route}`,
      backchannel_logout_session_required: false,
    })
    await one.login()
    await one.login({ by: second })
    await one.login({ by: bobs, request: { loginHint: 'bob' } })
    await one.op.backchannelLogout('alice', 'a sid of the OP')
    expect(sent.map((token) => decodeJwt(token))).to.have.length(1)
    expect(decodeJwt(String(sent[0])))
      .to.include({ sub: 'alice' })
      .and.not.have.property('sid')
    expect(await one.browser.user()).to.equal(undefined)
    expect(await second.user()).to.equal(undefined)
    expect(await bobs.user()).to.equal('bob')
  })

  it('leaves nothing of an ended login to `req.ciba`, which asks the OP nothing more', async () => {
    const one = await listening({ authorizationParams: { scope: 'openid offline_access' } })
    await one.login()
    await one.op.backchannelLogout('alice')
    for (const path of ['/token', '/userinfo', '/resource']) {
      const { status, body } = await one.browser.agent.get(path)
      expect([status, body.uncaught]).to.deep.equal([401, 'ERR_CIBA_UNAUTHENTICATED'])
    }
    expect(one.op.counts).to.include({ refresh: 0, userinfo: 0, resource: 0 })
  })

  it('lets the person sign in again, which no token of before can end', async () => {
    const one = await listening()
    await one.login()
    await one.op.backchannelLogout('alice')
    expect(await one.browser.user()).to.equal(undefined)
    pass(1)
    expect(await one.login()).to.have.property('status', 'complete')
    expect(await one.browser.user()).to.equal('alice')
    expect(await post(one, String(sent[0])), 'the same token again').to.have.property('status', 200)
    expect(await one.browser.user()).to.equal('alice')
    await one.op.backchannelLogout('alice')
    expect(await one.browser.user(), 'a new one').to.equal(undefined)
  })

  it('ends the session that the OP names, and no other', async () => {
    const one = await listening({}, { backchannel_logout_session_required: true })
    const [second, none] = [one.app.browser(), one.app.browser()]
    await one.login({ approval: { sid: 'first' } })
    await one.login({ by: second, approval: { sid: 'second' } })
    await one.login({ by: none })
    await one.op.backchannelLogout('alice', 'first')
    expect(decodeJwt(String(sent[0]))).to.include({ sub: 'alice', sid: 'first' })
    expect(await one.browser.user()).to.equal(undefined)
    expect(await second.user()).to.equal('alice')
    expect(await none.user()).to.equal('alice')
    const token = await one.op.logoutToken({ clientId: 'app', sid: 'second' })
    expect(await post(one, token)).to.have.property('status', 200)
    expect(await second.user()).to.equal(undefined)
    expect(await none.user()).to.equal('alice')
  })

  for (const alg of ['HS256', 'PS256', 'ES256', 'EdDSA', 'Ed25519']) {
    it(`takes a token that is signed as ID tokens are: ${alg} [TOK-8]`, async () => {
      const one = await listening({ idTokenSigningAlg: alg })
      await one.login()
      await one.op.backchannelLogout('alice')
      expect(decodeProtectedHeader(String(sent[0]))).to.include({ alg, typ: 'logout+jwt' })
      expect(await one.browser.user()).to.equal(undefined)
    })
  }

  it('refuses a token that is signed otherwise, and ends nothing [TOK-8]', async () => {
    const one = await listening({ idTokenSigningAlg: 'ES256' })
    await one.login()
    const token = await one.op.logoutToken({ clientId: 'app', sub: 'alice', header: { alg: 'RS256' } })
    const { status, body } = await post(one, token)
    expect([status, body.error]).to.deep.equal([400, 'invalid_request'])
    expect(await one.browser.user()).to.equal('alice')
  })

  for (const [alg, signed] of [
    ['RSA-OAEP-256', 'RS256'],
    ['ECDH-ES', 'HS256'],
  ] as const) {
    it(`takes a token that is encrypted as ID tokens are: ${alg}, ${signed} [TOK-19]`, async () => {
      const one = await listening({ idTokenDecryptionKey: privateJwk(alg), idTokenSigningAlg: signed })
      await one.login()
      await one.op.backchannelLogout('alice')
      expect(String(sent[0]).split('.')).to.have.length(5)
      expect(await one.browser.user()).to.equal(undefined)
    })
  }

  it('takes a token that is signed with a new key [TOK-22]', async () => {
    const one = await listening({ idTokenSigningAlg: 'ES256' })
    await one.login()
    await one.op.backchannelLogout('bob')
    await one.op.rotateKeys()
    pass(30) // as far as the clocks of the OP and the app may differ
    await one.op.backchannelLogout('alice')
    expect(decodeProtectedHeader(String(sent.at(-1)))).to.include({ kid: 'es256-1' })
    expect(await one.browser.user()).to.equal(undefined)
  })

  it('takes a token before anybody has signed in since the start of the app', async () => {
    const one = await listening()
    await one.op.backchannelLogout('alice')
    expect(sent).to.have.length(1)
    expect(one.op.counts).to.include({ discovery: 1, jwks: 1 })
  })

  it('tells the OP that it could not see to it, while the OP’s keys are not to be had', async () => {
    const one = await listening()
    const token = await one.op.logoutToken({ clientId: 'app', sub: 'alice' })
    await one.op.close()
    const { status } = await post(one, token)
    expect(status).to.be.within(500, 599)
  })
})
