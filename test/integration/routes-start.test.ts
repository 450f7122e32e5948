import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'chai'
import type { Request } from 'express'
import { MemoryTransactionStore } from '../../lib/index.ts'
import { expressVersions, webs } from '../support/web.ts'

for (const { name, express } of expressVersions) {
  describe(`POST /ciba/start: startParams (${name})`, () => {
    const start = webs()

    it('is the only door: by default the browser decides on hint and user code alone [SEC-12]', async () => {
      const web = await start({ express, ciba: { userCodeParameter: true } })
      const answer = await web.browser().post('/ciba/start', {
        loginHint: 'alice',
        userCode: '1234',
        loginHintToken: 'a-token',
        idTokenHint: 'a.b.c',
        scope: 'openid admin',
        acrValues: ['none'],
        bindingMessage: 'send me money',
        requestedExpiry: 86_400,
        maxAge: 0,
        expectedSubject: 'mallory',
        client_id: 'another',
        login_hint: 'mallory',
        client_notification_token: 'mine',
        auth_req_id: 'mine',
        extra: { ui_locales: 'xx' },
        authorizationDetails: [{ type: 'payment_initiation', amount: 1_000_000 }],
        resource: 'https://evil.example.com',
        requestContext: { user: 'mallory' },
        request: 'a.b.c',
      })
      expect(answer.status).to.equal(202)
      expect(answer.body).to.not.have.property('bindingMessage')
      const { client_notification_token: token, ...sent } = Object.fromEntries(
        web.op.callsTo('backchannel')[0]?.params ?? [],
      )
      expect(sent).to.deep.equal({
        client_id: 'client',
        scope: 'openid',
        login_hint: 'alice',
        user_code: '1234',
      })
      expect(token).to.not.equal('mine')
    })

    for (const loginHint of [5, ['alice'], { name: 'alice' }, null, true, '', '  ']) {
      it(`answers 400 to the hint ${JSON.stringify(loginHint)}, which it does not repeat`, async () => {
        const web = await start({ express })
        const answer = await web.browser().post('/ciba/start', { loginHint })
        expect(answer.status).to.equal(400)
        expect(answer.body.error).to.equal('invalid_request')
        expect(answer.body.error_description).to.include('"loginHint"').and.not.include('alice')
        expect(web.op.callsTo('backchannel')).to.be.empty
      })
    }

    it('may be async, and sees the session and the parsed body', async () => {
      const web = await start({
        express,
        ciba: {
          async startParams(req: Request) {
            await sleep(10)
            const { account } = req.session as unknown as { account: string }
            return { loginHint: account, bindingMessage: `Pay ${req.body.amount}` }
          },
        },
      })
      const browser = web.browser()
      await browser.post('/data', { account: 'bob' })
      const answer = await browser.post('/ciba/start', 'amount=5', {
        'content-type': 'application/x-www-form-urlencoded',
      })
      expect(answer.body).to.include({ status: 'pending', bindingMessage: 'Pay 5' })
      const { params } = web.op.callsTo('backchannel')[0] ?? {}
      expect(params?.get('login_hint')).to.equal('bob')
      expect(params?.get('binding_message')).to.equal('Pay 5')
    })

    for (const [how, fail] of [
      [
        'throws',
        (error: Error): never => {
          throw error
        },
      ],
      ['rejects', (error: Error) => Promise.reject(error)],
    ] as const) {
      it(`answers its status as JSON when it ${how} an error with a 4xx status [SEC-4]`, async () => {
        const error = Object.assign(new Error('only agents may ask'), { status: 403 })
        const web = await start({ express, ciba: { startParams: () => fail(error) } })
        const answer = await web.browser().post('/ciba/start', {})
        expect(answer.status).to.equal(403)
        expect(answer.headers['cache-control']).to.equal('no-store')
        expect(answer.body).to.deep.equal({
          error: 'request_refused',
          error_description: 'only agents may ask',
        })
        expect(web.errors).to.be.empty
        expect(web.op.calls).to.be.empty
      })

      it(`goes to the error handler of the app when it ${how} a plain error`, async () => {
        const web = await start({
          express,
          ciba: { startParams: () => fail(new Error('password of the database')) },
        })
        const answer = await web.browser().post('/ciba/start', {})
        expect(answer.status).to.equal(500)
        expect(web.errors).to.have.length(1)
        expect(web.errors[0]).to.have.property('message', 'password of the database')
        expect(web.op.calls).to.be.empty
      })
    }

    it('keeps to itself what an error with expose: false says', async () => {
      const error = Object.assign(new Error('row 5 of table 7'), { status: 403, expose: false })
      const web = await start({
        express,
        ciba: {
          startParams: () => {
            throw error
          },
        },
      })
      await web.browser().post('/ciba/start', {})
      expect(web.errors).to.deep.equal([error])
    })

    it('answers 400 when it returns a request that breaks a rule', async () => {
      const web = await start({
        express,
        ciba: { startParams: () => ({ loginHint: 'a', scope: 'profile' }) },
      })
      const answer = await web.browser().post('/ciba/start', {})
      expect(answer.status).to.equal(400)
      expect(answer.body.error_description).to.equal('"scope" must contain "openid"')
    })
  })

  describe(`POST /ciba/start: authorizationParams (${name})`, () => {
    const start = webs()
    const authorizationParams = {
      scope: 'openid profile',
      acrValues: ['gold'],
      bindingMessage: 'Counter 5',
      requestedExpiry: 60,
      maxAge: 300,
    }

    it('is part of every request', async () => {
      const web = await start({ express, ciba: { authorizationParams } })
      await web.browser().begin()
      const { client_notification_token: _, ...sent } = Object.fromEntries(
        web.op.callsTo('backchannel')[0]?.params ?? [],
      )
      expect(sent).to.deep.equal({
        client_id: 'client',
        login_hint: 'alice',
        scope: 'openid profile',
        acr_values: 'gold',
        binding_message: 'Counter 5',
        requested_expiry: '60',
        max_age: '300',
      })
    })

    it('gives way to startParams, member by member; undefined leaves the default', async () => {
      const startParams = () => ({ loginHint: 'bob', scope: 'openid email', acrValues: undefined })
      const web = await start({ express, ciba: { authorizationParams, startParams } })
      await web.browser().post('/ciba/start', {})
      const sent = Object.fromEntries(web.op.callsTo('backchannel')[0]?.params ?? [])
      expect(sent).to.include({ login_hint: 'bob', scope: 'openid email', acr_values: 'gold' })
    })

    it('asks for openid and no more by default [SEC-12]', async () => {
      const web = await start({ express })
      await web.browser().begin()
      expect(web.op.callsTo('backchannel')[0]?.params.get('scope')).to.equal('openid')
    })

    it('expects what it asked for: an ID token with another acr signs nobody in [TOK-15]', async () => {
      const web = await start({ express, ciba: { authorizationParams: { acrValues: ['gold'] } } })
      const browser = web.browser()
      const transaction = await browser.begin()
      await web.approve({ claims: { acr: 'bronze' } })
      expect((await browser.poll(transaction, 5)).body.error).to.equal('invalid_token_response')
    })
  })

  describe(`503 of every route (${name})`, () => {
    const start = webs()

    /** Fails on command. */
    class BrokenStore extends MemoryTransactionStore {
      broken = false

      override async read(id: string) {
        if (this.broken) throw new Error('the database is down')
        return super.read(id)
      }
    }

    for (const route of ['poll', 'cancel']) {
      it(`${route} answers with Retry-After when the transaction store fails, and recovers`, async () => {
        const store = new BrokenStore()
        const web = await start({ express, ciba: { store } })
        const browser = web.browser()
        const transaction = await browser.begin()
        store.broken = true
        const answer = await browser.post(`/ciba/${route}`, { transaction })
        expect(answer.status).to.equal(503)
        expect(answer.headers['cache-control']).to.equal('no-store')
        expect(answer.body).to.deep.equal({
          error: 'temporarily_unavailable',
          error_description: 'the transaction store failed',
        })
        store.broken = false
        expect((await browser.post(`/ciba/${route}`, { transaction })).status).to.be.oneOf([200, 204])
        expect(answer.headers['retry-after'], 'Retry-After').to.match(/^[1-9]\d*$/)
      })
    }

    it('start answers with Retry-After when the memory store is full', async () => {
      const web = await start({
        express,
        ciba: { store: new MemoryTransactionStore({ maxTransactions: 1 }) },
      })
      await web.browser().begin()
      const answer = await web.browser().post('/ciba/start', { loginHint: 'bob' })
      expect(answer.status).to.equal(503)
      expect(answer.headers['retry-after']).to.match(/^[1-9]\d*$/)
      expect(web.op.callsTo('backchannel')).to.have.length(1)
    })

    it('start answers with Retry-After when the session store fails', async () => {
      const web = await start({ express })
      web.sessions.failures = 1
      const answer = await web.browser().post('/ciba/start', { loginHint: 'alice' })
      expect(answer.status).to.equal(503)
      expect(answer.headers['retry-after']).to.match(/^[1-9]\d*$/)
    })

    it('start answers with Retry-After after close()', async () => {
      const web = await start({ express })
      await web.auth.close()
      const answer = await web.browser().post('/ciba/start', { loginHint: 'alice' })
      expect(answer.status).to.equal(503)
      expect(answer.body.error).to.equal('temporarily_unavailable')
      expect(web.op.calls).to.be.empty
      expect(answer.headers['retry-after'], 'Retry-After').to.match(/^[1-9]\d*$/)
    })
  })
}
