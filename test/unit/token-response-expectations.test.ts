import { expect } from 'chai'
import * as oauth from 'oauth4webapi'
import { AUTH_REQ_ID_CLAIM } from '../../lib/protocol/id-token.ts'
import {
  type ProcessGrantResponseOptions,
  processBackchannelAuthenticationGrantResponse,
} from '../../lib/protocol/token-response.ts'

const now = 1_800_000_000
const as = { issuer: 'https://op.example.com' }
const sound = { iss: as.issuer, sub: 'secret-alice', aud: 'rp', iat: now, exp: now + 300 }

const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')

/** Processes an answer without `strict`, so that nobody signs and only the expectation decides. */
function run(
  claims: object | undefined,
  options: ProcessGrantResponseOptions,
  client: Partial<oauth.Client> = {},
): Promise<oauth.TokenEndpointResponse> {
  const id_token = claims && `${encode({ alg: 'RS256' })}.${encode({ ...sound, ...claims })}.AAAA`
  const body = JSON.stringify({ access_token: 'at', token_type: 'Bearer', id_token })
  const response = new Response(body, { headers: { 'content-type': 'application/json' } })
  return processBackchannelAuthenticationGrantResponse(as, { client_id: 'rp', ...client }, response, options)
}

async function rejection(promise: Promise<unknown>): Promise<Error & { code?: string }> {
  return promise.then(
    () => expect.fail('accepted'),
    (error) => error,
  )
}

