import type { KeyObject } from 'node:crypto'
import { expect } from 'chai'
import { createCore } from '../../lib/core.ts'
import { CibaError } from '../../lib/errors.ts'
import type { CibaOptions } from '../../lib/index.ts'
import { requireContext } from '../../lib/profile.ts'
import {
  type AuthenticationRequest,
  type AuthenticationRequestParameters,
  checkAuthenticationRequest,
} from '../../lib/protocol/authentication-request.ts'
import { checkMetadata } from '../../lib/protocol/metadata.ts'
import { type Identity, testCertificates } from '../support/certificates.ts'
import { refusal, resolve } from '../support/option-rules.ts'
import { generate } from '../support/signing-keys.ts'

const profile = 'fapi-ciba-id1'
const fetch = async () => new Response()
const alice = { loginHint: 'alice' }
const details = [{ type: 'payment_initiation' }]

describe("profile: 'fapi-ciba-id1'", () => {
  const keys = {} as Record<'p256' | 'p384' | 'rsa' | 'ed25519', KeyObject>
  let mtls: Identity
  let good: CibaOptions

  before(async () => {
    const [p256, p384, rsa, ed25519] = await Promise.all([
      generate('ec', { namedCurve: 'P-256' }),
      generate('ec', { namedCurve: 'P-384' }),
      generate('rsa', { modulusLength: 2048 }),
      generate('ed25519'),
    ])
    keys.p256 = p256.privateKey
    keys.p384 = p384.privateKey
    keys.rsa = rsa.privateKey
    keys.ed25519 = ed25519.privateKey
    mtls = (await testCertificates()).client
    good = {
      profile,
      clientAssertionSigningKey: keys.p256,
      requestObjectSigningKey: keys.rsa,
      mtls,
    }
  })

  context('what it allows', () => {
    const allowed: [string, () => CibaOptions][] = [
      ['a key, signed requests and a certificate', () => ({})],
      [
        'a certificate for client authentication',
        () => ({ clientAuthMethod: 'tls_client_auth', clientAssertionSigningKey: undefined }),
      ],
      ['a self-signed certificate', () => ({ clientAuthMethod: 'self_signed_tls_client_auth' })],
      ['a certificate that customFetch presents', () => ({ mtls: true, customFetch: fetch })],
      ['ping', () => ({ deliveryMode: 'ping', baseURL: 'https://my-app.example.com' })],
      ['PS256 for assertions', () => ({ clientAssertionSigningKey: keys.rsa })],
      ['ES256 for requests', () => ({ requestObjectSigningKey: keys.p256 })],
      ['a rotation from one to the other', () => ({ requestObjectSigningKey: [keys.p256, keys.rsa] })],
      ['no check of a nonce', () => ({ idTokenChecks: { nonce: false } })],
      ['encrypted ID tokens', () => ({ idTokenDecryptionKey: keys.p384 })],
    ]
    for (const [what, options] of allowed) {
      it(`takes ${what}`, () => {
        const { client } = resolve({ ...good, ...options() })
        expect(client.profile).to.equal(profile)
      })
    }
  })

  context('what it forbids', () => {
    const push = { deliveryMode: 'push', baseURL: 'https://my-app.example.com' } as const
    const longSecret = 'x'.repeat(64)
    const noKey = { clientAssertionSigningKey: undefined }
    const wrongMethod =
      '"clientAuthMethod" option must be "private_key_jwt", "tls_client_auth" or "self_signed_tls_client_auth" with the profile fapi-ciba-id1 (FAPI 1.0 Advanced §5.2.2 item 14)'
    const wantsCertificate =
      '"mtls" option is required: tokens are bound to the certificate with the profile fapi-ciba-id1 (FAPI 1.0 Advanced §5.2.2 items 5 and 6)'
    const wrongAlg = (option: string, received: string) =>
      `"${option}" option must be PS256 or ES256, received ${received} with the profile fapi-ciba-id1 (FAPI-CIBA §7.10)`

    const forbidden: [string, string, () => CibaOptions, string][] = [
      [
        'push',
        'PUSH-1',
        () => push,
        '"deliveryMode" option must be "poll" or "ping" with the profile fapi-ciba-id1 (FAPI-CIBA §5.2.2 item 3)',
      ],
      ['client_secret_basic', 'AUTH-4', () => ({ clientAuthMethod: 'client_secret_basic' }), wrongMethod],
      ['client_secret_post', 'AUTH-4', () => ({ clientAuthMethod: 'client_secret_post' }), wrongMethod],
      [
        'client_secret_jwt',
        'AUTH-4',
        () => ({ clientAuthMethod: 'client_secret_jwt', clientSecret: longSecret }),
        wrongMethod,
      ],
      ['a secret by default', 'AUTH-4', () => noKey, wrongMethod],
      [
        'plain requests',
        'FAPI-1',
        () => ({ requestObjectSigningKey: undefined }),
        '"requestObjectSigningKey" option is required with the profile fapi-ciba-id1 (FAPI-CIBA §5.2.3.1 item 1)',
      ],
      ['a client without certificate', 'AUTH-6', () => ({ mtls: undefined }), wantsCertificate],
      ['DPoP instead of one', 'AUTH-6', () => ({ mtls: undefined, dpop: true }), wantsCertificate],
      [
        'requests signed with RS256',
        'SIG-4',
        () => ({ requestObjectSigningAlg: 'RS256' }),
        wrongAlg('requestObjectSigningAlg', 'RS256'),
      ],
      [
        'requests signed with ES384',
        'SIG-4',
        () => ({ requestObjectSigningKey: keys.p384 }),
        wrongAlg('requestObjectSigningAlg', 'ES384'),
      ],
      [
        'requests signed with EdDSA',
        'SIG-4',
        () => ({ requestObjectSigningKey: keys.ed25519 }),
        wrongAlg('requestObjectSigningAlg', 'EdDSA'),
      ],
      [
        'a rotation to EdDSA',
        'SIG-4',
        () => ({ requestObjectSigningKey: [keys.p256, keys.ed25519] }),
        wrongAlg('requestObjectSigningAlg', 'ES256, EdDSA'),
      ],
      [
        'assertions signed with PS384',
        'FAPI-3',
        () => ({ clientAssertionSigningKey: keys.rsa, clientAssertionSigningAlg: 'PS384' }),
        wrongAlg('clientAssertionSigningAlg', 'PS384'),
      ],
      [
        'assertions signed with EdDSA',
        'FAPI-3',
        () => ({ clientAssertionSigningKey: keys.ed25519 }),
        wrongAlg('clientAssertionSigningAlg', 'EdDSA'),
      ],
      [
        'ID tokens signed with RS256',
        'FAPI-3',
        () => ({ idTokenSigningAlg: 'RS256' }),
        wrongAlg('idTokenSigningAlg', 'RS256'),
      ],
      [
        'ID tokens signed with the secret',
        'FAPI-3',
        () => ({ idTokenSigningAlg: ['ES256', 'HS256'], clientSecret: longSecret }),
        wrongAlg('idTokenSigningAlg', 'ES256, HS256'),
      ],
      [
        'DPoP beside the certificate',
        'AUTH-6',
        () => ({ dpop: true }),
        '"dpop" option must be false: tokens are bound to the certificate with the profile fapi-ciba-id1 (FAPI 1.0 Advanced §5.2.2 items 5 and 6)',
      ],
      [
        'no check of the acr',
        'TOK-15',
        () => ({ idTokenChecks: { acr: false } }),
        '"idTokenChecks.acr" option must be true with the profile fapi-ciba-id1 (FAPI-CIBA §5.2.3.1 item 3)',
      ],
      [
        'plain http',
        'FAPI-4',
        () => ({ allowInsecureRequests: true }),
        '"allowInsecureRequests" option must be false with the profile fapi-ciba-id1 (FAPI-CIBA §7.9)',
      ],
    ]
    for (const [what, id, options, message] of forbidden) {
      it(`refuses ${what}, and names the clause [${id}]`, () => {
        const error = refusal({ ...good, ...options() })
        expect(error.message).to.equal(message)
        expect(message.startsWith(`"${error.option}" option `)).to.equal(true)
        // It is the profile that refuses it.
        const { profile: _, ...others } = good
        expect(resolve({ ...others, ...options() }).client).to.not.have.property('profile')
      })
    }
  })

  context('ID tokens', () => {
    const server = {
      issuer: 'https://op.example.com',
      backchannel_authentication_endpoint: 'https://op.example.com/backchannel',
      token_endpoint: 'https://op.example.com/token',
      jwks_uri: 'https://op.example.com/jwks',
      backchannel_authentication_request_signing_alg_values_supported: ['PS256', 'RS256'],
    }
    const withAlgs = (...algs: string[]) => ({ ...server, id_token_signing_alg_values_supported: algs })

    it('are signed with PS256 or ES256, also where nothing was said of it [FAPI-3, CFG-8]', () => {
      expect(resolve(good).client.op.idTokenSigningAlgs).to.deep.equal(['PS256', 'ES256'])
      for (const idTokenSigningAlg of ['PS256', 'ES256']) {
        const { op } = resolve({ ...good, idTokenSigningAlg }).client
        expect(op.idTokenSigningAlgs).to.deep.equal([idTokenSigningAlg])
      }
    })

    it('are refused of an OP that signs with neither, before anybody is asked [FAPI-3]', () => {
      const { op } = resolve(good).client
      expect(() => checkMetadata(withAlgs('RS256', 'EdDSA', 'none'), op)).to.throw(
        CibaError,
        'the OP does not offer the "idTokenSigningAlg" PS256, ES256, but RS256, EdDSA, none',
      )
      checkMetadata(withAlgs('RS256', 'ES256'), op)
      const { profile: _, ...others } = good
      checkMetadata(withAlgs('RS256', 'EdDSA', 'none'), resolve(others).client.op)
    })
  })

  describe('requireContext()', () => {
    const require = (parameters: AuthenticationRequestParameters) =>
      requireContext(checkAuthenticationRequest({ ...alice, ...parameters }))
    const refused =
      'the profile fapi-ciba-id1 wants "bindingMessage", "authorizationDetails" or "requestContext" (FAPI-CIBA §5.2.3.1 item 2)'

    for (const [what, parameters] of [
      ['a binding message', { bindingMessage: 'Pay 5' }],
      ['a drawn binding message', { bindingMessage: 'auto' }],
      ['authorization details', { authorizationDetails: details }],
      ['a request context', { requestContext: { order: 7 } }],
      ['a request context as text', { requestContext: '{"order":7}' }],
    ] as const) {
      it(`is content with ${what} [FAPI-2]`, () => {
        require(parameters)
      })
    }

    it('refuses a request without any of them, whatever else it has [FAPI-2]', () => {
      const others = { acrValues: ['gold'], resource: 'https://api.example.com', extra: { nonce: 'a' } }
      for (const parameters of [{}, others, { extra: { context: 'x' } }]) {
        expect(() => require(parameters))
          .to.throw(CibaError, refused)
          .with.property('code', 'ERR_CIBA_INVALID_REQUEST')
      }
    })
  })

  describe('check()', () => {
    const check = async (options: CibaOptions, request: AuthenticationRequest) => {
      const core = createCore(resolve({ ...good, ...options }).client)
      try {
        return core.check(request).parameters
      } finally {
        await core.close()
      }
    }
    const failure = (promise: Promise<unknown>) => promise.then(() => 'none', String)

    it('wants the context of every start, or in "authorizationParams" for all [FAPI-2]', async () => {
      expect(await failure(check({}, alice))).to.include('FAPI-CIBA §5.2.3.1 item 2')
      expect(await check({}, { ...alice, bindingMessage: 'Pay 5' })).to.include({ binding_message: 'Pay 5' })
      const options = { authorizationParams: { bindingMessage: 'auto' } }
      expect(await check(options, alice)).to.have.property('binding_message')
    })

    it('wants none without the profile', async () => {
      expect(await check({ profile: undefined }, alice)).to.deep.equal({
        scope: 'openid',
        login_hint: 'alice',
      })
    })
  })
})
