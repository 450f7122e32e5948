/** What an authentication request may have beyond CIBA Core: RFC 9396, RFC 8707, FAPI-CIBA, and whatever comes. */
import { inspect } from 'node:util'
import { expect } from 'chai'
import fc from 'fast-check'
import { CibaError } from '../../lib/errors.ts'
import {
  type AuthenticationRequest,
  type CheckedRequest,
  checkAuthenticationRequest,
} from '../../lib/protocol/authentication-request.ts'

const check = (members: object): CheckedRequest =>
  checkAuthenticationRequest({ loginHint: 'alice', ...members } as AuthenticationRequest)

function refusal(members: object): string {
  try {
    check(members)
  } catch (error) {
    expect(error).to.be.instanceOf(CibaError)
    expect(error).to.include({ code: 'ERR_CIBA_INVALID_REQUEST', status: 400 })
    return (error as CibaError).message
  }
  return expect.fail('accepted')
}

const shortly = (value: unknown) => inspect(value, { depth: 2, breakLength: Number.POSITIVE_INFINITY })

function nested(depth: number): object {
  let value: object = {}
  for (let level = 0; level < depth; level++) value = level % 2 === 0 ? { value } : [value]
  return { value }
}
const cycle: Record<string, unknown> = { type: 'a' }
cycle['self'] = [cycle]
const sparse = [1, 2, 3]
delete sparse[1]

/** What JSON would lose, change or choke on, as a member of an object. */
const notJson: readonly (readonly [what: string, value: unknown])[] = [
  ['a Date', new Date(0)],
  ['a Map', new Map([['a', 1]])],
  ['a Set', new Set([1])],
  ['a RegExp', /a/],
  ['a BigInt', 10n],
  ['a symbol', Symbol('a')],
  ['a function', () => 1],
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['a Buffer', Buffer.from('a')],
  ['a boxed string', Object('a')],
  [
    'an instance of a class',
    new (class Money {
      value = 1
    })(),
  ],
  ['undefined in an array', [undefined]],
  ['a hole in an array', sparse],
  ['a cycle', cycle],
  ['a toJSON of its own', { toJSON: () => ({ type: 'b' }) }],
  ['more levels than anybody reads', nested(200)],
]

