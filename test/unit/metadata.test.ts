import { generateKeyPairSync } from 'node:crypto'
import { expect } from 'chai'
import type { AuthorizationServer } from 'oauth4webapi'
import { CibaError } from '../../lib/errors.ts'
import { decryptionKey, type SigningKey, signingKey } from '../../lib/protocol/client-keys.ts'
import { checkMetadata, type Registration } from '../../lib/protocol/metadata.ts'

const server: AuthorizationServer = {
  issuer: 'https://op.test',
  backchannel_authentication_endpoint: 'https://op.test/backchannel',
  token_endpoint: 'https://op.test/token',
  jwks_uri: 'https://op.test/jwks',
}
const registration: Registration = {
  deliveryMode: 'ping',
  clientAuthMethod: 'client_secret_post',
  idTokenSigningAlgs: ['ES256', 'PS256'],
  allowInsecureRequests: false,
}

const { privateKey: p256 } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const ed25519: SigningKey = signingKey(generateKeyPairSync('ed25519').privateKey)
const es256 = signingKey(p256)
const ecdh = decryptionKey(p256)
const byKey: Partial<Registration> = {
  clientAuthMethod: 'private_key_jwt',
  clientAssertionKeys: [es256, ed25519],
}
const requestAlgs = 'backchannel_authentication_request_signing_alg_values_supported'
const assertionAlgs = 'token_endpoint_auth_signing_alg_values_supported'

function check(metadata: object, ours: Partial<Registration> = {}): CibaError | undefined {
  try {
    checkMetadata({ ...server, ...metadata }, { ...registration, ...ours })
    return undefined
  } catch (error) {
    if (error instanceof CibaError) return error
    throw error
  }
}

