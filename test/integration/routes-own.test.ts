import { expect } from 'chai'
import type { Express, NextFunction, Request, Response } from 'express'
import { CibaError, RequestRefusedError } from '../../lib/index.ts'
import { tokenError } from '../support/scripted-op.ts'
import { expressVersions, type WebOptions, webs } from '../support/web.ts'

/** Express 4 leaves the rejection of an async handler unhandled: an app has to hand it on by itself. */
const route =
  (handler: (req: Request, res: Response) => Promise<unknown>) =>
  (req: Request, res: Response, next: NextFunction): void => {
    handler(req, res).catch(next)
  }

/** An app that leaves the routes of `ciba()` aside. */
function own(app: Express): void {
  app.use('/own', (req, _res, next) => {
    req.body ??= {}
    next()
  })
  app.post(
    '/own/start',
    route(async (req, res) => res.json(await req.ciba.start(req.body))),
  )
  app.post(
    '/own/poll',
    route(async (req, res) => {
      const { transaction, wait } = req.body
      res.json(await req.ciba.poll(transaction, wait === undefined ? undefined : { wait: Number(wait) }))
    }),
  )
  app.post(
    '/own/poll-and-count',
    route(async (req, res) => {
      const status = await req.ciba.poll(req.body.transaction, { wait: req.body.wait ?? 0 })
      const data = req.session as unknown as { polls?: number }
      data.polls = (data.polls ?? 0) + 1
      res.json(status)
    }),
  )
  app.post(
    '/own/cancel',
    route(async (req, res) => res.json((await req.ciba.cancel(req.body.transaction)) ?? 'cancelled')),
  )
  app.post(
    '/own/logout',
    route(async (req, res) => {
      await req.ciba.logout()
      res.json({ signedIn: req.ciba.isAuthenticated() })
    }),
  )
  app.get('/own/tokens', (req, res) => {
    res.json(req.ciba.tokens ?? null)
  })
}

