/** Refreshes among requests of one session that read and write it at the same time. */
import { expect } from 'chai'
import type { Express, Request } from 'express'
import type { SessionOptions } from 'express-session'
import { type Later, later } from '../support/outcomes.ts'
import type { Answer } from '../support/scripted-op.ts'
import { expired, handled, signIn, storedLogin, tokenRoutes } from '../support/signed-in.ts'
import { type Browser, cookiesOf, until, type Web, webs } from '../support/web.ts'

const settings: readonly [string, Partial<SessionOptions>][] = [
  ['the usual session settings', {}],
  ['resave: true', { resave: true }],
  ['rolling: true', { rolling: true }],
  ['resave, rolling and a maxAge', { resave: true, rolling: true, cookie: { maxAge: 60_000 } }],
]

const noteOf = (req: Request) => req.session as unknown as { note?: string }

describe('req.ciba.getAccessToken(): many at once', () => {
  const start = webs()
  /** Opened by a test for a request that waits before it goes on. */
  let gate: Later<void>

  beforeEach(() => {
    gate = later()
  })

  /** Besides the usual routes: requests that write to the session before, after or instead of using the token. */
  function routes(app: Express, web: Web): void {
    tokenRoutes(app, web)
    const tokenAfter = (act: (req: Request) => unknown, then: (req: Request) => void = () => {}) =>
      handled(async (req, res) => {
        await act(req)
        const token = await req.ciba.getAccessToken()
        then(req)
        res.json({ token })
      })
    const write = (req: Request) => {
      noteOf(req).note = 'written'
    }
    app.post('/write-then-token', tokenAfter(write))
    app.post(
      '/token-then-write',
      tokenAfter(() => {}, write),
    )
    app.post(
      '/wait-then-write',
      handled(async (req, res) => {
        await gate.promise
        write(req)
        res.end()
      }),
    )
    app.post('/destroy', (req, res, next) => {
      req.session.destroy((error) => (error ? next(error) : res.end()))
    })
  }

  async function startSignedIn(session: Partial<SessionOptions> = {}): Promise<[Web, Browser]> {
    const web = await start({ own: routes, session })
    return [web, await signIn(web, expired)]
  }

  /** A refresh that the OP has got; the test says when it is answered. */
  async function holdRefresh(web: Web, browser: Browser, path = '/token') {
    const answer = later<Answer>()
    web.op.onToken(() => answer.promise)
    const count = web.op.callsTo('token').length + 1
    const request = path === '/token' ? browser.copy().get(path) : browser.copy().post(path)
    const done = Promise.resolve(request)
    await web.op.waitForCall('token', count)
    const response = { access_token: 'access-1', refresh_token: 'refresh-1', id_token: undefined }
    return {
      done,
      finish: async (overrides: Record<string, unknown> = {}) => {
        answer.resolve(await web.op.refreshed({ response: { ...response, ...overrides } }))
        return done
      },
    }
  }

  const refreshTokensSent = ({ op }: Web) =>
    op.callsTo('token').flatMap(({ params }) => params.get('refresh_token') ?? [])

  for (const [title, session] of settings) {
    context(`with ${title}`, () => {
      it('refreshes once for twenty requests of one session, and all get the new token [TOK-23]', async () => {
        const [web, browser] = await startSignedIn(session)
        const held = await holdRefresh(web, browser)
        const before = web.sessions.loads
        const others = Array.from({ length: 19 }, () => browser.copy().get('/token').then())
        await until('they are all there', () => web.sessions.loads >= before + 19)
        const first = await held.finish()
        const answers = [first, ...(await Promise.all(others))]
        expect(answers.map(({ body }) => body.token)).to.deep.equal(Array(20).fill('access-1'))
        expect(refreshTokensSent(web)).to.deep.equal(['refresh-0'])
        expect((await storedLogin(web, browser))?.tokens.refreshToken).to.equal('refresh-1')
      })

      for (const path of ['/write-then-token', '/token-then-write']) {
        it(`keeps the new tokens, and what a request wrote that shares the refresh: ${path}`, async () => {
          const [web, browser] = await startSignedIn(session)
          const held = await holdRefresh(web, browser, path)
          const before = web.sessions.loads
          const readers = Array.from({ length: 5 }, () => browser.copy().get('/token').then())
          await until('they are all there', () => web.sessions.loads >= before + 5)
          expect((await held.finish()).body).to.deep.equal({ token: 'access-1' })
          await Promise.all(readers)
          expect((await storedLogin(web, browser))?.tokens.refreshToken).to.equal('refresh-1')
          // With resave every reader writes its own copy back; who comes last is up to express-session.
          if (session.resave) return
          expect(await web.sessions.read(browser.sessionId ?? '')).to.include({ note: 'written' })
        })
      }

      it('lets no request write an older copy over the newest refresh token [TOK-23]', async () => {
        const [web, browser] = await startSignedIn(session)
        const before = web.sessions.loads
        const writer = browser.copy().post('/wait-then-write').then()
        await until('the writer has its copy', () => web.sessions.loads > before)
        const held = await holdRefresh(web, browser)
        await held.finish({ expires_in: 90 })
        gate.resolve()
        await writer
        expect((await storedLogin(web, browser))?.tokens.refreshToken).to.equal('refresh-1')
        expect((await browser.get('/token')).body).to.deep.equal({ token: 'access-1' })
        expect(refreshTokensSent(web)).to.deep.equal(['refresh-0'])
        const stored = await web.sessions.read(browser.sessionId ?? '')
        expect(stored?.ciba?.login?.tokens.refreshToken).to.equal('refresh-1')
        expect(stored).to.include({ note: 'written' })
      })

      it('does not bring a session back that another request has destroyed meanwhile', async () => {
        const [web, browser] = await startSignedIn(session)
        const held = await holdRefresh(web, browser)
        await browser.copy().post('/destroy')
        const answer = await held.finish()
        expect(cookiesOf(answer)).to.be.empty
        expect(await web.sessions.ids()).to.not.include(browser.sessionId)
        expect((await browser.copy().get('/token')).status).to.equal(401)
      })

      for (const person of ['bob', 'alice']) {
        it(`leaves the login of ${person} alone who signs in meanwhile in the same browser`, async () => {
          const [web, browser] = await startSignedIn(session)
          const old = browser.sessionId
          const held = await holdRefresh(web, browser)
          const response = { access_token: 'access-of-the-second', refresh_token: 'refresh-of-the-second' }
          await signIn(web, { claims: { sub: person }, response }, browser)
          const before = await storedLogin(web, browser)
          const answer = await held.finish()
          expect(answer.status, 'its own login has ended').to.equal(401)
          expect(cookiesOf(answer), 'the old cookie must not come back').to.be.empty
          expect(await storedLogin(web, browser)).to.deep.equal(before)
          expect((await browser.get('/token')).body).to.deep.equal({ token: 'access-of-the-second' })
          expect((await browser.get('/me')).body.user.sub).to.equal(person)
          expect(await web.sessions.ids()).to.not.include(old)
        })
      }
    })
  }

  it('loses nothing that another request has written while the OP was asked', async () => {
    const [web, browser] = await startSignedIn()
    const held = await holdRefresh(web, browser)
    await browser.copy().post('/data', { cart: [1] })
    await held.finish()
    const stored = await web.sessions.read(browser.sessionId ?? '')
    expect(stored).to.deep.include({ cart: [1] })
    expect(stored?.ciba?.login?.tokens.refreshToken).to.equal('refresh-1')
  })

  it('loses nothing that another request has written before the OP was asked', async () => {
    const web = await start({
      own: (app) => {
        app.get(
          '/wait-then-token',
          handled(async (req, res) => {
            await gate.promise
            res.json({ token: await req.ciba.getAccessToken() })
          }),
        )
      },
    })
    const browser = await signIn(web, expired)
    const before = web.sessions.loads
    const reader = browser.copy().get('/wait-then-token').then()
    await until('the reader has its copy', () => web.sessions.loads > before)
    await browser.copy().post('/data', { cart: [1] })
    gate.resolve()
    expect((await reader).status).to.equal(200)
    const stored = await web.sessions.read(browser.sessionId ?? '')
    expect(stored).to.deep.include({ cart: [1] })
    expect(stored?.ciba?.login?.refreshes).to.equal(1)
  })

  it('refreshes each of two sessions of one person with tokens of its own', async () => {
    const [web, browser] = await startSignedIn()
    const other = await signIn(web, {
      response: { access_token: 'a', refresh_token: 'refresh-of-the-other', expires_in: 0 },
    })
    const answers = await Promise.all([browser, other].map((one) => one.get('/token').then()))
    expect(new Set(answers.map(({ body }) => body.token)).size).to.equal(2)
    expect(refreshTokensSent(web)).to.have.members(['refresh-0', 'refresh-of-the-other'])
    for (const [index, one] of [browser, other].entries()) {
      expect((await one.get('/tokens')).body.tokens.accessToken).to.equal(answers[index]?.body.token)
    }
  })
})