describe('checkMetadata()', () => {
  for (const endpoint of ['backchannel_authentication_endpoint', 'token_endpoint', 'jwks_uri']) {
    for (const value of [
      undefined,
      null,
      '',
      5,
      '/relative',
      'http://op.test/x',
      'ftp://op.test/x',
      'https:',
    ]) {
      it(`refuses ${endpoint} ${JSON.stringify(value)} [CFG-2]`, () => {
        const error = check({ [endpoint]: value })
        expect(error).to.include({ code: 'ERR_CIBA_INVALID_OP_METADATA', expose: false, status: 502 })
        expect(error?.message).to.include(`"${endpoint}"`)
      })
    }

    it(`takes a plain ${endpoint} only where that was allowed [CFG-2]`, () => {
      const plain = { [endpoint]: 'http://127.0.0.1/x' }
      expect(check(plain, { allowInsecureRequests: true })).to.equal(undefined)
    })
  }

  const fits: [string, string, object, Partial<Registration>?][] = [
    ['no lists at all', 'CFG-3', {}],
    ['our mode among others', 'CFG-3', { backchannel_token_delivery_modes_supported: ['poll', 'ping'] }],
    ['our method', 'CFG-2', { token_endpoint_auth_methods_supported: ['x', 'client_secret_post'] }],
    ['one of our algorithms', 'CFG-8', { id_token_signing_alg_values_supported: ['RS256', 'PS256'] }],
    [
      'any algorithm, with none pinned',
      'CFG-8',
      { id_token_signing_alg_values_supported: ['none', 'ES512'] },
      { idTokenSigningAlgs: undefined } as unknown as Partial<Registration>,
    ],
    ['no CIBA in grant_types_supported', 'CFG-4', { grant_types_supported: ['authorization_code'] }],
    [
      'our mode: push',
      'CFG-3',
      { backchannel_token_delivery_modes_supported: ['push'] },
      { deliveryMode: 'push' },
    ],
    ['no token endpoint in push mode', 'PUSH-8', { token_endpoint: undefined }, { deliveryMode: 'push' }],
    ['a list of assertion algorithms for who has none', 'AUTH-1', { [assertionAlgs]: ['RS256'] }],
    ['our assertion algorithm', 'AUTH-1', { [assertionAlgs]: ['RS256', 'ES256'] }, byKey],
    ['no list of assertion algorithms', 'AUTH-1', {}, byKey],
    [
      'HS256 for assertions',
      'AUTH-1',
      { [assertionAlgs]: ['HS256'] },
      { clientAuthMethod: 'client_secret_jwt' },
    ],
    ['our request algorithm', 'CFG-6', { [requestAlgs]: ['ES256'] }, { requestObjectKeys: [es256, ed25519] }],
    ['no signed requests, when we send none', 'CFG-6', { [requestAlgs]: [] }],
    ['no list of encryption algorithms', 'TOK-19', {}, { idTokenDecryptionKeys: [ecdh] }],
    [
      'one of our encryption algorithms',
      'TOK-19',
      { id_token_encryption_alg_values_supported: ['RSA-OAEP', 'ECDH-ES+A256KW'] },
      { idTokenDecryptionKeys: [ecdh] },
    ],
    ['no list of DPoP algorithms', 'AUTH-7', {}, { dpop: ed25519 }],
    ['our DPoP algorithm', 'AUTH-7', { dpop_signing_alg_values_supported: ['EdDSA'] }, { dpop: ed25519 }],
    [
      'ES256 for a new key each time',
      'AUTH-7',
      { dpop_signing_alg_values_supported: ['ES256'] },
      { dpop: 'perTransaction' },
    ],
    ['lists that are none', 'CFG-3', { backchannel_token_delivery_modes_supported: 'poll' }],
  ]
  for (const [what, id, metadata, ours] of fits) {
    it(`takes ${what} [${id}]`, () => {
      expect(check(metadata, ours)).to.equal(undefined)
    })
  }

  const misfits: [string, string, object, string, Partial<Registration>?][] = [
    [
      'a list of algorithms that are all to be pinned or refused',
      'CFG-8',
      { id_token_signing_alg_values_supported: ['none', 'HS256'] },
      'the OP signs ID tokens with none, HS256 only: "idTokenSigningAlg" must name one of them',
      { idTokenSigningAlgs: undefined } as unknown as Partial<Registration>,
    ],
    [
      'a list of modes without ours',
      'CFG-3',
      { backchannel_token_delivery_modes_supported: ['poll', 'push'] },
      'the OP does not offer the "deliveryMode" ping, but poll, push',
    ],
    [
      'a list of methods without ours',
      'CFG-2',
      { token_endpoint_auth_methods_supported: ['private_key_jwt'] },
      'the OP does not offer the "clientAuthMethod" client_secret_post, but private_key_jwt',
    ],
    [
      'a list of algorithms without ours',
      'CFG-8',
      { id_token_signing_alg_values_supported: ['RS256', 'none'] },
      'the OP does not offer the "idTokenSigningAlg" ES256, PS256, but RS256, none',
    ],
    [
      'a list of modes without push',
      'CFG-3',
      { backchannel_token_delivery_modes_supported: ['poll', 'ping'] },
      'the OP does not offer the "deliveryMode" push, but poll, ping',
      { deliveryMode: 'push' },
    ],
    [
      'a list of assertion algorithms without ours',
      'AUTH-1',
      { [assertionAlgs]: ['RS256', 'EdDSA'] },
      'the OP does not offer the "clientAssertionSigningAlg" ES256, but RS256, EdDSA',
      byKey,
    ],
    [
      'a list of assertion algorithms without HS256',
      'AUTH-1',
      { [assertionAlgs]: ['RS256'] },
      'the OP does not offer the "clientAssertionSigningAlg" HS256, but RS256',
      { clientAuthMethod: 'client_secret_jwt' },
    ],
    [
      'a list of request algorithms without that of our first key',
      'CFG-6',
      { [requestAlgs]: ['PS256', 'EdDSA'] },
      'the OP does not offer the "requestObjectSigningAlg" ES256, but PS256, EdDSA',
      { requestObjectKeys: [es256, ed25519] },
    ],
    [
      'EdDSA where it is offered by its other name',
      'CFG-6',
      { [requestAlgs]: ['Ed25519'] },
      'the OP does not offer the "requestObjectSigningAlg" EdDSA, but Ed25519',
      { requestObjectKeys: [ed25519] },
    ],
    [
      'a list of encryption algorithms without any of ours',
      'TOK-19',
      { id_token_encryption_alg_values_supported: ['RSA1_5', 'dir'] },
      'the OP does not offer the "idTokenDecryptionKey" ECDH-ES, ECDH-ES+A128KW, ECDH-ES+A192KW, ECDH-ES+A256KW, but RSA1_5, dir',
      { idTokenDecryptionKeys: [ecdh] },
    ],
    [
      'a list of DPoP algorithms without that of our key',
      'AUTH-7',
      { dpop_signing_alg_values_supported: ['ES256'] },
      'the OP does not offer the "dpop" EdDSA, but ES256',
      { dpop: ed25519 },
    ],
    [
      'a list of DPoP algorithms without that of new keys',
      'AUTH-7',
      { dpop_signing_alg_values_supported: ['RS256'] },
      'the OP does not offer the "dpop" ES256, but RS256',
      { dpop: 'perTransaction' },
    ],
  ]
  for (const [what, id, metadata, message, ours] of misfits) {
    it(`refuses ${what}, and says what is offered [${id}]`, () => {
      expect(check(metadata, ours)).to.include({ message, code: 'ERR_CIBA_INVALID_OP_METADATA' })
    })
  }

  for (const list of [undefined, null, 'ES256']) {
    it(`refuses signed requests where the list of algorithms is ${JSON.stringify(list)} [CFG-6]`, () => {
      const error = check({ [requestAlgs]: list }, { requestObjectKeys: [es256] })
      expect(error?.message).to.equal(
        'the OP takes no signed requests, but "requestObjectSigningKey" is given',
      )
      expect(error).to.include({ code: 'ERR_CIBA_INVALID_OP_METADATA', expose: false })
    })
  }

  context('grant_types_supported without CIBA', () => {
    const withoutCiba = { grant_types_supported: ['authorization_code'] }
    const warnings: Error[] = []
    const note = (warning: Error) => warnings.push(warning)
    const emitted = async () => {
      await new Promise(setImmediate)
      return warnings.map((warning) => (warning as NodeJS.ErrnoException).code)
    }
    beforeEach(() => {
      warnings.length = 0
      process.on('warning', note)
    })
    afterEach(() => {
      process.off('warning', note)
    })

    it('is worth a warning, and no more [CFG-4]', async () => {
      for (const deliveryMode of ['poll', 'ping'] as const) check(withoutCiba, { deliveryMode })
      expect(await emitted()).to.deep.equal(['EXPRESS_CIBA_GRANT_TYPE', 'EXPRESS_CIBA_GRANT_TYPE'])
    })

    it('is right in push mode, and where there is no list [CFG-4]', async () => {
      check(withoutCiba, { deliveryMode: 'push' })
      check({})
      check({ grant_types_supported: ['urn:openid:params:grant-type:ciba'] })
      expect(await emitted()).to.deep.equal([])
    })
  })
})
