/** Refreshes and the stores behind the session: failing ones, remote ones, shared ones. */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'chai'
import { type SessionData, Store } from 'express-session'
import { MemoryTransactionStore } from '../../lib/index.ts'
import { later } from '../support/outcomes.ts'
import type { Answer } from '../support/scripted-op.ts'
import { expired, expiring, signIn, storedLogin, tokenRoutes } from '../support/signed-in.ts'
import { Browser, until, type Web, webs } from '../support/web.ts'

const endOf = ({ cookie }: SessionData) => new Date(cookie.expires ?? 0).getTime()

type Done = (error?: unknown, data?: SessionData) => void

/** As Redis does it: the time to live is set by the cookie of what is saved, and prolonged without rewriting that. */
class RemoteStore extends Store {
  readonly #records = new Map<string, { json: string; until: number }>()

  override get(id: string, done: Done): void {
    const record = this.#records.get(id)
    const isAlive = record !== undefined && record.until > Date.now()
    setImmediate(() => done(null, isAlive ? JSON.parse(record.json) : undefined))
  }

  override set(id: string, data: SessionData, done?: Done): void {
    const until = endOf(data)
    if (until > Date.now()) this.#records.set(id, { json: JSON.stringify(data), until })
    else this.#records.delete(id)
    setImmediate(() => done?.())
  }

  override touch(id: string, data: SessionData, done?: () => void): void {
    const record = this.#records.get(id)
    if (record) record.until = endOf(data)
    setImmediate(() => done?.())
  }

  override destroy(id: string, done?: Done): void {
    this.#records.delete(id)
    setImmediate(() => done?.())
  }
}

const refreshTokensSent = ({ op }: Web) =>
  op.callsTo('token').flatMap(({ params }) => params.get('refresh_token') ?? [])

const next = (web: Web, n: number, expires_in = 300): Promise<Answer> =>
  web.op.refreshed({
    response: { access_token: `access-${n}`, refresh_token: `refresh-${n}`, id_token: undefined, expires_in },
  })

