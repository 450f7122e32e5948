/** What an authentication request can ask for, and what a real OP makes of it. */
import { expect } from 'chai'
import { decodeJwt } from 'jose'
import type { CibaOptions } from '../../lib/index.ts'
import { RESOURCES } from '../support/full-op-configuration.ts'
import { privateJwk, type Scene, scenes } from '../support/real-op.ts'
import type { ResourceAnswer } from '../support/resource-server.ts'

const payment = { type: 'payment_initiation', instructedAmount: { currency: 'EUR', amount: '1.00' } }
const account = { type: 'account_information' }
const now = () => Math.floor(Date.now() / 1000)

describe('ciba(), what a real OP is asked for', function () {
  this.timeout(20_000)

  const scene = scenes()

  for (const [form, options] of [
    ['plain', {}],
    ['signed', { requestObjectSigningKey: privateJwk('ES256') }],
  ] as [string, CibaOptions][]) {
    context(`by ${form} requests`, () => {
      for (const format of ['opaque', 'jwt'] as const) {
        it(`gets a token for a resource: ${format} [REQ-11, SEC-12]`, async () => {
          const { op, login, get } = await scene({
            options: { ...options, authorizationParams: { scope: 'openid accounts' } },
          })
          const request = { loginHint: 'alice', resource: RESOURCES[format] }
          expect(await login({ request })).to.have.property('status', 'complete')
          expect(await get<ResourceAnswer>('/resource')).to.include({
            format,
            audience: RESOURCES[format],
            sub: 'alice',
            scope: 'accounts',
          })
          expect(op.received.at(-1)?.form, 'the token request').to.include({ resource: RESOURCES[format] })
        })
      }

      it('asks for two resources, and for both again with the token request [REQ-11, REQ-15]', async () => {
        const { op, login } = await scene({ options })
        const resource = [RESOURCES.jwt, RESOURCES.opaque]
        expect(await login({ request: { loginHint: 'alice', resource } })).to.have.property(
          'status',
          'complete',
        )
        const [asked, redeemed] = op.received
        const parameters = form === 'signed' ? decodeJwt(String(asked?.form['request'])) : asked?.form
        expect(parameters?.['resource']).to.deep.equal(resource)
        expect(redeemed?.form['resource']).to.deep.equal(resource)
      })

      it('says that the OP does not know the resource [REQ-11, ERR-2]', async () => {
        const { op, browser } = await scene({ options })
        const { status, body } = await browser.start({
          loginHint: 'alice',
          resource: 'https://elsewhere.example',
        })
        expect([status, body.error]).to.deep.equal([400, 'invalid_target'])
        expect(op.requests.size).to.equal(0)
      })

      for (const [what, granted] of [
        ['all', [payment, account]],
        ['a part', [account]],
        ['more exactly', [account, { ...payment, creditorName: 'Merchant' }]],
      ] as const) {
        it(`keeps what was granted of "authorizationDetails": ${what} [REQ-12, TOK-20]`, async () => {
          const { login, get, metadata } = await scene({
            options: { ...options, authorizationParams: { authorizationDetails: [payment, account] } },
          })
          expect(metadata.authorization_details_types).to.have.members([
            'payment_initiation',
            'account_information',
          ])
          const approval = { authorizationDetails: granted }
          expect(await login({ approval })).to.have.property('status', 'complete')
          expect((await get('/tokens'))['authorizationDetails']).to.deep.equal(granted)
          expect((await get<ResourceAnswer>('/resource')).authorizationDetails).to.deep.equal(granted)
        })
      }

      it('refuses details of a type that nobody asked for [TOK-20]', async () => {
        const { login, browser } = await scene({
          options: { ...options, authorizationParams: { authorizationDetails: [account] } },
        })
        const approval = { authorizationDetails: [account, payment] }
        expect(await login({ approval })).to.include({ status: 'failed', error: 'invalid_token_response' })
        expect(await browser.user()).to.equal(undefined)
      })

      it('passes on the code of refused details [ERR-2]', async () => {
        const { op, browser } = await scene({
          options: { ...options, authorizationParams: { authorizationDetails: [payment] } },
        })
        const authorizationDetails = [{ type: 'payment_initiation' }]
        const { status, body } = await browser.start({ loginHint: 'alice', authorizationDetails })
        expect([status, body.error]).to.deep.equal([400, 'invalid_authorization_details'])
        expect(op.requests.size).to.equal(0)
      })

      it('asks for an acr in order of preference, and wants one of them [REQ-5, TOK-15]', async () => {
        const { op, login, get } = await scene({ options })
        const request = { loginHint: 'alice', acrValues: ['urn:example:loa:2', 'urn:example:loa:1'] }
        expect(await login({ request, approval: { acr: 'urn:example:loa:1' } })).to.have.property(
          'status',
          'complete',
        )
        expect(await get('/me')).to.include({ acr: 'urn:example:loa:1' })
        expect(await paramsOf(op)).to.include({ acr_values: 'urn:example:loa:2 urn:example:loa:1' })
        for (const approval of [{}, { acr: 'urn:example:loa:0' }]) {
          expect(await login({ request, approval })).to.include({ error: 'invalid_token_response' })
        }
      })

      it('asks for a recent authentication, and wants one [TOK-16]', async () => {
        const { op, browser, login, get } = await scene({ options })
        const request = { loginHint: 'alice', maxAge: 300 }
        for (const approval of [{}, { authTime: now() - 400 }]) {
          expect(await login({ request, approval })).to.include({ error: 'invalid_token_response' })
        }
        expect(await browser.user()).to.equal(undefined)
        const authTime = now() - 100
        expect(await login({ request, approval: { authTime } })).to.have.property('status', 'complete')
        expect(await get('/me')).to.include({ auth_time: authTime })
        expect(String((await paramsOf(op))?.['max_age'])).to.equal('300')
      })

      it('asks for an expiry, and takes the one that it is given [REQ-10]', async () => {
        const { op, browser } = await scene({ options })
        const { body } = await browser.start({ loginHint: 'alice', requestedExpiry: 77 })
        expect(body.expiresIn).to.be.within(76, 77)
        const long = await browser.start({ loginHint: 'bob', requestedExpiry: 9000 })
        expect(long.body.expiresIn, 'more than the OP gives').to.be.within(599, 600)
        expect(op.requests.size).to.equal(2)
      })

      it('sends a "requestContext" as text [REQ-13, SEC-14]', async () => {
        const { op, browser } = await scene({ options })
        const requestContext = '{"ip":"::1","device":{"model":"x"}}'
        await browser.begin({ loginHint: 'alice', requestContext })
        expect(await paramsOf(op)).to.include({ request_context: requestContext })
      })

      it('asks for the user code when the OP wants one, and takes it [REQ-9, CFG-7]', async () => {
        const { op, browser, login, metadata } = await scene({
          options: { ...options, userCodeParameter: true },
        })
        expect(metadata).to.include({ backchannel_user_code_parameter: true })
        const without = await browser.start()
        expect([without.status, without.body.error]).to.deep.equal([400, 'missing_user_code'])
        const wrong = await browser.start({ loginHint: 'alice', userCode: '0000' })
        expect([wrong.status, wrong.body.error]).to.deep.equal([400, 'invalid_user_code'])
        expect(op.requests.size).to.equal(0)
        const request = { loginHint: 'alice', userCode: '1234' }
        expect(await login({ request })).to.have.property('status', 'complete')
      })

      it('sends parameters of extensions [REQ-14]', async () => {
        const { op, login } = await scene({ options })
        const request = { loginHint: 'alice', extra: { ui_locales: 'de en' } }
        expect(await login({ request })).to.have.property('status', 'complete')
        expect(await paramsOf(op)).to.include({ ui_locales: 'de en' })
      })

      it('sends a nonce of its own, and finds it in the ID token [TOK-17]', async () => {
        const { login, get } = await scene({ options })
        const request = { loginHint: 'alice', extra: { nonce: 'n-0S6_WzA2Mj' } }
        expect(await login({ request })).to.have.property('status', 'complete')
        expect(await get('/me')).to.include({ nonce: 'n-0S6_WzA2Mj' })
      })
    })
  }

  it('sends an object as "requestContext" in a plain request [REQ-13]', async () => {
    const { op, browser } = await scene()
    const requestContext = { ip: '::1', device: { model: 'x' } }
    await browser.begin({ loginHint: 'alice', requestContext })
    expect(JSON.parse(String((await paramsOf(op))?.['request_context']))).to.deep.equal(requestContext)
  })

  it('sends no user code where none is registered [CFG-7]', async () => {
    const { op, browser } = await scene()
    const { status, body } = await browser.start({ loginHint: 'alice', userCode: '1234' })
    expect([status, body.error]).to.deep.equal([400, 'invalid_request'])
    expect(op.counts).to.include({ backchannel: 0 })
  })

  it('gets refresh tokens for offline_access alone [SEC-12]', async () => {
    const { op, login, get } = await scene()
    await login()
    expect(await get('/tokens'))
      .to.include({ scope: 'openid' })
      .and.not.have.property('refreshToken')
    const options = { authorizationParams: { scope: 'openid offline_access' }, clientID: 'offline' }
    const offline = await scene({ op, options })
    expect(offline.metadata.grant_types).to.include('refresh_token')
    await offline.login()
    const tokens = await offline.get<{ refreshToken: string }>('/tokens')
    expect(tokens).to.include({ scope: 'openid offline_access' })
    expect(await op.isActive(tokens.refreshToken)).to.equal(true)
  })
})

/** Of the latest request, as oidc-provider has understood it. */
async function paramsOf({ provider, received }: Scene['op']): Promise<Record<string, unknown> | undefined> {
  const asked = received.findLast(({ route }) => route === 'backchannel_authentication')
  const { auth_req_id: authReqId } = (asked?.answer ?? {}) as { auth_req_id?: string }
  return (await provider.BackchannelAuthenticationRequest.find(String(authReqId)))?.params
}
