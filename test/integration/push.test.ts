/** Whole logins where the OP pushes the tokens, or says that there are none (CIBA Core §10.3, §12). */
import { generateKeyPairSync, X509Certificate } from 'node:crypto'
import { expect } from 'chai'
import type { CibaOptions, TokenSet } from '../../lib/index.ts'
import { type Browser, startApp, type TestApp } from '../support/app.ts'
import { testCertificates } from '../support/certificates.ts'
import type { ResponseOverrides } from '../support/id-tokens.ts'
import { type ScriptedOp, type ScriptedOpOptions, startScriptedOp } from '../support/scripted-op.ts'

describe('a login in push mode', () => {
  let op: ScriptedOp
  let app: TestApp
  let browser: Browser
  const cleanup: (() => Promise<void>)[] = []

  async function start(options: CibaOptions = {}, ofTheOp: ScriptedOpOptions = {}): Promise<void> {
    op = await startScriptedOp(ofTheOp)
    cleanup.push(() => op.stop())
    const { id_token_signing_alg_values_supported: algs } = op.metadata
    const { idTokenSigningAlg } = options
    Object.assign(op.metadata, {
      id_token_signing_alg_values_supported: [...(algs as string[]), idTokenSigningAlg ?? []].flat(),
    })
    app = await startApp({
      options: { issuerBaseURL: op.issuer, deliveryMode: 'push', ...options },
      after(express) {
        express.get('/tokens', (req, res) => void res.json(req.ciba.tokens))
        express.get('/access', async (req, res) => void res.json(await req.ciba.getAccessToken()))
      },
    })
    cleanup.push(() => app.close())
    browser = app.browser()
  }

  afterEach(async () => {
    for (const close of cleanup.splice(0).reverse()) await close()
  })

  const push = (overrides: ResponseOverrides = {}) => op.push(app.notificationUrl, overrides)
  const tokens = async () => (await browser.agent.get('/tokens')).body as TokenSet
  /** A login from start to end, pushed like this. */
  async function login(overrides: ResponseOverrides = {}): Promise<void> {
    const transaction = await browser.begin()
    expect(await push(overrides)).to.include({ status: 204, text: '' })
    expect(await browser.outcome(transaction)).to.deep.equal({ transaction, status: 'complete' })
    expect(await browser.user()).to.equal('alice')
  }

  context('the OP pushes tokens', () => {
    it('asks with a notification token, and never asks for tokens [REQ-4, PUSH-8]', async () => {
      await start()
      await login()
      const [call] = op.callsTo('backchannel')
      expect(call?.params.get('client_notification_token')).to.match(/^[\w-]{22}\.[\w-]{43}$/)
      expect(op.calls.map(({ endpoint }) => endpoint)).to.deep.equal(['discovery', 'backchannel', 'jwks'])
    })

    it('answers whoever waits at once', async () => {
      await start()
      const transaction = await browser.begin()
      let isAnswered = false
      const polling = browser.poll(transaction, 25).finally(() => {
        isAnswered = true
      })
      const other = await browser.poll(transaction)
      expect([other.body.status, isAnswered]).to.deep.equal(['pending', false])
      const pushedAt = Date.now()
      await push()
      expect((await polling).body).to.deep.equal({ transaction, status: 'complete' })
      expect(Date.now() - pushedAt, 'after the push').to.be.below(2_000)
    })

    it('keeps them for whoever comes later, once [SEC-7]', async () => {
      await start()
      const transaction = await browser.begin()
      await push()
      expect(await browser.user(), 'before the poll').to.equal(undefined)
      expect((await app.browser().poll(transaction)).status, 'from another session').to.equal(404)
      expect((await browser.poll(transaction)).body).to.have.property('status', 'complete')
      expect(await browser.user()).to.equal('alice')
    })

    it('brings them to the session as they came', async () => {
      await start()
      const before = Date.now()
      await login({ response: { access_token: 'a', refresh_token: 'r', expires_in: 600, scope: 'openid x' } })
      const { expiresAt, idToken, ...rest } = await tokens()
      expect(rest).to.deep.equal({
        accessToken: 'a',
        refreshToken: 'r',
        tokenType: 'bearer',
        scope: 'openid x',
      })
      expect(expiresAt).to.be.within(before + 600_000, Date.now() + 600_000)
      expect(idToken.split('.')).to.have.length(3)
    })

    it('makes do with what the OP must say: no expires_in, no scope, no refresh token [TOK-20]', async () => {
      await start()
      await login({ response: { expires_in: undefined, access_token: 'a' } })
      const { idToken: _, ...rest } = await tokens()
      expect(rest).to.deep.equal({ accessToken: 'a', tokenType: 'bearer', scope: 'openid' })
    })

    it('is told of scopes, acr and details as asked for, and holds the push to them [TOK-15, TOK-20]', async () => {
      const authorizationDetails = [{ type: 'payment', amount: '5' }]
      await start({ authorizationParams: { acrValues: ['gold'], authorizationDetails, maxAge: 60 } })
      await login()
      expect(await tokens()).to.deep.include({ authorizationDetails })
      expect((await browser.agent.get('/me')).body).to.include({ acr: 'gold' })
    })

    for (const alg of ['RS256', 'PS256', 'ES384', 'ES512', 'EdDSA', 'Ed25519']) {
      it(`is signed with ${alg}, which names the hash of both tokens [PUSH-5, PUSH-6]`, async () => {
        await start()
        await login({ header: { alg }, response: { refresh_token: 'r' } })
      })
    }

    it('needs no token endpoint at the OP [CFG-2, PUSH-8]', async () => {
      await start()
      delete op.metadata['token_endpoint']
      await login()
    })

    it('takes tokens that are 60 kB long, and polls of no more than 16 [SEC-13]', async () => {
      await start()
      await login({ claims: { pages: 'x'.repeat(44_000) } })
      const { status } = await browser.agent.post('/ciba/poll').send({ transaction: 'x'.repeat(17_000) })
      expect(status).to.equal(413)
    })

    it('refreshes them later at the token endpoint, with the pushed refresh token [TOK-23]', async () => {
      await start()
      await login({ response: { refresh_token: 'pushed', expires_in: 0 } })
      expect(op.callsTo('token')).to.have.length(0)
      const fresh = (await browser.agent.get('/access')).body
      const [call, ...more] = op.callsTo('token')
      expect(more).to.have.length(0)
      expect(Object.fromEntries(call?.params ?? [])).to.include({
        grant_type: 'refresh_token',
        refresh_token: 'pushed',
      })
      expect(fresh).to.equal(call?.answer?.['access_token'])
    })
  })

  context('the client is configured in other ways', () => {
    for (const alg of ['HS256', 'HS384', 'HS512'] as const) {
      it(`pins ${alg}: the client secret verifies, no key of the OP is asked for [CFG-8, PUSH-3]`, async () => {
        const clientSecret = 'a client secret of 64 bytes, which is what HS512 wants, at least'
        await start({ idTokenSigningAlg: alg, clientSecret }, { clientSecret })
        await login({ header: { alg }, response: { refresh_token: 'r' } })
        expect(op.callsTo('jwks')).to.have.length(0)
      })
    }

    it('refuses a push by a published key then, and takes the next [TOK-8]', async () => {
      await start({ idTokenSigningAlg: 'HS256' })
      const transaction = await browser.begin()
      expect(await push()).to.have.property('status', 400)
      expect(await push({ header: { alg: 'HS256' } })).to.have.property('status', 204)
      expect((await browser.poll(transaction)).body.status).to.equal('complete')
    })

    it('decrypts, keeps the signed JWT, and refuses what is not encrypted [TOK-19, REQ-6]', async () => {
      const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
      const encrypt = { jwk: publicKey.export({ format: 'jwk' }) as { kty: string } }
      await start({ idTokenDecryptionKey: privateKey })
      const transaction = await browser.begin()
      expect(await push()).to.have.property('status', 400)
      expect(await push({ encrypt, claims: { at_hash: 'wrong' } })).to.have.property('status', 400)
      const response = { refresh_token: 'r' }
      expect(await push({ encrypt, response, header: { alg: 'ES384' } })).to.have.property('status', 204)
      expect((await browser.poll(transaction)).body.status).to.equal('complete')
      expect((await tokens()).idToken.split('.')).to.have.length(3)
    })

    it('authenticates by certificate where the binding key is shown, and at no other place [PUSH-10]', async () => {
      const { server, client, ca } = await testCertificates()
      await start(
        {
          clientSecret: undefined,
          clientAuthMethod: 'tls_client_auth',
          mtls: { ...client, ca },
        },
        { mtls: { ...server, ca } },
      )
      await login()
      const [call, ...more] = op.callsTo('backchannel')
      expect(more).to.have.length(0)
      expect(call).to.include({
        via: 'mtls',
        certificate: new X509Certificate(client.cert).fingerprint256,
      })
      expect(op.callsTo('token')).to.have.length(0)
    })

    it('asks validateIdTokenClaims, and takes the next push when that refuses [PUSH-9]', async () => {
      let isWelcome = false
      await start({
        validateIdTokenClaims() {
          if (!isWelcome) throw new Error('not today')
        },
      })
      const transaction = await browser.begin()
      const pong = await push()
      expect([pong.status, JSON.parse(pong.text).error]).to.deep.equal([400, 'invalid_token_response'])
      expect(pong.text).to.not.include('not today')
      isWelcome = true
      await push()
      expect((await browser.poll(transaction)).body.status).to.equal('complete')
    })
  })

  context('the OP pushes an error', () => {
    const errors: [string, string, string][] = [
      ['access_denied', 'denied', 'access_denied'],
      ['expired_token', 'expired', 'expired_token'],
      ['transaction_failed', 'failed', 'transaction_failed'],
      ['of_this_op_alone', 'failed', 'of_this_op_alone'],
      ['"<script>"', 'failed', 'unknown_error'],
    ]
    for (const [pushed, status, error] of errors) {
      it(`ends as ${status}: ${pushed} [PUSH-7, ERR-6]`, async () => {
        await start()
        const transaction = await browser.begin()
        const outcome = browser.outcome(transaction)
        const description = 'of no concern to browsers'
        const pong = await op.pushError(app.notificationUrl, pushed, { description })
        expect(pong).to.include({ status: 204, text: '' })
        expect(await outcome).to.deep.equal({ transaction, status, error })
        expect(await browser.user()).to.equal(undefined)
        expect(op.callsTo('token')).to.have.length(0)
      })
    }

    it('believes no error without the token of the transaction [PUSH-7]', async () => {
      await start()
      const transaction = await browser.begin()
      for (const token of ['forged', '']) {
        const { status } = await op.pushError(app.notificationUrl, 'access_denied', { token })
        expect(status).to.equal(401)
      }
      expect((await browser.poll(transaction)).body.status).to.equal('pending')
    })
  })
})
