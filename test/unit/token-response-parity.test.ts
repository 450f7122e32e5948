import { expect } from 'chai'
import * as jose from 'jose'
import * as oauth from 'oauth4webapi'
import {
  type ProcessGrantResponseOptions,
  processBackchannelAuthenticationGrantResponse,
} from '../../lib/protocol/token-response.ts'

const now = Math.floor(Date.now() / 1000)
const issuer = 'https://op.example.com'
const op: oauth.AuthorizationServer = { issuer, jwks_uri: `${issuer}/jwks` }
const client: oauth.Client = { client_id: 'rp' }
const tokens = { access_token: 'at', token_type: 'Bearer' }
const sound = { iss: issuer, sub: 'alice', aud: 'rp', iat: now, exp: now + 300 }

const base64url = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')

/** A JWT that nobody signed: neither function looks at the signature. */
const jwt = (claims: unknown, header: unknown = { alg: 'RS256' }) =>
  `${base64url(header)}.${base64url(claims)}.c2lnbmF0dXJl`

const json = (body: unknown, init: ResponseInit = {}) =>
  new Response(JSON.stringify(body), { headers: { 'content-type': 'application/json' }, ...init })

const answer = (claims: object, header?: object) => () => json({ ...tokens, id_token: jwt(claims, header) })

interface Case {
  readonly response: () => Response
  readonly as?: oauth.AuthorizationServer
  readonly client?: oauth.Client
  readonly options?: oauth.ProcessTokenResponseOptions
  /** The error's message; absent when the answer is accepted. */
  readonly fails?: string
}

const notConform = '"response" is not a conform Token Endpoint response (unexpected HTTP status code)'
const mustBeString = (property: string) => `"response" body "${property}" property must be a string`
const badAlg = 'unexpected JWT "alg" header parameter'
const challenge = 'server responded with a challenge in the WWW-Authenticate HTTP Header'
const bodyError = 'server responded with an error in the response body'
const listing = (...algs: string[]) => ({ ...op, id_token_signing_alg_values_supported: algs })
const without = (claim: string) =>
  Object.fromEntries(Object.entries(sound).filter(([name]) => name !== claim))
const pinned = { ...client, id_token_signed_response_alg: 'PS256' }
const decrypting = { [oauth.jweDecrypt]: async () => jwt(sound) }
const broken = {
  [oauth.jweDecrypt]: async () => {
    throw new RangeError('no such key')
  },
}

