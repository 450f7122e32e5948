import { expect } from 'chai'
import type { Response } from 'supertest'
import { html, tokenError, unavailable } from '../support/scripted-op.ts'
import { cookiesOf, expressVersions, webs } from '../support/web.ts'

/** What holds for every answer of every route [SEC-8]. */
function expectNotStored(answer: Response): void {
  expect(answer.headers['cache-control'], `${answer.status} ${answer.text}`).to.equal('no-store')
}

function expectError(answer: Response, status: number, error: string): void {
  expect(answer.status, answer.text).to.equal(status)
  expect(answer.body).to.have.all.keys('error', 'error_description')
  expect(answer.body.error).to.equal(error)
  expect(answer.body.error_description).to.be.a('string').that.is.not.empty
  expect(answer.headers['content-type']).to.equal('application/json; charset=utf-8')
  expectNotStored(answer)
}

for (const { name, express } of expressVersions) {
  describe(`all state-changing routes (${name})`, () => {
    const starter = webs()
    const start = () => starter({ express })

    for (const route of ['start', 'poll', 'cancel', 'logout']) {
      for (const method of ['get', 'put', 'options', 'delete', 'patch'] as const) {
        it(`${route} answers 405 with Allow to ${method.toUpperCase()}`, async () => {
          const web = await start()
          const answer = await web.browser().send(method, `/ciba/${route}`)
          expectError(answer, 405, 'method_not_allowed')
          expect(answer.headers['allow']).to.equal('POST')
          expect(cookiesOf(answer)).to.be.empty
        })
      }

      it(`${route} answers 405 with Allow and no body to HEAD`, async () => {
        const web = await start()
        const answer = await web.browser().send('head', `/ciba/${route}`)
        expect(answer.status).to.equal(405)
        expect(answer.headers['allow']).to.equal('POST')
        expect(answer.text ?? '').to.equal('')
        expectNotStored(answer)
      })
    }

    it('notification answers 405 with Allow, and no cookie, to GET [PING-15]', async () => {
      const web = await start()
      const answer = await web.browser().get('/ciba/notification')
      expect(answer.status).to.equal(405)
      expect(answer.headers['allow']).to.equal('POST')
      expect(cookiesOf(answer)).to.be.empty
      expectNotStored(answer)
    })

    it('notification answers 401 with WWW-Authenticate to a missing token [PING-4]', async () => {
      const web = await start()
      const answer = await web.browser().post('/ciba/notification', { auth_req_id: 'x' })
      expect(answer.status).to.equal(401)
      expect(answer.headers['www-authenticate']).to.equal('Bearer')
      expect(answer.text).to.equal('')
      expectNotStored(answer)
    })

    it('serves no other path', async () => {
      const web = await start()
      for (const path of ['/ciba', '/ciba/login/more', '/ciba/start/more', '/start']) {
        expect((await web.browser().get(path)).status, path).to.equal(404)
        expect((await web.browser().post(path, {})).status, path).to.equal(404)
      }
    })
  })

  describe(`POST /ciba/start (${name})`, () => {
    const starter = webs()
    const start = () => starter({ express })

    for (const type of ['application/json', 'application/x-www-form-urlencoded']) {
      it(`answers 202 with the handle to ${type}`, async () => {
        const web = await start()
        const browser = web.browser()
        const body = type.endsWith('json') ? { loginHint: 'alice' } : 'loginHint=alice'
        const answer = await browser.post('/ciba/start', body, { 'content-type': type })
        expect(answer.status).to.equal(202)
        expect(answer.headers['content-type']).to.equal('application/json; charset=utf-8')
        expectNotStored(answer)
        expect(answer.body).to.have.all.keys('transaction', 'status', 'expiresIn', 'interval')
        expect(answer.body).to.include({ status: 'pending', interval: 1 })
        expect(answer.body.transaction).to.match(/^[\w-]{22}$/)
        expect(answer.body.expiresIn).to.be.within(118, 120)
        expect(cookiesOf(answer)).to.have.length(1)
        expect(web.op.callsTo('backchannel')[0]?.params.get('login_hint')).to.equal('alice')
      })
    }

    it('names the binding message, and nothing that the OP and we share [SEC-5, SEC-6]', async () => {
      const web = await starter({ express, ciba: { authorizationParams: { bindingMessage: 'auto' } } })
      const answer = await web.browser().post('/ciba/start', { loginHint: 'alice' })
      const { params, answer: acknowledgement } = web.op.callsTo('backchannel')[0] ?? {}
      expect(answer.body.bindingMessage)
        .to.equal(params?.get('binding_message'))
        .and.to.match(/^\w{3}-\w{3}$/)
      const seen = JSON.stringify([answer.body, answer.headers])
      expect(seen).to.not.include(String(acknowledgement?.['auth_req_id']))
      expect(seen).to.not.include(String(params?.get('client_notification_token')))
    })

    for (const [error, status] of [
      ['invalid_request', 400],
      ['invalid_scope', 400],
      ['expired_login_hint_token', 400],
      ['unauthorized_client', 400],
      ['missing_user_code', 400],
      ['invalid_user_code', 400],
      ['invalid_binding_message', 400],
      ['access_denied', 403],
      ['a_code_of_their_own', 400],
    ] as const) {
      it(`answers ${status} ${error} when the OP says so [ERR-2]`, async () => {
        const web = await start()
        web.op.onBackchannel(tokenError(error, status))
        expectError(await web.browser().post('/ciba/start', { loginHint: 'alice' }), status, error)
      })
    }

    it('answers 202 for a person whom the OP does not know, like for any other [ERR-5]', async () => {
      const web = await start()
      const browser = web.browser()
      const known = await browser.post('/ciba/start', { loginHint: 'alice' })
      web.op.onBackchannel(tokenError('unknown_user_id'))
      const unknown = await browser.post('/ciba/start', { loginHint: 'nobody' })
      expect(unknown.status).to.equal(202)
      expect(Object.keys(unknown.body)).to.deep.equal(Object.keys(known.body))
      const { transaction } = unknown.body
      expect((await browser.poll(transaction)).body.status).to.equal('pending')
      expect(web.op.callsTo('token')).to.be.empty
    })

    it('answers 400 unknown_user_id with unknownUser: reveal', async () => {
      const web = await starter({ express, ciba: { unknownUser: 'reveal' } })
      web.op.onBackchannel(tokenError('unknown_user_id'))
      expectError(await web.browser().post('/ciba/start', { loginHint: 'nobody' }), 400, 'unknown_user_id')
    })

    it('answers 503 with Retry-After when the OP cannot be reached', async () => {
      const web = await start()
      await web.op.down()
      const answer = await web.browser().post('/ciba/start', { loginHint: 'alice' })
      expectError(answer, 503, 'temporarily_unavailable')
      expect(answer.headers['retry-after']).to.match(/^[1-9]\d*$/)
    })

    it('answers 503 with the Retry-After of the OP when that has enough', async () => {
      const web = await start()
      web.op.onBackchannel(unavailable('17', 429))
      const answer = await web.browser().post('/ciba/start', { loginHint: 'alice' })
      expect(answer.status).to.equal(503)
      expect(answer.headers['retry-after']).to.equal('17')
    })

    for (const [what, answer] of [
      ['500 and a page', html(500)],
      ['200 and a page', html(200)],
      ['an acknowledgement without auth_req_id', { json: { expires_in: 120 } }],
      ['nothing: it breaks the connection', { reset: 'before-answer' }],
      ['half an answer', { reset: 'mid-body' }],
    ] as const) {
      it(`answers 502 when the OP answers ${what}, and does not ask twice [REQ-16]`, async () => {
        const web = await start()
        web.op.onBackchannel(answer)
        expectError(await web.browser().post('/ciba/start', { loginHint: 'alice' }), 502, 'bad_gateway')
        expect(web.op.callsTo('backchannel')).to.have.length(1)
      })
    }
  })

  describe(`POST /ciba/poll (${name})`, () => {
    const starter = webs()
    const start = () => starter({ express })

    it('answers "pending" with the time that is left and Retry-After', async () => {
      const web = await start()
      const browser = web.browser()
      web.op.onBackchannel({ json: { auth_req_id: 'a', expires_in: 60, interval: 7 } })
      const transaction = await browser.begin()
      const answer = await browser.poll(transaction)
      expect(answer.status).to.equal(200)
      expect(answer.headers['retry-after']).to.equal('7')
      expectNotStored(answer)
      expect(answer.body).to.have.all.keys('transaction', 'status', 'expiresIn', 'interval')
      expect(answer.body).to.include({ transaction, status: 'pending', interval: 7 })
      expect(answer.body.expiresIn).to.be.within(58, 60)
    })

    it('answers "complete" without Retry-After', async () => {
      const web = await start()
      const browser = web.browser()
      const transaction = await browser.begin()
      await web.approve()
      const answer = await browser.poll(transaction, 5)
      expect(answer.status).to.equal(200)
      expect(answer.headers).to.not.have.property('retry-after')
      expectNotStored(answer)
      expect(answer.body).to.deep.equal({ transaction, status: 'complete' })
    })

    for (const [error, status] of [
      ['access_denied', 'denied'],
      ['expired_token', 'expired'],
      ['invalid_grant', 'failed'],
    ] as const) {
      it(`answers "${status}" with the error when the OP says ${error} [ERR-3]`, async () => {
        const web = await start()
        const browser = web.browser()
        const transaction = await browser.begin()
        web.op.onToken(tokenError(error))
        await web.op.ping(`${web.origin}/ciba/notification`)
        for (let n = 0; n < 2; n++) {
          const answer = await browser.poll(transaction, 5)
          expect(answer.status).to.equal(200)
          expectNotStored(answer)
          expect(answer.headers).to.not.have.property('retry-after')
          expect(answer.body).to.deep.equal({ transaction, status, error })
        }
        expect(web.op.callsTo('token')).to.have.length(1)
      })
    }

    it('answers "failed" after a bad ID token, and signs nobody in [ERR-7]', async () => {
      const web = await start()
      const browser = web.browser()
      const transaction = await browser.begin()
      await web.approve({ claims: { aud: 'another' } })
      const { body } = await browser.poll(transaction, 5)
      expect(body).to.deep.equal({ transaction, status: 'failed', error: 'invalid_token_response' })
      expect((await browser.get('/me')).body.signedIn).to.equal(false)
    })

    it('answers "expired" after the deadline [POLL-5]', async () => {
      const web = await start()
      const browser = web.browser()
      web.op.onBackchannel({ json: { auth_req_id: 'a', expires_in: 1, interval: 1 } })
      const transaction = await browser.begin()
      const { body } = await browser.poll(transaction, 5)
      expect(body).to.deep.equal({ transaction, status: 'expired', error: 'expired_token' })
    })
  })
}
