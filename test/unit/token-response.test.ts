import { expect } from 'chai'
import * as jose from 'jose'
import * as oauth from 'oauth4webapi'
import { leftHalfHash, RT_HASH_CLAIM } from '../../lib/protocol/id-token.ts'
import {
  type ProcessGrantResponseOptions,
  processBackchannelAuthenticationGrantResponse,
} from '../../lib/protocol/token-response.ts'

type Alg = 'ES256' | 'RS256' | 'PS256' | 'EdDSA'

/** What differs from the sound answer to one token request, and from the caller's usual arguments. */
interface Scene {
  readonly alg?: Alg
  readonly claims?: object
  readonly body?: object
  /** Changes the signed ID token. */
  readonly tamper?: (jwt: string) => string | undefined | Promise<string>
  readonly as?: Partial<oauth.AuthorizationServer>
  readonly client?: Partial<oauth.Client>
  readonly options?: ProcessGrantResponseOptions
}

const now = 1_800_000_000
const issuer = 'https://op.example.com'
const accessToken = 'secret-access-token'
const refreshToken = 'secret-refresh-token'
const sound = { iss: issuer, sub: 'secret-alice', aud: 'rp', iat: now, exp: now + 300 }
const algs: Alg[] = ['ES256', 'RS256', 'PS256', 'EdDSA']
const keys = new Map<Alg, jose.GenerateKeyPairResult>()
const jwks: { keys: jose.JWK[] } = { keys: [] }
const fetched: string[] = []

const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
const json = (body: unknown) =>
  new Response(JSON.stringify(body), { headers: { 'content-type': 'application/json' } })

async function fetchJwks(url: string): Promise<Response> {
  fetched.push(url)
  return json(jwks)
}

function sign(claims: object, alg: Alg, key = keys.get(alg)?.privateKey): Promise<string> {
  if (key === undefined) throw new Error(`no ${alg} key`)
  return new jose.SignJWT({ ...sound, ...claims }).setProtectedHeader({ alg, kid: alg }).sign(key)
}

/** Runs one token response through the function; without `strict` unless the scene says so. */
async function run({ alg = 'ES256', claims = {}, ...scene }: Scene): Promise<oauth.TokenEndpointResponse> {
  const signed = await sign(claims, alg)
  const body = {
    access_token: accessToken,
    token_type: 'Bearer',
    id_token: scene.tamper ? await scene.tamper(signed) : signed,
    ...scene.body,
  }
  return processBackchannelAuthenticationGrantResponse(
    { issuer, jwks_uri: `${issuer}/jwks`, id_token_signing_alg_values_supported: algs, ...scene.as },
    { client_id: 'rp', ...scene.client },
    json(body),
    { [oauth.customFetch]: fetchJwks, ...scene.options },
  )
}

const runStrictly = (scene: Scene) => run({ ...scene, options: { strict: true, ...scene.options } })

async function rejection(promise: Promise<unknown>): Promise<Error & { code?: string }> {
  return promise.then(
    () => expect.fail('accepted'),
    (error) => error,
  )
}

const mangle = (jwt: string) => {
  const at = jwt.lastIndexOf('.') + 5
  return `${jwt.slice(0, at)}${jwt[at] === 'A' ? 'B' : 'A'}${jwt.slice(at + 1)}`
}

const hash = (token: string, alg: Alg = 'ES256') => leftHalfHash(token, alg)

before(async () => {
  for (const alg of algs) {
    const pair = await jose.generateKeyPair(alg, { extractable: true })
    keys.set(alg, pair)
    jwks.keys.push({ ...(await jose.exportJWK(pair.publicKey)), alg, kid: alg, use: 'sig' })
  }
})