const cases: Record<string, Case> = {
  'no response': { response: () => null as never, fails: '"response" must be an instance of Response' },
  'something like a response': {
    response: () => ({ status: 200 }) as never,
    fails: '"response" must be an instance of Response',
  },
  'no OP': { as: null as never, response: () => json(tokens), fails: '"as" must be an object' },
  'an OP without an issuer': {
    as: {} as never,
    response: () => json(tokens),
    fails: '"as.issuer" must be a string',
  },
  'no client': { client: null as never, response: () => json(tokens), fails: '"client" must be an object' },
  'a client without an id': {
    client: {} as never,
    response: () => json(tokens),
    fails: '"client.client_id" must be a string',
  },
  'a response read before': {
    response: () => {
      const response = json(tokens)
      void response.text()
      return response
    },
    fails: '"response" body has been used already',
  },
  '404 without a body': {
    response: () => new Response(null, { status: 404 }),
    fails: '"response" content-type must be application/json',
  },
  '404 with an empty JSON body': {
    response: () => new Response('', { status: 404, headers: { 'content-type': 'application/json' } }),
    fails: notConform,
  },
  '201 with tokens': { response: () => json(tokens, { status: 201 }), fails: notConform },
  '302': {
    response: () => new Response(null, { status: 302, headers: { location: '/' } }),
    fails: notConform,
  },
  '503 with an error code': {
    response: () => json({ error: 'temporarily_unavailable' }, { status: 503 }),
    fails: notConform,
  },
  'an error code': {
    response: () => json({ error: 'authorization_pending' }, { status: 400 }),
    fails: bodyError,
  },
  'an error code with a description': {
    response: () => json({ error: 'invalid_grant', error_description: 'unknown' }, { status: 400 }),
    fails: bodyError,
  },
  'an error that is no string': { response: () => json({ error: 5 }, { status: 400 }), fails: notConform },
  'a challenge in front of an error code': {
    response: () =>
      json({ error: 'invalid_client' }, { status: 401, headers: { 'www-authenticate': 'Basic realm="op"' } }),
    fails: challenge,
  },
  'an error code as text': {
    response: () =>
      new Response('{"error":"slow_down"}', { status: 400, headers: { 'content-type': 'text/plain' } }),
    fails: '"response" content-type must be application/json',
  },
  'half a JSON text': {
    response: () => new Response('{"', { headers: { 'content-type': 'application/json' } }),
    fails: 'failed to parse "response" body as JSON',
  },
  'an HTML page': {
    response: () => new Response('<html>', { headers: { 'content-type': 'text/html' } }),
    fails: '"response" content-type must be application/json',
  },
  'JSON sent as text': { response: () => new Response(JSON.stringify(tokens)) },
  'JSON null': { response: () => json(null), fails: '"response" body must be a top level object' },
  'a JSON array': { response: () => json([]), fails: '"response" body must be a top level object' },
  'no access token': { response: () => json({ token_type: 'Bearer' }), fails: mustBeString('access_token') },
  'an empty access token': {
    response: () => json({ ...tokens, access_token: '' }),
    fails: '"response" body "access_token" property must not be empty',
  },
  'no token type': { response: () => json({ access_token: 'at' }), fails: mustBeString('token_type') },
  'expires_in that is a date': {
    response: () => json({ ...tokens, expires_in: new Date().toUTCString() }),
    fails: '"response" body "expires_in" property must be a number',
  },
  'a negative expires_in': {
    response: () => json({ ...tokens, expires_in: -1 }),
    fails: '"response" body "expires_in" property must be a non-negative number',
  },
  'scope null': { response: () => json({ ...tokens, scope: null }), fails: mustBeString('scope') },
  'refresh_token null': {
    response: () => json({ ...tokens, refresh_token: null }),
    fails: mustBeString('refresh_token'),
  },
  'id_token null': { response: () => json({ ...tokens, id_token: null }), fails: mustBeString('id_token') },
  'an empty id_token': {
    response: () => json({ ...tokens, id_token: '' }),
    fails: '"response" body "id_token" property must not be empty',
  },
  'no ID token': { response: () => json({ ...tokens, expires_in: 60, scope: 'api', refresh_token: 'rt' }) },
  'expires_in as text': { response: () => json({ ...tokens, expires_in: '300x' }) },
  'a DPoP token': { response: () => json({ ...tokens, token_type: 'DPoP' }) },
  'a MAC token': {
    response: () => json({ ...tokens, token_type: 'MAC' }),
    fails: 'unsupported `token_type` value',
  },
  'a recognised MAC token': {
    response: () => json({ ...tokens, token_type: 'MAC' }),
    options: { recognizedTokenTypes: { mac: () => {} } },
  },
  'an ID token': { response: answer({ ...sound, acr: '1', auth_time: now }) },
  'an ID token of two parts': {
    response: () => json({ ...tokens, id_token: 'e30.e30' }),
    fails: 'Invalid JWT',
  },
  'an ID token whose header is no JSON': {
    response: () => json({ ...tokens, id_token: 'AAAA.e30.AAAA' }),
    fails: 'failed to parse JWT Header body as base64url encoded JSON',
  },
  'a critical header parameter': {
    response: answer(sound, { alg: 'RS256', crit: ['b64'] }),
    fails: 'no JWT "crit" header parameter extensions are supported',
  },
  'RS256 from an OP without a list': { response: answer(sound) },
  'ES256 from an OP without a list': { response: answer(sound, { alg: 'ES256' }), fails: badAlg },
  'ES256 from an OP that lists it': { as: listing('ES256'), response: answer(sound, { alg: 'ES256' }) },
  'RS256 from an OP that does not list it': { as: listing('ES256'), response: answer(sound), fails: badAlg },
  'none from an OP that lists it': { as: listing('none'), response: answer(sound, { alg: 'none' }) },
  'HS256 from an OP that lists it': { as: listing('HS256'), response: answer(sound, { alg: 'HS256' }) },
  'the algorithm of the client': {
    as: listing('RS256'),
    client: pinned,
    response: answer(sound, { alg: 'PS256' }),
  },
  'another algorithm than that of the client': {
    as: listing('RS256', 'PS256'),
    client: pinned,
    response: answer(sound),
    fails: badAlg,
  },
  'exp 29 seconds ago': { response: answer({ ...sound, exp: now - 29 }) },
  'exp 30 seconds ago': {
    response: answer({ ...sound, exp: now - 30 }),
    fails: 'unexpected JWT "exp" (expiration time) claim value, expiration is past current timestamp',
  },
  'exp six minutes ago': {
    response: answer({ ...sound, exp: now - 360 }),
    fails: 'unexpected JWT "exp" (expiration time) claim value, expiration is past current timestamp',
  },
  'exp six minutes ago, tolerated': {
    client: { ...client, [oauth.clockTolerance]: 600 },
    response: answer({ ...sound, exp: now - 360 }),
  },
  'exp six minutes ago, on a skewed clock': {
    client: { ...client, [oauth.clockSkew]: -600 },
    response: answer({ ...sound, exp: now - 360 }),
  },
  'nbf in six minutes': {
    response: answer({ ...sound, nbf: now + 360 }),
    fails: 'unexpected JWT "nbf" (not before) claim value',
  },
  'another audience': {
    response: answer({ ...sound, aud: 'rp1' }),
    fails: 'unexpected JWT "aud" (audience) claim value',
  },
  'the client among audiences, without azp': {
    response: answer({ ...sound, aud: ['rp', 'evil'] }),
    fails: 'ID Token "aud" (audience) claim includes additional untrusted audiences',
  },
  'the client among audiences, with azp': { response: answer({ ...sound, aud: ['rp', 'evil'], azp: 'rp' }) },
  'the client as a list': { response: answer({ ...sound, aud: ['rp'] }) },
  'another issuer': {
    response: answer({ ...sound, iss: `${issuer}1` }),
    fails: 'unexpected JWT "iss" (issuer) claim value',
  },
  'a subject that is a number': {
    response: answer({ ...sound, sub: 5 }),
    fails: 'unexpected JWT "sub" (subject) claim type',
  },
  'iat that is text': {
    response: answer({ ...sound, iat: 'today' }),
    fails: 'unexpected JWT "iat" (issued at) claim type',
  },
  'auth_time that is text': {
    response: answer({ ...sound, auth_time: 'today' }),
    fails: 'ID Token "auth_time" (authentication time) must be a number',
  },
  'auth_time missing though required': {
    client: { ...client, require_auth_time: true },
    response: answer(sound),
    fails: 'JWT "auth_time" (authentication time) claim missing',
  },
  'auth_time missing though aged': {
    client: { ...client, default_max_age: 10 },
    response: answer(sound),
    fails: 'JWT "auth_time" (authentication time) claim missing',
  },
  'auth_time of old': {
    client: { ...client, default_max_age: 10 },
    response: answer({ ...sound, auth_time: 1 }),
  },
  'everything that only strict would refuse': {
    response: answer({
      ...sound,
      sub: '',
      iat: now + 31_536_000,
      azp: 'evil',
      nonce: 'stray',
      at_hash: 'wrong',
      'urn:openid:params:jwt:claim:rt_hash': 'wrong',
      'urn:openid:params:jwt:claim:auth_req_id': 'wrong',
    }),
  },
  'a JWE without a key': {
    response: () => json({ ...tokens, id_token: 'a.b.c.d.e' }),
    fails: 'JWE decryption is not configured',
  },
  'a JWE': { response: () => json({ ...tokens, id_token: 'a.b.c.d.e' }), options: decrypting },
  'a JWE that does not decrypt': {
    response: () => json({ ...tokens, id_token: 'a.b.c.d.e' }),
    options: broken,
    fails: 'no such key',
  },
  'a plain token despite a key': { response: answer(sound), options: decrypting },
}
for (const [claim, title] of Object.entries({
  aud: 'audience',
  exp: 'expiration time',
  iat: 'issued at',
  iss: 'issuer',
  sub: 'subject',
})) {
  cases[`no ${claim}`] = {
    response: answer(without(claim)),
    fails: `JWT "${claim}" (${title}) claim missing`,
  }
}

