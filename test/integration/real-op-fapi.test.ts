/** Whole logins under `profile: 'fapi-ciba-id1'`: over TLS, with certificates, signed requests and bound tokens. */
import { expect } from 'chai'
import { decodeJwt, decodeProtectedHeader, type JWK, jwtVerify } from 'jose'
import type { CibaOptions } from '../../lib/index.ts'
import { asHttps } from '../../lib/testing/op-configuration.ts'
import { type TestCertificates, testCertificates } from '../support/certificates.ts'
import { privateJwk, type SceneOptions, type Surroundings, scenes } from '../support/real-op.ts'
import type { ResourceAnswer } from '../support/resource-server.ts'

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

describe('ciba() under the FAPI-CIBA profile at a real OP', function () {
  this.timeout(20_000)

  const scene = scenes()
  const bindingMessage = { request: { loginHint: 'alice', bindingMessage: 'W4SCT' } }
  let certificates: TestCertificates

  before(async () => {
    certificates = await testCertificates()
  })

  /** TLS ends at a proxy before the app, as it often does: whoever calls the app says https, and arrives by http. */
  const fapi = (more: CibaOptions): SceneOptions => ({
    op: { mtlsAliases: true },
    options: ({ origin }: Surroundings) => ({
      profile: 'fapi-ciba-id1',
      allowInsecureRequests: false,
      baseURL: asHttps(origin),
      clientSecret: undefined,
      mtls: { ...certificates.client, ca: certificates.ca },
      requestObjectSigningKey: privateJwk('PS256'),
      ...more,
    }),
  })

  for (const deliveryMode of ['ping', 'poll'] as const) {
    for (const [method, more] of [
      ['tls_client_auth', { requestObjectSigningKey: privateJwk('ES256') }],
      ['private_key_jwt', { clientAssertionSigningKey: privateJwk('PS256') }],
    ] as const) {
      if (deliveryMode === 'poll' && method === 'tls_client_auth') continue
      it(`signs in: ${method}, ${deliveryMode} [FAPI-1, FAPI-3, FAPI-4, AUTH-6]`, async () => {
        const { op, login, get, metadata } = await scene(fapi({ deliveryMode, ...more }))
        expect(metadata).to.include({
          token_endpoint_auth_method: method,
          backchannel_token_delivery_mode: deliveryMode,
        })
        expect(await login(bindingMessage)).to.have.property('status', 'complete')
        expect(op.counts).to.include({ backchannel: 1, token: 1, ping: deliveryMode === 'ping' ? 1 : 0 })
        expect(await get('/me')).to.include({ sub: 'alice' })
        const { idToken } = await get<{ idToken: string }>('/tokens')
        expect(decodeProtectedHeader(idToken)).to.include({ alg: 'PS256' })
        const request = String(op.received[0]?.form['request'])
        const { kid, alg } = decodeProtectedHeader(request)
        expect(alg).to.equal(metadata.backchannel_authentication_request_signing_alg)
        await jwtVerify(request, metadata.jwks?.keys.find((one) => one.kid === kid) as JWK, {
          audience: op.issuer,
        })
        expect(decodeJwt(request)).to.include({ binding_message: 'W4SCT', login_hint: 'alice' })
      })
    }
  }

  it('shows bound tokens at the resource, with an interaction id of its own [AUTH-6, FAPI-5, FAPI-6, FAPI-7]', async () => {
    const { login, get } = await scene(fapi({}))
    await login(bindingMessage)
    const answers = [await get<ResourceAnswer>('/resource'), await get<ResourceAnswer>('/resource')]
    const { accessToken } = await get<{ accessToken: string }>('/tokens')
    for (const { headers, ...answer } of answers) {
      expect(answer).to.include({ binding: 'certificate', sub: 'alice', body: 'a body' })
      expect(headers).to.include({ authorization: `Bearer ${accessToken}` })
      expect(headers['x-fapi-interaction-id']).to.match(uuid)
      const fapiHeaders = Object.keys(headers).filter((name) => name.startsWith('x-fapi-'))
      expect(fapiHeaders).to.deep.equal(['x-fapi-interaction-id'])
    }
    const ids = answers.map(({ headers }) => headers['x-fapi-interaction-id'])
    expect(new Set(ids)).to.have.property('size', 2)
  })

  it('uses the interaction id of the app, where it has one [FAPI-6]', async () => {
    const id = 'c770aef3-6784-41f7-8e0e-ff5f97bddb3a'
    const { op, login, get } = await scene({
      ...fapi({}),
      after: (app) => {
        app.get('/own-id', async (req, res) => {
          const answer = await req.ciba.fetch(op.resource, { headers: { 'X-FAPI-Interaction-ID': id } })
          res.json(await answer.json())
        })
      },
    })
    await login(bindingMessage)
    expect((await get<ResourceAnswer>('/own-id')).headers).to.include({ 'x-fapi-interaction-id': id })
  })

  it('asks nobody without something that tells what it is about [FAPI-2]', async () => {
    const { op, browser } = await scene(fapi({}))
    const refused = await browser.start({ loginHint: 'alice' })
    expect([refused.status, refused.body.error]).to.deep.equal([400, 'invalid_request'])
    expect(op.counts).to.include({ backchannel: 0, discovery: 0 })
    for (const context of [{ bindingMessage: 'auto' }, { requestContext: '{"ip":"::1"}' }]) {
      expect(await browser.start({ loginHint: 'alice', ...context })).to.have.property('status', 202)
    }
  })

  it('wants the acr that it asked for [TOK-15]', async () => {
    const { login, browser } = await scene(fapi({}))
    const request = { ...bindingMessage.request, acrValues: ['urn:example:loa:2'] }
    expect(await login({ request, approval: { acr: 'urn:example:loa:1' } })).to.include({
      status: 'failed',
      error: 'invalid_token_response',
    })
    expect(await browser.user()).to.equal(undefined)
    const approval = { acr: 'urn:example:loa:2' }
    expect(await login({ request, approval })).to.have.property('status', 'complete')
    expect(await browser.user()).to.equal('alice')
  })

  it('takes no ID token with RS256, which is what OPs sign with by default [FAPI-3]', async () => {
    const { login, browser } = await scene({
      ...fapi({}),
      registration: { id_token_signed_response_alg: 'RS256' },
    })
    expect(await login(bindingMessage)).to.include({ status: 'failed', error: 'invalid_token_response' })
    expect(await browser.user()).to.equal(undefined)
  })

  it('registers an algorithm of the profile where none is pinned, and takes either [FAPI-3, CFG-8]', async () => {
    for (const registration of [{}, { id_token_signed_response_alg: 'ES256' }]) {
      const { login, metadata } = await scene({ ...fapi({}), registration })
      expect(metadata).to.include({ id_token_signed_response_alg: 'PS256' })
      expect(await login(bindingMessage)).to.have.property('status', 'complete')
    }
  })
})
