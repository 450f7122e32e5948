/** The logout route and `req.ciba.logout()`: what the browser gets, and where it goes. */
import { expect } from 'chai'
import { exportJWK } from 'jose'
import type { CibaOptions } from '../../lib/index.ts'
import { handled, signIn, storedLogin, tokenRoutes } from '../support/signed-in.ts'
import { generate } from '../support/signing-keys.ts'
import { type Browser, cookiesOf, expressVersions, type Web, webs } from '../support/web.ts'

const html = 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8'
const form = 'application/x-www-form-urlencoded'

/** Who asks for a logout, and whether that is a page that wants to go on. */
const callers: readonly {
  readonly what: string
  readonly body?: string | object
  readonly headers?: Record<string, string>
  readonly isPage: boolean
}[] = [
  { what: 'a request without a body', isPage: false },
  { what: 'a request without a body that accepts anything', headers: { accept: '*/*' }, isPage: false },
  { what: 'JSON', body: {}, isPage: false },
  { what: 'JSON that wants JSON', body: {}, headers: { accept: 'application/json' }, isPage: false },
  { what: 'JSON by fetch()', body: {}, headers: { accept: '*/*' }, isPage: false },
  { what: 'a form', body: 'a=b', headers: { 'content-type': form, accept: html }, isPage: true },
  { what: 'a form without fields', body: '', headers: { 'content-type': form, accept: html }, isPage: true },
]