describe('req.ciba.getAccessToken() and the session store', () => {
  const start = webs()

  /** Every load fails but the one by express-session itself. */
  function failLoads(web: Web): void {
    const { get } = web.sessions
    let loads = 0
    web.sessions.get = function (id, done) {
      if (++loads === 1) get.call(this, id, done)
      else setImmediate(() => done(new Error('the session database is down')))
    }
  }

  it('answers 503 when the store cannot be read and the token has expired, and uses no refresh token up', async () => {
    const web = await start({ own: tokenRoutes })
    const browser = await signIn(web, expired)
    failLoads(web)
    expect((await browser.get('/token')).status).to.equal(503)
    expect(web.errors[0]).to.include({ code: 'ERR_CIBA_STORE_FAILED' })
    expect(refreshTokensSent(web)).to.be.empty
  })

  it('gives a token that is still valid when the store cannot be read', async () => {
    const web = await start({ own: tokenRoutes })
    const browser = await signIn(web, expiring)
    failLoads(web)
    expect((await browser.get('/token')).body).to.deep.equal({ token: 'access-0' })
    expect(refreshTokensSent(web)).to.be.empty
  })

  it('stores the new tokens at the second attempt when the first fails', async () => {
    const web = await start({ own: tokenRoutes })
    const browser = await signIn(web, expired)
    web.sessions.failures = 1
    web.op.onToken(await next(web, 1))
    expect((await browser.get('/token')).body).to.deep.equal({ token: 'access-1' })
    expect((await storedLogin(web, browser))?.tokens.refreshToken).to.equal('refresh-1')
  })

  it('gives the new token when it cannot be stored, and stores it with the next request [TOK-23]', async () => {
    const web = await start({ own: tokenRoutes })
    const browser = await signIn(web, expired)
    web.sessions.failures = Number.POSITIVE_INFINITY
    web.op.onToken(await next(web, 1))
    expect((await browser.get('/token')).body).to.deep.equal({ token: 'access-1' })
    expect((await storedLogin(web, browser))?.tokens.refreshToken).to.equal('refresh-0')
    web.sessions.failures = 0
    expect((await browser.get('/token')).body).to.deep.equal({ token: 'access-1' })
    expect(refreshTokensSent(web)).to.deep.equal(['refresh-0'])
    expect((await storedLogin(web, browser))?.tokens.refreshToken).to.equal('refresh-1')
  })

  it('keeps a session alive that was touched for longer than its first time to live', async () => {
    const maxAge = 1_000
    const web = await start({
      own: tokenRoutes,
      session: { store: new RemoteStore(), cookie: { maxAge }, rolling: true },
    })
    const browser = web.browser()
    const transaction = await browser.begin()
    await web.approve(expired)
    await browser.poll(transaction, 5)
    const firstEnd = Date.now() + maxAge
    while (Date.now() <= firstEnd) {
      expect((await browser.get('/me')).body.signedIn).to.equal(true)
      await sleep(20)
    }
    web.op.onToken(await next(web, 1))
    expect((await browser.get('/token')).body).to.deep.equal({ token: 'access-1' })
    expect((await browser.get('/tokens')).body.tokens.accessToken).to.equal('access-1')
  })

  it('serves afterAuthentication, where nothing is stored yet and the token is short-lived', async () => {
    const web = await start({
      own: tokenRoutes,
      ciba: {
        async afterAuthentication(req) {
          Object.assign(req.session, { info: await req.ciba.fetchUserInfo() })
        },
      },
    })
    const browser = await signIn(web, expiring)
    expect((await browser.get('/data')).body.info).to.include({ name: 'Alice Example' })
    expect(refreshTokensSent(web)).to.be.empty
    await browser.get('/token')
    expect(refreshTokensSent(web)).to.deep.equal(['refresh-0'])
  })

  it('refreshes in afterAuthentication, where the token has expired before the browser came back', async () => {
    const web = await start({
      own: tokenRoutes,
      ciba: {
        async afterAuthentication(req) {
          await req.ciba.fetchUserInfo()
        },
      },
    })
    const browser = await signIn(web, expired)
    expect(refreshTokensSent(web)).to.deep.equal(['refresh-0'])
    expect((await storedLogin(web, browser))?.refreshes).to.equal(1)
  })

  it('follows a refresh to its end at close(), and stores the result', async () => {
    const web = await start({ own: tokenRoutes })
    const browser = await signIn(web, expired)
    const answer = later<Answer>()
    web.op.onToken(() => answer.promise)
    const request = browser.get('/token').then()
    await web.op.waitForCall('token', 2)
    let isClosed = false
    const closing = web.auth.close().then(() => {
      isClosed = true
    })
    await browser.get('/me') // time for whatever would end too early
    expect(isClosed).to.equal(false)
    answer.resolve(await next(web, 1))
    await closing
    expect((await storedLogin(web, browser))?.tokens.refreshToken).to.equal('refresh-1')
    expect((await request).body).to.deep.equal({ token: 'access-1' })
  })

  context('with two instances on one session store [SEC-10]', () => {
    let a: Web
    let b: Web
    let atA: Browser
    let atB: Browser

    beforeEach(async () => {
      const store = new MemoryTransactionStore()
      const shared = { store, secret: 'shared by both instances' }
      a = await start({ own: tokenRoutes, ciba: shared })
      b = await start({
        own: tokenRoutes,
        ciba: { ...shared, issuerBaseURL: a.op.issuer },
        session: { store: a.sessions },
      })
      atA = await signIn(a, expired)
      atB = new Browser(b.origin, atA.cookie)
    })

    it('uses at one what the other has refreshed', async () => {
      a.op.onToken(await next(a, 1))
      expect((await atA.get('/token')).body).to.deep.equal({ token: 'access-1' })
      expect((await atB.get('/token')).body).to.deep.equal({ token: 'access-1' })
      expect(refreshTokensSent(a)).to.deep.equal(['refresh-0'])
    })

    it('goes on with the newest refresh token, whoever got it [TOK-23]', async () => {
      for (const [n, browser] of [atA, atB, atA, atB].entries()) {
        a.op.onToken(await next(a, n + 1, 0))
        expect((await browser.get('/token')).body).to.deep.equal({ token: `access-${n + 1}` })
      }
      expect(refreshTokensSent(a)).to.deep.equal(['refresh-0', 'refresh-1', 'refresh-2', 'refresh-3'])
    })

    it('asks the OP once when both need a token at the same time, and both get the new one', async () => {
      const answer = later<Answer>()
      a.op.onToken(() => answer.promise)
      const answerOfA = atA.get('/token').then()
      await a.op.waitForCall('token', 2)
      const before = a.sessions.loads
      const answerOfB = atB.get('/token').then()
      await until('it looks what the other one has stored', () => a.sessions.loads >= before + 3)
      answer.resolve(await next(a, 1))
      for (const { body } of [await answerOfA, await answerOfB])
        expect(body).to.deep.equal({ token: 'access-1' })
      expect(refreshTokensSent(a)).to.deep.equal(['refresh-0'])
    })

    it('leaves no session behind when one signs out while the other refreshes, and revokes what comes', async () => {
      const answer = later<Answer>()
      a.op.onToken(() => answer.promise)
      const answerOfA = atA.copy().get('/token').then()
      await a.op.waitForCall('token', 2)
      const old = atA.sessionId
      expect((await atB.post('/ciba/logout')).status).to.equal(204)
      answer.resolve(await next(a, 1))
      expect((await answerOfA).status).to.equal(401)
      expect(await a.sessions.ids()).to.not.include(old)
      await until('all are revoked', () => a.op.callsTo('revocation').length === 4)
      const revoked = a.op.callsTo('revocation').map(({ params }) => params.get('token'))
      expect(revoked).to.deep.equal(['refresh-0', 'access-0', 'refresh-1', 'access-1'])
    })

    it('brings no session back with newer tokens for an old copy, when the other one signs out meanwhile', async () => {
      const id = atA.sessionId ?? ''
      const old = (await a.sessions.read(id)) as SessionData
      a.op.onToken(await next(a, 1))
      await atA.get('/token')
      await new Promise((resolve) => a.sessions.set(id, old, resolve))
      const [save, isSaving] = [later(), later()]
      a.sessions.beforeSet = () => {
        isSaving.resolve()
        return save.promise
      }
      const answerOfB = atB.get('/token').then()
      await isSaving.promise
      a.sessions.beforeSet = undefined
      expect((await atA.post('/ciba/logout')).status).to.equal(204)
      save.resolve()
      expect((await answerOfB).body).to.deep.equal({ token: 'access-1' })
      expect(await a.sessions.ids()).to.not.include(id)
    })

    it('revokes the newest tokens at logout, though this instance remembers older ones', async () => {
      for (const [n, browser] of [atA, atB].entries()) {
        a.op.onToken(await next(a, n + 1, 0))
        await browser.get('/token')
      }
      await atA.post('/ciba/logout')
      await until('both are revoked', () => a.op.callsTo('revocation').length === 2)
      const revoked = a.op.callsTo('revocation').map(({ params }) => params.get('token'))
      expect(revoked).to.deep.equal(['refresh-2', 'access-2'])
    })
  })
})
