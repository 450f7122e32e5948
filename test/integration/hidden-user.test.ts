/** What an anonymous browser learns about who is a customer of the OP: nothing, unless the app says otherwise. */
import { expect } from 'chai'
import type { Request } from 'express'
import { type CibaOptions, RequestRefusedError } from '../../lib/index.ts'
import { type Browser, type Status, startApp, type TestApp } from '../support/app.ts'
import { type ScriptedOp, startScriptedOp, tokenError } from '../support/scripted-op.ts'

describe('POST /ciba/start for a person whom the OP does not know', function () {
  this.timeout(20_000)

  let op: ScriptedOp
  let app: TestApp
  let browser: Browser
  /** What `req.ciba.start()` rejected with in a route of the app. */
  let rejection: unknown

  async function open(options: CibaOptions = {}): Promise<void> {
    app = await startApp({
      options: { issuerBaseURL: op.issuer, ...options },
      after: (express) => {
        express.post('/own', async (req: Request, res) => {
          rejection = await req.ciba.start({ loginHint: 'mallory' }).catch((error: unknown) => error)
          res.end()
        })
      },
    })
    browser = app.browser()
  }

  beforeEach(async () => {
    op = await startScriptedOp()
    rejection = undefined
  })

  afterEach(async () => {
    await app.close()
    await op.stop()
  })

  const unknown = () => op.onBackchannel(tokenError('unknown_user_id'))
  const acknowledge = (expiresIn: number, interval: number, delayMs = 0) =>
    op.onBackchannel({
      json: { auth_req_id: `id ${op.calls.length}`, expires_in: expiresIn, interval },
      delayMs,
    })

  context('unknownUser: hide', () => {
    it('answers 202, as for anybody else [ERR-5]', async () => {
      await open()
      acknowledge(77, 3)
      const known = await browser.start({ loginHint: 'alice' })
      unknown()
      const other = await browser.start({ loginHint: 'mallory' })
      expect(other.status).to.equal(202)
      expect({ ...other.body, transaction: '' }).to.deep.equal({ ...known.body, transaction: '' })
      expect(other.body.transaction).to.match(/^[\w-]{22}$/)
      expect(other.body.transaction).to.have.length(known.body.transaction.length)
      const headers = (answer: typeof other) =>
        Object.keys(answer.headers).filter((name) => name !== 'set-cookie')
      expect(headers(other)).to.deep.equal(headers(known))
    })

    it('answers each poll as for anybody else, and asks the OP for nothing [ERR-5]', async () => {
      await open()
      acknowledge(90, 1)
      const known = await browser.begin({ loginHint: 'alice' })
      unknown()
      const other = await browser.begin({ loginHint: 'mallory' })
      for (const wait of [0, 1.5, 0]) {
        const [a, b] = await Promise.all([browser.poll(known, wait), browser.poll(other, wait)])
        expect(b.status).to.equal(200)
        expect(Object.keys(b.body)).to.deep.equal(Object.keys(a.body))
        expect(b.body).to.include({ transaction: other, status: 'pending', interval: 1 })
        expect(b.headers).to.have.property('retry-after', '1')
        expect(b.body.expiresIn).to.be.within(a.body.expiresIn - 1, a.body.expiresIn + 1)
      }
      // For the known person alone, once or more often where the machine was slow.
      const asked = new Set(op.callsTo('token').map(({ params }) => params.get('auth_req_id')))
      expect([...asked]).to.deep.equal([op.callsTo('backchannel')[0]?.answer?.['auth_req_id']])
      expect(op.callsTo('backchannel')).to.have.length(2)
    })

    it('lets it expire, as for anybody else, and starts nothing again [ERR-5, ERR-7]', async () => {
      await open()
      acknowledge(2, 1)
      const known = await browser.begin({ loginHint: 'alice' })
      unknown()
      const other = await browser.begin({ loginHint: 'mallory' })
      const [a, b] = await Promise.all([browser.outcome(known), browser.outcome(other)])
      expect(b).to.deep.equal({ ...a, transaction: other })
      expect(b).to.include({ status: 'expired', error: 'expired_token' })
      expect(op.callsTo('backchannel')).to.have.length(2)
    })

    it('lets it be cancelled, as for anybody else [ERR-5, POLL-14]', async () => {
      await open()
      unknown()
      const transaction = await browser.begin({ loginHint: 'mallory' })
      const waiting = browser.poll(transaction, 10)
      expect((await browser.cancel(transaction)).status).to.equal(204)
      expect((await waiting).body).to.include({ status: 'cancelled' })
    })

    it('takes as long as for anybody else [ERR-5]', async () => {
      await open()
      acknowledge(60, 1, 400)
      await browser.begin({ loginHint: 'alice' })
      unknown()
      const before = Date.now()
      await browser.begin({ loginHint: 'mallory' })
      expect(Date.now() - before).to.be.within(380, 1_500)
    })

    it('looks sensible when nobody else has come before [ERR-5]', async () => {
      await open({ authorizationParams: { requestedExpiry: 45, bindingMessage: 'auto' } })
      unknown()
      const { status, body } = await browser.start({ loginHint: 'mallory' })
      expect(status).to.equal(202)
      expect(body).to.include({ status: 'pending', expiresIn: 45, interval: 5 })
      expect(body.bindingMessage).to.match(/^\w{3}-\w{3}$/)
    })

    it('sends the OP no more than for anybody else in ping mode [ERR-5]', async () => {
      await open({ deliveryMode: 'ping' })
      unknown()
      const transaction = await browser.begin({ loginHint: 'mallory' })
      const [call] = op.callsTo('backchannel')
      expect(call?.params.get('client_notification_token')).to.be.a('string')
      // An OP that pings all the same is told nothing, and nothing comes of it.
      expect((await op.ping(app.notificationUrl, { authReqId: 'x' })).status).to.equal(204)
      expect((await browser.poll(transaction, 0.2)).body).to.have.property('status', 'pending')
      expect(op.calls.map(({ endpoint }) => endpoint)).to.deep.equal(['discovery', 'backchannel'])
    })

    it('is said to the own routes of the app: req.ciba.start() rejects [ERR-5]', async () => {
      await open()
      unknown()
      await browser.agent.post('/own')
      expect(rejection).to.be.instanceOf(RequestRefusedError)
      expect(rejection).to.include({ error: 'unknown_user_id', status: 400 })
      expect(rejection).to.have.property('code', 'ERR_CIBA_REQUEST_REFUSED')
    })

    for (const error of ['expired_login_hint_token', 'access_denied', 'unauthorized_client']) {
      it(`hides nothing else: ${error} [ERR-5, ERR-2]`, async () => {
        await open()
        op.onBackchannel(tokenError(error))
        const { status, body } = await browser.start({ loginHint: 'mallory' })
        expect(status).to.be.within(400, 403)
        expect(body.error).to.equal(error)
      })
    }
  })

  context('unknownUser: reveal', () => {
    it('answers 400 unknown_user_id [ERR-5]', async () => {
      await open({ unknownUser: 'reveal' })
      unknown()
      const { status, body } = await browser.start({ loginHint: 'mallory' })
      expect([status, (body as Status).error]).to.deep.equal([400, 'unknown_user_id'])
      expect(op.calls.map(({ endpoint }) => endpoint)).to.deep.equal(['discovery', 'backchannel'])
    })
  })
})
