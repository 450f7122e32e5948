/** Tokens that are bound to a client certificate (RFC 8705 §3), whatever the client authentication, at a real OP. */
import { expect } from 'chai'
import { Agent, fetch as undiciFetch } from 'undici'
import type { CibaOptions, CustomFetch } from '../../lib/index.ts'
import { makeCertificate, type TestCertificates, testCertificates } from '../support/certificates.ts'
import type { FullOp } from '../support/full-op.ts'
import { CLIENT_SECRET, privateJwk, scenes, timeTravel } from '../support/real-op.ts'

describe('ciba() with "mtls" at a real OP', function () {
  this.timeout(20_000)

  const scene = scenes()
  const pass = timeTravel()
  const cleanup: (() => Promise<void>)[] = []
  let certificates: TestCertificates

  before(async () => {
    certificates = await testCertificates()
  })

  afterEach(async () => {
    for (const undo of cleanup.splice(0)) await undo()
  })

  /** A caller with another certificate, or none. */
  function thief(identity: object = {}): CustomFetch {
    const dispatcher = new Agent({ connect: { ca: certificates.ca, ...identity } })
    cleanup.push(() => dispatcher.close())
    return (url, init) =>
      undiciFetch(url, { ...(init as object), dispatcher }) as unknown as Promise<Response>
  }

  const privateKeyJwt = (): CibaOptions => ({
    clientSecret: undefined,
    clientAssertionSigningKey: privateJwk('ES256'),
    authorizationParams: { scope: 'openid offline_access' },
  })
  const withCertificate = (): CibaOptions => ({
    mtls: { ...certificates.client, ca: certificates.ca },
    allowInsecureRequests: true,
  })
  const originsOf = (op: FullOp) => new Set(op.received.map(({ host }) => `https://${host}`))

  const secretBasic = (): CibaOptions => ({
    clientAuthMethod: 'client_secret_basic',
    clientSecret: CLIENT_SECRET,
  })

  for (const [what, authentication] of [
    ['private_key_jwt', privateKeyJwt],
    ['client_secret_basic', secretBasic],
  ] as const) {
    it(`binds tokens to the certificate beside ${what}: by the aliases, at the resource too [AUTH-6]`, async () => {
      const { op, login, get, metadata } = await scene({
        op: { mtlsAliases: true },
        options: () => ({ ...authentication(), ...withCertificate() }),
      })
      expect(metadata).to.include({
        token_endpoint_auth_method: what,
        tls_client_certificate_bound_access_tokens: true,
      })
      expect(await login()).to.have.property('status', 'complete')
      expect(await get('/userinfo')).to.include({ sub: 'alice' })
      expect(await get('/resource')).to.include({ sub: 'alice', scheme: 'bearer', binding: 'certificate' })
      expect(op.received.map(({ route }) => route)).to.deep.equal([
        'backchannel_authentication',
        'token',
        'userinfo',
      ])
      expect(originsOf(op)).to.deep.equal(new Set([op.mtlsOrigin]))
      const { accessToken } = await get('/tokens')
      for (const identity of [undefined, await makeCertificate()]) {
        const headers = { authorization: `Bearer ${accessToken}` }
        const stolen = await thief(identity)(op.resource, { method: 'GET', headers, redirect: 'manual' })
        expect(stolen.status, 'the token in other hands').to.equal(401)
      }
    })
  }

  it('binds refreshed tokens, and revokes them, by the aliases [AUTH-6, TOK-23]', async () => {
    const { op, login, get, browser } = await scene({
      op: { mtlsAliases: true, accessTokenExpiresIn: 120 },
      options: () => ({ ...privateKeyJwt(), ...withCertificate() }),
    })
    await login()
    pass(100)
    expect(await get('/resource')).to.include({ sub: 'alice', binding: 'certificate' })
    expect(op.counts).to.include({ refresh: 1 })
    const { accessToken, refreshToken } = await get<Record<string, string>>('/tokens')
    await browser.agent.post('/ciba/logout').expect(204)
    expect(op.counts.revocation).to.be.above(0)
    expect(
      await Promise.all([accessToken, refreshToken].map((one) => op.isActive(String(one)))),
    ).to.deep.equal([false, false])
    expect(originsOf(op)).to.deep.equal(new Set([op.mtlsOrigin]))
  })

  it('signs in where the OP asks for certificates at its only origin [AUTH-5]', async () => {
    const { op, login, get } = await scene({
      op: { tls: true },
      options: () => ({ clientSecret: undefined, ...withCertificate() }),
    })
    expect(await login()).to.have.property('status', 'complete')
    expect(await get('/resource')).to.include({ sub: 'alice', binding: 'certificate' })
    expect(originsOf(op)).to.deep.equal(new Set([op.issuer]))
  })

  it('leaves the certificate to "customFetch" with mtls: true [AUTH-5]', async () => {
    const { op, login, get } = await scene({
      op: { mtlsAliases: true },
      options: () => ({
        clientSecret: undefined,
        mtls: true,
        customFetch: thief(certificates.client),
      }),
      // Nobody but "customFetch" has seen the certificate.
      registration: { tls_client_auth_subject_dn: 'CN=client,O=Express CIBA,C=DE' },
    })
    expect(await login()).to.have.property('status', 'complete')
    expect(await get('/resource')).to.include({ sub: 'alice', binding: 'certificate' })
    expect(originsOf(op)).to.deep.equal(new Set([op.mtlsOrigin]))
  })

  for (const [what, identity] of [
    ['of another subject', () => makeCertificate({ subject: 'CN=other' })],
    ['that it signed itself', () => makeCertificate({ selfSigned: true })],
  ] as const) {
    it(`is refused with a certificate ${what}, and asks nobody [AUTH-5]`, async () => {
      const { op, browser } = await scene({
        op: { mtlsAliases: true },
        options: withIdentity(await identity(), certificates.ca),
        registration: { tls_client_auth_subject_dn: 'CN=client,O=Express CIBA,C=DE' },
      })
      const { status, body } = await browser.start()
      expect([status, body.error]).to.deep.equal([400, 'invalid_client'])
      expect(op.requests.size).to.equal(0)
    })
  }

  it('says that the OP cannot be reached where its certificate is not trusted [REQ-1]', async () => {
    const { op, browser } = await scene({
      op: { tls: true },
      options: () => ({ clientSecret: undefined, mtls: certificates.client }),
    })
    const { status, body } = await browser.start()
    expect([status, body.error]).to.deep.equal([503, 'temporarily_unavailable'])
    expect(op.counts).to.include({ discovery: 0, backchannel: 0 })
  })
})

const withIdentity = (identity: { cert: string; key: string }, ca: string): CibaOptions => ({
  clientSecret: undefined,
  mtls: { ...identity, ca },
})
