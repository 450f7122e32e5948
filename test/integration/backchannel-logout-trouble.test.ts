/** Back-channel logout when something is away, or what arrives is no logout token at all. */
import { expect } from 'chai'
import expressModule from 'express'
import { type CibaOptions, MemoryTransactionStore, requireCiba, type StoredRecord } from '../../lib/index.ts'
import { InvalidLogoutToken, verifyLogoutToken } from '../../lib/protocol/logout.ts'
import { connectionTo } from '../support/connection.ts'
import { seconds } from '../support/id-tokens.ts'
import { goodLogoutToken } from '../support/logout-tokens.ts'
import { signIn } from '../support/signed-in.ts'
import { signingKeys } from '../support/signing-keys.ts'
import { expressVersions, type Web, type WebOptions, webs } from '../support/web.ts'

const path = '/ciba/backchannel-logout'
const routes = { backchannelLogout: path }
const form = 'application/x-www-form-urlencoded'

class FailingStore extends MemoryTransactionStore {
  isDown = false

  override async read(id: string): Promise<StoredRecord | undefined> {
    if (this.isDown) throw new Error('the database is down')
    return super.read(id)
  }

  override async write(record: StoredRecord, expectedVersion: number): Promise<boolean> {
    if (this.isDown) throw new Error('the database is down')
    return super.write(record, expectedVersion)
  }
}

for (const { name, express } of expressVersions) {
  describe(`POST of a logout token: trouble (${name})`, () => {
    const start = webs()
    const startWeb = (ciba: CibaOptions = {}, more: WebOptions = {}): Promise<Web> =>
      start({ express, ...more, ciba: { routes, ...ciba } })

    it('answers 503 while the store is down, and takes the same token afterwards', async () => {
      const store = new FailingStore()
      const web = await startWeb({ store })
      const browser = await signIn(web)
      const token = await web.op.logoutToken()
      store.isDown = true
      const pong = await web.op.logout(web.origin + path, { token })
      expect(pong.status).to.equal(503)
      expect(JSON.parse(pong.text).error).to.equal('temporarily_unavailable')
      store.isDown = false
      expect((await browser.get('/me')).body.signedIn).to.equal(true)
      expect((await web.op.logout(web.origin + path, { token })).status).to.equal(200)
      expect((await browser.get('/me')).body.signedIn).to.equal(false)
    })

    it('lets nobody pass for signed in while the store is down, and everybody else pass', async () => {
      const store = new FailingStore()
      const web = await startWeb(
        { store },
        {
          own: (app) => {
            app.get('/account', requireCiba(), (_req, res) => void res.send('secret'))
          },
        },
      )
      const browser = await signIn(web)
      store.isDown = true
      for (const url of ['/account', '/me']) {
        const answer = await browser.get(url)
        expect(answer.status).to.equal(503)
        expect(answer.body.error).to.equal('temporarily_unavailable')
        expect(answer.headers['retry-after']).to.match(/^\d+$/)
      }
      expect((await web.browser().get('/me')).body.signedIn).to.equal(false)
      store.isDown = false
      expect((await browser.get('/account')).text).to.equal('secret')
    })

    it('answers 503 when a login that the OP has ended cannot be taken out of the session store', async () => {
      const web = await startWeb()
      const browser = await signIn(web)
      await web.op.logout(web.origin + path)
      const { destroy } = web.sessions
      web.sessions.destroy = (_id, done) => void setImmediate(() => done?.(new Error('down')))
      expect((await browser.copy().get('/me')).status).to.equal(503)
      web.sessions.destroy = destroy
      expect((await browser.get('/me')).body.signedIn).to.equal(false)
    })

    for (const [what, answer] of [
      ['cannot be had', { status: 503 }],
      ['are nonsense', { json: { keys: 'none' } }],
      ['come from a redirect', { status: 302, headers: { location: '/elsewhere' } }],
    ] as const) {
      it(`answers with a 5xx while the OP's keys ${what}, and takes the same token afterwards`, async () => {
        const web = await startWeb()
        const browser = await signIn(web)
        const token = await web.op.logoutToken()
        const { jwks } = await signingKeys()
        let isBroken = true
        web.op.onJwks(...Array(9).fill(() => (isBroken ? answer : { json: jwks })))
        const pong = await web.op.logout(web.origin + path, { token })
        expect(pong.status).to.be.within(500, 599)
        expect((await browser.get('/me')).body.signedIn).to.equal(true)
        isBroken = false
        expect((await web.op.logout(web.origin + path, { token })).status).to.equal(200)
        expect((await browser.get('/me')).body.signedIn).to.equal(false)
        expect(web.op.callsTo('other')).to.be.empty
      })
    }

    it('answers 503 while the OP cannot be found', async () => {
      const web = await startWeb()
      const token = await web.op.logoutToken()
      await web.op.down()
      const answer = await web.browser().post(path, `logout_token=${token}`, { 'content-type': form })
      expect(answer.status).to.equal(503)
    })

    it('refuses what is no form with a logout token', async () => {
      const web = await startWeb()
      const token = await web.op.logoutToken()
      for (const [body, type, status] of [
        ['', form, 400],
        ['', '', 400],
        ['a=b', form, 400],
        ['logout_token=', form, 400],
        [JSON.stringify({ logout_token: token }), 'application/json', 415],
        [token, 'application/jwt', 415],
        [`logout_token=${token}&padding=${'x'.repeat(20_000)}`, form, 413],
      ] as const) {
        const headers: Record<string, string> = type === '' ? {} : { 'content-type': type }
        const answer = await web.browser().post(path, body, headers)
        expect(answer.status, `${type} ${body.slice(0, 20)}`).to.equal(status)
        expect(answer.headers['cache-control']).to.equal('no-store')
        expect(answer.body).to.have.all.keys('error', 'error_description')
      }
      expect(web.errors).to.be.empty
    })

    for (const method of ['get', 'head', 'put', 'delete'] as const) {
      it(`is 405 for ${method.toUpperCase()}`, async () => {
        const web = await startWeb()
        const answer = await web.browser().send(method, path)
        expect(answer.status).to.equal(405)
        expect(answer.headers['allow']).to.equal('POST')
      })
    }

    it('takes a form that the app has parsed already', async () => {
      const web = await startWeb(
        {},
        {
          before: (app) => {
            app.use(expressModule.json(), expressModule.urlencoded({ extended: true }))
          },
        },
      )
      const browser = await signIn(web)
      expect((await web.op.logout(web.origin + path)).status).to.equal(200)
      expect((await browser.get('/me')).body.signedIn).to.equal(false)
    })

    it('is off unless a path is given', async () => {
      const web = await start({ express })
      expect((await web.op.logout(web.origin + path)).status).to.equal(404)
    })
  })
}

