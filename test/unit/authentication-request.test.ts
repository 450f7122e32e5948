import { expect } from 'chai'
import fc from 'fast-check'
import { CibaError } from '../../lib/errors.ts'
import {
  type AuthenticationRequest,
  type CheckedRequest,
  checkAuthenticationRequest,
} from '../../lib/protocol/authentication-request.ts'

const jwtOf = (payload: unknown, parts = 3): string =>
  [{ alg: 'ES256' }, payload, 1, 2, 3]
    .slice(0, parts)
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.')

const check = (request: object): CheckedRequest =>
  checkAuthenticationRequest(request as AuthenticationRequest)

function refusal(request: unknown): CibaError {
  try {
    checkAuthenticationRequest(request as AuthenticationRequest)
  } catch (error) {
    if (error instanceof CibaError) return error
    throw error
  }
  throw new Error('it was accepted')
}

describe('checkAuthenticationRequest()', () => {
  it('translates every member, and sends nothing that was not asked for [REQ-1, SEC-12]', () => {
    const minimal = check({ loginHint: 'alice' })
    expect(minimal.parameters).to.deep.equal({ scope: 'openid', login_hint: 'alice' })
    expect(minimal.expectations).to.deep.equal({ scope: 'openid' })
    expect(minimal.hint).to.equal('alice')
    expect(minimal).to.not.have.property('bindingMessage')
    const full = check({
      loginHintToken: 'a token',
      scope: 'openid email',
      acrValues: ['gold', 'silver'],
      bindingMessage: 'Blue fox',
      userCode: '1234',
      requestedExpiry: 60,
      maxAge: 0,
      expectedSubject: 'alice',
    })
    expect(full.parameters).to.deep.equal({
      scope: 'openid email',
      login_hint_token: 'a token',
      acr_values: 'gold silver',
      binding_message: 'Blue fox',
      user_code: '1234',
      requested_expiry: '60',
      max_age: '0',
    })
    expect(full.expectations).to.deep.equal({
      scope: 'openid email',
      acrValues: ['gold', 'silver'],
      maxAge: 0,
      expectedSubject: 'alice',
    })
    expect(full).to.include({ hint: 'a token', bindingMessage: 'Blue fox' })
  })

  it('counts a member that is undefined as absent', () => {
    const request = { loginHint: 'alice', loginHintToken: undefined, scope: undefined, userCode: undefined }
    expect(check(request).parameters).to.deep.equal({ scope: 'openid', login_hint: 'alice' })
  })

  it('keeps the order of acr_values [REQ-5]', () => {
    expect(check({ loginHint: 'a', acrValues: ['c', 'a', 'b'] }).parameters['acr_values']).to.equal('c a b')
  })

  it('keeps the user code out of everything but the parameters [REQ-9]', () => {
    const { parameters, ...rest } = check({ loginHint: 'a', userCode: 'top secret' })
    expect(parameters['user_code']).to.equal('top secret')
    expect(JSON.stringify(rest)).to.not.include('top secret')
  })

  it('passes a login_hint_token on as it is [REQ-7]', () => {
    const token = ' é+%20&=\n.. '
    expect(check({ loginHintToken: token }).parameters['login_hint_token']).to.equal(token)
  })

  context('with an id_token_hint', () => {
    it('expects its subject, unless told another one [REQ-6, TOK-18]', () => {
      const idTokenHint = jwtOf({ sub: 'alice', exp: 1 })
      const checked = check({ idTokenHint })
      expect(checked.parameters).to.deep.equal({ scope: 'openid', id_token_hint: idTokenHint })
      expect(checked.expectations).to.have.property('expectedSubject', 'alice')
      const other = check({ idTokenHint, expectedSubject: 'bob' })
      expect(other.expectations).to.have.property('expectedSubject', 'bob')
    })

    for (const [what, hint] of [
      ['that is encrypted', jwtOf({ sub: 'alice' }, 5)],
      ['without a subject', jwtOf({ exp: 1 })],
      ['with a subject that is a number', jwtOf({ sub: 5 })],
      ['with claims that are null', jwtOf(null)],
      ['of two parts', jwtOf({ sub: 'alice' }, 2)],
      ['that is no JWT', 'secret-but-no-jwt'],
    ] as const) {
      it(`refuses one ${what}, and does not show it [REQ-6, SEC-11]`, () => {
        const error = refusal({ idTokenHint: hint })
        expect(error).to.include({ code: 'ERR_CIBA_INVALID_REQUEST', status: 400 })
        expect(error.message).to.not.include(hint.slice(0, 10))
      })
    }
  })

  const wrong: [string, string, unknown, string][] = [
    ['no hint', 'REQ-3', {}, 'exactly one'],
    ['two hints', 'REQ-3', { loginHint: 'a', loginHintToken: 'b' }, 'exactly one'],
    ['three hints', 'REQ-3', { loginHint: 'a', loginHintToken: 'b', idTokenHint: 'c' }, 'exactly one'],
    ['an empty hint', 'REQ-3', { loginHint: '' }, '"loginHint"'],
    ['a blank hint', 'REQ-3', { loginHint: ' \t' }, '"loginHint"'],
    ['a hint that is a number', 'REQ-3', { loginHint: 5 }, '"loginHint"'],
    ['a hint that is null', 'REQ-3', { loginHint: null }, '"loginHint"'],
    ['a hint that is an array', 'REQ-3', { loginHint: ['a'] }, '"loginHint"'],
    ['a second hint that is null', 'REQ-3', { loginHint: 'a', idTokenHint: null }, 'exactly one'],
    ['a scope without openid', 'REQ-2', { loginHint: 'a', scope: 'email' }, '"scope"'],
    ['a scope that only looks like openid', 'REQ-2', { loginHint: 'a', scope: 'openid2 xopenid' }, '"scope"'],
    ['an empty scope', 'REQ-2', { loginHint: 'a', scope: '' }, '"scope"'],
    ['a scope that is an array', 'REQ-2', { loginHint: 'a', scope: ['openid'] }, '"scope"'],
    ['acrValues that are text', 'REQ-5', { loginHint: 'a', acrValues: 'gold' }, '"acrValues"'],
    ['no acrValues in the array', 'REQ-5', { loginHint: 'a', acrValues: [] }, '"acrValues"'],
    ['acrValues with a space', 'REQ-5', { loginHint: 'a', acrValues: ['a b'] }, '"acrValues"'],
    ['acrValues with a number', 'REQ-5', { loginHint: 'a', acrValues: [1] }, '"acrValues"'],
    ['an empty binding message', 'REQ-8', { loginHint: 'a', bindingMessage: '' }, '"bindingMessage"'],
    [
      'a long binding message',
      'REQ-8',
      { loginHint: 'a', bindingMessage: 'x'.repeat(301) },
      '"bindingMessage"',
    ],
    [
      'a binding message of two lines',
      'REQ-8',
      { loginHint: 'a', bindingMessage: 'a\nb' },
      '"bindingMessage"',
    ],
    ['an empty user code', 'REQ-9', { loginHint: 'a', userCode: '' }, '"userCode"'],
    ['a user code that is a number', 'REQ-9', { loginHint: 'a', userCode: 1234 }, '"userCode"'],
    ...[0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, '60', null, 2 ** 53].map(
      (requestedExpiry): [string, string, unknown, string] => [
        `requestedExpiry ${JSON.stringify(requestedExpiry)} (${typeof requestedExpiry})`,
        'REQ-10',
        { loginHint: 'a', requestedExpiry },
        '"requestedExpiry"',
      ],
    ),
    ...[-1, 1.5, Number.NaN, '60', null].map((maxAge): [string, string, unknown, string] => [
      `maxAge ${JSON.stringify(maxAge)} (${typeof maxAge})`,
      'TOK-16',
      { loginHint: 'a', maxAge },
      '"maxAge"',
    ]),
    ['an empty expectedSubject', 'TOK-18', { loginHint: 'a', expectedSubject: '' }, '"expectedSubject"'],
    ['nothing', 'REQ-15', undefined, 'must be an object'],
    ['null', 'REQ-15', null, 'must be an object'],
    ['text', 'REQ-15', 'alice', 'must be an object'],
  ]
  for (const [what, id, request, message] of wrong) {
    it(`refuses ${what} [${id}]`, () => {
      const error = refusal(request)
      expect(error).to.include({ code: 'ERR_CIBA_INVALID_REQUEST', status: 400 })
      expect(error.message).to.include(message)
    })
  }

  // What the protocol owns, under its wire names, and whatever else a careless app might spread into a request.
  for (const name of [
    'client_id',
    'client_secret',
    'client_assertion',
    'client_assertion_type',
    'client_notification_token',
    'request',
    'request_uri',
    'grant_type',
    'auth_req_id',
    'login_hint',
    'user_code',
    'iss',
    'aud',
    'jti',
    'constructor',
  ]) {
    it(`refuses the member ${name} [REQ-14, SIG-8]`, () => {
      const error = refusal({ loginHint: 'a', [name]: 'top secret' })
      expect(error.message).to.include(`"${name}"`)
      expect(error.message).to.not.include('top secret')
    })
  }

  it('never shows a value in what it says [SEC-11]', () => {
    const names = [
      'loginHint',
      'loginHintToken',
      'idTokenHint',
      'userCode',
      'scope',
      'acrValues',
      'requestedExpiry',
    ]
    const value = 'a-value-to-be-kept-to-itself'
    fc.assert(
      fc.property(fc.uniqueArray(fc.constantFrom(...names), { minLength: 1 }), (chosen) => {
        const request = Object.fromEntries(chosen.map((name) => [name, value]))
        let message = ''
        try {
          check(request)
        } catch (error) {
          message = (error as Error).message
        }
        expect(message).to.not.include(value)
      }),
    )
  })

  context("bindingMessage: 'auto'", () => {
    it('draws one that can neither be misread nor be a word, each time another [REQ-8]', () => {
      const drawn = Array.from({ length: 500 }, () => check({ loginHint: 'a', bindingMessage: 'auto' }))
      for (const { bindingMessage, parameters } of drawn) {
        expect(bindingMessage).to.match(/^[BCDFGHJKMNPQRSTVWXZ2-9]{3}-[BCDFGHJKMNPQRSTVWXZ2-9]{3}$/)
        expect(parameters['binding_message']).to.equal(bindingMessage)
      }
      expect(new Set(drawn.map(({ bindingMessage }) => bindingMessage)).size).to.be.at.least(499)
      const letters = new Set(
        drawn.flatMap(({ bindingMessage = '' }) => [...bindingMessage.replace('-', '')]),
      )
      expect(letters.size, 'of 27').to.equal(27)
    })
  })
})
