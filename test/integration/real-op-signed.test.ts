/** Signed authentication requests (CIBA Core §7.1.1), as a real OP reads them. */
import { expect } from 'chai'
import { decodeJwt, decodeProtectedHeader, type JWK, jwtVerify } from 'jose'
import { RESOURCES } from '../support/full-op-configuration.ts'
import { privateJwk, type Scene, scenes } from '../support/real-op.ts'

const account = { type: 'account_information' }

describe('ciba() with "requestObjectSigningKey" at a real OP', function () {
  this.timeout(20_000)

  const scene = scenes()

  for (const alg of ['PS256', 'ES256', 'EdDSA', 'Ed25519'] as const) {
    it(`signs with ${alg}, under the name of its key [CFG-6, SIG-2, SIG-3, SIG-4, SIG-5, SIG-6]`, async () => {
      const key = privateJwk(alg)
      const { op, login, metadata } = await scene({
        options: { clientSecret: undefined, clientAssertionSigningKey: key, requestObjectSigningKey: key },
      })
      expect(metadata).to.include({
        backchannel_authentication_request_signing_alg: alg,
        token_endpoint_auth_signing_alg: alg,
      })
      expect(await login()).to.have.property('status', 'complete')
      const request = requestsTo(op)[0] as string
      const [published] = metadata.jwks?.keys ?? []
      const { protectedHeader, payload } = await jwtVerify(request, published as JWK, {
        audience: op.issuer,
        issuer: 'app',
      })
      expect(protectedHeader).to.deep.equal({ alg, kid: published?.kid, typ: 'oauth-authz-req+jwt' })
      const { exp = 0, iat = 0, nbf = 0, jti } = payload
      expect(payload).to.include({ aud: op.issuer, client_id: 'app', login_hint: 'alice', scope: 'openid' })
      expect(exp - iat).to.equal(60)
      expect(nbf).to.equal(iat)
      expect(jti).to.be.a('string').and.have.length.above(20)
    })
  }

  it('is registered and refused where the OP expects another algorithm [CFG-6]', async () => {
    const { op, browser } = await scene({
      options: { requestObjectSigningKey: privateJwk('ES256') },
      registration: { backchannel_authentication_request_signing_alg: 'PS256' },
    })
    expect((await browser.start()).body).to.include({ error: 'invalid_request' })
    expect(op.requests.size).to.equal(0)
  })

  it('is refused by an OP that cannot know the key [SIG-4]', async () => {
    const { op, browser } = await scene({
      options: { requestObjectSigningKey: privateJwk('ES256') },
      registration: { jwks: { keys: [] } },
    })
    const { status } = await browser.start()
    expect(status).to.equal(400)
    expect(op.requests.size).to.equal(0)
  })

  it('says everything inside, and nothing beside it [SIG-1, SIG-7, REQ-4, REQ-11, REQ-12]', async () => {
    const { op, login, browser } = await scene({
      options: {
        requestObjectSigningKey: privateJwk('ES256'),
        authorizationParams: { scope: 'openid accounts', authorizationDetails: [account] },
      },
    })
    const request = {
      loginHint: 'alice',
      acrValues: ['urn:example:loa:2', 'urn:example:loa:1'],
      bindingMessage: 'W4SCT',
      requestedExpiry: 60,
      maxAge: 300,
      resource: [RESOURCES.opaque, RESOURCES.jwt],
      requestContext: '{"ip":"::1"}',
      extra: { ui_locales: 'de en' },
    }
    const approval = { acr: 'urn:example:loa:1', authTime: Math.floor(Date.now() / 1000) }
    expect(await login({ request, approval })).to.have.property('status', 'complete')
    const [asked] = op.received
    expect(Object.keys(asked?.form ?? {})).to.have.members(['request', 'client_id'])
    const claims = decodeJwt(requestsTo(op)[0] as string)
    const { client_notification_token: token, iss, aud, exp, iat, nbf, jti, ...rest } = claims
    expect(token).to.match(/^[\w\-.~+/]{43,1024}=*$/)
    expect(rest).to.deep.equal({
      client_id: 'app',
      login_hint: 'alice',
      scope: 'openid accounts',
      acr_values: 'urn:example:loa:2 urn:example:loa:1',
      binding_message: 'W4SCT',
      requested_expiry: 60,
      max_age: 300,
      resource: [RESOURCES.opaque, RESOURCES.jwt],
      authorization_details: [account],
      request_context: '{"ip":"::1"}',
      ui_locales: 'de en',
    })
    expect(await browser.user()).to.equal('alice')
  })

  it('makes an object of a "requestContext" that is one [REQ-13, SIG-7]', async () => {
    const { op, browser } = await scene({ options: { requestObjectSigningKey: privateJwk('ES256') } })
    await browser.begin({ loginHint: 'alice', requestContext: { ip: '::1', device: { model: 'x' } } })
    expect(decodeJwt(requestsTo(op)[0] as string)['request_context']).to.deep.equal({
      ip: '::1',
      device: { model: 'x' },
    })
  })

  it('signs anew each time, also after a refusal [SIG-9]', async () => {
    const { op, browser } = await scene({
      options: { requestObjectSigningKey: privateJwk('ES256'), userCodeParameter: true },
    })
    expect((await browser.start({ loginHint: 'alice' })).body).to.include({ error: 'missing_user_code' })
    expect(await browser.start({ loginHint: 'alice', userCode: '1234' })).to.have.property('status', 202)
    const [first, second] = requestsTo(op).map((jwt) => decodeJwt(jwt))
    expect(first).not.to.have.property('user_code')
    expect(second).to.include({ user_code: '1234' })
    expect(first?.jti).not.to.equal(second?.jti)
  })

  it('signs with the first of several keys, and registers all [CFG-10]', async () => {
    const keys = [privateJwk('ES256'), privateJwk('PS256')]
    const { op, login, metadata } = await scene({ options: { requestObjectSigningKey: keys } })
    expect(metadata.jwks?.keys.map(({ alg }) => alg)).to.deep.equal(['ES256', 'PS256'])
    expect(await login()).to.have.property('status', 'complete')
    expect(decodeProtectedHeader(requestsTo(op)[0] as string)).to.include({
      alg: 'ES256',
      kid: metadata.jwks?.keys[0]?.kid,
    })
  })

  it('signs assertions and requests with one key, for two algorithms [CFG-10]', async () => {
    const { alg: _, ...rsa } = privateJwk('PS256')
    const { op, login, metadata } = await scene({
      options: {
        clientSecret: undefined,
        clientAssertionSigningKey: rsa,
        clientAssertionSigningAlg: 'RS256',
        requestObjectSigningKey: rsa,
      },
    })
    expect(metadata.jwks?.keys).to.have.length(1)
    expect(await login()).to.have.property('status', 'complete')
    const { form } = op.received[0] ?? {}
    const algs = ['client_assertion', 'request'].map(
      (name) => decodeProtectedHeader(String(form?.[name])).alg,
    )
    expect(algs).to.deep.equal(['RS256', 'PS256'])
  })
})

function requestsTo({ received }: Scene['op']): string[] {
  return received.flatMap(({ form: { request } }) => (request === undefined ? [] : String(request)))
}
