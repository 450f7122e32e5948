/** The OP ends logins here (OpenID Connect Back-Channel Logout 1.0): what it takes, and what comes of it. */
import { expect } from 'chai'
import { exportJWK } from 'jose'
import { type CibaOptions, MemoryTransactionStore, requireCiba } from '../../lib/index.ts'
import { seconds } from '../support/id-tokens.ts'
import { defectiveLogoutTokens, logoutEvent } from '../support/logout-tokens.ts'
import { later } from '../support/outcomes.ts'
import type { Answer } from '../support/scripted-op.ts'
import { expired, signIn, tokenRoutes } from '../support/signed-in.ts'
import { generate } from '../support/signing-keys.ts'
import type { JwtOverrides } from '../support/token-response.ts'
import { Browser, expressVersions, type Web, type WebOptions, webs } from '../support/web.ts'

const path = '/ciba/backchannel-logout'
const routes = { backchannelLogout: path }
const form = 'application/x-www-form-urlencoded'

const own: NonNullable<WebOptions['own']> = (app, web) => {
  tokenRoutes(app, web)
  app.get('/account', requireCiba(), (req, res) => void res.json({ sub: req.ciba.user?.sub }))
}

/** Whether somebody is signed in, by all that an app has to ask. */
async function isSignedIn(browser: Browser): Promise<boolean> {
  const answers = [await browser.get('/me'), await browser.get('/account'), await browser.get('/tokens')]
  const seen = [answers[0]?.body.signedIn, answers[1]?.status === 200, answers[2]?.body.tokens !== undefined]
  if (new Set(seen).size !== 1) throw new Error(`they do not agree: ${seen}`)
  return seen[0]
}

