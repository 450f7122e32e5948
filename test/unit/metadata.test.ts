import { expect } from 'chai'
import type { AuthorizationServer } from 'oauth4webapi'
import { CibaError } from '../../lib/errors.ts'
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
      { id_token_signing_alg_values_supported: ['none'] },
      { idTokenSigningAlgs: undefined } as unknown as Partial<Registration>,
    ],
    ['no CIBA in grant_types_supported', 'CFG-4', { grant_types_supported: ['authorization_code'] }],
  ]
  for (const [what, id, metadata, ours] of fits) {
    it(`takes ${what} [${id}]`, () => {
      expect(check(metadata, ours)).to.equal(undefined)
    })
  }

  const misfits: [string, string, object, string][] = [
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
      'the OP signs ID tokens with none of "idTokenSigningAlg", but with RS256, none',
    ],
  ]
  for (const [what, id, metadata, message] of misfits) {
    it(`refuses ${what}, and says what is offered [${id}]`, () => {
      expect(check(metadata)).to.include({ message, code: 'ERR_CIBA_INVALID_OP_METADATA' })
    })
  }
})