describe('processBackchannelAuthenticationGrantResponse()', () => {
  const realNow = Date.now
  beforeEach(() => {
    Date.now = () => now * 1000
    fetched.length = 0
  })
  afterEach(() => {
    Date.now = realNow
  })

  const refreshable = { refresh_token: refreshToken }
  const timestamp = oauth.JWT_TIMESTAMP_CHECK

  context('when strict', () => {
    for (const alg of algs) {
      it(`accepts a sound answer signed with ${alg} (TOK-9)`, async () => {
        const claims = { at_hash: hash(accessToken, alg), [RT_HASH_CLAIM]: hash(refreshToken, alg) }
        const result = await runStrictly({ alg, claims, body: refreshable })
        expect(oauth.getValidatedIdTokenClaims(result)).to.deep.equal({ ...sound, ...claims })
        expect(fetched).to.deep.equal([`${issuer}/jwks`])
      })
    }

    // What only strict refuses: each is also run without, to show who is refusing.
    const refused: [what: string, claim: string, claims: object, scene?: Scene][] = [
      ['a wrong at_hash (TOK-13)', 'at_hash', { at_hash: hash('other') }],
      ['an at_hash of another alg (TOK-13)', 'at_hash', { at_hash: hash(accessToken, 'EdDSA') }],
      ['an at_hash that is null (TOK-13)', 'at_hash', { at_hash: null }],
      ['a wrong rt_hash (TOK-14)', RT_HASH_CLAIM, { [RT_HASH_CLAIM]: hash('other') }, { body: refreshable }],
      ['an rt_hash without refresh token (TOK-14)', RT_HASH_CLAIM, { [RT_HASH_CLAIM]: hash(refreshToken) }],
      ['a foreign azp (TOK-7)', 'azp', { azp: 'secret-other' }],
      ['an azp that is null (TOK-7)', 'azp', { azp: null }],
      ['an extra audience (TOK-6)', 'aud', { aud: ['rp', 'secret-other'], azp: 'rp' }],
      ['an empty subject (TOK-12)', 'sub', { sub: '' }],
      ['a subject of 256 characters (TOK-12)', 'sub', { sub: 's'.repeat(256) }],
      ['a subject beyond ASCII (TOK-12)', 'sub', { sub: 'secret-zoë' }],
      ['a token issued 31 s ahead (TOK-11)', 'iat', { iat: now + 31 }],
      ['a nonce that nobody sent (TOK-17)', 'nonce', { nonce: 'secret' }],
      [
        'an old auth_time (TOK-16)',
        'auth_time',
        { auth_time: now - 91 },
        { client: { default_max_age: 60 } },
      ],
    ]
    for (const [what, claim, claims, scene] of refused) {
      it(`refuses ${what} before asking for keys or showing a value`, async () => {
        const error = await rejection(runStrictly({ ...scene, claims }))
        const code = ['iat', 'auth_time'].includes(claim) ? timestamp : oauth.JWT_CLAIM_COMPARISON
        expect(error).to.be.instanceOf(oauth.OperationProcessingError)
        expect(error).to.deep.include({ code, cause: { claim } })
        expect(error.message)
          .to.include(`unexpected JWT "${claim}" (`)
          .and.not.match(/secret/)
        expect(fetched).to.deep.equal([])
        await run({ ...scene, claims })
      })
    }

    it('refuses an answer without an ID token (TOK-3)', async () => {
      const error = await rejection(runStrictly({ tamper: () => undefined }))
      expect(error).to.have.property('message', '"response" body "id_token" property must be a string')
      await run({ tamper: () => undefined })
    })

    it('refuses a DPoP token that nobody asked for (TOK-2)', async () => {
      const error = await rejection(runStrictly({ body: { token_type: 'DPoP' } }))
      expect(error).to.deep.include({
        message: '"response" body "token_type" property does not match the expected value',
        code: oauth.JSON_ATTRIBUTE_COMPARISON,
        cause: { attribute: 'token_type' },
      })
      await run({ body: { token_type: 'DPoP' } })
    })

    const accepted: [what: string, scene: Scene][] = [
      ['its own azp (TOK-7)', { claims: { azp: 'rp' } }],
      ['an audience of one in a list (TOK-5)', { claims: { aud: ['rp'] } }],
      [
        'a trusted extra audience (TOK-6)',
        { claims: { aud: ['api', 'rp'], azp: 'rp' }, options: { trustedAudiences: ['api'] } },
      ],
      ['a subject of 255 characters (TOK-12)', { claims: { sub: 's'.repeat(255) } }],
      ['a token issued 30 s ahead (TOK-11)', { claims: { iat: now + 30 } }],
      ['a nonce that was sent (TOK-17)', { claims: { nonce: 'n' }, options: { nonce: 'n' } }],
      [
        'a DPoP token that was asked for (TOK-2)',
        { body: { token_type: 'DPoP' }, options: { tokenType: 'dpop' } },
      ],
      [
        'an auth_time within the default_max_age (TOK-16)',
        { claims: { auth_time: now - 90 }, client: { default_max_age: 60 } },
      ],
      [
        'a maxAge in place of the default_max_age (TOK-16)',
        { claims: { auth_time: now - 91 }, client: { default_max_age: 60 }, options: { maxAge: 61 } },
      ],
      [
        'a token issued 90 s ahead of a clock 60 s late (TOK-11)',
        { claims: { iat: now + 90 }, client: { [oauth.clockSkew]: 60 } },
      ],
    ]
    for (const [what, scene] of accepted) {
      it(`accepts ${what}`, async () => {
        expect(await runStrictly(scene)).to.have.property('access_token', accessToken)
      })
    }

    it("respects the client's clock (CFG-9)", async () => {
      const late = { claims: { iat: now + 91 }, client: { [oauth.clockSkew]: 60 } }
      expect(await rejection(runStrictly(late))).to.have.property('code', timestamp)
      const exact = { claims: { iat: now + 1 }, client: { [oauth.clockTolerance]: 0 } }
      expect(await rejection(runStrictly(exact))).to.have.property('code', timestamp)
    })

    it('reads the arguments as carefully as oauth4webapi', async () => {
      const call = (as: unknown, client: unknown) =>
        rejection(
          processBackchannelAuthenticationGrantResponse(as as never, client as never, json({}), {
            strict: true,
          }),
        )
      expect(await call(null, { client_id: 'rp' })).to.have.property('code', 'ERR_INVALID_ARG_TYPE')
      expect(await call({ issuer }, null)).to.have.property('message', '"client" must be an object')
    })
  })

  context('when strict, with a signature in doubt', () => {
    it('refuses flipped bits (TOK-9)', async () => {
      for (const alg of algs) {
        const error = await rejection(runStrictly({ alg, tamper: mangle }))
        expect(error, alg).to.include({
          message: 'JWT signature verification failed',
          code: oauth.INVALID_RESPONSE,
        })
        await run({ alg, tamper: mangle })
      }
    })

    it('refuses claims that were changed afterwards (TOK-9)', async () => {
      const claims = encode({ ...sound, sub: 'mallory' })
      const tamper = (jwt: string) => jwt.replace(/\..+\./, `.${claims}.`)
      const error = await rejection(runStrictly({ tamper }))
      expect(error).to.have.property('message', 'JWT signature verification failed')
    })

    it('refuses a key that the OP does not publish (TOK-9)', async () => {
      const { privateKey } = await jose.generateKeyPair('ES256')
      const error = await rejection(runStrictly({ tamper: () => sign({}, 'ES256', privateKey) }))
      expect(error).to.have.property('message', 'JWT signature verification failed')
    })

    it("rejects when the OP's keys cannot be had (TOK-9)", async () => {
      const fault = new TypeError('connect ECONNREFUSED')
      const down = { [oauth.customFetch]: () => Promise.reject(fault) }
      expect(await rejection(runStrictly({ options: down }))).to.equal(fault)
      const gone = { [oauth.customFetch]: async () => new Response(null, { status: 503 }) }
      expect(await rejection(runStrictly({ options: gone }))).to.have.property(
        'code',
        oauth.RESPONSE_IS_NOT_CONFORM,
      )
      const nowhere = await rejection(runStrictly({ as: { jwks_uri: '' } }))
      expect(nowhere).to.have.property('code', oauth.INVALID_SERVER_METADATA)
    })

    it('fetches the keys once for the same metadata object, with the HTTP options given (TOK-22)', async () => {
      const as = { issuer, jwks_uri: `${issuer}/jwks`, id_token_signing_alg_values_supported: ['ES256'] }
      const seen: Record<string, string>[] = []
      const options: ProcessGrantResponseOptions = {
        strict: true,
        headers: { 'x-fapi-interaction-id': '1' },
        [oauth.customFetch]: async (url, init) => {
          seen.push(init.headers)
          return fetchJwks(url)
        },
      }
      for (let i = 0; i < 3; i++) {
        const body = { access_token: 'at', token_type: 'bearer', id_token: await sign({}, 'ES256') }
        await processBackchannelAuthenticationGrantResponse(as, { client_id: 'rp' }, json(body), options)
      }
      expect(seen).to.have.length(1)
      expect(seen[0]).to.have.property('x-fapi-interaction-id', '1')
    })

    it('shares the keys through a jwksCache (TOK-22)', async () => {
      const options = { [oauth.jwksCache]: {} }
      await runStrictly({ options })
      await runStrictly({ options })
      expect(fetched).to.have.length(1)
    })
  })

  context('when strict, with an encrypted ID token', () => {
    let jweKeys: jose.GenerateKeyPairResult
    const registered = { id_token_encrypted_response_alg: 'ECDH-ES' }

    const encrypt = (jwt: string) =>
      new jose.CompactEncrypt(Buffer.from(jwt))
        .setProtectedHeader({ alg: 'ECDH-ES', enc: 'A256GCM', cty: 'JWT' })
        .encrypt(jweKeys.publicKey)

    const decrypting: ProcessGrantResponseOptions = {
      [oauth.jweDecrypt]: async (jwe) => {
        const { plaintext } = await jose.compactDecrypt(jwe, jweKeys.privateKey)
        return new TextDecoder().decode(plaintext)
      },
    }

    before(async () => {
      jweKeys = await jose.generateKeyPair('ECDH-ES')
    })

    for (const alg of algs) {
      it(`takes the hash from the ${alg} signature inside (TOK-13, TOK-19)`, async () => {
        const scene = { alg, tamper: encrypt, client: registered, options: decrypting }
        const result = await runStrictly({ ...scene, claims: { at_hash: hash(accessToken, alg) } })
        expect(result.id_token?.split('.')).to.have.length(5)
        expect(oauth.getValidatedIdTokenClaims(result)).to.include({ sub: sound.sub })
        const wrong = { at_hash: hash('other', alg) }
        const error = await rejection(runStrictly({ ...scene, claims: wrong }))
        expect(error).to.have.deep.property('cause', { claim: 'at_hash' })
      })
    }

    it('verifies the signature inside (TOK-9)', async () => {
      const tamper = (jwt: string) => encrypt(mangle(jwt))
      const error = await rejection(runStrictly({ tamper, options: decrypting }))
      expect(error).to.have.property('message', 'JWT signature verification failed')
    })

    it('refuses a plain token only if encryption is registered (TOK-19)', async () => {
      const error = await rejection(runStrictly({ client: registered, options: decrypting }))
      expect(error).to.have.property('message', '"response" body "id_token" property must be encrypted')
      await runStrictly({ options: decrypting })
      await run({ client: registered, options: decrypting })
    })

    it('refuses an encrypted token without a key (TOK-19)', async () => {
      const error = await rejection(runStrictly({ tamper: encrypt }))
      expect(error).to.have.property('message', 'JWE decryption is not configured')
    })
  })

  context('with an algorithm in doubt', () => {
    const badAlg = 'unexpected JWT "alg" header parameter'
    const unsigned = () => `${encode({ alg: 'none' })}.${encode(sound)}.`
    const macced = (alg: string) => () =>
      new jose.SignJWT(sound).setProtectedHeader({ alg }).sign(Buffer.alloc(64, 1))

    for (const alg of ['none', 'HS256', 'HS384', 'HS512']) {
      const tamper = alg === 'none' ? unsigned : macced(alg)

      it(`refuses ${alg} even if the OP lists it (TOK-8, CFG-8)`, async () => {
        const as = { id_token_signing_alg_values_supported: [alg, 'ES256'] }
        expect(await rejection(runStrictly({ as, tamper }))).to.include({
          message: badAlg,
          code: oauth.INVALID_RESPONSE,
        })
        await run({ as, tamper })
        await runStrictly({ as })
      })

      it(`refuses ${alg} even if the client registered it (TOK-8, CFG-8)`, async () => {
        const client = { id_token_signed_response_alg: alg }
        expect(await rejection(runStrictly({ client, tamper }))).to.have.property('message', badAlg)
        await run({ client, tamper })
      })

      it(`refuses to be told that ${alg} will do (TOK-8, CFG-8)`, async () => {
        for (const strict of [true, false]) {
          const options = { strict, idTokenSigningAlgs: ['ES256', alg] }
          const error = await rejection(run({ tamper, options }))
          expect(error).to.be.instanceOf(TypeError).with.property('code', 'ERR_INVALID_ARG_VALUE')
        }
      })
    }

    for (const strict of [true, false]) {
      it(`refuses a pinned-away algorithm of a published key, strict: ${strict} (TOK-8)`, async () => {
        const options = { strict, idTokenSigningAlgs: ['PS256'] }
        const error = await rejection(run({ alg: 'RS256', options }))
        expect(error).to.include({ message: badAlg, code: oauth.INVALID_RESPONSE })
        await run({ alg: 'PS256', options })
      })

      it(`prefers the pinned algorithms to all metadata, strict: ${strict} (CFG-8)`, async () => {
        const options = { strict, idTokenSigningAlgs: ['EdDSA', 'ES256'] }
        const as = { id_token_signing_alg_values_supported: ['RS256'] }
        const client = { id_token_signed_response_alg: 'RS256' }
        await run({ alg: 'ES256', as, client, options })
        await run({ alg: 'EdDSA', as, client, options })
        expect(await rejection(run({ alg: 'RS256', as, client, options }))).to.have.property(
          'message',
          badAlg,
        )
      })
    }

    it('holds the token to the algorithm that the client registered (TOK-8)', async () => {
      const client = { id_token_signed_response_alg: 'PS256' }
      await runStrictly({ alg: 'PS256', client })
      expect(await rejection(runStrictly({ alg: 'RS256', client }))).to.have.property('message', badAlg)
    })

    it('falls back to RS256 (CFG-8)', async () => {
      const as = { id_token_signing_alg_values_supported: undefined as never }
      await runStrictly({ alg: 'RS256', as })
      expect(await rejection(runStrictly({ alg: 'ES256', as }))).to.have.property('message', badAlg)
    })
  })
})