describe('checkAuthenticationRequest(): extensions', () => {
  context('authorizationDetails', () => {
    const message = '"authorizationDetails" must be a non-empty array of objects with a "type"'

    it('are sent as JSON, and their types are expected, each once [REQ-12, TOK-20]', () => {
      const authorizationDetails = [
        { type: 'payment', amount: { value: 1.5, currency: null }, actions: ['a', 'ü "b"'], open: true },
        { type: 'account', locations: [] },
        { type: 'payment' },
      ]
      const { parameters, expectations } = check({ authorizationDetails })
      expect(JSON.parse(String(parameters['authorization_details']))).to.deep.equal(authorizationDetails)
      expect(expectations.authorizationTypes).to.deep.equal(['payment', 'account'])
    })

    it('are those of the moment of the check', () => {
      const authorizationDetails = [{ type: 'payment', amount: 1 }]
      const { parameters } = check({ authorizationDetails })
      Object.assign(authorizationDetails[0] ?? {}, { amount: 1_000_000 })
      authorizationDetails.push({ type: 'payment', amount: 7 })
      expect(parameters['authorization_details']).to.equal('[{"type":"payment","amount":1}]')
    })

    for (const value of [
      ...[null, [], {}, { type: 'a' }, 'a', '[{"type":"a"}]', 7, [null], [undefined], ['a'], [[]]],
      ...[[{}], [{ type: '' }], [{ type: ' ' }], [{ type: 5 }], [{ type: ['a'] }], [{ type: 'a' }, {}]],
      ...[[Object.assign([], { type: 'a' })], [Object.assign(() => {}, { type: 'a' })], new Array(1)],
    ]) {
      it(`must not be ${shortly(value)} [REQ-12]`, () => {
        expect(refusal({ authorizationDetails: value })).to.equal(message)
      })
    }

    for (const [what, value] of notJson) {
      it(`must not contain ${what}: the OP would get something else [REQ-12]`, () => {
        expect(refusal({ authorizationDetails: [{ type: 'a', value }] })).to.equal(message)
      })
    }
  })

  context('resource', () => {
    const message = '"resource" must be an absolute URI without fragment, or a non-empty array of such URIs'
    for (const resource of [
      'https://api.example.com',
      'https://api.example.com:8443/a?b=c%20d',
      'urn:example:api',
    ]) {
      it(`may be ${resource}, which is sent again for the tokens [REQ-11]`, () => {
        const { parameters, expectations } = check({ resource })
        expect(parameters['resource']).to.deep.equal([resource])
        expect(expectations.resource).to.deep.equal([resource])
      })
    }

    it('may be several, in order; the only parameter that is [REQ-11, REQ-15]', () => {
      const resource = ['https://b.example.com', 'https://a.example.com']
      const checked = check({ resource, extra: { a: 'b' }, requestedExpiry: 60, maxAge: 1 })
      resource.push('https://evil.example.com')
      const { resource: several, ...others } = checked.parameters
      expect(several).to.deep.equal(['https://b.example.com', 'https://a.example.com'])
      expect(checked.expectations.resource).to.deep.equal(several)
      for (const value of Object.values(others)) expect(value).to.be.a('string')
    })

    for (const value of [
      ...[null, '', ' ', 'api', '/api', '//api.example.com', 'api.example.com/a', 7, {}, [], [''], [null]],
      ...['https://api.example.com/#a', 'https://api.example.com/#', 'https://', ['https://a.example', 'b']],
      ...[' https://api.example.com', 'https://api.example.com\n', 'https://api.example.com/a b'],
      ...[
        'https://äpi.example.com',
        'ht\ttps://api.example.com',
        [['https://api.example.com']],
        new Array(1),
      ],
      new URL('https://api.example.com'),
    ]) {
      it(`must not be ${shortly(value)} [REQ-11]`, () => {
        expect(refusal({ resource: value })).to.equal(message)
      })
    }
  })

  context('requestContext', () => {
    const message = '"requestContext" must be an object, or the JSON text of one'

    it('is sent as JSON where it is an object [REQ-13]', () => {
      const requestContext = { device: { name: 'Kiosk 7', seen: null }, attempts: [1, 2], note: undefined }
      const { parameters, isContextText } = check({ requestContext })
      expect(JSON.parse(String(parameters['request_context']))).to.deep.equal({
        device: { name: 'Kiosk 7', seen: null },
        attempts: [1, 2],
      })
      expect(isContextText).to.equal(false)
      expect(check({ requestContext: {} }).parameters).to.include({ request_context: '{}' })
      expect(check({}).isContextText).to.equal(false)
    })

    it('is sent as it is where it is text [REQ-13]', () => {
      const requestContext = ' { "device" :  "ü" }\n'
      const { parameters, isContextText } = check({ requestContext })
      expect(parameters['request_context']).to.equal(requestContext)
      expect(isContextText).to.equal(true)
    })

    for (const value of [
      ...[
        null,
        [],
        [{}],
        7,
        true,
        '',
        ' ',
        'Kiosk 7',
        '"Kiosk 7"',
        '[]',
        'null',
        '7',
        "{'a':1}",
        '{"a":1} x',
      ],
    ]) {
      it(`must not be ${shortly(value)} [REQ-13]`, () => {
        expect(refusal({ requestContext: value })).to.equal(message)
      })
    }

    for (const [what, value] of notJson) {
      it(`must not contain ${what}: the OP would get something else [REQ-13]`, () => {
        expect(refusal({ requestContext: { value } })).to.equal(message)
      })
    }

    it('gets to the OP whole, whatever JSON it is [REQ-13]', () => {
      fc.assert(
        fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 5 })), (requestContext) => {
          const sent = JSON.parse(String(check({ requestContext }).parameters['request_context']))
          expect(JSON.stringify(sent)).to.equal(JSON.stringify(requestContext))
        }),
      )
    })
  })

  context('extra', () => {
    it('is sent under its own names [REQ-14]', () => {
      const extra = { ui_locales: 'de en', 'urn:example:x': ' a b ', constructor: 'c', toString: 'd' }
      expect(check({ extra }).parameters).to.deep.equal({ scope: 'openid', login_hint: 'alice', ...extra })
    })

    it('may have a nonce, which is then expected in the ID token [TOK-17]', () => {
      const { parameters, expectations } = check({ extra: { nonce: 'n-1' } })
      expect(parameters).to.include({ nonce: 'n-1' })
      expect(expectations).to.include({ nonce: 'n-1' })
      expect(check({ extra: {} }).expectations).to.not.have.property('nonce')
    })

    it('may have claims as the JSON text of an object, which a signed request needs [SIG-7]', () => {
      const claims = '{"id_token":{"acr":{"essential":true}}}'
      expect(check({ extra: { claims } }).parameters).to.include({ claims })
      for (const wrong of ['[]', 'null', 'hunter22', '{"a":']) {
        expect(refusal({ extra: { claims: wrong } })).to.equal(
          '"extra" must have the JSON text of an object for "claims"',
        )
      }
    })

    for (const name of [
      // Client authentication and the grant
      ...['client_id', 'client_secret', 'client_assertion', 'client_assertion_type', 'grant_type'],
      ...['auth_req_id', 'client_notification_token', 'request', 'request_uri'],
      // Registered claims, which a signed request would have
      ...['iss', 'sub', 'aud', 'exp', 'nbf', 'iat', 'jti'],
      // What has a member of its own
      ...['scope', 'login_hint', 'login_hint_token', 'id_token_hint', 'acr_values', 'binding_message'],
      ...['user_code', 'requested_expiry', 'max_age', 'authorization_details', 'resource', 'request_context'],
    ]) {
      it(`must not have ${name} [REQ-14, SIG-8]`, () => {
        expect(refusal({ extra: { harmless: 'a', [name]: 'hunter22' } })).to.equal(
          `"extra" must not contain "${name}", which this package sets itself`,
        )
      })
    }

    for (const value of [
      ...[null, [], 'a=b', 7, true, { a: 1 }, { a: '' }, { a: ' ' }, { a: null }, { a: undefined }],
      ...[{ a: ['b', 'c'] }, { a: { b: 'c' } }, { a: new Date(0) }, { a: 1n }],
      ...[new Map([['a', 'b']]), new URLSearchParams('a=b'), new Headers({ a: 'b' }), () => ({ a: 'b' })],
    ]) {
      it(`must not be ${shortly(value)} [REQ-15]`, () => {
        expect(refusal({ extra: value })).to.equal('"extra" must be an object of strings')
      })
    }
  })

  context('members that attack', () => {
    const polluted = () => Object.keys(Object.prototype).concat(Object.keys(Array.prototype))

    it('are refused as __proto__ of the request or of extra [REQ-14]', () => {
      const request = JSON.parse('{"loginHint":"alice","__proto__":{"scope":"openid admin"}}')
      expect(() => checkAuthenticationRequest(request)).to.throw(CibaError, '"__proto__" is not a member')
      expect(refusal({ extra: JSON.parse('{"__proto__":"a"}') })).to.include('must not contain "__proto__"')
      expect(refusal({ extra: JSON.parse('{"__proto__":{"client_id":"other"}}') })).to.include('"extra" must')
      expect(polluted()).to.deep.equal([])
    })

    it('are data where JSON has them, and change nothing here [REQ-12, REQ-13]', () => {
      const text = '{"type":"a","__proto__":{"type":"b","isAdmin":true},"constructor":{"prototype":{"x":1}}}'
      const { parameters, expectations } = check({
        authorizationDetails: [JSON.parse(text)],
        requestContext: JSON.parse(text),
      })
      expect(parameters).to.include({ authorization_details: `[${text}]`, request_context: text })
      expect(expectations.authorizationTypes).to.deep.equal(['a'])
      expect(parameters).to.not.have.property('isAdmin')
      expect(polluted()).to.deep.equal([])
    })

    it('have a type of their own, not that of a prototype [REQ-12]', () => {
      const inherited = Object.create({ type: 'a' })
      expect(refusal({ authorizationDetails: [inherited] })).to.include('"authorizationDetails" must')
      const bare = Object.assign(Object.create(null), { type: 'a' })
      expect(check({ authorizationDetails: [bare] }).parameters).to.include({
        authorization_details: '[{"type":"a"}]',
      })
    })
  })

  it('never shows a value in what it says [SEC-11]', () => {
    const value = 'hunter22'
    for (const members of [
      { authorizationDetails: [{ type: 5, account: value }] },
      { authorizationDetails: value },
      { resource: `${value}#` },
      { requestContext: value },
      { requestContext: { value, at: new Date() } },
      { extra: { client_secret: value } },
      { extra: { ok: value, wrong: 1 } },
      { extra: { claims: value } },
    ]) {
      expect(refusal(members)).to.not.include(value)
    }
  })
})
