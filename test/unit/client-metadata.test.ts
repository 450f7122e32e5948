import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { expect } from 'chai'
import { calculateJwkThumbprint, type JWK } from 'jose'
import { type CibaOptions, cibaClientMetadata } from '../../lib/index.ts'
import { CLIENT_SUBJECT, type Identity, makeCertificate } from '../support/certificates.ts'
import { generate } from '../support/signing-keys.ts'

const cibaGrant = 'urn:openid:params:grant-type:ciba'
const baseURL = 'https://my-app.example.com/sub'
const required = { issuerBaseURL: 'https://op.example.com', clientID: 'the-client' }
const clientSecret = 'hunter22-client-secret-of-more-than-32-bytes'
const secret = 'hunter22-sealing-secret'
const fetch = async () => new Response()

describe('cibaClientMetadata()', () => {
  let rsa: KeyObject
  let ec: KeyObject
  let ed25519: KeyObject
  let certificate: Identity
  let selfSigned: Identity

  before(async () => {
    const pairs = await Promise.all([
      generate('rsa', { modulusLength: 2048 }),
      generate('ec', { namedCurve: 'P-256' }),
      generate('ed25519'),
    ])
    ;[rsa, ec, ed25519] = pairs.map(({ privateKey }) => privateKey) as [KeyObject, KeyObject, KeyObject]
    certificate = await makeCertificate()
    selfSigned = await makeCertificate({ selfSigned: true, algorithm: 'RS256' })
  })

  const of = (options: CibaOptions) => cibaClientMetadata({ ...required, ...options })
  const kidsOf = (options: CibaOptions) => of(options).jwks?.keys.map(({ kid }) => kid)

  context('client authentication', () => {
    it('has everything of a simple client, and nothing that is not needed', () => {
      expect(of({ clientSecret })).to.deep.equal({
        grant_types: [cibaGrant],
        response_types: [],
        redirect_uris: [],
        scope: 'openid',
        token_endpoint_auth_method: 'client_secret_basic',
        backchannel_token_delivery_mode: 'poll',
        backchannel_user_code_parameter: false,
      })
    })

    it('names the method, and the algorithm where one signs [AUTH-1]', () => {
      const signing = { clientSecret, clientAssertionSigningKey: rsa }
      for (const [options, method, alg] of [
        [{ clientSecret, clientAuthMethod: 'client_secret_post' }, 'client_secret_post', undefined],
        [{ clientSecret, clientAuthMethod: 'client_secret_jwt' }, 'client_secret_jwt', 'HS256'],
        [signing, 'private_key_jwt', 'PS256'],
        [{ ...signing, clientAssertionSigningAlg: 'RS512' }, 'private_key_jwt', 'RS512'],
        [{ ...signing, clientAuthMethod: 'client_secret_basic' }, 'client_secret_basic', undefined],
        [{ clientAssertionSigningKey: [ed25519, rsa] }, 'private_key_jwt', 'EdDSA'],
        [{ mtls: certificate }, 'tls_client_auth', undefined],
      ] as const) {
        const metadata = of(options)
        expect(metadata.token_endpoint_auth_method).to.equal(method)
        expect(metadata.token_endpoint_auth_signing_alg).to.equal(alg)
      }
    })

    it('names the subject of the certificate as RFC 4514 writes it [AUTH-5]', async () => {
      expect(of({ mtls: certificate })).to.include({
        tls_client_auth_subject_dn: CLIENT_SUBJECT,
        tls_client_certificate_bound_access_tokens: true,
      })
      const odd = 'CN=a\\, b+OU=x \\+ y,O=Acme\\; Co,L=München,C=DE'
      const mtls = await makeCertificate({ subject: odd })
      expect(of({ mtls }).tls_client_auth_subject_dn).to.equal(odd)
    })

    it('says nothing of a subject that does not matter, or that nobody knows', () => {
      for (const options of [
        { mtls: certificate, clientAssertionSigningKey: ec },
        { mtls: selfSigned, clientAuthMethod: 'self_signed_tls_client_auth' },
        { mtls: true, customFetch: fetch },
      ] as const) {
        expect(of(options)).to.not.have.property('tls_client_auth_subject_dn')
        expect(of(options)).to.include({ tls_client_certificate_bound_access_tokens: true })
      }
    })

    it('binds tokens to a key or to the certificate, not to both [AUTH-7]', () => {
      const metadata = of({ clientSecret, mtls: certificate, dpop: true })
      expect(metadata).to.include({ dpop_bound_access_tokens: true })
      expect(metadata).to.not.have.property('tls_client_certificate_bound_access_tokens')
      expect(of({ clientSecret, dpop: ec })).to.include({ dpop_bound_access_tokens: true })
      expect(of({ clientSecret, dpop: false })).to.not.have.property('dpop_bound_access_tokens')
    })
  })

  context('keys', () => {
    it('has them inline without a route or a baseURL, and a jwks_uri with both [CFG-11]', async () => {
      const keys = { clientAssertionSigningKey: ec, requestObjectSigningKey: [ed25519, rsa] }
      const expected = await Promise.all(
        [ec, ed25519, rsa].map((key) => calculateJwkThumbprint(key.export({ format: 'jwk' }) as JWK)),
      )
      const routes = { jwks: '/.well-known/jwks.json' }
      for (const options of [keys, { ...keys, baseURL }, { ...keys, routes }]) {
        expect(kidsOf(options)).to.deep.equal(expected)
        expect(of(options)).to.not.have.property('jwks_uri')
      }
      const metadata = of({ ...keys, baseURL, routes })
      expect(metadata.jwks_uri).to.equal('https://my-app.example.com/sub/.well-known/jwks.json')
      expect(metadata).to.not.have.property('jwks')
    })

    it('has neither where there are no keys', () => {
      const options = { clientSecret, baseURL, routes: { jwks: '/jwks' } }
      expect(of(options)).to.not.have.any.keys('jwks', 'jwks_uri')
    })

    it('has the certificate for self_signed_tls_client_auth, and for no other method [AUTH-5]', () => {
      const options = { mtls: selfSigned, clientAuthMethod: 'self_signed_tls_client_auth' } as const
      const { raw, publicKey } = new X509Certificate(selfSigned.cert)
      const [key, ...others] = of(options).jwks?.keys ?? []
      const { kid, use, ...rest } = key ?? {}
      expect(rest).to.deep.equal({ ...publicKey.export({ format: 'jwk' }), x5c: [raw.toString('base64')] })
      expect([typeof kid, use, others]).to.deep.equal(['string', 'sig', []])
      expect(of({ mtls: selfSigned })).to.not.have.property('jwks')
      expect(of({ mtls: selfSigned, clientAssertionSigningKey: ec }).jwks?.keys).to.have.length(1)
    })

    it('has the key of the certificate once, also where it signs requests [CFG-10]', () => {
      const options = { mtls: selfSigned, clientAuthMethod: 'self_signed_tls_client_auth' } as const
      for (const requestObjectSigningKey of [
        selfSigned.key,
        { key: selfSigned.key, kid: 'known as' },
        [ec, createPrivateKey(selfSigned.key)],
      ]) {
        const keys = of({ ...options, requestObjectSigningKey }).jwks?.keys ?? []
        expect(keys).to.have.length(Array.isArray(requestObjectSigningKey) ? 2 : 1)
        expect(new Set(keys.map(({ kid }) => kid)).size).to.equal(keys.length)
        expect(keys.at(-1)).to.include({ alg: 'PS256', use: 'sig' }).and.to.have.property('x5c')
      }
    })
  })

  context('ID tokens', () => {
    it('names the algorithm, the first where there are several [CFG-8]', () => {
      const algOf = (idTokenSigningAlg: CibaOptions['idTokenSigningAlg']) =>
        of({ clientSecret, idTokenSigningAlg }).id_token_signed_response_alg
      expect(algOf('PS256')).to.equal('PS256')
      expect(algOf('HS256')).to.equal('HS256')
      expect(algOf(['ES256', 'PS256'])).to.equal('ES256')
      expect(of({ clientSecret })).to.not.have.property('id_token_signed_response_alg')
    })

    it('names how they are encrypted [TOK-19]', () => {
      const key = { ...ec.export({ format: 'jwk' }), alg: 'ECDH-ES+A128KW' }
      for (const [idTokenDecryptionKey, alg] of [
        [rsa, 'RSA-OAEP-256'],
        [ec, 'ECDH-ES'],
        [[key, rsa], 'ECDH-ES+A128KW'],
      ] as const) {
        expect(of({ clientSecret, idTokenDecryptionKey })).to.include({
          id_token_encrypted_response_alg: alg,
          id_token_encrypted_response_enc: 'A256GCM',
        })
      }
      expect(of({ clientSecret, idTokenDecryptionKey: ec }).jwks?.keys[0]).to.include({ use: 'enc' })
    })
  })

  context('the backchannel', () => {
    it('names delivery mode and notification endpoint, the latter not for poll [CFG-3, CFG-5]', () => {
      for (const deliveryMode of ['ping', 'push'] as const) {
        expect(of({ clientSecret, baseURL, deliveryMode })).to.include({
          backchannel_token_delivery_mode: deliveryMode,
          backchannel_client_notification_endpoint: 'https://my-app.example.com/sub/ciba/notification',
        })
      }
      const ping = { clientSecret, baseURL, deliveryMode: 'ping' } as const
      const own = of({ ...ping, routes: { notification: '/op/rings' } })
      expect(own.backchannel_client_notification_endpoint).to.equal('https://my-app.example.com/sub/op/rings')
      for (const options of [
        { clientSecret, baseURL },
        { ...ping, routes: { notification: false } },
      ] as const) {
        expect(of(options)).to.not.have.property('backchannel_client_notification_endpoint')
      }
    })

    it('names how requests are signed, and whether there are user codes [CFG-6, CFG-7]', () => {
      const metadata = of({ clientSecret, requestObjectSigningKey: [ed25519, ec], userCodeParameter: true })
      expect(metadata).to.include({
        backchannel_authentication_request_signing_alg: 'EdDSA',
        backchannel_user_code_parameter: true,
      })
      expect(of({ clientSecret })).to.not.have.property('backchannel_authentication_request_signing_alg')
    })

    it('names scope, grants and types of authorization details that the options name', () => {
      const authorizationDetails = ['b', 'a', 'b'].map((type) => ({ type, amount: 1 }))
      const authorizationParams = { scope: 'openid offline_access email', authorizationDetails }
      expect(of({ clientSecret, authorizationParams })).to.deep.include({
        scope: 'openid offline_access email',
        grant_types: [cibaGrant, 'refresh_token'],
        authorization_details_types: ['b', 'a'],
      })
      const { grant_types } = of({ clientSecret, authorizationParams: { scope: 'openid offline_accessory' } })
      expect(grant_types).to.deep.equal([cibaGrant])
    })
  })

  context('logout', () => {
    const logout = { clientSecret, idpLogout: true, routes: { backchannelLogout: '/logged-out' } }

    it('names where the OP tells it, and where browsers come back', () => {
      expect(of({ ...logout, baseURL, postLogoutRedirect: '/bye' })).to.deep.include({
        backchannel_logout_uri: 'https://my-app.example.com/sub/logged-out',
        backchannel_logout_session_required: false,
        post_logout_redirect_uris: ['https://my-app.example.com/sub/bye'],
      })
      expect(of({ ...logout, postLogoutRedirect: 'https://www.example.com/bye' })).to.deep.include({
        post_logout_redirect_uris: ['https://www.example.com/bye'],
      })
    })

    it('says nothing of it where it is off, or where the app is unknown', () => {
      const names = [
        'backchannel_logout_uri',
        'backchannel_logout_session_required',
        'post_logout_redirect_uris',
      ]
      for (const options of [{ clientSecret, baseURL, postLogoutRedirect: '/bye' }, logout]) {
        expect(of(options)).to.not.have.any.keys(...names)
      }
    })
  })

  context('options', () => {
    const variables = ['ISSUER_BASE_URL', 'CLIENT_ID', 'CLIENT_SECRET', 'BASE_URL', 'SECRET']
    const before = variables.map((name) => process.env[name])
    afterEach(() => {
      for (const [index, name] of variables.entries()) {
        if (before[index] === undefined) delete process.env[name]
        else process.env[name] = before[index]
      }
    })

    it('may come from the environment, as those of ciba()', () => {
      const values = [required.issuerBaseURL, required.clientID, clientSecret, baseURL, secret]
      for (const [index, name] of variables.entries()) process.env[name] = values[index]
      const metadata = cibaClientMetadata({ deliveryMode: 'ping' })
      expect(metadata.backchannel_client_notification_endpoint).to.equal(`${baseURL}/ciba/notification`)
      expect(JSON.stringify(metadata)).to.not.include('hunter22')
    })

    it('are checked as those of ciba()', () => {
      expect(() => cibaClientMetadata({ ...required, clientSecret, deliveryMode: 'ping' }))
        .to.throw(TypeError, '"baseURL" option')
        .with.property('code', 'ERR_CIBA_INVALID_OPTION')
    })
  })
})
