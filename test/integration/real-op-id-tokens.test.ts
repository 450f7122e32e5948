/** ID tokens as a real OP signs and encrypts them, and what they are good for afterwards. */
import { expect } from 'chai'
import { decodeJwt, decodeProtectedHeader } from 'jose'
import type { CibaOptions } from '../../lib/index.ts'
import { followEndSession } from '../support/op-sign-out.ts'
import { CLIENT_SECRET, privateJwk, type Scene, scenes, timeTravel } from '../support/real-op.ts'

const offline: CibaOptions = { authorizationParams: { scope: 'openid offline_access' } }

describe('ciba(), ID tokens of a real OP', function () {
  this.timeout(20_000)

  const scene = scenes()
  const pass = timeTravel()

  context('signed', () => {
    for (const alg of ['HS256', 'HS384', 'HS512', 'RS256', 'PS256', 'ES256', 'EdDSA', 'Ed25519']) {
      it(`signs in with ${alg}, takes it as a hint and takes a refreshed one [TOK-8, TOK-9, TOK-23]`, async () => {
        const { op, login, get, metadata } = await scene({
          op: { accessTokenExpiresIn: 1 },
          options: { idTokenSigningAlg: alg, ...offline },
        })
        expect(metadata).to.include({ id_token_signed_response_alg: alg })
        expect(await login()).to.have.property('status', 'complete')
        const first = await idTokenOf(get)
        expect(decodeProtectedHeader(first)).to.include({ alg })
        expect(await get('/me')).to.include({ sub: 'alice' })
        expect(await login({ request: { idTokenHint: first } })).to.have.property('status', 'complete')
        const second = await idTokenOf(get)
        pass(2)
        await get('/token')
        expect(op.counts).to.include({ refresh: 1 })
        const third = await idTokenOf(get)
        expect(decodeProtectedHeader(third)).to.include({ alg })
        expect(third).not.to.equal(second)
      })
    }

    it('is a hint for the next request even when it has expired [REQ-6]', async () => {
      const { op, login, get } = await scene()
      await login({ request: { loginHint: 'bob' } })
      const idTokenHint = await idTokenOf(get)
      pass(2 * 3600)
      expect(decodeJwt(idTokenHint).exp).to.be.below(Date.now() / 1000)
      expect(await login({ request: { idTokenHint } })).to.have.property('status', 'complete')
      expect(await get('/me')).to.include({ sub: 'bob' })
      expect(op.counts).to.include({ backchannel: 2 })
    })

    for (const [registered, pinned] of [
      ['RS256', 'HS256'],
      ['HS256', 'RS256'],
      ['HS512', 'HS256'],
      ['EdDSA', 'ES256'],
    ] as const) {
      it(`refuses ${registered} where ${pinned} is pinned [TOK-8, TOK-21]`, async () => {
        const { op, login, browser } = await scene({
          options: { idTokenSigningAlg: pinned },
          registration: { id_token_signed_response_alg: registered },
        })
        expect(await login()).to.include({ status: 'failed', error: 'invalid_token_response' })
        expect(await browser.user()).to.equal(undefined)
        expect(op.counts).to.include({ backchannel: 1, token: 1, userinfo: 0 })
      })
    }

    it('refuses HS256 made with another secret [TOK-9]', async () => {
      // The OP knows one secret, and the client authenticates with a key.
      const { login, browser } = await scene({
        options: {
          clientAssertionSigningKey: privateJwk('ES256'),
          clientSecret: `${CLIENT_SECRET}!`,
          idTokenSigningAlg: 'HS256',
        },
        registration: { client_secret: CLIENT_SECRET },
      })
      expect(await login()).to.include({ status: 'failed', error: 'invalid_token_response' })
      expect(await browser.user()).to.equal(undefined)
    })

    it('takes no HS256 unless it is pinned, although there is a secret [CFG-8]', async () => {
      const { login, browser } = await scene({ registration: { id_token_signed_response_alg: 'HS256' } })
      expect(await login()).to.include({ status: 'failed', error: 'invalid_token_response' })
      expect(await browser.user()).to.equal(undefined)
    })
  })

  context('encrypted', () => {
    for (const [alg, signed] of [
      ['RSA-OAEP-256', 'RS256'],
      ['ECDH-ES', 'ES256'],
      ['ECDH-ES', 'HS256'],
    ] as const) {
      it(`keeps the signed token inside: ${alg}, ${signed} [TOK-19, REQ-6]`, async () => {
        const { op, login, get, metadata } = await scene({
          options: { idTokenDecryptionKey: privateJwk(alg), idTokenSigningAlg: signed },
        })
        expect(metadata).to.include({ id_token_encrypted_response_alg: alg })
        expect(await login()).to.have.property('status', 'complete')
        expect(idTokenSent(op).split('.'), 'what the OP sent').to.have.length(5)
        const idToken = await idTokenOf(get)
        expect(idToken.split('.')).to.have.length(3)
        expect(decodeProtectedHeader(idToken)).to.include({ alg: signed })
        expect(await get('/me')).to.include({ sub: 'alice' })
      })
    }

    it('is a hint for the next request, without its encryption [REQ-6, TOK-18]', async () => {
      const { op, app, login, get } = await scene({
        options: { idTokenDecryptionKey: privateJwk('RSA-OAEP-256') },
      })
      await login({ request: { loginHint: 'bob' } })
      const idTokenHint = await idTokenOf(get)
      const other = app.browser()
      expect(await login({ by: other, request: { idTokenHint } })).to.have.property('status', 'complete')
      expect(await other.user()).to.equal('bob')
      expect(op.received.at(-2)?.form).to.include({ id_token_hint: idTokenHint })
    })

    it('is a hint at the end of the session, without its encryption [REQ-6]', async () => {
      const { app, browser, login } = await scene({
        options: { idTokenDecryptionKey: privateJwk('ECDH-ES'), idpLogout: true },
      })
      await login()
      const { status, body } = await browser.agent.post('/ciba/logout')
      expect(status).to.equal(200)
      expect(await followEndSession(body.endSessionURL)).to.equal(`${app.origin}/`)
    })

    it('comes with a refresh, too [TOK-19, TOK-23]', async () => {
      const { op, login, get } = await scene({
        op: { accessTokenExpiresIn: 1 },
        options: { idTokenDecryptionKey: privateJwk('ECDH-ES'), ...offline },
      })
      await login()
      const before = await idTokenOf(get)
      pass(2)
      await get('/token')
      expect(op.counts).to.include({ refresh: 1 })
      expect(idTokenSent(op).split('.')).to.have.length(5)
      const idToken = await idTokenOf(get)
      expect(idToken.split('.')).to.have.length(3)
      expect(idToken).not.to.equal(before)
      expect(decodeJwt(idToken)).to.include({ sub: 'alice' })
    })

    it('opens with each of several keys, the newest being the one to register [TOK-19]', async () => {
      const [newest, oldest] = [privateJwk('ECDH-ES'), privateJwk('RSA-OAEP-256')]
      const options: CibaOptions = { idTokenDecryptionKey: [newest, oldest] }
      const { metadata, login } = await scene({ options })
      expect(metadata).to.include({ id_token_encrypted_response_alg: 'ECDH-ES' })
      expect(await login()).to.have.property('status', 'complete')
      // As long as the OP has not heard of the new one.
      const before = await scene({
        options,
        registration: { id_token_encrypted_response_alg: 'RSA-OAEP-256' },
      })
      expect(await before.login()).to.have.property('status', 'complete')
    })

    for (const [what, registration] of [
      [
        'a plain token',
        { id_token_encrypted_response_alg: undefined, id_token_encrypted_response_enc: undefined },
      ],
      ['another algorithm than that of the key', { id_token_encrypted_response_alg: 'RSA-OAEP' }],
      ['a key agreement without public keys', { id_token_encrypted_response_alg: 'dir' }],
    ] as const) {
      it(`refuses ${what} [TOK-19, TOK-21]`, async () => {
        const key = { ...privateJwk('RSA-OAEP-256'), kid: 'enc' }
        const { kty, n, e } = key
        const { op, login, browser } = await scene({
          options: { idTokenDecryptionKey: key },
          registration: { jwks: { keys: [{ kty, n, e, kid: 'enc', use: 'enc' }] }, ...registration },
        })
        expect(await login()).to.include({ status: 'failed', error: 'invalid_token_response' })
        expect(await browser.user()).to.equal(undefined)
        expect(op.counts).to.include({ backchannel: 1, token: 1, userinfo: 0 })
      })
    }
  })
})

async function idTokenOf(get: Scene['get']): Promise<string> {
  return (await get<{ idToken: string }>('/tokens')).idToken
}

function idTokenSent({ received }: Scene['op']): string {
  return String((received.at(-1)?.answer as { id_token?: string } | undefined)?.id_token)
}
