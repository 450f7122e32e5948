/** What a real OP's UserInfo endpoint says, and how. */
import { expect } from 'chai'
import type { Configuration } from 'oidc-provider'
import { RESOURCES } from '../support/full-op-configuration.ts'
import { privateJwk, scenes } from '../support/real-op.ts'

type FindAccount = NonNullable<Configuration['findAccount']>

describe('req.ciba.fetchUserInfo() at a real OP', function () {
  this.timeout(20_000)

  const scene = scenes()
  const options = { authorizationParams: { scope: 'openid profile email' } }

  it('gives the claims of the granted scopes [TOK-24]', async () => {
    const { op, login, get } = await scene({ options })
    await login()
    expect(await get('/userinfo')).to.deep.equal({
      sub: 'alice',
      name: 'Alice',
      email: 'alice@example.com',
      email_verified: true,
    })
    expect(op.received.at(-1)?.headers['authorization']).to.match(/^Bearer \S+$/)
    expect(op.counts).to.include({ userinfo: 1 })
  })

  for (const alg of ['RS256', 'PS256', 'ES256', 'EdDSA', 'Ed25519']) {
    it(`takes them as a JWT that is signed with ${alg} [TOK-24]`, async () => {
      const { op, login, get } = await scene({ options, registration: { userinfo_signed_response_alg: alg } })
      await login()
      expect(await get('/userinfo')).to.include({ sub: 'alice', name: 'Alice', iss: op.issuer, aud: 'app' })
      expect(String(op.received.at(-1)?.answer).split('.')).to.have.length(3)
    })
  }

  it('takes them as a JWT that is encrypted, too [TOK-24]', async () => {
    const { op, login, get } = await scene({
      options: { ...options, idTokenDecryptionKey: privateJwk('ECDH-ES') },
      registration: {
        userinfo_signed_response_alg: 'ES256',
        userinfo_encrypted_response_alg: 'ECDH-ES',
        userinfo_encrypted_response_enc: 'A256GCM',
      },
    })
    await login()
    expect(await get('/userinfo')).to.include({ sub: 'alice', name: 'Alice' })
    expect(String(op.received.at(-1)?.answer).split('.')).to.have.length(5)
  })

  for (const [what, registration] of [
    ['as JSON', {}],
    ['as a signed JWT', { userinfo_signed_response_alg: 'ES256' }],
  ] as const) {
    it(`refuses what is about somebody else, ${what} [TOK-24]`, async () => {
      const { login, browser } = await scene({
        options,
        registration,
        op: {
          configure: (configuration) => ({
            ...configuration,
            async findAccount(...args) {
              const account = await (configuration.findAccount as FindAccount)(...args)
              return account && args[0].oidc.route === 'userinfo' ? { ...account, accountId: 'bob' } : account
            },
          }),
        },
      })
      await login()
      const { status, text } = await browser.agent.get('/userinfo')
      expect([status, JSON.parse(text).uncaught]).to.deep.equal([502, 'ERR_CIBA_OP_FAILED'])
      expect(text).not.to.include('bob')
      expect(await browser.user(), 'still signed in').to.equal('alice')
    })
  }

  it('refuses a JWT whose signature is made with a secret [TOK-24]', async () => {
    const { login, browser } = await scene({
      options,
      registration: { userinfo_signed_response_alg: 'HS256' },
    })
    await login()
    const { status, body } = await browser.agent.get('/userinfo')
    expect([status, body.uncaught]).to.deep.equal([502, 'ERR_CIBA_OP_FAILED'])
  })

  it('says so when the OP has revoked the token [TOK-24]', async () => {
    const { op, login, get, browser } = await scene({ options })
    await login()
    const { accessToken } = await get<{ accessToken: string }>('/tokens')
    await (await op.provider.AccessToken.find(accessToken))?.destroy()
    const { status, body } = await browser.agent.get('/userinfo')
    expect([status, body.uncaught]).to.deep.equal([401, 'ERR_CIBA_INVALID_TOKEN'])
  })

  it('does not end the login where the token is for a resource alone [REQ-11]', async () => {
    const { login, browser } = await scene({ options })
    await login({ request: { loginHint: 'alice', resource: RESOURCES.opaque } })
    const { status, body } = await browser.agent.get('/userinfo')
    expect([status, body.uncaught], 'the OP says insufficient_scope').to.deep.equal([
      502,
      'ERR_CIBA_OP_FAILED',
    ])
    expect(await browser.user()).to.equal('alice')
  })

  it('says so when nobody is signed in', async () => {
    const { op, browser } = await scene()
    const { status, body } = await browser.agent.get('/userinfo')
    expect([status, body.uncaught]).to.deep.equal([401, 'ERR_CIBA_UNAUTHENTICATED'])
    expect(op.counts).to.include({ userinfo: 0 })
  })
})
