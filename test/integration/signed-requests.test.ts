/** Signed authentication requests (CIBA Core §7.1.1), as the OP reads them. */
import { generateKeyPairSync } from 'node:crypto'
import { expect } from 'chai'
import type { JWK } from 'jose'
import type { AuthenticationRequest, CibaOptions } from '../../lib/index.ts'
import { testCertificates } from '../support/certificates.ts'
import { type ClientJwt, requestObjectOf, type VerificationKey } from '../support/client-jwts.ts'
import { scenes } from '../support/scenes.ts'
import { type Call, type ScriptedOp, tokenError } from '../support/scripted-op.ts'

const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const ed25519 = generateKeyPairSync('ed25519')
const jwk = (pair: typeof ec, more: object): JWK => ({
  ...(pair.privateKey.export({ format: 'jwk' }) as JWK),
  ...more,
})
const signing: CibaOptions = { requestObjectSigningKey: { key: ec.privateKey, kid: 'of the test' } }

/** Every member that a request can have, but for the hint. */
const everything = {
  scope: 'openid profile',
  acrValues: ['urn:example:gold', 'urn:example:silver'],
  bindingMessage: 'Kürbis & Söhne 4711',
  userCode: '12 34+%',
  requestedExpiry: 90,
  maxAge: 600,
  authorizationDetails: [{ type: 'payment', amount: { value: '1.00', currency: 'EUR' }, tags: ['a', 'ä'] }],
  resource: ['https://api.example/one?a=b', 'urn:example:two'],
  requestContext: { device: { name: 'ATM "7"' }, tries: 3, isNew: true, nothing: null },
  extra: { nonce: 'a nonce', claims: '{"id_token":{"email":null}}', ui_locales: 'de en' },
}
const claimsOfEverything = {
  scope: 'openid profile',
  acr_values: 'urn:example:gold urn:example:silver',
  binding_message: 'Kürbis & Söhne 4711',
  user_code: '12 34+%',
  requested_expiry: 90,
  max_age: 600,
  authorization_details: everything.authorizationDetails,
  resource: everything.resource,
  request_context: everything.requestContext,
  nonce: 'a nonce',
  claims: { id_token: { email: null } },
  ui_locales: 'de en',
}

