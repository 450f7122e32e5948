/** What a browser that starts a login learns when the OP refuses, misbehaves, is down or is not the one we know. */
import { expect } from 'chai'
import type { CibaOptions, CustomFetch } from '../../lib/index.ts'
import { type Browser, startApp, type TestApp } from '../support/app.ts'
import {
  type Answer,
  html,
  redirect,
  type ScriptedOp,
  startScriptedOp,
  tokenError,
  unavailable,
} from '../support/scripted-op.ts'

describe('POST /ciba/start', () => {
  let op: ScriptedOp
  let app: TestApp
  let browser: Browser

  async function open(options: CibaOptions = {}): Promise<void> {
    app = await startApp({ options: { issuerBaseURL: op.issuer, ...options } })
    browser = app.browser()
  }

  beforeEach(async () => {
    op = await startScriptedOp()
  })

  afterEach(async () => {
    await app.close()
    await op.stop()
  })

  const endpoints = () => op.calls.map(({ endpoint }) => endpoint)

  context('the OP refuses the request', () => {
    beforeEach(() => open())

    // CIBA Core §13, RFC 8707, RFC 9396, RFC 9101, and what an ecosystem made up.
    const codes: [string, number, number][] = [
      ['invalid_request', 400, 400],
      ['invalid_scope', 400, 400],
      ['expired_login_hint_token', 400, 400],
      ['unauthorized_client', 400, 400],
      ['missing_user_code', 400, 400],
      ['invalid_user_code', 400, 400],
      ['invalid_binding_message', 400, 400],
      ['invalid_client', 401, 400],
      ['invalid_client', 400, 400],
      ['access_denied', 403, 403],
      ['access_denied', 400, 403],
      ['invalid_target', 400, 400],
      ['invalid_authorization_details', 400, 400],
      ['invalid_request_object', 400, 400],
      ['expired_id_token_hint', 400, 400],
      ['invalid_id_token_hint', 422, 400],
      ['a code of tomorrow', 400, 400],
    ]
    for (const [code, opStatus, status] of codes) {
      it(`answers ${status} ${code} where the OP says ${opStatus} ${code} [ERR-2]`, async () => {
        op.onBackchannel(tokenError(code, opStatus))
        const answer = await browser.start()
        expect(answer.status).to.equal(status)
        expect(answer.body.error).to.equal(code)
        expect(answer.headers).to.have.property('cache-control', 'no-store')
        expect(endpoints()).to.deep.equal(['discovery', 'backchannel'])
      })
    }

    it('finds the code behind a challenge, which it does not pass on [ERR-1]', async () => {
      op.onBackchannel(tokenError('invalid_client', 401, { 'www-authenticate': 'Basic realm="op"' }))
      const answer = await browser.start()
      expect([answer.status, answer.body.error]).to.deep.equal([400, 'invalid_client'])
      expect(answer.headers).not.to.have.property('www-authenticate')
    })

    for (const code of [
      '<script>alert(1)\u0007</script>',
      'a "quoted" one',
      'x'.repeat(101),
      'é',
      'a\r\nb',
    ]) {
      it(`does not pass on an error code that is none: ${JSON.stringify(code.slice(0, 20))} [ERR-6]`, async () => {
        op.onBackchannel(tokenError(code))
        const { status, body } = await browser.start()
        expect([status, body.error]).to.deep.equal([400, 'unknown_error'])
      })
    }

    it('keeps error_description to itself [ERR-6]', async () => {
      const description = 'Alice\u0000\u001b[31m\r\n<script>alert(document.cookie)</script>\u202e'
      op.onBackchannel({ status: 400, json: { error: 'invalid_scope', error_description: description } })
      const { status, body, text } = await browser.start()
      expect([status, body.error]).to.deep.equal([400, 'invalid_scope'])
      expect(text).not.to.match(/<|alert|Alice|\p{Cc}|\p{Cf}/u)
    })

    it('keeps the error_description of the token endpoint to itself [ERR-6]', async () => {
      const transaction = await browser.begin()
      const json = { error: 'invalid_request', error_description: '<script>alert(1)</script>\u0007' }
      op.onToken({ status: 400, json })
      const { text } = await browser.poll(transaction, 3)
      const expected = { transaction, status: 'failed', error: 'invalid_request' }
      expect(JSON.parse(text)).to.deep.equal(expected)
    })
  })

  context('the OP does not answer as it should', () => {
    const failures: [string, Answer, string?][] = [
      ['500', html(500)],
      ['503', unavailable()],
      ['503 and Retry-After', unavailable('7'), '7'],
      ['502 with an error code', tokenError('invalid_request', 502)],
      ['404 as HTML', html(404)],
      ['400 without an error code', { status: 400, json: { message: 'no' } }],
      ['400 with an empty error code', tokenError('')],
      ['302', redirect('/elsewhere')],
      ['307', redirect('/elsewhere', 307)],
      ['308 to a foreign host', redirect('http://localhost:1/', 308)],
      ['a reset before the answer', { reset: 'before-answer' }],
      ['a reset in the answer', { reset: 'mid-body' }],
      ['more than a megabyte', { body: `{"x":"${'x'.repeat(1_100_000)}"}` }],
    ]
    for (const [what, answer, retryAfter] of failures) {
      it(`answers 502 to ${what}, after one request [REQ-16, ERR-4]`, async () => {
        await open()
        op.onBackchannel(answer)
        const { status, body, headers } = await browser.start()
        expect([status, body.error]).to.deep.equal([502, 'bad_gateway'])
        expect(headers['retry-after']).to.equal(retryAfter)
        expect(endpoints()).to.deep.equal(['discovery', 'backchannel'])
      })
    }

    it('answers 502 when the time is up, after one request [REQ-16]', async () => {
      await open({ httpTimeout: 1 })
      op.onBackchannel({ hang: true })
      const before = Date.now()
      const { status, body } = await browser.start()
      expect([status, body.error]).to.deep.equal([502, 'bad_gateway'])
      expect(Date.now() - before).to.be.within(900, 3_000)
      expect(endpoints()).to.deep.equal(['discovery', 'backchannel'])
    })

    it('answers 503 to 429, and says when to come again [ERR-2]', async () => {
      await open()
      op.onBackchannel(unavailable('12', 429), unavailable(undefined, 429))
      const first = await browser.start()
      expect([first.status, first.headers['retry-after']]).to.deep.equal([503, '12'])
      const second = await browser.start()
      expect([second.status, second.headers['retry-after']]).to.deep.equal([503, '5'])
      expect(await browser.begin()).to.be.a('string')
    })
  })

  context('the OP is down', () => {
    it('answers 503 with Retry-After, and works again when the OP does [CFG-1]', async () => {
      await op.down()
      await open()
      const { status, body, headers } = await browser.start()
      expect([status, body.error]).to.deep.equal([503, 'temporarily_unavailable'])
      expect(Number(headers['retry-after'])).to.be.within(1, 60)
      await op.up()
      expect(await browser.begin()).to.be.a('string')
      await op.down()
      const again = await browser.start()
      expect([again.status, again.body.error]).to.deep.equal([503, 'temporarily_unavailable'])
      expect(again.headers).to.have.property('retry-after')
      await op.up()
      expect(await browser.begin()).to.be.a('string')
    })

    it('goes on with a login that is under way [POLL-10, POLL-13]', async () => {
      let refuse = () => {}
      const refusal = new Promise<void>((resolve) => {
        refuse = resolve
      })
      const customFetch: CustomFetch = (url, init) =>
        fetch(url, init as RequestInit).catch((error: unknown) => {
          refuse()
          throw error
        })
      await open({ customFetch })
      const transaction = await browser.begin()
      await op.down()
      const outcome = browser.outcome(transaction)
      await refusal
      await op.up()
      // It was certainly never sent, so this is no lost outcome.
      op.onToken(tokenError('invalid_grant'))
      expect(await outcome).to.include({ status: 'failed', error: 'invalid_grant' })
      expect(op.violations()).to.deep.equal([])
    })
  })

  context('discovery', () => {
    it('happens once for many starts at the same time [CFG-1]', async () => {
      await open()
      op.onDiscovery(async () => ({ json: op.metadata, delayMs: 100 }))
      const starts = await Promise.all(Array.from({ length: 5 }, () => app.browser().start()))
      expect(starts.map(({ status }) => status)).to.deep.equal([202, 202, 202, 202, 202])
      expect(op.callsTo('discovery')).to.have.length(1)
      expect(op.callsTo('backchannel')).to.have.length(5)
    })

    it('does not happen before the first start [CFG-1]', async () => {
      await open()
      expect((await browser.agent.get('/me')).status).to.equal(401)
      expect(op.calls).to.have.length(0)
    })

    it('is tried again within one start [CFG-1]', async () => {
      await open()
      op.onDiscovery(html(503), { reset: 'before-answer' })
      expect(await browser.begin()).to.be.a('string')
      expect(op.callsTo('discovery')).to.have.length(3)
    })

    it('is tried again at the next start when it has failed [CFG-1]', async () => {
      await open()
      op.onDiscovery(html(500), html(500), html(500))
      const { status, body, headers } = await browser.start()
      expect([status, body.error]).to.deep.equal([502, 'bad_gateway'])
      expect(headers).to.have.property('retry-after', '5')
      expect(await browser.begin()).to.be.a('string')
    })

    /** [what, what to change in the metadata, our options, what the log of the app has to say] */
    const misfits: [string, string, object, CibaOptions, RegExp][] = [
      ['another issuer', 'CFG-1', { issuer: 'https://elsewhere.example' }, {}, /another "issuer"/],
      ['an issuer with a slash more', 'CFG-1', { issuer: 'http://127.0.0.1/x/' }, {}, /trailing slash/],
      ['no issuer', 'CFG-1', { issuer: undefined }, {}, /discovery/],
      [
        'no backchannel endpoint',
        'CFG-2',
        { backchannel_authentication_endpoint: undefined },
        {},
        /"backchannel_authentication_endpoint"/,
      ],
      ['no token endpoint', 'CFG-2', { token_endpoint: undefined }, {}, /"token_endpoint"/],
      ['a token endpoint that is no URL', 'CFG-2', { token_endpoint: '/token' }, {}, /"token_endpoint"/],
      ['no keys', 'CFG-2', { jwks_uri: undefined }, {}, /"jwks_uri"/],
      [
        'no ping mode',
        'CFG-3',
        { backchannel_token_delivery_modes_supported: ['poll'] },
        { deliveryMode: 'ping' },
        /"deliveryMode" ping, but poll/,
      ],
      [
        'no client_secret_post',
        'CFG-2',
        { token_endpoint_auth_methods_supported: ['private_key_jwt'] },
        { clientAuthMethod: 'client_secret_post' },
        /"clientAuthMethod" client_secret_post, but private_key_jwt/,
      ],
      [
        'none of our algorithms',
        'CFG-8',
        { id_token_signing_alg_values_supported: ['RS256'] },
        { idTokenSigningAlg: ['ES256', 'PS256'] },
        /does not offer the "idTokenSigningAlg" ES256, PS256, but RS256$/,
      ],
    ]
    for (const [what, id, metadata, options, message] of misfits) {
      it(`finds ${what}, tells the app and not the browser, and asks nobody [${id}]`, async () => {
        await open(options)
        const right = { ...op.metadata }
        Object.assign(op.metadata, metadata)
        const { status, body } = await browser.start()
        expect(status).to.equal(502)
        // The app's own error handler has it: nothing of ours was sent.
        expect(body.uncaught).to.equal('ERR_CIBA_INVALID_OP_METADATA')
        expect(body.message).to.match(message)
        expect(endpoints()).to.deep.equal(['discovery'])
        for (const name of Object.keys(metadata)) delete op.metadata[name]
        Object.assign(op.metadata, right)
        expect(await browser.begin(), 'after the OP was put right').to.be.a('string')
      })
    }

    for (const [what, answer] of [
      ['HTML', html(200)],
      ['an array', { json: [] }],
      ['nothing', { body: '' }],
    ] as const) {
      it(`takes ${what} for what it is: no metadata [CFG-1]`, async () => {
        await open()
        op.onDiscovery(answer)
        const { status, body } = await browser.start()
        expect([status, body.uncaught]).to.deep.equal([502, 'ERR_CIBA_INVALID_OP_METADATA'])
      })
    }

    it('takes an OP that does not list the CIBA grant [CFG-4]', async () => {
      await open()
      Object.assign(op.metadata, { grant_types_supported: ['authorization_code'] })
      expect(await browser.begin()).to.be.a('string')
    })

    for (const [what, userCodeParameter, supported] of [
      ['where the OP takes none', true, undefined],
      ['that was not registered', false, true],
      ['where neither is the case', false, false],
    ] as const) {
      it(`refuses a user code ${what}, without asking the OP [CFG-7]`, async () => {
        await open({ userCodeParameter })
        Object.assign(op.metadata, { backchannel_user_code_parameter_supported: supported })
        const { status, body } = await browser.start({ loginHint: 'alice', userCode: '1234' })
        expect([status, body.error]).to.deep.equal([400, 'invalid_request'])
        expect(body.error_description).to.include('"userCode"').and.not.include('1234')
        expect(endpoints()).to.deep.equal(['discovery'])
      })
    }
  })

  context('the login has ended badly', () => {
    for (const error of ['access_denied', 'expired_token', 'invalid_request']) {
      it(`does not start another one by itself: ${error} [ERR-7]`, async () => {
        await open()
        op.onToken(tokenError(error))
        const transaction = await browser.begin()
        const { status } = await browser.outcome(transaction)
        expect((await browser.poll(transaction, 1)).body).to.have.property('status', status)
        expect(endpoints()).to.deep.equal(['discovery', 'backchannel', 'token'])
      })
    }
  })
})
