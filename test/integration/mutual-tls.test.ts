/** The client certificate, as the OP sees it: at the aliases, whatever the client authentication (RFC 8705). */
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto'
import { expect } from 'chai'
import { Agent, fetch as undiciFetch } from 'undici'
import type { CibaOptions, CustomFetch } from '../../lib/index.ts'
import {
  type Identity,
  makeCertificate,
  type TestCertificates,
  testCertificates,
} from '../support/certificates.ts'
import { clientAssertionOf } from '../support/client-jwts.ts'
import { type Scene, scenes } from '../support/scenes.ts'
import type { ScriptedOp } from '../support/scripted-op.ts'

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })

describe('ciba({ mtls })', () => {
  const set = scenes()
  let certificates: TestCertificates
  let presented: string

  before(async () => {
    certificates = await testCertificates()
    presented = new X509Certificate(certificates.client.cert).fingerprint256
  })

  const mtls = () => ({ ...certificates.client, ca: certificates.ca })
  /** An OP with a port of its own for clients with certificates. */
  const tlsOp = () => ({ tls: certificates.server, mtls: { ...certificates.server, ca: certificates.ca } })

  const agents: Agent[] = []
  afterEach(async () => {
    for (const agent of agents.splice(0)) await agent.destroy()
  })

  /** A `customFetch` with a certificate of its own, or none. */
  function presenting({ cert, key }: Partial<Identity> = {}): CustomFetch {
    const agent = new Agent({ connect: { ca: certificates.ca, ...(cert && key && { cert, key }) } })
    agents.push(agent)
    return ((url, init) => undiciFetch(url, { ...init, dispatcher: agent } as never)) as CustomFetch
  }

  const at = ({ calls }: ScriptedOp, ...names: string[]) =>
    calls.filter(({ endpoint }) => names.includes(endpoint))
  const seen = ({ calls }: ScriptedOp) =>
    calls.map(({ endpoint, via, certificate }) => ({ endpoint, via, certificate }))

  async function loggedIn(ciba: CibaOptions, op: Parameters<typeof set>[0] = {}): Promise<Scene> {
    const scene = await set({ op: tlsOp(), ciba: { clientSecret: undefined, ...ciba }, ...op })
    expect(await scene.login()).to.have.property('status', 'complete')
    return scene
  }

  const atTheAliases = () => [
    { endpoint: 'discovery', via: 'main', certificate: undefined },
    { endpoint: 'backchannel', via: 'mtls', certificate: presented },
    { endpoint: 'token', via: 'mtls', certificate: presented },
    { endpoint: 'jwks', via: 'main', certificate: undefined },
  ]

  const methods: [what: string, options: () => CibaOptions][] = [
    ['tls_client_auth, by default', () => ({})],
    ['tls_client_auth', () => ({ clientAuthMethod: 'tls_client_auth' })],
    [
      'tls_client_auth, although there is a secret',
      () => ({ clientAuthMethod: 'tls_client_auth', clientSecret: 'the client secret' }),
    ],
  ]
  for (const [what, options] of methods) {
    it(`authenticates by the certificate alone: ${what} [AUTH-5]`, async () => {
      const { op } = await loggedIn({ mtls: mtls(), ...options() })
      expect(seen(op)).to.deep.equal(atTheAliases())
      const [backchannel, token] = at(op, 'backchannel', 'token')
      expect([...(backchannel?.params.keys() ?? [])].sort()).to.deep.equal([
        'client_id',
        'client_notification_token',
        'login_hint',
        'scope',
      ])
      expect([...(token?.params.keys() ?? [])].sort()).to.deep.equal([
        'auth_req_id',
        'client_id',
        'grant_type',
      ])
      for (const call of [backchannel, token]) {
        expect(call?.params.get('client_id')).to.equal('client')
        expect(call?.headers).to.not.have.property('authorization')
      }
    })
  }

  it('authenticates by a certificate of its own making: self_signed_tls_client_auth [AUTH-5]', async () => {
    const mtls = { ...certificates.selfSigned, ca: certificates.ca }
    const { op } = await loggedIn({ mtls, clientAuthMethod: 'self_signed_tls_client_auth' })
    const { fingerprint256 } = new X509Certificate(certificates.selfSigned.cert)
    for (const call of at(op, 'backchannel', 'token')) {
      expect(call).to.include({ via: 'mtls', certificate: fingerprint256 })
      expect(call.params.get('client_id')).to.equal('client')
      expect(call.params.has('client_assertion')).to.equal(false)
    }
  })

  it('shows the certificate beside private_key_jwt, so that tokens are bound to it [AUTH-6]', async () => {
    const { op } = await loggedIn({ mtls: mtls(), clientAssertionSigningKey: privateKey })
    expect(seen(op)).to.deep.equal(atTheAliases())
    for (const call of at(op, 'backchannel', 'token')) {
      const { claims } = await clientAssertionOf(call, publicKey)
      // Not the alias: the issuer is who it is for [AUTH-2].
      expect(claims.aud).to.equal(op.issuer)
    }
  })

  it('shows the certificate beside client_secret_basic [AUTH-6]', async () => {
    const { op } = await loggedIn({
      mtls: mtls(),
      clientSecret: 'a secret',
      clientAuthMethod: 'client_secret_basic',
    })
    expect(seen(op)).to.deep.equal(atTheAliases())
    for (const { headers } of at(op, 'backchannel', 'token'))
      expect(headers.authorization).to.match(/^Basic /)
  })

  it('asks at the aliases in every poll [AUTH-6]', async () => {
    const { op, browser } = await set({
      op: tlsOp(),
      ciba: { clientSecret: undefined, mtls: mtls(), deliveryMode: 'poll' },
    })
    const transaction = await browser.begin()
    op.onToken({ status: 400, json: { error: 'authorization_pending' } }, () => op.tokens())
    expect(await browser.outcome(transaction)).to.have.property('status', 'complete')
    const polls = at(op, 'token')
    expect(polls).to.have.length(2)
    for (const call of polls) expect(call).to.include({ via: 'mtls', certificate: presented })
  })

  it('shows it at the endpoints themselves where the OP has no aliases [AUTH-5]', async () => {
    const tls = { ...certificates.server, ca: certificates.ca, requestCert: true }
    const { op } = await loggedIn({ mtls: mtls() }, { op: { tls } })
    for (const call of at(op, 'backchannel', 'token')) {
      expect(call).to.include({ via: 'main', certificate: presented })
    }
  })

  it('takes those endpoints from the aliases that are there, and the others as they are [AUTH-5]', async () => {
    const scene = await set({ op: tlsOp(), ciba: { clientSecret: undefined, mtls: mtls() } })
    const { mtls_endpoint_aliases: aliases } = scene.op.metadata as Record<string, Record<string, string>>
    scene.op.metadata['mtls_endpoint_aliases'] = { token_endpoint: aliases?.['token_endpoint'] }
    expect(await scene.login()).to.have.property('status', 'complete')
    expect(at(scene.op, 'backchannel', 'token').map(({ via }) => via)).to.deep.equal(['main', 'mtls'])
  })

  for (const alias of ['http://op.example/token', 'nonsense', 5]) {
    it(`finds out before anybody is asked that an alias cannot be used: ${alias} [CFG-2, AUTH-5]`, async () => {
      const { op, browser } = await set({
        op: tlsOp(),
        ciba: {
          clientSecret: undefined,
          mtls: mtls(),
          deliveryMode: 'poll',
          baseURL: undefined,
          allowInsecureRequests: false,
        },
      })
      const { mtls_endpoint_aliases: aliases } = op.metadata as Record<string, Record<string, unknown>>
      Object.assign(aliases ?? {}, { token_endpoint: alias })
      const { status, body } = await browser.start()
      expect([status, body.uncaught]).to.deep.equal([502, 'ERR_CIBA_INVALID_OP_METADATA'])
      expect(at(op, 'backchannel')).to.have.length(0)
    })
  }

  it('does not go to the aliases without a certificate [AUTH-5]', async () => {
    const { op } = await loggedIn({ clientSecret: 'a secret of this test', customFetch: presenting() })
    expect(op.calls.map(({ via }) => via)).to.deep.equal(['main', 'main', 'main', 'main'])
  })

  it('goes to the aliases with the certificate of customFetch, where "mtls" is true [AUTH-5]', async () => {
    const { op } = await loggedIn({ mtls: true, customFetch: presenting(certificates.client) })
    expect(seen(op)).to.deep.equal(atTheAliases())
  })

  it('reads certificate and key as Buffers, and a key behind a passphrase [AUTH-5]', async () => {
    const { cert, key } = await makeCertificate({ algorithm: 'RS256' })
    const passphrase = 'a passphrase'
    const encrypted = createPrivateKey(key).export({
      type: 'pkcs8',
      format: 'pem',
      cipher: 'aes-256-cbc',
      passphrase,
    })
    const { op } = await loggedIn({
      mtls: {
        cert: Buffer.from(cert),
        key: Buffer.from(encrypted),
        ca: [Buffer.from(certificates.ca)],
        passphrase,
      },
    })
    const { fingerprint256 } = new X509Certificate(cert)
    expect(at(op, 'token')[0]).to.include({ via: 'mtls', certificate: fingerprint256 })
  })

  context('the OP does not like the certificate', () => {
    const strictOp = () => {
      const { server, ca } = certificates
      return { tls: server, mtls: { ...server, ca, rejectUnauthorized: true } }
    }

    const strangers: [what: string, certificate: () => Partial<Identity>][] = [
      ['a stranger signed it', () => certificates.selfSigned],
      ['there is none', () => ({})],
    ]
    for (const [what, certificate] of strangers) {
      it(`says that the OP did not answer, and nobody was prompted: ${what} [AUTH-5, REQ-16]`, async () => {
        const { op, browser } = await set({
          op: strictOp(),
          ciba: { clientSecret: undefined, mtls: true, customFetch: presenting(certificate()) },
        })
        const { status, body } = await browser.start()
        // By TLS 1.3 a client learns it only after it has sent the request, and cannot tell it from a lost answer.
        expect([status, body]).to.deep.equal([
          502,
          { error: 'bad_gateway', error_description: 'the OP did not answer the authentication request' },
        ])
        expect(op.calls.map(({ endpoint }) => endpoint)).to.deep.equal(['discovery'])
      })
    }

    it('says the same of its own transport [AUTH-5, REQ-16]', async () => {
      const mtls = { ...certificates.selfSigned, ca: certificates.ca }
      const { op, browser } = await set({ op: strictOp(), ciba: { clientSecret: undefined, mtls } })
      expect((await browser.start()).body).to.have.property('error', 'bad_gateway')
      expect(op.calls.map(({ endpoint }) => endpoint)).to.deep.equal(['discovery'])
    })
  })

  it('speaks with no OP whose certificate nobody vouches for [FAPI-4]', async () => {
    const { op, browser } = await set({
      op: tlsOp(),
      ciba: { clientSecret: undefined, mtls: certificates.client },
    })
    const { status, body } = await browser.start()
    expect([status, body.error]).to.deep.equal([503, 'temporarily_unavailable'])
    expect(op.calls).to.deep.equal([])
  })
})