type Process = typeof oauth.processBackchannelAuthenticationGrantResponse

/** Everything a caller can see of one call. */
async function outcome(process: Process, { as = op, client: rp = client, response, options }: Case) {
  const given = response()
  const seen = await process(as, rp, given, options).then(
    (result) => ({ result, claims: oauth.getValidatedIdTokenClaims(result) }),
    (error) => ({
      error: { ...error, cause: error.cause instanceof Response ? 'a response' : error.cause },
      kind: error.constructor,
      message: error.message,
      aboutThisResponse: error.response === given || error.cause === given,
    }),
  )
  if ('error' in seen) delete seen.error.response
  return { ...seen, bodyUsed: given?.bodyUsed }
}

describe('processBackchannelAuthenticationGrantResponse() beside that of oauth4webapi', () => {
  const realNow = Date.now
  beforeEach(() => {
    Date.now = () => now * 1000
  })
  afterEach(() => {
    Date.now = realNow
  })

  for (const [name, input] of Object.entries(cases)) {
    it(`${input.fails === undefined ? 'accepts' : 'refuses'} ${name} alike`, async () => {
      const theirs = await outcome(oauth.processBackchannelAuthenticationGrantResponse, input)
      // The case is what it says, and not two equal failures for another reason.
      expect('message' in theirs ? theirs.message : undefined).to.equal(input.fails)
      expect(await outcome(processBackchannelAuthenticationGrantResponse, input)).to.deep.equal(theirs)
      const off = { ...input, options: { ...input.options, strict: false } }
      expect(await outcome(processBackchannelAuthenticationGrantResponse, off)).to.deep.equal(theirs)
    })
  }

  it('rejects, and never throws, when called with nonsense', () => {
    const call = () =>
      processBackchannelAuthenticationGrantResponse(null as never, null as never, null as never)
    expect(call).not.to.throw()
    return call().then(
      () => expect.fail('resolved'),
      (error) => expect(error).to.have.property('code', 'ERR_INVALID_ARG_TYPE'),
    )
  })

  for (const options of [undefined, {}, { strict: true }] as const) {
    it(`leaves the signature verifiable with ${JSON.stringify(options) ?? 'no options'}`, async () => {
      const { publicKey, privateKey } = await jose.generateKeyPair('ES256')
      const as = listing('ES256')
      const response = json({
        ...tokens,
        id_token: await new jose.SignJWT(sound).setProtectedHeader({ alg: 'ES256' }).sign(privateKey),
      })
      const keys = [await jose.exportJWK(publicKey)]
      const http: ProcessGrantResponseOptions = { [oauth.customFetch]: async () => json({ keys }) }
      const result = await processBackchannelAuthenticationGrantResponse(
        as,
        client,
        response,
        options && { ...http, ...options },
      )
      expect(oauth.getValidatedIdTokenClaims(result)).to.deep.equal(sound)
      expect(() => oauth.getValidatedIdTokenClaims({ ...result })).to.throw(TypeError)
      await oauth.validateApplicationLevelSignature(as, response, http)
    })
  }

  it('ignores a mangled signature, as oauth4webapi does, until asked to verify it', async () => {
    const { publicKey, privateKey } = await jose.generateKeyPair('ES256')
    const as = listing('ES256')
    const signed = await new jose.SignJWT(sound).setProtectedHeader({ alg: 'ES256' }).sign(privateKey)
    const at = signed.lastIndexOf('.') + 5
    const mangled = `${signed.slice(0, at)}${signed[at] === 'A' ? 'B' : 'A'}${signed.slice(at + 1)}`
    const response = json({ ...tokens, id_token: mangled })
    const keys = [await jose.exportJWK(publicKey)]
    await processBackchannelAuthenticationGrantResponse(as, client, response)
    const verdict = oauth.validateApplicationLevelSignature(as, response, {
      [oauth.customFetch]: async () => json({ keys }),
    })
    await verdict.then(
      () => expect.fail('verified'),
      (error) => expect(error).to.have.property('message', 'JWT signature verification failed'),
    )
  })
})
