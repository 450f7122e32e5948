import { inspect } from 'node:util'
import { expect } from 'chai'
import type { Request } from 'express'
import { type CibaOptions, type ResolvedOptions, resolveOptions } from '../../lib/express/options.ts'
import { MemoryTransactionStore } from '../../lib/stores/memory.ts'

const issuerBaseURL = 'https://op.example.com'
const required = { issuerBaseURL, clientID: 'the-client', clientSecret: 'hunter22-client-secret' }
const baseURL = 'https://my-app.example.com'
const foreignStore = { read: async () => undefined, write: async () => true, watch: () => () => {} }
const environment = {
  ISSUER_BASE_URL: 'https://env.example.com',
  CLIENT_ID: 'env-client',
  CLIENT_SECRET: 'env-client-secret',
  BASE_URL: 'https://env-app.example.com',
  SECRET: 'env-secret-of-some-length',
}

const resolve = (options: object, env: NodeJS.ProcessEnv = {}): ResolvedOptions =>
  resolveOptions({ ...required, ...options } as CibaOptions, env)

function refusal(options: unknown, env: NodeJS.ProcessEnv = {}): TypeError & { option: string } {
  try {
    resolveOptions(options as CibaOptions, env)
  } catch (error) {
    expect(error).to.be.instanceOf(TypeError)
    expect(error).to.have.property('code', 'ERR_CIBA_INVALID_OPTION')
    return error as TypeError & { option: string }
  }
  return expect.fail('accepted')
}

const message = (options: object, env?: NodeJS.ProcessEnv) =>
  refusal({ ...required, ...options }, env).message