describe('verifyLogoutToken()', () => {
  const issuer = 'https://op.test'
  const context = { issuer, clientId: 'client', clientSecret: 'secret' }

  function verify(token: string, clockTolerance: number) {
    const connection = connectionTo(issuer, {
      clockTolerance,
      async customFetch(url) {
        const metadata = {
          issuer,
          jwks_uri: `${issuer}/jwks`,
          token_endpoint: `${issuer}/token`,
          backchannel_authentication_endpoint: `${issuer}/backchannel`,
          id_token_signing_alg_values_supported: ['ES256'],
        }
        return Response.json(url.endsWith('/jwks') ? (await signingKeys()).jwks : metadata)
      },
    })
    return verifyLogoutToken(connection, token)
  }

  for (const clockTolerance of [0, 30, 300]) {
    it(`says for how long a token could come again, with a clock tolerance of ${clockTolerance} s`, async () => {
      const iat = seconds(-60)
      const { validUntil, ...about } = await verify(
        await goodLogoutToken(context, { claims: { iat, jti: 'one', sid: 's-1' } }),
        clockTolerance,
      )
      expect(about).to.deep.equal({ iss: context.issuer, jti: 'one', sub: 'alice', sid: 's-1' })
      // jose counts whole seconds: the token is good until the last millisecond of this one.
      expect(validUntil).to.equal((iat + 300 + clockTolerance + 1) * 1000)
    })

    it(`refuses one that is older than that, with a clock tolerance of ${clockTolerance} s`, async () => {
      const iat = seconds(-301 - clockTolerance)
      const token = await goodLogoutToken(context, { claims: { iat } })
      const error = await verify(token, clockTolerance).catch((reason: unknown) => reason)
      expect(error).to.be.an.instanceOf(InvalidLogoutToken)
    })
  }
})
