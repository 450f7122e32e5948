import { createHash, createHmac } from 'node:crypto'
import { expect } from 'chai'
import * as oauth from 'oauth4webapi'
import {
  AUTH_REQ_ID_CLAIM,
  checkExpectations,
  checkInvariants,
  checkTokenHashes,
  clockOf,
  leftHalfHash,
  RT_HASH_CLAIM,
  requirePushClaims,
  signingAlgOf,
  subjectOfIdTokenHint,
  verifyMac,
} from '../../lib/protocol/id-token.ts'

// CIBA Core §10.3.1: the example token delivery, whose ID token is RS256.
const accessToken = 'G5kXH2wHvUra0sHlDy1iTkDJgsgUO1bN'
const atHash = 'Wt0kVFXMacqvnHeyU0001w'
const refreshToken = '4bwc0ESC_IAhflf-ACC_vjD_ltc11ne-8gFPfA2Kx16'
const rtHash = 'sHahCuSpXCRg5mkDDvvr4w'

const claims: oauth.IDToken = { iss: 'https://op', sub: 'alice', aud: 'rp', iat: 1000, exp: 2000 }
const clock = { now: 1000, skew: 0, tolerance: 0 }

describe('leftHalfHash()', () => {
  it("recomputes the example's at_hash (PUSH-5)", () => {
    expect(leftHalfHash(accessToken, 'RS256')).to.equal(atHash)
  })

  it("recomputes the example's rt_hash (PUSH-6)", () => {
    expect(leftHalfHash(refreshToken, 'RS256')).to.equal(rtHash)
  })

  const hashes = {
    sha256: ['RS256', 'PS256', 'ES256', 'HS256'],
    sha384: ['RS384', 'PS384', 'ES384', 'HS384'],
    sha512: ['RS512', 'PS512', 'ES512', 'HS512', 'EdDSA', 'Ed25519'],
  }
  for (const [hash, algs] of Object.entries(hashes)) {
    for (const alg of algs) {
      it(`uses ${hash} for ${alg} (TOK-13)`, () => {
        const hex = createHash(hash).update(accessToken).digest('hex')
        const half = Buffer.from(hex.slice(0, hex.length / 2), 'hex').toString('base64url')
        expect(leftHalfHash(accessToken, alg)).to.equal(half)
      })
    }
  }

  it('uses 64 octets of SHAKE256 for ML-DSA', () => {
    const hash = createHash('shake256', { outputLength: 64 }).update(accessToken).digest()
    expect(leftHalfHash(accessToken, 'ML-DSA-65')).to.equal(hash.subarray(0, 32).toString('base64url'))
  })

  for (const alg of ['none', 'HS', 'HS1', 'HS256K', 'ES256K', 'RS2567', '']) {
    it(`knows no hash for "${alg}"`, () => {
      expect(() => leftHalfHash(accessToken, alg)).to.throw(
        oauth.UnsupportedOperationError,
        'unsupported JWS algorithm for token hash calculation',
      )
    })
  }
})

describe('checkTokenHashes()', () => {
  const response: oauth.TokenEndpointResponse = {
    access_token: accessToken,
    refresh_token: refreshToken,
    token_type: 'bearer',
  }

  it('accepts the example of the standard (PUSH-5, PUSH-6)', () => {
    checkTokenHashes({ ...claims, at_hash: atHash, [RT_HASH_CLAIM]: rtHash }, response, 'RS256')
    expect(() => checkTokenHashes({ ...claims, at_hash: rtHash }, response, 'RS256')).to.throw('at_hash')
  })

  it('accepts a token without hashes, whatever its algorithm', () => {
    checkTokenHashes(claims, response, 'unheard of')
    expect(() => checkTokenHashes({ ...claims, at_hash: atHash }, response, 'unheard of')).to.throw()
  })

  it('refuses the right hash in another alphabet or with padding', () => {
    for (const at_hash of [`${atHash}==`, atHash.toLowerCase(), ` ${atHash}`, `${atHash}\0`]) {
      expect(() => checkTokenHashes({ ...claims, at_hash }, response, 'RS256'), at_hash).to.throw('at_hash')
    }
  })
})

