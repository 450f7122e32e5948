import { expect } from 'chai'
import type { CibaError } from '../../lib/index.ts'
import {
  type Answer,
  html,
  redirect,
  type ScriptedOp,
  tokenError,
  unavailable,
} from '../support/scripted-op.ts'
import { expired, expiring, signIn, storedLogin, tokenRoutes } from '../support/signed-in.ts'
import { type Browser, cookiesOf, expressVersions, type Web, webs } from '../support/web.ts'

/** Without an ID token, which a refresh need not bring. */
const refreshed = (op: ScriptedOp, response: Record<string, unknown> = {}): Promise<Answer> =>
  op.refreshed({ response: { id_token: undefined, ...response } })

/** The refreshes that the OP was asked for: the first token request brought the login. */
const refreshes = ({ op }: Web) => op.callsTo('token').slice(1)

const tokenFor = async (browser: Browser) => (await browser.get('/token')).body.token

for (const { name, express } of expressVersions) {
  describe(`req.ciba.getAccessToken() (${name})`, () => {
    const start = webs()
    const startSignedIn = async (overrides = expired): Promise<[Web, Browser]> => {
      const web = await start({ express, own: tokenRoutes })
      return [web, await signIn(web, overrides)]
    }

    it('rejects with 401 when nobody is signed in', async () => {
      const web = await start({ express, own: tokenRoutes })
      expect((await web.browser().get('/token')).status).to.equal(401)
      expect(web.errors[0]).to.include({ code: 'ERR_CIBA_UNAUTHENTICATED', error: 'unauthenticated' })
      expect(web.op.calls).to.be.empty
    })

    for (const [what, expires_in] of [
      ['lasts for more than a minute', 65],
      ['comes without expires_in', undefined],
    ] as const) {
      it(`gives a token that ${what} as it is [TOK-20]`, async () => {
        const response = { access_token: 'access-0', refresh_token: 'refresh-0', expires_in }
        const [web, browser] = await startSignedIn({ response })
        expect(await tokenFor(browser)).to.equal('access-0')
        expect(refreshes(web)).to.be.empty
      })
    }

    for (const [what, overrides] of [
      ['has expired', expired],
      ['lasts for half a minute', expiring],
    ] as const) {
      it(`refreshes a token that ${what}, and stores the result [TOK-23]`, async () => {
        const [web, browser] = await startSignedIn(overrides)
        web.op.onToken(await refreshed(web.op, { access_token: 'access-1', refresh_token: 'refresh-1' }))
        const answer = await browser.get('/token')
        expect(answer.body).to.deep.equal({ token: 'access-1' })
        expect(cookiesOf(answer)).to.be.empty
        expect(refreshes(web)).to.have.length(1)
        expect((await storedLogin(web, browser))?.tokens).to.include({
          accessToken: 'access-1',
          refreshToken: 'refresh-1',
        })
        expect((await browser.get('/tokens')).body.tokens.accessToken).to.equal('access-1')
      })
    }

    it('sends the refresh token with the client authentication of all requests [AUTH-1]', async () => {
      const [web, browser] = await startSignedIn()
      await tokenFor(browser)
      const [call] = refreshes(web)
      expect(Object.fromEntries(call?.params ?? [])).to.deep.equal({
        grant_type: 'refresh_token',
        refresh_token: 'refresh-0',
      })
      expect(call?.headers.authorization).to.match(/^Basic /)
      expect(call?.headers.authorization).to.equal(web.op.callsTo('token')[0]?.headers.authorization)
    })

    it('uses the newest refresh token each time, whatever is in it [TOK-23]', async () => {
      const [web, browser] = await startSignedIn()
      const unusual = ' !"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~'
      web.op.onToken(await refreshed(web.op, { refresh_token: unusual, expires_in: 0 }))
      await tokenFor(browser)
      web.op.onToken(await refreshed(web.op, { access_token: 'access-2', refresh_token: 'last' }))
      expect(await tokenFor(browser)).to.equal('access-2')
      const sent = refreshes(web).map(({ params }) => params.get('refresh_token'))
      expect(sent).to.deep.equal(['refresh-0', unusual])
      expect((await storedLogin(web, browser))?.tokens.refreshToken).to.equal('last')
    })

    it('keeps the refresh token and the scope that the OP does not replace [TOK-20]', async () => {
      const [web, browser] = await startSignedIn()
      web.op.onToken(await refreshed(web.op, { refresh_token: undefined, expires_in: 0 }))
      await tokenFor(browser)
      expect((await storedLogin(web, browser))?.tokens).to.include({
        refreshToken: 'refresh-0',
        scope: 'openid',
      })
      await tokenFor(browser)
      expect(refreshes(web).map(({ params }) => params.get('refresh_token'))).to.deep.equal([
        'refresh-0',
        'refresh-0',
      ])
    })

    it('takes the scope that the OP grants now', async () => {
      const [web, browser] = await startSignedIn()
      web.op.onToken(await refreshed(web.op, { scope: 'openid profile' }))
      await tokenFor(browser)
      expect((await storedLogin(web, browser))?.tokens.scope).to.equal('openid profile')
    })

    it('does not refresh again when the OP does not say how long the new token lasts [TOK-20]', async () => {
      const [web, browser] = await startSignedIn()
      web.op.onToken(await refreshed(web.op, { access_token: 'access-1', expires_in: undefined }))
      for (let n = 0; n < 3; n++) expect(await tokenFor(browser)).to.equal('access-1')
      expect(refreshes(web)).to.have.length(1)
      expect((await storedLogin(web, browser))?.tokens).to.not.have.property('expiresAt')
    })

    it('shows the new tokens to the rest of the request', async () => {
      const web = await start({
        express,
        own: (app) => {
          app.get('/seen', (req, res, next) => {
            const before = req.ciba.tokens?.accessToken
            req.ciba.getAccessToken().then((token) => {
              res.json([before, token, req.ciba.tokens?.accessToken, req.ciba.isAuthenticated()])
            }, next)
          })
        },
      })
      const browser = await signIn(web, expired)
      web.op.onToken(await refreshed(web.op, { access_token: 'access-1' }))
      expect((await browser.get('/seen')).body).to.deep.equal(['access-0', 'access-1', 'access-1', true])
    })

    it('refreshes once where one request asks three times at once', async () => {
      const web = await start({
        express,
        own: (app) => {
          app.get('/thrice', (req, res, next) => {
            const all = [req.ciba.getAccessToken(), req.ciba.getAccessToken(), req.ciba.fetchUserInfo()]
            Promise.all(all).then(([one, two]) => res.json([one, two]), next)
          })
        },
      })
      const browser = await signIn(web, expired)
      web.op.onToken(await refreshed(web.op, { access_token: 'access-1' }))
      expect((await browser.get('/thrice')).body).to.deep.equal(['access-1', 'access-1'])
      expect(refreshes(web)).to.have.length(1)
      expect(web.op.callsTo('userinfo')[0]?.headers.authorization).to.equal('Bearer access-1')
    })

    context('without a refresh token', () => {
      const without = (expires_in: number) => ({ response: { access_token: 'access-0', expires_in } })

      it('gives the token until it expires', async () => {
        const [web, browser] = await startSignedIn(without(30))
        expect(await tokenFor(browser)).to.equal('access-0')
        expect(refreshes(web)).to.be.empty
      })

      it('rejects with 401 after that, and leaves the person signed in', async () => {
        const [web, browser] = await startSignedIn(without(0))
        const answer = await browser.get('/token')
        expect(answer.status).to.equal(401)
        expect(web.errors[0]).to.include({ code: 'ERR_CIBA_INVALID_TOKEN', error: 'invalid_token' })
        expect(refreshes(web)).to.be.empty
        expect((await browser.get('/me')).body.signedIn).to.equal(true)
      })
    })

    const failures: readonly {
      readonly what: string
      readonly answer: Answer | 'down'
      readonly code: string
      readonly status: number
      readonly retryAfter?: number
    }[] = [
      {
        what: 'refuses',
        answer: tokenError('invalid_grant'),
        code: 'ERR_CIBA_INVALID_TOKEN',
        status: 401,
      },
      { what: 'is down', answer: 'down', code: 'ERR_CIBA_OP_UNREACHABLE', status: 503 },
      { what: 'fails', answer: { status: 500 }, code: 'ERR_CIBA_OP_FAILED', status: 502 },
      { what: 'is behind a broken proxy', answer: html(502), code: 'ERR_CIBA_OP_FAILED', status: 502 },
      {
        what: 'answers 503 with Retry-After',
        answer: unavailable('7'),
        code: 'ERR_CIBA_OP_FAILED',
        status: 502,
        retryAfter: 7,
      },
      {
        what: 'has had enough requests',
        answer: unavailable('7', 429),
        code: 'ERR_CIBA_OP_UNREACHABLE',
        status: 503,
        retryAfter: 7,
      },
      {
        what: 'breaks off before the answer',
        answer: { reset: 'before-answer' },
        code: 'ERR_CIBA_OP_FAILED',
        status: 502,
      },
      {
        what: 'breaks off in the answer',
        answer: { reset: 'mid-body' },
        code: 'ERR_CIBA_OP_FAILED',
        status: 502,
      },
      {
        what: 'redirects',
        answer: redirect('/elsewhere', 307),
        code: 'ERR_CIBA_OP_FAILED',
        status: 502,
      },
    ]

    for (const { what, answer, code, status, retryAfter } of failures) {
      context(`when the OP ${what}`, () => {
        async function meetTrouble(web: Web): Promise<void> {
          if (answer === 'down') await web.op.down()
          else web.op.onToken(answer)
        }

        it(`rejects with ${code} where the token has expired, and changes nothing`, async () => {
          const [web, browser] = await startSignedIn()
          const before = await storedLogin(web, browser)
          await meetTrouble(web)
          expect((await browser.get('/token')).status).to.equal(status)
          const error = web.errors[0] as CibaError
          expect(error).to.include({ code, status })
          if (retryAfter !== undefined) expect(error.retryAfter).to.equal(retryAfter)
          expect(`${error.message} ${error.stack}`).to.not.match(/(access|refresh)-0/) // [SEC-11]
          expect(await storedLogin(web, browser)).to.deep.equal(before)
          expect(refreshes(web), 'no retry').to.have.length(answer === 'down' ? 0 : 1)
          expect(web.op.callsTo('other'), 'a redirect followed').to.be.empty
        })

        it('gives a token that is still valid', async () => {
          const [web, browser] = await startSignedIn(expiring)
          await meetTrouble(web)
          expect(await tokenFor(browser)).to.equal('access-0')
          expect(refreshes(web)).to.have.length(answer === 'down' ? 0 : 1)
          expect(web.errors).to.be.empty
        })
      })
    }
  })
}