for (const { name, express } of expressVersions) {
  describe(`req.ciba in own routes (${name})`, () => {
    const start = webs()
    const options: WebOptions = {
      express,
      ciba: { routes: { start: false, poll: false, cancel: false, logout: false } },
      before: (app) => app.use(express.json()),
      own,
    }

    async function started(given: WebOptions = {}) {
      const web = await start({ ...options, ...given })
      const browser = web.browser()
      const { body } = await browser.post('/own/start', { loginHint: 'alice' })
      return { web, browser, transaction: String(body.transaction), body }
    }

    it('has neither user nor tokens when nobody is signed in', async () => {
      const web = await start(options)
      const browser = web.browser()
      expect((await browser.get('/me')).body).to.deep.equal({ signedIn: false })
      expect((await browser.get('/own/tokens')).body).to.equal(null)
    })

    it('starts with everything that an authentication request can have', async () => {
      const web = await start({ ...options, ciba: { ...options.ciba, userCodeParameter: true } })
      const authorizationDetails = [
        { type: 'payment_initiation', amount: { currency: 'EUR', value: '5.00' } },
      ]
      const requestContext = { device: { name: 'Kiosk 7' }, attempts: [1, 2] }
      const { body } = await web.browser().post('/own/start', {
        loginHintToken: 'a-token',
        scope: 'openid payments',
        acrValues: ['gold', 'silver'],
        bindingMessage: 'KXM-4F7',
        userCode: '1234',
        requestedExpiry: 77,
        authorizationDetails,
        resource: ['https://api.example.com/a', 'urn:example:b'],
        requestContext,
        extra: { ui_locales: 'de en' },
      })
      expect(body).to.have.all.keys('transaction', 'status', 'expiresIn', 'interval', 'bindingMessage')
      expect(body.bindingMessage).to.equal('KXM-4F7')
      const { params } = web.op.callsTo('backchannel')[0] ?? {}
      expect(params?.getAll('resource')).to.deep.equal(['https://api.example.com/a', 'urn:example:b'])
      expect(JSON.parse(String(params?.get('authorization_details')))).to.deep.equal(authorizationDetails)
      expect(JSON.parse(String(params?.get('request_context')))).to.deep.equal(requestContext)
      expect(Object.fromEntries(params ?? [])).to.include({
        ui_locales: 'de en',
        login_hint_token: 'a-token',
        scope: 'openid payments',
        acr_values: 'gold silver',
        binding_message: 'KXM-4F7',
        user_code: '1234',
        requested_expiry: '77',
      })
    })

    it('signs in when it polls, as the poll route does', async () => {
      const { web, browser, transaction } = await started()
      const oldId = browser.sessionId
      expect((await browser.post('/own/poll', { transaction })).body.status).to.equal('pending')
      await web.approve({ response: { access_token: 'the-access-token', scope: 'openid' } })
      const { body } = await browser.post('/own/poll', { transaction, wait: 5 })
      expect(body).to.deep.equal({ transaction, status: 'complete' })
      expect(browser.sessionId).to.not.equal(oldId)
      expect((await browser.get('/me')).body).to.deep.include({ signedIn: true })
      const tokens = (await browser.get('/own/tokens')).body
      expect(tokens).to.include({ accessToken: 'the-access-token', tokenType: 'bearer', scope: 'openid' })
      expect(tokens.idToken).to.match(/^[\w-]+\.[\w-]+\.[\w-]+$/)
      expect(tokens.expiresAt).to.be.within(Date.now() + 290_000, Date.now() + 300_000)
    })

    it('knows the user at once in the request that signed in', async () => {
      const { web, browser, transaction } = await started({
        own: (app) => {
          own(app)
          app.post(
            '/own/finish',
            route(async (req, res) => {
              await req.ciba.poll(req.body.transaction, { wait: 5 })
              res.json({ sub: req.ciba.user?.sub, signedIn: req.ciba.isAuthenticated() })
            }),
          )
        },
      })
      await web.approve()
      const { body } = await browser.post('/own/finish', { transaction })
      expect(body).to.deep.equal({ sub: 'alice', signedIn: true })
    })

    it('holds a poll no longer than longPollTimeout', async () => {
      const { browser, transaction } = await started({ ciba: { ...options.ciba, longPollTimeout: 0.2 } })
      const { body } = await browser.post('/own/poll', { transaction, wait: 3_600 })
      expect(body.status).to.equal('pending')
    })

    for (const wait of [-5, 'soon']) {
      it(`does not hold a poll for ever with wait ${wait}`, async function () {
        this.timeout(3_000)
        const { browser, transaction } = await started({ ciba: { ...options.ciba, longPollTimeout: 0.2 } })
        const { status } = await browser.post('/own/poll', { transaction, wait })
        expect(status).to.be.oneOf([200, 400])
      })
    }

    it('keeps what the route writes to the session after a poll', async () => {
      const { browser, transaction } = await started()
      for (let n = 0; n < 2; n++) await browser.post('/own/poll-and-count', { transaction })
      expect((await browser.get('/data')).body.polls).to.equal(2)
    })

    it('keeps what the route writes to the session after the poll that signed in', async () => {
      const { web, browser, transaction } = await started()
      await web.approve()
      const { body } = await browser.post('/own/poll-and-count', { transaction, wait: 5 })
      expect(body.status).to.equal('complete')
      expect((await browser.get('/data')).body.polls).to.equal(1)
    })

    it('cancels', async () => {
      const { browser, transaction } = await started()
      expect((await browser.post('/own/cancel', { transaction })).body).to.equal('cancelled')
      expect((await browser.post('/own/poll', { transaction })).body.status).to.equal('cancelled')
    })

    it('logs out: the session is another one, and nobody is signed in', async () => {
      const { web, browser, transaction } = await started()
      await web.approve()
      await browser.post('/own/poll', { transaction, wait: 5 })
      const signedIn = browser.copy()
      expect((await browser.post('/own/logout')).body).to.deep.equal({ signedIn: false })
      expect(browser.sessionId).to.not.equal(signedIn.sessionId)
      expect((await signedIn.get('/me')).body.signedIn).to.equal(false)
    })

    context('when something is wrong', () => {
      it('rejects start with the code of the OP, unknown_user_id included [ERR-5]', async () => {
        const web = await start(options)
        web.op.onBackchannel(tokenError('unknown_user_id'))
        expect((await web.browser().post('/own/start', { loginHint: 'nobody' })).status).to.equal(400)
        expect(web.errors).to.have.length(1)
        expect(web.errors[0]).to.be.an.instanceOf(RequestRefusedError)
        expect(web.errors[0]).to.include({
          code: 'ERR_CIBA_REQUEST_REFUSED',
          error: 'unknown_user_id',
          status: 400,
          expose: true,
        })
      })

      for (const [what, body, code, status] of [
        ['a start without a hint', {}, 'ERR_CIBA_INVALID_REQUEST', 400],
        ['a start with an unknown member', { loginHint: 'a', prompt: 'x' }, 'ERR_CIBA_INVALID_REQUEST', 400],
        ['a start with two hints', { loginHint: 'a', loginHintToken: 'b' }, 'ERR_CIBA_INVALID_REQUEST', 400],
      ] as const) {
        it(`rejects ${what} with ${code}`, async () => {
          const web = await start(options)
          expect((await web.browser().post('/own/start', body)).status).to.equal(status)
          expect(web.errors[0]).to.be.an.instanceOf(CibaError)
          expect(web.errors[0]).to.include({ code, status })
          expect(web.op.callsTo('backchannel')).to.be.empty
        })
      }

      it('rejects start with ERR_CIBA_OP_UNREACHABLE and retryAfter', async () => {
        const web = await start(options)
        await web.op.down()
        expect((await web.browser().post('/own/start', { loginHint: 'alice' })).status).to.equal(503)
        expect(web.errors[0]).to.include({ code: 'ERR_CIBA_OP_UNREACHABLE', status: 503 })
        expect((web.errors[0] as CibaError).retryAfter).to.be.greaterThan(0)
      })

      for (const path of ['/own/poll', '/own/cancel']) {
        for (const transaction of ['AAAAAAAAAAAAAAAAAAAAAA', 5, undefined]) {
          it(`rejects ${path} with ERR_CIBA_UNKNOWN_TRANSACTION for the handle ${transaction}`, async () => {
            const { web, browser } = await started()
            expect((await browser.post(path, { transaction })).status).to.equal(404)
            expect(web.errors[0]).to.be.an.instanceOf(CibaError)
            expect(web.errors[0]).to.include({ code: 'ERR_CIBA_UNKNOWN_TRANSACTION', status: 404 })
          })
        }
      }
    })
  })
}