for (const { name, express } of expressVersions) {
  describe(`POST of a logout token (${name})`, () => {
    const start = webs()
    const startWeb = (ciba: CibaOptions = {}, more: WebOptions = {}): Promise<Web> =>
      start({ express, own, ...more, ciba: { routes, ...ciba } })

    const tell = ({ op, origin }: Web, overrides: JwtOverrides & { readonly token?: string } = {}) =>
      op.logout(origin + path, overrides)

    const session = (sid: string, sub = 'alice') => ({ claims: { sub, sid } })

    it('ends the login, at once, with all that is in the session [BCL-2.7]', async () => {
      const web = await startWeb()
      const browser = await signIn(web)
      await browser.post('/data', { diary: 'dear diary' })
      const old = browser.sessionId
      const pong = await tell(web)
      expect(pong).to.include({ status: 200, text: '' })
      expect(pong.headers.get('cache-control')).to.equal('no-store')
      expect(pong.headers.get('set-cookie')).to.equal(null)
      const account = await browser.copy().get('/account')
      expect([account.status, account.body.error]).to.deep.equal([401, 'unauthenticated'])
      expect(await web.sessions.ids()).to.not.include(old)
      expect(await isSignedIn(browser)).to.equal(false)
      expect((await browser.get('/data')).body).to.not.have.property('diary')
    })

    for (const { id, what, needs, make } of defectiveLogoutTokens) {
      it(`refuses a token with 400, and ends nothing: ${what} [${id}]`, async () => {
        const web = await startWeb({ idTokenSigningAlg: needs?.idTokenSigningAlg })
        const browser = await signIn(web)
        const pong = await tell(web, { token: await make(web.op.context()) })
        expect(pong.status).to.equal(400)
        expect(pong.headers.get('cache-control')).to.equal('no-store')
        const body = JSON.parse(pong.text)
        expect(body).to.have.all.keys('error', 'error_description')
        expect(body.error).to.equal('invalid_request')
        expect(await isSignedIn(browser)).to.equal(true)
        expect(web.errors).to.be.empty
      })
    }

    for (const [what, overrides] of [
      ['without typ', { header: { typ: undefined } }],
      ['of typ JWT', { header: { typ: 'JWT' } }],
      ['of typ application/logout+jwt', { header: { typ: 'application/Logout+JWT' } }],
      ['for an audience in an array', { claims: { aud: ['client'] } }],
      ['without exp', { claims: { exp: undefined } }],
      ['signed with RS256', { header: { alg: 'RS256' } }],
      ['of four minutes ago', () => ({ claims: { iat: seconds(-240) } })],
      ['20 s ahead of us', () => ({ claims: { iat: seconds(20) } })],
      ['with more in its event', { claims: { events: { [logoutEvent]: { a: 1 }, 'urn:other': {} } } }],
      ['with claims that nobody knows', { claims: { more: true } }],
    ] as [string, JwtOverrides | (() => JwtOverrides)][]) {
      it(`takes a token ${what}`, async () => {
        const web = await startWeb()
        const browser = await signIn(web)
        const token = typeof overrides === 'function' ? overrides() : overrides
        expect((await tell(web, token)).status).to.equal(200)
        expect(await isSignedIn(browser)).to.equal(false)
      })
    }

    it('takes HS256 where that is pinned, and nothing else then [TOK-8]', async () => {
      const web = await startWeb({ idTokenSigningAlg: 'HS256' })
      Object.assign(web.op.metadata, { id_token_signing_alg_values_supported: ['HS256', 'ES256'] })
      const header = { alg: 'HS256' }
      const browser = await signIn(web, { header })
      expect((await tell(web)).status).to.equal(400)
      expect(await isSignedIn(browser)).to.equal(true)
      expect((await tell(web, { header })).status).to.equal(200)
      expect(await isSignedIn(browser)).to.equal(false)
    })

    it('takes encrypted tokens where ID tokens are encrypted, and no plain ones [BCL-2.6]', async () => {
      const { privateKey, publicKey } = await generate('ec', { namedCurve: 'P-256' })
      const encrypt = { jwk: await exportJWK(publicKey) }
      const web = await startWeb({ idTokenDecryptionKey: privateKey })
      const browser = await signIn(web, { encrypt })
      expect((await tell(web)).status).to.equal(400)
      const foreign = await generate('ec', { namedCurve: 'P-256' })
      expect((await tell(web, { encrypt: { jwk: await exportJWK(foreign.publicKey) } })).status).to.equal(400)
      expect(await isSignedIn(browser)).to.equal(true)
      expect((await tell(web, { encrypt })).status).to.equal(200)
      expect(await isSignedIn(browser)).to.equal(false)
    })

    it('ends all sessions of the person, and nobody else', async () => {
      const web = await startWeb()
      const browsers = [
        await signIn(web),
        await signIn(web, session('s-1')),
        await signIn(web, session('s-2')),
      ]
      const bob = await signIn(web, session('s-3', 'bob'))
      await tell(web)
      for (const browser of browsers) expect(await isSignedIn(browser)).to.equal(false)
      expect(await isSignedIn(bob)).to.equal(true)
    })

    for (const [what, claims] of [
      ['sub and sid', { sid: 's-1' }],
      ['sid alone', { sid: 's-1', sub: undefined }],
    ] as const) {
      it(`ends the one session at the OP when the token has ${what}`, async () => {
        const web = await startWeb()
        const [one, two] = [await signIn(web, session('s-1')), await signIn(web, session('s-2'))]
        expect((await tell(web, { claims })).status).to.equal(200)
        expect(await isSignedIn(one)).to.equal(false)
        expect(await isSignedIn(two)).to.equal(true)
      })
    }

    it('finds the session at the OP after a refresh whose ID token has no sid', async () => {
      const web = await startWeb()
      const browser = await signIn(web, { ...expired, ...session('s-1') })
      web.op.onToken(await web.op.refreshed())
      expect((await browser.get('/token')).status).to.equal(200)
      await tell(web, session('s-1'))
      expect(await isSignedIn(browser)).to.equal(false)
    })

    it('leaves later logins alone, also when the token comes again', async () => {
      const web = await startWeb()
      const first = await signIn(web)
      const token = await web.op.logoutToken()
      await tell(web, { token })
      const second = await signIn(web)
      expect((await tell(web, { token })).status).to.equal(200)
      expect(await isSignedIn(first)).to.equal(false)
      expect(await isSignedIn(second)).to.equal(true)
      await tell(web)
      expect(await isSignedIn(second)).to.equal(false)
    })

    it('leaves a login alone that is still pending', async () => {
      const web = await startWeb()
      const browser = web.browser()
      const transaction = await browser.begin()
      await tell(web)
      await web.approve()
      expect((await browser.poll(transaction, 5)).body.status).to.equal('complete')
      expect(await isSignedIn(browser)).to.equal(true)
    })

    it('works on all instances that share the store and the secret [SEC-10]', async () => {
      const shared = { store: new MemoryTransactionStore(), secret: 'shared by both instances' }
      const web = await startWeb(shared)
      const other = await startWeb(
        { ...shared, issuerBaseURL: web.op.issuer },
        { session: { store: web.sessions } },
      )
      const browser = await signIn(web)
      const atOther = new Browser(other.origin, browser.cookie)
      expect(await isSignedIn(atOther)).to.equal(true)
      await web.op.logout(other.origin + path)
      expect(await isSignedIn(browser.copy())).to.equal(false)
      expect(await isSignedIn(atOther)).to.equal(false)
    })

    it('does not bring the session back by a refresh that is under way, nor wait for it', async () => {
      const web = await startWeb()
      const browser = await signIn(web, expired)
      const old = browser.sessionId
      const answer = later<Answer>()
      web.op.onToken(() => answer.promise)
      const reader = browser.copy().get('/token').then()
      await web.op.waitForCall('token', 2)
      await tell(web)
      expect(await isSignedIn(browser.copy())).to.equal(false)
      answer.resolve(await web.op.refreshed({ response: { id_token: undefined } }))
      await reader
      expect(await web.sessions.ids()).to.not.include(old)
      expect(await isSignedIn(browser)).to.equal(false)
    })

    it('does not bring the session back by a save of refreshed tokens that ends after it', async () => {
      const web = await startWeb()
      const browser = await signIn(web, expired)
      const old = browser.sessionId
      const [save, isSaving] = [later(), later()]
      web.sessions.beforeSet = (id) => {
        if (id !== old) return undefined
        isSaving.resolve()
        return save.promise
      }
      const reader = browser.copy().get('/token').then()
      await isSaving.promise
      await tell(web)
      expect((await browser.copy().get('/me')).body.signedIn).to.equal(false)
      save.resolve()
      await reader
      expect(await web.sessions.ids()).to.not.include(old)
    })

    it('needs no session middleware, and is not kept by what other sites send [SEC-2]', async () => {
      const web = await startWeb({}, { session: false })
      const token = await web.op.logoutToken()
      const headers = { 'content-type': form, 'sec-fetch-site': 'cross-site', origin: 'https://op.test' }
      const answer = await web.browser().post(path, `logout_token=${token}`, headers)
      expect(answer.status).to.equal(200)
      expect(web.errors).to.be.empty
    })

    it('stores no session and sets no cookie, whatever the session settings are', async () => {
      const web = await startWeb({}, { session: { saveUninitialized: true, rolling: true, resave: true } })
      for (const token of [undefined, 'not a jwt']) {
        const pong = await tell(web, token === undefined ? {} : { token })
        expect(pong.headers.get('set-cookie')).to.equal(null)
      }
      expect(await web.sessions.ids()).to.be.empty
    })
  })
}