for (const { name, express } of expressVersions) {
  describe(`POST /ciba/logout: the answer (${name})`, () => {
    const start = webs()

    async function startSignedIn(ciba: CibaOptions = {}, metadata = {}): Promise<[Web, Browser]> {
      const web = await start({ express, own: tokenRoutes, ciba })
      Object.assign(web.op.metadata, metadata)
      return [web, await signIn(web)]
    }

    const isSignedIn = async (browser: Browser) => (await browser.get('/me')).body.signedIn

    for (const { what, body, headers, isPage } of callers) {
      it(`${isPage ? 'sends to a page' : 'is empty'} after ${what}`, async () => {
        const [, browser] = await startSignedIn()
        const before = browser.copy()
        const answer = await browser.post('/ciba/logout', body, headers)
        expect(answer.status).to.equal(isPage ? 303 : 204)
        expect(answer.headers['location']).to.equal(isPage ? '/' : undefined)
        expect(answer.headers['cache-control']).to.equal('no-store')
        expect(await isSignedIn(browser)).to.equal(false)
        expect(await isSignedIn(before)).to.equal(false)
      })

      it(`${isPage ? 'sends to' : 'names'} the end of the session at the OP after ${what}, with idpLogout`, async () => {
        const [web, browser] = await startSignedIn({ idpLogout: true })
        const idToken = (await storedLogin(web, browser))?.tokens.idToken
        const answer = await browser.post('/ciba/logout', body, headers)
        expect(answer.status).to.equal(isPage ? 303 : 200)
        expect(answer.headers['cache-control']).to.equal('no-store')
        const url = new URL(isPage ? answer.headers['location'] : answer.body.endSessionURL)
        expect(url.origin + url.pathname).to.equal(`${web.op.issuer}/end-session`)
        expect(Object.fromEntries(url.searchParams)).to.deep.equal({
          id_token_hint: idToken,
          client_id: 'client',
          post_logout_redirect_uri: `${web.origin}/`,
        })
        if (!isPage) expect(answer.body).to.have.all.keys('endSessionURL')
        expect(await isSignedIn(browser)).to.equal(false)
      })
    }

    for (const [what, headers] of [
      ['a form from a program that says nothing of what it accepts', { 'content-type': form }],
      ['a form from a program that accepts anything', { 'content-type': form, accept: '*/*' }],
    ] as const) {
      it(`sends no page to ${what}`, async () => {
        const [, browser] = await startSignedIn()
        expect((await browser.post('/ciba/logout', '', headers)).status).to.equal(204)
      })
    }

    for (const [postLogoutRedirect, absolute] of [
      ['/goodbye?a=b', undefined],
      ['https://shop.example.com/goodbye', 'https://shop.example.com/goodbye'],
    ] as const) {
      it(`goes on to postLogoutRedirect: ${postLogoutRedirect}`, async () => {
        const headers = { 'content-type': form, accept: html }
        const [, browser] = await startSignedIn({ postLogoutRedirect })
        const answer = await browser.post('/ciba/logout', '', headers)
        expect([answer.status, answer.headers['location']]).to.deep.equal([303, postLogoutRedirect])

        const [web, other] = await startSignedIn({ postLogoutRedirect, idpLogout: true })
        const { endSessionURL } = (await other.post('/ciba/logout')).body
        expect(new URL(endSessionURL).searchParams.get('post_logout_redirect_uri')).to.equal(
          absolute ?? `${web.origin}${postLogoutRedirect}`,
        )
      })
    }

    it('keeps the query that the OP has in its end_session_endpoint', async () => {
      const end_session_endpoint = 'https://op.example.com/end?tenant=1'
      const [, browser] = await startSignedIn({ idpLogout: true }, { end_session_endpoint })
      const url = new URL((await browser.post('/ciba/logout')).body.endSessionURL)
      expect(url.origin + url.pathname).to.equal('https://op.example.com/end')
      expect(url.searchParams.get('tenant')).to.equal('1')
      expect(url.searchParams.get('client_id')).to.equal('client')
    })

    for (const end_session_endpoint of [
      undefined,
      'not a url',
      5,
      'javascript:alert(1)',
      'data:text/html,x',
    ]) {
      it(`stays here when the OP names ${end_session_endpoint} as its end_session_endpoint`, async () => {
        const [, browser] = await startSignedIn({ idpLogout: true }, { end_session_endpoint })
        expect((await browser.post('/ciba/logout')).status).to.equal(204)
        const [, page] = await startSignedIn({ idpLogout: true }, { end_session_endpoint })
        const answer = await page.post('/ciba/logout', '', { 'content-type': form, accept: html })
        expect([answer.status, answer.headers['location']]).to.deep.equal([303, '/'])
      })
    }

    it('is the usual one for somebody who is not signed in, with idpLogout', async () => {
      const web = await start({ express, ciba: { idpLogout: true } })
      expect((await web.browser().post('/ciba/logout')).status).to.equal(204)
      const page = await web.browser().post('/ciba/logout', '', { 'content-type': form, accept: html })
      expect([page.status, page.headers['location']]).to.deep.equal([303, '/'])
      expect(web.op.calls).to.be.empty
    })

    it('hints with the signed ID token where that came encrypted [REQ-6]', async () => {
      const { privateKey, publicKey } = await generate('ec', { namedCurve: 'P-256' })
      const web = await start({ express, ciba: { idpLogout: true, idTokenDecryptionKey: privateKey } })
      const browser = await signIn(web, { encrypt: { jwk: await exportJWK(publicKey) } })
      const { endSessionURL } = (await browser.post('/ciba/logout')).body
      expect(new URL(endSessionURL).searchParams.get('id_token_hint')?.split('.')).to.have.length(3)
    })

    it('refuses other sites, and leaves login and tokens alone [SEC-2]', async () => {
      const [web, browser] = await startSignedIn()
      for (const headers of [{ 'sec-fetch-site': 'cross-site' }, { origin: 'https://evil.example.com' }]) {
        for (const type of [form, 'application/json']) {
          const sent = { ...headers, 'content-type': type, accept: html }
          const answer = await browser.post('/ciba/logout', type === form ? '' : '{}', sent)
          expect(answer.status).to.equal(403)
          expect(answer.body.error).to.equal('cross_site_request')
        }
      }
      expect(await isSignedIn(browser)).to.equal(true)
      expect(web.op.callsTo('revocation')).to.be.empty
    })

    for (const method of ['get', 'head', 'put', 'delete'] as const) {
      it(`is 405 for ${method.toUpperCase()}, and leaves the login alone`, async () => {
        const [web, browser] = await startSignedIn()
        const answer = await browser.send(method, '/ciba/logout')
        expect(answer.status).to.equal(405)
        expect(answer.headers['allow']).to.equal('POST')
        expect(await isSignedIn(browser)).to.equal(true)
        expect(web.op.callsTo('revocation')).to.be.empty
      })
    }

    it('is 503 when the session store fails: nothing is revoked, and the person can try again', async () => {
      const [web, browser] = await startSignedIn()
      const { destroy } = web.sessions
      web.sessions.destroy = (_id, done) => void setImmediate(() => done?.(new Error('down')))
      expect((await browser.copy().post('/ciba/logout')).status).to.equal(503)
      expect(web.op.callsTo('revocation')).to.be.empty
      expect(await isSignedIn(browser)).to.equal(true)
      web.sessions.destroy = destroy
      expect((await browser.post('/ciba/logout')).status).to.equal(204)
      expect(await isSignedIn(browser)).to.equal(false)
    })
  })

  describe(`req.ciba.logout() (${name})`, () => {
    const start = webs()

    for (const idpLogout of [false, true]) {
      it(`ends the session for the rest of the request, and says where to go, with idpLogout ${idpLogout}`, async () => {
        const web = await start({
          express,
          ciba: { idpLogout, routes: { logout: false } },
          own: (app) => {
            app.post(
              '/bye',
              handled(async (req, res) => {
                const before = req.sessionID
                const result = await req.ciba.logout()
                Object.assign(req.session, { language: 'de' })
                const { ciba } = req
                res.json({
                  result,
                  ids: [before, req.sessionID],
                  user: ciba.user ?? null,
                  tokens: ciba.tokens ?? null,
                })
              }),
            )
          },
        })
        const browser = await signIn(web)
        const answer = await browser.post('/bye')
        const { result, ids, user, tokens } = answer.body
        expect([user, tokens]).to.deep.equal([null, null])
        expect(ids[0]).to.not.equal(ids[1])
        expect(Object.keys(result)).to.deep.equal(idpLogout ? ['endSessionURL'] : [])
        expect(cookiesOf(answer)).to.have.length(1)
        expect((await browser.get('/data')).body).to.include({ language: 'de' })
        expect(await web.sessions.ids()).to.deep.equal([browser.sessionId])
      })
    }
  })

  describe(`a logout while other requests are under way (${name})`, () => {
    const start = webs()

    for (const session of [{}, { rolling: true }, { resave: true, rolling: true }]) {
      it(`is not undone by one that writes to its old copy of the session, with ${JSON.stringify(session)}`, async () => {
        let arrive = () => {}
        let proceed = () => {}
        const arrived = new Promise<void>((resolve) => {
          arrive = resolve
        })
        const free = new Promise<void>((resolve) => {
          proceed = resolve
        })
        const own = handled(async (req, res) => {
          arrive()
          await free
          Object.assign(req.session, { cart: [1] })
          res.json({})
        })
        const web = await start({ express, session, own: (app) => app.post('/slow', own) })
        const browser = await signIn(web)
        const slow = browser.copy()
        const answer = slow.post('/slow')
        await arrived
        const before = browser.copy()
        expect((await browser.post('/ciba/logout')).status).to.equal(204)
        proceed()
        expect((await answer).status).to.equal(200)
        expect((await before.get('/me')).body.signedIn).to.equal(false)
        expect((await slow.get('/me')).body.signedIn).to.equal(false)
      })
    }

    it('is not undone by a poll that waits, with resave', async () => {
      const web = await start({ express, session: { resave: true } })
      const browser = await signIn(web)
      const transaction = await browser.begin('bob')
      const held = await browser.copy().hold(transaction, web, 0.5)
      const before = browser.copy()
      await browser.post('/ciba/logout')
      await held.answer
      expect((await before.get('/me')).body.signedIn).to.equal(false)
    })
  })
}