describe('resolveOptions() with', () => {
  context('what is required', () => {
    for (const [option, variable, why] of [
      ['issuerBaseURL', 'ISSUER_BASE_URL', 'the issuer URL of the OP'],
      ['clientID', 'CLIENT_ID', 'the client_id that the OP has registered'],
      ['clientSecret', 'CLIENT_SECRET', 'the client_secret that the OP has registered'],
    ] as const) {
      it(`needs "${option}"`, () => {
        const error = refusal({ ...required, [option]: undefined })
        expect(error.message).to.equal(
          `"${option}" option (or the environment variable ${variable}) is required: ${why}`,
        )
        expect(error.option).to.equal(option)
      })
    }

    it('needs "baseURL" in ping and push mode only (CFG-5)', () => {
      for (const deliveryMode of ['ping', 'push']) {
        expect(message({ deliveryMode })).to.equal(
          `"baseURL" option (or the environment variable BASE_URL) is required: with "deliveryMode" ${deliveryMode} the OP must be able to call this app`,
        )
      }
      expect(resolve({ deliveryMode: 'poll' }).client).to.not.have.property('baseURL')
    })

    it('needs "secret" with a store that may be shared (SEC-9)', () => {
      expect(message({ store: foreignStore })).to.equal(
        '"secret" option (or the environment variable SECRET) is required: all instances that share a "store" need the same one',
      )
      expect(resolve({ store: foreignStore, secret: '12345678' }).client.secrets).to.deep.equal(['12345678'])
      expect(resolve({ store: foreignStore }, environment).client.secrets).to.deep.equal([environment.SECRET])
    })

    for (const options of [undefined, null, 'issuer', [], () => {}]) {
      it(`refuses ${inspect(options)} for options`, () => {
        expect(refusal(options).message).to.equal('"options" option must be an object')
      })
    }
  })

  context('no "store" or "secret"', () => {
    it('makes a store of its own, a new one each time, and owns it', () => {
      const [one, other] = [resolve({}).client, resolve({}).client]
      expect(one.store).to.be.instanceOf(MemoryTransactionStore)
      expect(one.store).to.not.equal(other.store)
      expect([one.ownsStore, resolve({ store: one.store }).client.ownsStore]).to.deep.equal([true, false])
      // Logouts that are remembered for long take no places of logins.
      expect(one.marksStore).to.not.equal(one.store)
      expect(resolve({ store: one.store }).client.marksStore).to.equal(one.store)
    })

    it('leaves records unsealed in a memory store that does nothing else with them', () => {
      class Watched extends MemoryTransactionStore {}
      const patched = Object.assign(new MemoryTransactionStore(), { read: async () => undefined })
      const stay = [undefined, new MemoryTransactionStore(), new Watched(), patched].map(
        (store) => resolve(store ? { store } : {}).client.recordsStayHere,
      )
      expect(stay).to.deep.equal([true, true, false, false])
      expect(resolve({ store: foreignStore }, environment).client.recordsStayHere).to.equal(false)
    })

    it('refuses a store whose clock is none', () => {
      expect(refusal({ store: { ...foreignStore, now: 5 } }).message).to.include('TransactionStore')
    })

    it('makes a random secret of 32 bytes, also for a memory store that was given', () => {
      const secrets = [{}, {}, { store: new MemoryTransactionStore() }].map((options) => {
        const [secret, ...more] = resolve(options).client.secrets
        expect(Buffer.from(secret, 'base64url')).to.have.length(32)
        expect(more).to.have.length(0)
        return secret
      })
      expect(new Set(secrets).size).to.equal(3)
    })
  })

  context('environment variables', () => {
    const seen = ({ client }: ResolvedOptions) => [
      client.op.issuer.href,
      client.op.clientID,
      client.op.clientSecret,
      client.baseURL?.href,
      ...client.secrets,
    ]

    it('reads them where the option is absent, or explicitly undefined', () => {
      const expected = [
        'https://env.example.com/',
        'env-client',
        'env-client-secret',
        'https://env-app.example.com/',
        'env-secret-of-some-length',
      ]
      expect(seen(resolveOptions({}, environment))).to.deep.equal(expected)
      const explicitly = Object.fromEntries(
        ['baseURL', 'secret', ...Object.keys(required)].map((name) => [name, undefined]),
      )
      expect(seen(resolveOptions(explicitly, environment))).to.deep.equal(expected)
    })

    it('prefers the options', () => {
      const options = { ...required, baseURL, secret: ['option-secret', 'older-secret'] }
      expect(seen(resolveOptions(options, environment))).to.deep.equal([
        'https://op.example.com/',
        'the-client',
        'hunter22-client-secret',
        'https://my-app.example.com/',
        'option-secret',
        'older-secret',
      ])
    })

    it('checks them as it checks options', () => {
      expect(refusal({}, { ...environment, ISSUER_BASE_URL: 'op' }).message).to.include('received "op"')
      expect(refusal({}, { ...environment, CLIENT_ID: '' }).message).to.include('"clientID" option must be')
      expect(refusal({}, { ...environment, CLIENT_SECRET: ' ' }).message).to.include(
        '"clientSecret" option must be',
      )
      expect(refusal({}, { ...environment, BASE_URL: 'http://a' }).message).to.include('received "http://a"')
      expect(refusal({}, { ...environment, SECRET: 'hunter2' }).message).to.include('"secret" option must be')
    })

    for (const option of ['issuerBaseURL', 'clientID', 'clientSecret', 'baseURL', 'secret']) {
      it(`takes null for a wrong "${option}", not for an absent one`, () => {
        expect(refusal({ ...required, [option]: null }, environment).message).to.match(
          new RegExp(`^"${option}" option must be `),
        )
      })
    }
  })

  context('plain http', () => {
    it('allows it for the OP and for this app with "allowInsecureRequests" only (CFG-2)', () => {
      const http = { issuerBaseURL: 'http://localhost:4000', baseURL: 'http://localhost:3000' }
      expect(message(http)).to.include('"baseURL" option must be the public https URL of this app')
      expect(message({ issuerBaseURL: http.issuerBaseURL })).to.equal(
        '"issuerBaseURL" option must be the OP\'s issuer, an https URL, received "http://localhost:4000"',
      )
      const { op, baseURL } = resolve({ ...http, allowInsecureRequests: true }).client
      expect([op.issuer.href, baseURL?.href]).to.deep.equal([
        'http://localhost:4000/',
        'http://localhost:3000/',
      ])
    })

    it('says so in the messages', () => {
      const insecure = { allowInsecureRequests: true }
      expect(message({ ...insecure, issuerBaseURL: 'x' })).to.equal(
        '"issuerBaseURL" option must be the OP\'s issuer, an https or http URL, received "x"',
      )
      expect(message({ ...insecure, baseURL: 'ftp://x' })).to.equal(
        '"baseURL" option must be the public URL of this app, received "ftp://x"',
      )
    })
  })

  context('names that nobody knows', () => {
    for (const [name, meant] of [
      ['deliveryMod', 'deliveryMode'],
      ['clientId', 'clientID'],
      ['issuerBaseUrl', 'issuerBaseURL'],
      ['secrets', 'secret'],
      ['longPollTimeOut', 'longPollTimeout'],
      ['route', 'routes'],
      ['CLIENTSECRET', 'clientSecret'],
      ['requestObjectSigningKeys', 'requestObjectSigningKey'],
      ['idTokenDecryptionKeys', 'idTokenDecryptionKey'],
      ['mTLS', 'mtls'],
      ['DPoP', 'dpop'],
      ['profiles', 'profile'],
      ['postLogoutRedirectUri', 'postLogoutRedirect'],
    ]) {
      it(`refuses "${name}" and asks for "${meant}"`, () => {
        const error = refusal({ ...required, [String(name)]: undefined })
        expect(error.message).to.equal(`"${name}" option is unknown, did you mean "${meant}"?`)
        expect(error.option).to.equal(name)
      })
    }

    for (const name of [
      ...['jwksCache', 'refresh', 'telemetry', 'signingKey', 'authorizeStart', 'fapi'],
      ...['constructor', 'hasOwnProperty'],
    ]) {
      it(`refuses "${name}" of no version yet`, () => {
        expect(message({ [name]: {} })).to.equal(`"${name}" option is unknown`)
      })
    }

    it('refuses them in "routes" and "startLimiter" as well', () => {
      expect(message({ routes: { device: '/l' } })).to.equal('"routes.device" option is unknown')
      expect(message({ routes: { strt: '/l' } })).to.equal(
        '"routes.strt" option is unknown, did you mean "routes.start"?',
      )
      expect(message({ startLimiter: { hints: {} } })).to.equal(
        '"startLimiter.hints" option is unknown, did you mean "startLimiter.hint"?',
      )
    })
  })

  it('reads nothing but the hint and the user code from the body of a start', () => {
    const body = { loginHint: 'alice', userCode: '1234', scope: 'openid admin', expectedSubject: 'bob' }
    expect(resolve({}).startParams({ body } as Request)).to.deep.equal({
      loginHint: 'alice',
      userCode: '1234',
    })
  })

  it('never shows a secret (SEC-11)', () => {
    const errors = [
      refusal({ ...required, secret: ['hunter22-enough', 'hunter2'] }),
      refusal({ ...required, clientSecret: ['hunter22'] }),
      refusal({ ...required, secret: 'hunter22-enough', deliveryMode: 'x' }),
      refusal({ ...required, issuerBaseURL: 'https://hunter22@op.example.com' }),
      refusal({ ...required, baseURL: 'https://user:hunter22@my-app.example.com' }),
      refusal({ ...required, clientSecret: 'hunter22', clientAuthMethod: 'client_secret_jwt' }),
      refusal({ ...required, clientSecret: 'hunter22', idTokenSigningAlg: 'HS512' }),
      refusal({ ...required, clientSecret: 'hunter22', clientAuthMethod: 'private_key_jwt' }),
    ]
    for (const error of errors) expect(inspect(error, { depth: 5 })).to.not.include('hunter2')
  })

  it('refuses a password in a URL, with a user name or without', () => {
    for (const userinfo of ['user', 'user:pass', ':pass']) {
      const error = refusal({ ...required, issuerBaseURL: `https://${userinfo}@op.example.com` })
      expect(error.option).to.equal('issuerBaseURL')
    }
  })

  it('freezes what it found', () => {
    const resolved = resolve({})
    for (const part of [resolved, resolved.client, resolved.client.op, resolved.client.authorizationParams]) {
      expect(part).to.satisfy(Object.isFrozen)
    }
    expect(resolved.routes, 'routes').to.satisfy(Object.isFrozen)
  })

  it('does not follow later changes of what was given', () => {
    const alg = ['ES256']
    const secret = ['12345678']
    const checks = { nonce: false }
    const authorizationParams = { authorizationDetails: [{ type: 'a', actions: ['read'] }] }
    const { client } = resolve({
      idTokenSigningAlg: alg,
      secret,
      idTokenChecks: checks,
      authorizationParams,
    })
    alg.push('none')
    secret[0] = 'another-secret'
    Object.assign(checks, { acr: false })
    authorizationParams.authorizationDetails[0]?.actions.push('write')
    expect(client.op.idTokenSigningAlgs).to.deep.equal(['ES256'])
    expect(client.secrets).to.deep.equal(['12345678'])
    expect(client.op.idTokenChecks).to.deep.equal({ acr: true, nonce: false })
    expect(client.authorizationParams.authorizationDetails).to.deep.equal([{ type: 'a', actions: ['read'] }])
  })
})
