import { createHmac } from 'node:crypto'
import { expect } from 'chai'
import * as jose from 'jose'
import * as oauth from 'oauth4webapi'
import { AUTH_REQ_ID_CLAIM, leftHalfHash, RT_HASH_CLAIM } from '../../lib/protocol/id-token.ts'
import {
  type ProcessGrantResponseOptions,
  processBackchannelAuthenticationGrantResponse,
  processTokenResponse,
} from '../../lib/protocol/token-response.ts'

const issuer = 'https://op.example.com'
const client: oauth.Client = { client_id: 'rp' }
const clientSecret = 'a secret of 64 bytes, which is as long as HS512 wants a secret to be'
const seconds = () => Math.floor(Date.now() / 1000)
const tokens = { access_token: 'the access token', token_type: 'Bearer' }
const badAlg = 'unexpected JWT "alg" header parameter'

const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
const respond = (body: object) =>
  new Response(JSON.stringify(body), { headers: { 'content-type': 'application/json' } })
const claimsOf = (claims: object) => ({
  iss: issuer,
  sub: 'alice',
  aud: 'rp',
  iat: seconds(),
  exp: seconds() + 300,
  ...claims,
})

async function rejection(promise: Promise<unknown>): Promise<Error & { code?: string }> {
  return promise.then(
    () => expect.fail('accepted'),
    (error) => error,
  )
}

describe('processBackchannelAuthenticationGrantResponse()', () => {
  let fetched = 0
  let key: jose.GenerateKeyPairResult
  let as: oauth.AuthorizationServer

  before(async () => {
    key = await jose.generateKeyPair('ES256', { extractable: true })
  })

  beforeEach(() => {
    fetched = 0
    as = {
      issuer,
      jwks_uri: `${issuer}/jwks`,
      id_token_signing_alg_values_supported: ['ES256', 'HS256', 'HS384', 'HS512', 'none'],
    }
  })

  const options = (more: ProcessGrantResponseOptions = {}): ProcessGrantResponseOptions => ({
    strict: true,
    [oauth.customFetch]: async () => {
      fetched++
      return respond({ keys: [await jose.exportJWK(key.publicKey)] })
    },
    ...more,
  })
  const signed = (claims: object = {}) =>
    new jose.SignJWT(claimsOf(claims)).setProtectedHeader({ alg: 'ES256' }).sign(key.privateKey)
  const macced = (alg: string, claims: object = {}, secret = clientSecret) => {
    const input = `${encode({ alg })}.${encode(claimsOf(claims))}`
    return `${input}.${createHmac(`sha${alg.slice(2)}`, secret)
      .update(input)
      .digest('base64url')}`
  }
  const process = (body: object, more?: ProcessGrantResponseOptions) =>
    processBackchannelAuthenticationGrantResponse(as, client, respond({ ...tokens, ...body }), options(more))

  context('the tokens were pushed', () => {
    const hash = (token: string) => leftHalfHash(token, 'ES256')
    const sound = { [AUTH_REQ_ID_CLAIM]: 'id', at_hash: hash(tokens.access_token) }
    const pushed = { pushed: true, authReqId: 'id' }

    it('accepts what names its request and its access token [PUSH-4, PUSH-5]', async () => {
      const result = await process({ id_token: await signed(sound) }, pushed)
      expect(oauth.getValidatedIdTokenClaims(result)).to.include(sound)
      expect(fetched, 'the signature is verified [PUSH-3]').to.equal(1)
    })

    const refresh_token = 'the refresh token'
    it('accepts a refresh token that the ID token names too [PUSH-6]', async () => {
      const id_token = await signed({ ...sound, [RT_HASH_CLAIM]: hash(refresh_token) })
      expect(await process({ id_token, refresh_token }, pushed)).to.include({ refresh_token })
    })

    const refusals: [id: string, what: string, claim: string, claims: object, body?: object][] = [
      ['PUSH-4', 'no auth_req_id', AUTH_REQ_ID_CLAIM, { [AUTH_REQ_ID_CLAIM]: undefined }],
      ['PUSH-4', 'another auth_req_id', AUTH_REQ_ID_CLAIM, { [AUTH_REQ_ID_CLAIM]: 'other' }],
      ['PUSH-5', 'no at_hash', 'at_hash', { at_hash: undefined }],
      ['PUSH-5', 'another at_hash', 'at_hash', { at_hash: hash('other') }],
      ['PUSH-6', 'no rt_hash', RT_HASH_CLAIM, {}, { refresh_token }],
      ['PUSH-6', 'another rt_hash', RT_HASH_CLAIM, { [RT_HASH_CLAIM]: hash('other') }, { refresh_token }],
    ]
    for (const [id, what, claim, claims, body] of refusals) {
      it(`refuses ${what}, before it asks for keys [${id}]`, async () => {
        const id_token = await signed({ ...sound, ...claims })
        const error = await rejection(process({ id_token, ...body }, pushed))
        expect(error).to.be.instanceOf(oauth.OperationProcessingError).with.deep.property('cause', { claim })
        expect(fetched).to.equal(0)
      })
    }

    it('refuses flipped bits, and no ID token at all [PUSH-3]', async () => {
      const [header, payload, signature = ''] = (await signed(sound)).split('.')
      const flipped = `${header}.${payload}.${signature.replace(/^./, (first) => (first === 'A' ? 'B' : 'A'))}`
      expect(await rejection(process({ id_token: flipped }, pushed))).to.have.property(
        'message',
        'JWT signature verification failed',
      )
      const none = await rejection(process({}, pushed))
      expect(none.message).to.equal('"response" body "id_token" property must be a string')
    })

    it('asks for less of tokens that were fetched [TOK-13, TOK-14]', async () => {
      await process({ id_token: await signed(), refresh_token }, { authReqId: 'id' })
    })

    for (const nonsense of [
      { strict: false, pushed: true },
      { pushed: 1 as never },
      { pushed: 'no' as never },
    ]) {
      it(`refuses ${JSON.stringify(nonsense)}: it would check nothing [PUSH-3]`, async () => {
        const error = await rejection(process({ id_token: await signed(sound) }, nonsense))
        expect(error).to.be.instanceOf(TypeError).with.property('code', 'ERR_INVALID_ARG_VALUE')
      })
    }
  })

  for (const alg of ['HS256', 'HS384', 'HS512']) {
    context(`${alg} is pinned, and there is a secret`, () => {
      const pinned = { idTokenSigningAlgs: [alg], clientSecret }

      it('accepts a token by the secret, with a hash by that algorithm [TOK-9, TOK-13]', async () => {
        const at_hash = leftHalfHash(tokens.access_token, alg)
        const result = await process({ id_token: macced(alg, { at_hash }) }, pinned)
        expect(oauth.getValidatedIdTokenClaims(result)).to.include({ sub: 'alice', at_hash })
        expect(fetched).to.equal(0)
      })

      it('refuses another secret, changed claims and other algorithms [TOK-8, TOK-9]', async () => {
        const [header, , mac] = macced(alg).split('.')
        const failed = 'JWT signature verification failed'
        const forgeries: [string, string][] = [
          [macced(alg, {}, 'another secret'), failed],
          [[header, encode(claimsOf({ sub: 'mallory' })), mac].join('.'), failed],
          [`${macced(alg).split('.', 2).join('.')}.`, failed],
          [macced(alg === 'HS256' ? 'HS384' : 'HS256'), badAlg],
          [await signed(), badAlg],
          [`${encode({ alg: 'none' })}.${encode(claimsOf({}))}.`, badAlg],
        ]
        for (const [id_token, message] of forgeries) {
          expect(await rejection(process({ id_token }, pinned))).to.have.property('message', message)
        }
      })

      it('makes every other check as well [TOK-4, TOK-13, TOK-17]', async () => {
        for (const [claim, value] of Object.entries({ at_hash: 'wrong', nonce: 'n', azp: 'other' })) {
          const error = await rejection(process({ id_token: macced(alg, { [claim]: value }) }, pinned))
          expect(error, claim).to.have.deep.property('cause', { claim })
        }
      })
    })

    it(`takes ${alg} for nothing but pinned, with or without a secret [TOK-8, CFG-8]`, async () => {
      for (const more of [{}, { clientSecret }, { clientSecret, idTokenSigningAlgs: ['ES256'] }]) {
        expect(await rejection(process({ id_token: macced(alg) }, more))).to.have.property('message', badAlg)
      }
    })

    it(`will not be told to take ${alg} without a secret, or without verifying it [TOK-8, TOK-9]`, async () => {
      const idTokenSigningAlgs = [alg]
      for (const more of [
        { idTokenSigningAlgs },
        { idTokenSigningAlgs, clientSecret: '' },
        { idTokenSigningAlgs, clientSecret, strict: false },
        { idTokenSigningAlgs: [alg, 'none'], clientSecret },
        { idTokenSigningAlgs: [alg.toLowerCase()], clientSecret },
        { idTokenSigningAlgs: ['HS1'], clientSecret },
      ]) {
        const error = await rejection(process({ id_token: macced(alg) }, more))
        expect(error).to.be.instanceOf(TypeError).with.property('code', 'ERR_INVALID_ARG_VALUE')
      }
    })
  }

  it('verifies each by its own key where HS256 and ES256 are pinned [TOK-8, TOK-9]', async () => {
    const pinned = { idTokenSigningAlgs: ['HS256', 'ES256'], clientSecret }
    await process({ id_token: macced('HS256') }, pinned)
    expect(fetched).to.equal(0)
    await process({ id_token: await signed() }, pinned)
    expect(fetched).to.equal(1)
    // The public key is no secret: an attacker has it, too.
    const publicKey = await jose.exportSPKI(key.publicKey)
    const confused = await rejection(process({ id_token: macced('HS256', {}, publicKey) }, pinned))
    expect(confused).to.have.property('message', 'JWT signature verification failed')
  })
})