describe('ciba({ requestObjectSigningKey })', () => {
  const set = scenes()

  const request = (more: object = {}): AuthenticationRequest => ({ loginHint: 'alice', ...more })
  const formOf = (call: Call) => [...call.params.keys()].sort()

  /** Starts one login that asks for this, and gives what the OP got. */
  async function asked(
    parameters: object = {},
    ciba: CibaOptions | ((op: ScriptedOp) => CibaOptions) = {},
    key: VerificationKey = ec.publicKey,
  ): Promise<{ call: Call; op: ScriptedOp } & ClientJwt> {
    const scene = await set({
      ciba: (op) => ({
        ...signing,
        deliveryMode: 'poll',
        userCodeParameter: true,
        startParams: () => request(parameters),
        ...(typeof ciba === 'function' ? ciba(op) : ciba),
      }),
    })
    scene.op.metadata['backchannel_authentication_request_signing_alg_values_supported'] = [
      ...['ES256', 'RS256', 'PS256', 'EdDSA', 'Ed25519'],
    ]
    await scene.browser.begin()
    const [call] = scene.op.callsTo('backchannel')
    if (!call) throw new Error('nobody was asked')
    return { call, op: scene.op, ...(await requestObjectOf(call, key)) }
  }

  /** Without what every request object has. */
  const own = ({ claims }: ClientJwt) => {
    const { iss, aud, exp, iat, nbf, jti, client_id, ...rest } = claims
    return rest
  }

  context('what is in the form', () => {
    const methods: [method: string, options: CibaOptions, form: string[]][] = [
      ['client_secret_basic', {}, ['client_id', 'request']],
      [
        'client_secret_post',
        { clientAuthMethod: 'client_secret_post' },
        ['client_id', 'client_secret', 'request'],
      ],
      [
        'client_secret_jwt',
        { clientAuthMethod: 'client_secret_jwt' },
        ['client_assertion', 'client_assertion_type', 'client_id', 'request'],
      ],
      [
        'private_key_jwt',
        { clientAssertionSigningKey: rsa.privateKey },
        ['client_assertion', 'client_assertion_type', 'client_id', 'request'],
      ],
    ]
    for (const [method, options, form] of methods) {
      for (const deliveryMode of ['poll', 'ping', 'push'] as const) {
        it(`is the request and ${method} alone, in ${deliveryMode} mode [SIG-1]`, async () => {
          const { call } = await asked(everything, { ...options, deliveryMode })
          expect(formOf(call)).to.deep.equal(form)
        })
      }
    }

    it('is the request and client_id alone, with a certificate [SIG-1, AUTH-5]', async () => {
      const { server, client, ca } = await testCertificates()
      const scene = await set({
        op: { tls: server, mtls: { ...server, ca } },
        ciba: { ...signing, clientSecret: undefined, mtls: { ...client, ca } },
      })
      await scene.browser.begin()
      const [call] = scene.op.callsTo('backchannel')
      expect(call && formOf(call)).to.deep.equal(['client_id', 'request'])
      expect((await requestObjectOf(call as Call, ec.publicKey)).claims.aud).to.equal(scene.op.issuer)
    })

    it('has no value of the request outside of it [SIG-1]', async () => {
      const { call } = await asked(
        { ...everything, loginHint: 'alice-of-the-test' },
        { deliveryMode: 'ping' },
      )
      call.params.delete('request')
      expect(`${call.params} ${JSON.stringify(call.headers)} ${call.url}`).to.not.match(
        /alice-of-the-test|4711|payment|gold|notification/,
      )
    })
  })

  context('what is signed', () => {
    it('has every parameter, each as its own type [SIG-1, SIG-7, REQ-10 to REQ-13]', async () => {
      const jwt = await asked(everything)
      expect(own(jwt)).to.deep.equal({ ...claimsOfEverything, login_hint: 'alice' })
    })

    it('has no more than was asked for, defaults aside [SIG-1, SEC-12]', async () => {
      expect(own(await asked())).to.deep.equal({ scope: 'openid', login_hint: 'alice' })
    })

    const single: [what: string, parameters: object, claims: object][] = [
      ['one resource as a string', { resource: 'https://api.example' }, { resource: 'https://api.example' }],
      ['a list of one as a string', { resource: ['urn:example:1'] }, { resource: 'urn:example:1' }],
      ['two as an array', { resource: ['urn:a', 'urn:b'] }, { resource: ['urn:a', 'urn:b'] }],
      ['the context as an object', { requestContext: { a: [1] } }, { request_context: { a: [1] } }],
      [
        'the context as text, where it was given as text',
        { requestContext: '{ "a": [1] }' },
        { request_context: '{ "a": [1] }' },
      ],
      ['a maximum age of 0', { maxAge: 0 }, { max_age: 0 }],
      [
        'every detail in order',
        { authorizationDetails: [{ type: 'b' }, { type: 'a', n: 1.5 }] },
        { authorization_details: [{ type: 'b' }, { type: 'a', n: 1.5 }] },
      ],
      ['an extension as text', { extra: { number: '7' } }, { number: '7' }],
    ]
    for (const [what, parameters, claims] of single) {
      it(`has ${what} [SIG-7, REQ-11 to REQ-13]`, async () => {
        expect(own(await asked(parameters))).to.deep.equal({
          scope: 'openid',
          login_hint: 'alice',
          ...claims,
        })
      })
    }

    for (const [member, name, value] of [
      ['loginHintToken', 'login_hint_token', 'a.token+of=the.test'],
      ['idTokenHint', 'id_token_hint', 'e30.eyJzdWIiOiJhbGljZSJ9.c2ln'],
    ] as const) {
      it(`has ${name} and no other hint [SIG-1, REQ-3]`, async () => {
        const jwt = await asked({ loginHint: undefined, [member]: value })
        expect(own(jwt)).to.deep.equal({ scope: 'openid', [name]: value })
      })
    }

    for (const deliveryMode of ['ping', 'push'] as const) {
      it(`has the notification token in ${deliveryMode} mode [SIG-1, REQ-4]`, async () => {
        const token = own(await asked({}, { deliveryMode }))['client_notification_token']
        expect(token).to.match(/^[A-Za-z0-9._~+/-]{43,1024}=*$/)
      })
    }

    it('brings a login to its end by a ping to that token [SIG-1, REQ-4]', async () => {
      const { login } = await set({ ciba: signing })
      expect(await login()).to.have.property('status', 'complete')
    })
  })

  context('who signs, for whom and until when', () => {
    it('names us, and the issuer as one string [SIG-2]', async () => {
      const { claims, op } = await asked()
      expect(claims).to.include({ iss: 'client', client_id: 'client', aud: op.issuer })
    })

    it('holds for a minute from now on [SIG-2, SIG-3]', async () => {
      const { claims, call } = await asked()
      const { iat = 0, nbf, exp } = claims
      expect(iat).to.be.closeTo(call.at / 1000, 5)
      expect([nbf, exp]).to.deep.equal([iat, iat + 60])
    })

    it('says nothing that a request object must not say [SIG-8]', async () => {
      const { claims } = await asked(everything)
      expect(claims).to.not.have.any.keys(
        'sub',
        'request',
        'request_uri',
        'client_secret',
        'client_assertion',
      )
    })

    it('is a new one each time, also after one that was refused [SIG-9]', async () => {
      const { op, browser } = await set({ ciba: signing })
      op.onBackchannel(tokenError('invalid_binding_message'))
      await browser.start()
      await browser.begin()
      await browser.begin()
      const jwts = await Promise.all(
        op.callsTo('backchannel').map((call) => requestObjectOf(call, ec.publicKey)),
      )
      const jtis = jwts.map(({ claims }) => claims.jti)
      expect(new Set(jtis).size).to.equal(3)
      for (const jti of jtis) expect(jti).to.be.a('string').with.length.of.at.least(20)
    })
  })

  context('how it is signed', () => {
    const rows: [what: string, options: CibaOptions, key: VerificationKey, header: object][] = [
      ['a P-256 key', signing, ec.publicKey, { alg: 'ES256', kid: 'of the test' }],
      [
        'an RSA key',
        { requestObjectSigningKey: jwk(rsa, { kid: 'r' }) },
        rsa.publicKey,
        { alg: 'PS256', kid: 'r' },
      ],
      [
        'an RSA key for RS256',
        { requestObjectSigningKey: jwk(rsa, { kid: 'r' }), requestObjectSigningAlg: 'RS256' },
        rsa.publicKey,
        { alg: 'RS256', kid: 'r' },
      ],
      [
        'a JWK that names its algorithm',
        { requestObjectSigningKey: jwk(rsa, { kid: 'r', alg: 'RS256' }) },
        rsa.publicKey,
        { alg: 'RS256', kid: 'r' },
      ],
      [
        'an Ed25519 key',
        { requestObjectSigningKey: jwk(ed25519, { kid: 'e' }) },
        ed25519.publicKey,
        { alg: 'EdDSA', kid: 'e' },
      ],
      [
        'an Ed25519 key by its newer name',
        { requestObjectSigningKey: jwk(ed25519, { kid: 'e' }), requestObjectSigningAlg: 'Ed25519' },
        ed25519.publicKey,
        { alg: 'Ed25519', kid: 'e' },
      ],
      [
        'the first of two keys',
        { requestObjectSigningKey: [jwk(rsa, { kid: '1' }), jwk(ec, { kid: '2' })] },
        rsa.publicKey,
        { alg: 'PS256', kid: '1' },
      ],
    ]
    for (const [what, options, key, header] of rows) {
      it(`names algorithm, key and type, and encrypts nothing: ${what} [SIG-4, SIG-5, SIG-6]`, async () => {
        const jwt = await asked({}, options, key)
        expect(jwt.header).to.deep.equal({ ...header, typ: 'oauth-authz-req+jwt' })
        expect(jwt.call.params.get('request')?.split('.')).to.have.length(3)
      })
    }

    it('always has a kid, by default the thumbprint of the key (RFC 7638) [SIG-6]', async () => {
      const { header } = await asked({}, { requestObjectSigningKey: ec.privateKey })
      expect(header.kid).to.match(/^[\w-]{43}$/)
    })
  })

  context('the OP does not take it', () => {
    const named = 'backchannel_authentication_request_signing_alg_values_supported'
    const lists: [what: string, list: unknown, message: RegExp][] = [
      ['no list, which means that it takes none', undefined, /takes no signed requests/],
      ['a list without our algorithm', ['PS256', 'EdDSA'], /requestObjectSigningAlg.*ES256.*PS256, EdDSA/],
      ['an empty list', [], /requestObjectSigningAlg/],
    ]
    for (const [what, list, message] of lists) {
      it(`finds out before anybody is asked: ${what} [CFG-6]`, async () => {
        const { op, browser } = await set({ ciba: signing })
        op.metadata[named] = list
        const { status, body } = await browser.start()
        expect([status, body.uncaught]).to.deep.equal([502, 'ERR_CIBA_INVALID_OP_METADATA'])
        expect(body.message).to.match(message)
        expect(op.callsTo('backchannel')).to.have.length(0)
      })
    }

    it('passes on what the OP says of the request [ERR-2]', async () => {
      const { op, browser } = await set({ ciba: signing })
      op.onBackchannel(tokenError('invalid_request_object'))
      const { status, body } = await browser.start()
      expect([status, body.error]).to.deep.equal([400, 'invalid_request_object'])
    })
  })
})