describe('processBackchannelAuthenticationGrantResponse() with an expected value', () => {
  const realNow = Date.now
  beforeEach(() => {
    Date.now = () => now * 1000
  })
  afterEach(() => {
    Date.now = realNow
  })

  const differs = oauth.JWT_CLAIM_COMPARISON
  const timestamp = oauth.JWT_TIMESTAMP_CHECK
  const missing = oauth.INVALID_RESPONSE
  const acrValues = ['secret-2', 'secret-1']
  const trustedAudiences = ['api']

  const refused: [
    what: string,
    options: ProcessGrantResponseOptions,
    claims: object,
    claim: string,
    code: string,
  ][] = [
    [
      'another authReqId (TOK-14)',
      { authReqId: 'secret-a' },
      { [AUTH_REQ_ID_CLAIM]: 'secret-b' },
      AUTH_REQ_ID_CLAIM,
      differs,
    ],
    [
      'a token of 31 s before the request (TOK-11)',
      { requestedAt: now },
      { iat: now - 31 },
      'iat',
      timestamp,
    ],
    ['a token of a week ago (TOK-11)', { requestedAt: now - 120 }, { iat: now - 604_800 }, 'iat', timestamp],
    ['no acr (TOK-15)', { acrValues }, {}, 'acr', missing],
    ['another acr (TOK-15)', { acrValues }, { acr: 'secret-3' }, 'acr', differs],
    ['all acr values at once (TOK-15)', { acrValues }, { acr: 'secret-2 secret-1' }, 'acr', differs],
    ['a list of acr (TOK-15)', { acrValues }, { acr: ['secret-1'] }, 'acr', differs],
    ['an acr that is null (TOK-15)', { acrValues }, { acr: null }, 'acr', differs],
    ['no auth_time (TOK-16)', { maxAge: 60 }, {}, 'auth_time', missing],
    ['an auth_time 91 s ago (TOK-16)', { maxAge: 60 }, { auth_time: now - 91 }, 'auth_time', timestamp],
    [
      'an auth_time 31 s ago for none (TOK-16)',
      { maxAge: 0 },
      { auth_time: now - 31 },
      'auth_time',
      timestamp,
    ],
    ['another subject (TOK-18)', { expectedSubject: 'secret-bob' }, {}, 'sub', differs],
    ['the start of the subject (TOK-18)', { expectedSubject: 'secret-alice2' }, {}, 'sub', differs],
    ['no nonce (TOK-17)', { nonce: 'secret-n' }, {}, 'nonce', missing],
    ['another nonce (TOK-17)', { nonce: 'secret-n' }, { nonce: 'secret-m' }, 'nonce', differs],
    ['a nonce that is a number (TOK-17)', { nonce: '5' }, { nonce: 5 }, 'nonce', differs],
    [
      'an untrusted audience (TOK-6)',
      { trustedAudiences },
      { aud: ['rp', 'api', 'x'], azp: 'rp' },
      'aud',
      differs,
    ],
  ]
  for (const [what, options, claims, claim, code] of refused) {
    it(`refuses ${what}, without showing a value`, async () => {
      const error = await rejection(run(claims, options))
      expect(error).to.be.instanceOf(oauth.OperationProcessingError)
      expect(error).to.deep.include({ code, cause: { claim } })
      expect(error.message)
        .to.include(`JWT "${claim}" (`)
        .and.not.match(/secret/)
      await run(claims, {})
    })

    it(`refuses ${what}, the more so when strict`, async () => {
      const error = await rejection(run(claims, { ...options, strict: true }))
      expect(error).to.deep.include({ code, cause: { claim } })
    })
  }

  const accepted: [what: string, options: ProcessGrantResponseOptions, claims: object][] = [
    ['the same authReqId (TOK-14)', { authReqId: 'a' }, { [AUTH_REQ_ID_CLAIM]: 'a' }],
    ['no claim for authReqId (TOK-14)', { authReqId: 'a' }, {}],
    ['a token of 30 s before the request (TOK-11)', { requestedAt: now }, { iat: now - 30 }],
    ['the first acr (TOK-15)', { acrValues }, { acr: 'secret-2' }],
    ['the last acr (TOK-15)', { acrValues }, { acr: 'secret-1' }],
    ['an auth_time 90 s ago (TOK-16)', { maxAge: 60 }, { auth_time: now - 90 }],
    ['an auth_time of now for none (TOK-16)', { maxAge: 0 }, { auth_time: now }],
    ['the same subject (TOK-18)', { expectedSubject: 'secret-alice' }, {}],
    ['the same nonce (TOK-17)', { nonce: 'n' }, { nonce: 'n' }],
    ['a trusted audience (TOK-6)', { trustedAudiences }, { aud: ['rp', 'api'], azp: 'rp' }],
  ]
  for (const [what, options, claims] of accepted) {
    it(`accepts ${what}`, async () => {
      const result = await run(claims, options)
      expect(oauth.getValidatedIdTokenClaims(result)).to.deep.equal({ ...sound, ...claims })
    })
  }

  context("on the client's clock", () => {
    const early = { [oauth.clockSkew]: -60 }
    const exact = { [oauth.clockTolerance]: 0 }

    it('shifts requestedAt by the skew (CFG-9, TOK-11)', async () => {
      await run({ iat: now - 90 }, { requestedAt: now }, early)
      const error = await rejection(run({ iat: now - 91 }, { requestedAt: now }, early))
      expect(error).to.have.property('code', timestamp)
    })

    it('measures maxAge by the skewed clock (CFG-9, TOK-16)', async () => {
      await run({ auth_time: now - 150 }, { maxAge: 60 }, early)
      const error = await rejection(run({ auth_time: now - 151 }, { maxAge: 60 }, early))
      expect(error).to.have.property('code', timestamp)
    })

    it('tolerates nothing when told so (CFG-9)', async () => {
      await run({ auth_time: now - 60 }, { requestedAt: now, maxAge: 60 }, exact)
      for (const claims of [{ iat: now - 1, auth_time: now }, { auth_time: now - 61 }]) {
        const error = await rejection(run(claims, { requestedAt: now, maxAge: 60 }, exact))
        expect(error).to.have.property('code', timestamp)
      }
    })
  })

  context('without an ID token', () => {
    for (const options of [{ acrValues }, { maxAge: 0 }, { expectedSubject: 'a' }, { nonce: 'n' }]) {
      it(`refuses what cannot meet ${Object.keys(options)} (TOK-3)`, async () => {
        const error = await rejection(run(undefined, options))
        expect(error).to.have.property('message', '"response" body "id_token" property must be a string')
      })
    }

    for (const options of [
      { acrValues: [] },
      { authReqId: 'a' },
      { requestedAt: now },
      { trustedAudiences },
    ]) {
      it(`accepts what ${Object.keys(options)} says nothing about`, async () => {
        expect(await run(undefined, options)).to.have.property('access_token', 'at')
      })
    }
  })

  for (const strict of [true, false]) {
    it(`refuses another token type than the expected, strict: ${strict} (TOK-2)`, async () => {
      const error = await rejection(run({}, { strict, tokenType: 'dpop' }))
      expect(error).to.have.property('code', oauth.JSON_ATTRIBUTE_COMPARISON)
    })
  }

  const nonsense: Record<string, unknown[]> = {
    strict: ['yes', 1, null],
    idTokenSigningAlgs: ['ES256', [], [5], ['none'], ['NONE'], ['HS256'], null],
    tokenType: ['Bearer', 'mac', null],
    trustedAudiences: ['api', [5], null],
    acrValues: ['1 2', [1], null],
    requestedAt: [Number.NaN, '5', new Date(), null],
    maxAge: [Number.NaN, -1, Number.POSITIVE_INFINITY, '60', null],
    authReqId: ['', 5, null],
    expectedSubject: ['', 5, null],
    nonce: ['', 5, null],
  }
  for (const [option, values] of Object.entries(nonsense)) {
    it(`refuses nonsense as ${option}, instead of a check that always passes`, async () => {
      for (const value of values) {
        const error = await rejection(run({}, { [option]: value }))
        expect(error, String(value)).to.be.instanceOf(TypeError)
        expect(error, String(value)).to.have.property('code', 'ERR_INVALID_ARG_VALUE')
        expect(error.message).to.include(`"options.${option}" must be `)
      }
      await run({}, { [option]: undefined })
    })
  }
})