describe('processTokenResponse()', () => {
  const run = (body: object, more: ProcessGrantResponseOptions, idToken?: 'optional') =>
    processTokenResponse(
      { issuer },
      client,
      respond({ ...tokens, ...body }),
      { strict: true, ...more },
      idToken,
    )

  it('goes without an ID token only where that is optional, as after a refresh [TOK-3, TOK-23]', async () => {
    const { result, claims, jws } = await run({}, { acrValues: ['gold'], nonce: 'n' }, 'optional')
    expect(result).to.include({ access_token: tokens.access_token, token_type: 'bearer' })
    expect([claims, jws]).to.deep.equal([undefined, undefined])
    expect((await rejection(run({}, {}))).message).to.match(/"id_token" property must be a string/)
  })

  it('checks an optional one as any other, if it is there [TOK-23]', async () => {
    const input = `${encode({ alg: 'HS256' })}.${encode(claimsOf({ at_hash: 'wrong' }))}`
    const id_token = `${input}.${createHmac('sha256', clientSecret).update(input).digest('base64url')}`
    const pinned = { idTokenSigningAlgs: ['HS256'], clientSecret }
    expect(await rejection(run({ id_token }, pinned, 'optional'))).to.have.deep.property('cause', {
      claim: 'at_hash',
    })
    for (const value of ['', null, 5]) await rejection(run({ id_token: value }, pinned, 'optional'))
  })
})