describe('requirePushClaims()', () => {
  const all = { ...claims, at_hash: atHash, [AUTH_REQ_ID_CLAIM]: 'id', [RT_HASH_CLAIM]: rtHash }
  const tokens: oauth.TokenEndpointResponse = { access_token: accessToken, token_type: 'bearer' }
  const refreshable = { ...tokens, refresh_token: refreshToken }

  it('is content with all of them, and without rt_hash where there is no refresh token [PUSH-6]', () => {
    requirePushClaims(all, refreshable)
    requirePushClaims({ ...all, [RT_HASH_CLAIM]: undefined }, tokens)
  })

  for (const [claim, id] of [
    [AUTH_REQ_ID_CLAIM, 'PUSH-4'],
    ['at_hash', 'PUSH-5'],
    [RT_HASH_CLAIM, 'PUSH-6'],
  ] as const) {
    it(`requires ${claim} [${id}]`, () => {
      expect(() => requirePushClaims({ ...all, [claim]: undefined }, refreshable))
        .to.throw(oauth.OperationProcessingError, `"${claim}"`)
        .with.deep.property('cause', { claim })
    })
  }
})

describe('verifyMac()', () => {
  const secret = 'a secret of 64 bytes, which is as long as HS512 wants a secret to be'
  const input = (alg: string) =>
    [{ alg }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
  const macOf = (alg: string, key = secret) =>
    createHmac(`sha${alg.slice(2)}`, key)
      .update(input(alg))
      .digest('base64url')

  for (const alg of ['HS256', 'HS384', 'HS512']) {
    it(`takes ${alg} by the secret, and by no other [TOK-9]`, () => {
      verifyMac(`${input(alg)}.${macOf(alg)}`, secret)
      for (const forged of [macOf(alg, `${secret}1`), macOf(alg, ''), macOf(alg).slice(0, -2), '']) {
        expect(() => verifyMac(`${input(alg)}.${forged}`, secret), forged).to.throw(
          oauth.OperationProcessingError,
          'JWT signature verification failed',
        )
      }
    })
  }

  it('covers header and payload [TOK-9]', () => {
    const [header, payload] = input('HS256').split('.')
    for (const changed of [`${header}.e30`, `${header}.${payload}.e30`, `e30.${payload}`]) {
      expect(() => verifyMac(`${changed}.${macOf('HS256')}`, secret), changed).to.throw()
    }
  })
})

describe('checkExpectations()', () => {
  it('refuses a subject that only looks the same once encoded (TOK-18)', () => {
    const token = { ...claims, sub: '\ud800' }
    checkExpectations(token, 'rp', { expectedSubject: '\ud800' }, clock)
    expect(() => checkExpectations(token, 'rp', { expectedSubject: '\ud801' }, clock)).to.throw('"sub"')
  })

  it('compares auth_req_id only when the claim is there (TOK-14)', () => {
    checkExpectations(claims, 'rp', { authReqId: 'id' }, clock)
    for (const value of ['other', 'i', '', 5, null, ['id']]) {
      const token = { ...claims, [AUTH_REQ_ID_CLAIM]: value }
      expect(() => checkExpectations(token, 'rp', { authReqId: 'id' }, clock), String(value)).to.throw(
        AUTH_REQ_ID_CLAIM,
      )
    }
  })

  it('drops the fraction of requestedAt, as iat has none (TOK-11)', () => {
    checkExpectations(claims, 'rp', { requestedAt: 1000.9 }, clock)
    expect(() => checkExpectations(claims, 'rp', { requestedAt: 1001 }, clock)).to.throw('"iat"')
  })

  it('wants the nonce that was sent, and leaves any nonce alone where that is switched off (TOK-17)', () => {
    checkExpectations({ ...claims, nonce: 'n' }, 'rp', { nonce: 'n' }, clock)
    for (const nonce of ['N', '', undefined]) {
      const token = nonce === undefined ? claims : { ...claims, nonce }
      expect(() => checkExpectations(token, 'rp', { nonce: 'n' }, clock), nonce).to.throw('"nonce"')
    }
    checkExpectations({ ...claims, nonce: 'any' }, 'rp', { nonce: false }, clock)
  })

  it('asks for no acr when none was asked for (TOK-15)', () => {
    checkExpectations(claims, 'rp', { acrValues: [] }, clock)
    expect(() => checkExpectations(claims, 'rp', { acrValues: ['1'] }, clock)).to.throw('"acr"')
  })
})

describe('checkExpectations() with maxAge', () => {
  const authenticatedAt = (auth_time: number, requestedAt?: number) => () =>
    checkExpectations(
      { ...claims, iat: 1_000, auth_time },
      'client',
      { maxAge: 60, ...(requestedAt === undefined ? {} : { requestedAt }) },
      { now: 1_500, skew: 0, tolerance: 30 },
    )

  it('measures until the request, however late the tokens are fetched [TOK-16]', () => {
    authenticatedAt(910, 1_000)()
    expect(authenticatedAt(909, 1_000)).to.throw('auth_time')
  })

  it('measures until now, where the time of the request is not known [TOK-16]', () => {
    authenticatedAt(1_410)()
    expect(authenticatedAt(1_409)).to.throw('auth_time')
  })
})

describe('checkInvariants()', () => {
  for (const sub of ['a', ' ', '5', '\n', 'a'.repeat(255), '~'.repeat(255)]) {
    it(`accepts the subject ${JSON.stringify(sub.slice(0, 9))} of ${sub.length} characters (TOK-12)`, () => {
      expect(() => checkInvariants({ ...claims, sub }, 'rp', false, clock)).not.to.throw()
    })
  }

  for (const sub of ['', 'a'.repeat(256), 'Zoë', 'a\u0080', '🙂']) {
    it(`refuses the subject ${JSON.stringify(sub.slice(0, 9))} of ${sub.length} characters (TOK-12)`, () => {
      expect(() => checkInvariants({ ...claims, sub }, 'rp', false, clock))
        .to.throw(oauth.OperationProcessingError, 'unexpected JWT "sub" (subject) claim value')
        .with.deep.property('cause', { claim: 'sub' })
    })
  }
})

describe('clockOf()', () => {
  const at = (options: object) => clockOf({ client_id: 'rp', ...options }, 1_000_999)

  it('has no skew, a tolerance of 30 seconds and whole seconds by default (CFG-9)', () => {
    expect(at({})).to.deep.equal({ now: 1000, skew: 0, tolerance: 30 })
  })

  it("takes the client's skew and tolerance (CFG-9)", () => {
    const client = { [oauth.clockSkew]: -60, [oauth.clockTolerance]: 0 }
    expect(at(client)).to.deep.equal({ now: 940, skew: -60, tolerance: 0 })
  })

  for (const nonsense of [Number.NaN, Number.POSITIVE_INFINITY, '5', null]) {
    it(`ignores ${nonsense}, as oauth4webapi does`, () => {
      const client = { [oauth.clockSkew]: nonsense, [oauth.clockTolerance]: nonsense }
      expect(at(client)).to.deep.equal({ now: 1000, skew: 0, tolerance: 30 })
    })
  }

  it('ignores a negative tolerance, as oauth4webapi does', () => {
    expect(at({ [oauth.clockTolerance]: -1 })).to.include({ tolerance: 30 })
  })
})

describe('signingAlgOf()', () => {
  it('reads the header of a JWS', () => {
    const header = Buffer.from('{"alg":"PS384","kid":"1"}').toString('base64url')
    expect(signingAlgOf(`${header}.e30.c2ln`)).to.equal('PS384')
  })
})

describe('subjectOfIdTokenHint()', () => {
  const jwt = (payload: unknown) =>
    `eyJhbGciOiJFUzI1NiJ9.${Buffer.from(JSON.stringify(payload)).toString('base64url')}.c2ln`

  it('returns the subject of a signed token, even an expired one (REQ-6)', () => {
    expect(subjectOfIdTokenHint(jwt({ ...claims, sub: 'zoë', exp: 1 }))).to.equal('zoë')
  })

  it('asks for the signed token inside an encrypted one (REQ-6)', () => {
    expect(() => subjectOfIdTokenHint('header.key.iv.secret.tag'))
      .to.throw(TypeError, 'an encrypted ID token cannot be an "id_token_hint", use the signed JWT inside it')
      .and.not.have.property('cause')
  })

  const malformed: Record<string, unknown> = {
    'an empty string': '',
    'no string': 5,
    'two parts': 'e30.c2VjcmV0',
    'four parts': 'e30.c2VjcmV0.a.b',
    'a payload that is no JSON': 'e30.c2VjcmV0.sig',
    'a payload of null': jwt(null),
    'a payload of text': jwt('secret'),
    'a token without a subject': jwt({ name: 'secret' }),
    'a subject that is a number': jwt({ sub: 5 }),
    'an empty subject': jwt({ sub: '' }),
  }
  for (const [what, value] of Object.entries(malformed)) {
    it(`refuses ${what} without showing it (REQ-6, SEC-11)`, () => {
      expect(() => subjectOfIdTokenHint(value as string))
        .to.throw(TypeError)
        .that.satisfies(
          (error: Error) =>
            error.message === 'an "id_token_hint" must be a signed JWT with a "sub" claim' &&
            error.cause === undefined,
        )
    })
  }
})
