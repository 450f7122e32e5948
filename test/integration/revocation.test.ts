/** A logout makes the tokens worthless (RFC 7009), whatever else goes on with them. */
import { expect } from 'chai'
import type { SessionOptions } from 'express-session'
import type { CibaOptions } from '../../lib/index.ts'
import { clientAssertionOf } from '../support/client-jwts.ts'
import { later } from '../support/outcomes.ts'
import { type Answer, redirect, tokenError, unavailable } from '../support/scripted-op.ts'
import { expired, signIn, tokenRoutes } from '../support/signed-in.ts'
import { generate } from '../support/signing-keys.ts'
import { type Browser, cookiesOf, until, type Web, webs } from '../support/web.ts'

const tokens = { response: { access_token: 'access-0', refresh_token: 'refresh-0' } }

/** The revoked tokens with their hints, in order. */
const revoked = ({ op }: Web) =>
  op.callsTo('revocation').map(({ params }) => [params.get('token_type_hint'), params.get('token')])

const both = (n: number) => [
  ['refresh_token', `refresh-${n}`],
  ['access_token', `access-${n}`],
]

describe('POST /ciba/logout: the tokens', () => {
  const start = webs()

  async function startSignedIn(
    overrides: object = tokens,
    ciba: CibaOptions = {},
    session: Partial<SessionOptions> = {},
  ): Promise<[Web, Browser]> {
    const web = await start({ own: tokenRoutes, ciba, session })
    return [web, await signIn(web, overrides)]
  }

  it('says so when the session could not be ended, and a second try ends it and revokes [SEC-6]', async () => {
    const [web, browser] = await startSignedIn()
    const reallyDestroy = web.sessions.destroy.bind(web.sessions)
    web.sessions.destroy = (_id, done) => done?.(new Error('the session database is down'))
    expect((await browser.post('/ciba/logout')).status).to.equal(503)
    expect((await browser.get('/me')).body.signedIn, 'the browser has its session still').to.equal(true)
    web.sessions.destroy = reallyDestroy
    expect((await browser.post('/ciba/logout')).status).to.equal(204)
    expect(revoked(web)).to.deep.equal(both(0))
    expect((await browser.get('/me')).body.signedIn).to.equal(false)
    expect(await web.sessions.ids()).to.have.length.below(2)
  })

  it('revokes both, the refresh token first, with the client authentication of all requests [AUTH-1]', async () => {
    const [web, browser] = await startSignedIn()
    await browser.post('/ciba/logout')
    expect(revoked(web)).to.deep.equal(both(0))
    for (const call of web.op.callsTo('revocation')) {
      expect(call).to.include({ method: 'POST' })
      expect(call.headers['content-type']).to.match(/^application\/x-www-form-urlencoded/)
      expect(call.headers.authorization).to.equal(web.op.callsTo('token')[0]?.headers.authorization)
      expect([...call.params.keys()].sort()).to.deep.equal(['token', 'token_type_hint'])
    }
  })

  it('authenticates by private_key_jwt with a new assertion each time [AUTH-2, AUTH-3]', async () => {
    const { privateKey, publicKey } = await generate('ec', { namedCurve: 'P-256' })
    const [web, browser] = await startSignedIn(tokens, {
      clientSecret: undefined,
      clientAssertionSigningKey: privateKey,
    })
    await browser.post('/ciba/logout')
    const [one, other] = await Promise.all(
      web.op.callsTo('revocation').map((call) => clientAssertionOf(call, publicKey)),
    )
    expect(one?.claims).to.include({ iss: 'client', sub: 'client', aud: web.op.issuer })
    expect(one?.claims.jti).to.not.equal(other?.claims.jti)
    expect(revoked(web)).to.deep.equal(both(0))
  })

  it('revokes the access token alone where there is no refresh token', async () => {
    const [web, browser] = await startSignedIn({ response: { access_token: 'access-0' } })
    await browser.post('/ciba/logout')
    expect(revoked(web)).to.deep.equal([['access_token', 'access-0']])
  })

  it('revokes nothing where nobody is signed in, or the OP has no revocation endpoint', async () => {
    const web = await start()
    await web.browser().post('/ciba/logout')
    Object.assign(web.op.metadata, { revocation_endpoint: undefined })
    const browser = await signIn(web, tokens)
    expect((await browser.post('/ciba/logout')).status).to.equal(204)
    expect(revoked(web)).to.be.empty
    expect(web.op.callsTo('other')).to.be.empty
  })

  for (const [what, answer] of [
    ['does not revoke refresh tokens', tokenError('unsupported_token_type')],
    ['does not know us any more', tokenError('invalid_client', 401, { 'www-authenticate': 'Basic' })],
    ['is busy', unavailable('5')],
    ['fails', { status: 500 }],
    ['breaks off', { reset: 'before-answer' }],
    ['redirects', redirect('/elsewhere', 307)],
  ] as [string, Answer][]) {
    it(`goes on with the access token when the OP ${what}, and signs out`, async () => {
      const [web, browser] = await startSignedIn()
      web.op.onRevocation(answer)
      expect((await browser.post('/ciba/logout')).status).to.equal(204)
      expect(revoked(web)).to.deep.equal(both(0))
      expect(web.op.callsTo('other'), 'a redirect followed').to.be.empty
      expect((await browser.get('/me')).body.signedIn).to.equal(false)
    })
  }

  it('signs out while the OP is down', async () => {
    const [web, browser] = await startSignedIn(tokens, { idpLogout: true })
    await web.op.down()
    expect((await browser.post('/ciba/logout')).status).to.equal(200)
    expect((await browser.get('/me')).body.signedIn).to.equal(false)
  })

  it('ends the session first, answers within 5 seconds though the OP hangs, and goes on without it', async function () {
    this.timeout(15_000)
    const [web, browser] = await startSignedIn(tokens, { idpLogout: true })
    const before = browser.copy()
    const answer = later<Answer>()
    web.op.onRevocation(() => answer.promise)
    const startedAt = Date.now()
    const done = browser.post('/ciba/logout')
    const answered = done.then(({ status }) => [status, Date.now() - startedAt] as const)
    await web.op.waitForCall('revocation')
    expect((await before.get('/me')).body.signedIn).to.equal(false)
    const [status, took] = await answered
    expect(status).to.equal(200)
    expect(took).to.be.below(5_000)
    answer.resolve({})
    await web.op.waitForCall('revocation', 2)
    expect(revoked(web)).to.deep.equal(both(0))
  })

  it('follows a revocation to its end at close()', async () => {
    const [web, browser] = await startSignedIn()
    const answer = later<Answer>()
    web.op.onRevocation(() => answer.promise)
    const done = browser.post('/ciba/logout').then()
    await web.op.waitForCall('revocation')
    const closing = web.auth.close()
    answer.resolve({})
    await closing
    expect(revoked(web)).to.deep.equal(both(0))
    expect((await done).status).to.equal(204)
  })

  it('revokes the tokens of the last refresh, not those that the login began with', async () => {
    const [web, browser] = await startSignedIn(expired)
    const response = { access_token: 'access-1', refresh_token: 'refresh-1', id_token: undefined }
    web.op.onToken(await web.op.refreshed({ response }))
    await browser.get('/token')
    await browser.post('/ciba/logout')
    expect(revoked(web)).to.deep.equal(both(1))
  })

  it('revokes nothing twice, and brings nothing back, when an old window logs out again', async () => {
    const [web, browser] = await startSignedIn()
    const before = browser.copy()
    await browser.post('/ciba/logout')
    expect((await before.post('/ciba/logout')).status).to.equal(204)
    expect(revoked(web)).to.deep.equal(both(0))
  })

  for (const [title, session] of [
    ['the usual session settings', {}],
    ['resave: true', { resave: true }],
    ['rolling: true', { rolling: true }],
  ] as [string, Partial<SessionOptions>][]) {
    context(`when a refresh is under way, with ${title}`, () => {
      /** A refresh that the OP has got, of a session that is then logged out. */
      async function logOutDuringRefresh(): Promise<{
        web: Web
        browser: Browser
        old: string
        finish(answer?: Answer): Promise<{ readonly token: unknown; readonly cookies: readonly string[] }>
        readonly loggedOut: Promise<{ status: number }>
      }> {
        const [web, browser] = await startSignedIn(expired, {}, session)
        const old = browser.sessionId as string
        const answer = later<Answer>()
        web.op.onToken(() => answer.promise)
        const reader = browser.copy().get('/token').then()
        await web.op.waitForCall('token', 2)
        const loggedOut = browser.post('/ciba/logout').then()
        await until('the session has ended', () => web.sessions.destroyed.includes(old))
        const response = { access_token: 'access-1', refresh_token: 'refresh-1', id_token: undefined }
        return {
          web,
          browser,
          old,
          loggedOut,
          async finish(given) {
            answer.resolve(given ?? (await web.op.refreshed({ response })))
            const read = await reader
            return { token: read.body.token, cookies: cookiesOf(read) }
          },
        }
      }

      it('revokes the refreshed tokens, and does not bring the session back [TOK-23]', async () => {
        const { web, browser, old, finish, loggedOut } = await logOutDuringRefresh()
        const { cookies } = await finish()
        expect(cookies, 'the old cookie').to.be.empty
        expect((await loggedOut).status).to.equal(204)
        // Whoever has refreshed revokes what it got, whoever logs out what it had.
        expect(revoked(web)).to.have.deep.members([...both(1), ...both(0)])
        expect(await web.sessions.ids()).to.not.include(old)
        expect((await browser.get('/me')).body.signedIn).to.equal(false)
      })

      it('revokes the old ones when the refresh fails', async () => {
        const { web, old, finish, loggedOut } = await logOutDuringRefresh()
        await finish({ status: 500 })
        await loggedOut
        expect(revoked(web)).to.deep.equal(both(0))
        expect(await web.sessions.ids()).to.not.include(old)
      })

      it('does not bring the session back by a save that the store finishes after the logout', async () => {
        const [web, browser] = await startSignedIn(expired, {}, session)
        const old = browser.sessionId as string
        const [save, isSaving] = [later(), later()]
        web.sessions.beforeSet = (id) => {
          if (id !== old) return undefined
          isSaving.resolve()
          return save.promise
        }
        const reader = browser.copy().get('/token').then()
        await isSaving.promise
        const loggedOut = browser.post('/ciba/logout').then()
        await until('the session has ended', () => web.sessions.destroyed.includes(old))
        save.resolve()
        await Promise.all([reader, loggedOut])
        expect(await web.sessions.ids()).to.not.include(old)
      })
    })
  }
})
