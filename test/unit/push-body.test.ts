/** Which bodies are a push (CIBA Core §10.3.1, §12). */
import { expect } from 'chai'
import fc from 'fast-check'
import { parsePush } from '../../lib/protocol/push.ts'

const tokens = { auth_req_id: 'id', access_token: 'a', id_token: 'i' }

describe('parsePush()', () => {
  it('takes tokens, and keeps the body as it is (PUSH-3)', () => {
    expect(parsePush(tokens)).to.deep.equal({ authReqId: 'id', body: tokens })
    expect(parsePush(tokens)?.body).to.equal(tokens)
  })

  it('takes an error, and ignores members that it does not know (PUSH-7, PING-1)', () => {
    for (const error of ['access_denied', 'expired_token', 'transaction_failed', 'x']) {
      const body = { auth_req_id: 'id', error, error_description: 'No.', x: [1] }
      expect(parsePush(body)).to.deep.equal({ authReqId: 'id', error, body })
    }
  })

  it('shows no error code that is none (ERR-6)', () => {
    for (const error of ['<script>\n', 'zurückgewiesen', 'a"b', 'x'.repeat(101)]) {
      expect(parsePush({ auth_req_id: 'id', error })?.error).to.equal('unknown_error')
    }
  })

  const { auth_req_id: _, ...nameless } = tokens
  const error = 'access_denied'
  const malformed: [string, unknown][] = [
    ['no body', undefined],
    ['null', null],
    ['text', 'id'],
    ['a number', 5],
    ['an array', [tokens]],
    ['an empty object', {}],
    ['tokens without an auth_req_id', nameless],
    ['an error without an auth_req_id', { error }],
    ['an auth_req_id that is a number', { ...tokens, auth_req_id: 5 }],
    ['an empty auth_req_id', { ...tokens, auth_req_id: '' }],
    ['an endless auth_req_id', { ...tokens, auth_req_id: 'x'.repeat(4097) }],
    ['an auth_req_id alone, as in a ping', { auth_req_id: 'id' }],
    ['an ID token alone', { auth_req_id: 'id', id_token: 'i' }],
    ['an error and all tokens', { ...tokens, error }],
    ['an error and an access token', { auth_req_id: 'id', access_token: 'a', error }],
    ['an error and an access token that is null', { auth_req_id: 'id', access_token: null, error }],
    ['an error and an ID token', { auth_req_id: 'id', id_token: 'i', error }],
    ['an error and a refresh token', { auth_req_id: 'id', refresh_token: 'r', error }],
    ['an empty error', { auth_req_id: 'id', error: '' }],
    ['an error that is a number', { auth_req_id: 'id', error: 5 }],
    ['an error that is null', { auth_req_id: 'id', error: null }],
    ['an error that is null, and tokens', { ...tokens, error: null }],
    ['an error in an array', { auth_req_id: 'id', error: [error] }],
  ]
  for (const [what, body] of malformed) {
    it(`makes nothing of ${what} (PUSH-2, PUSH-7)`, () => {
      expect(parsePush(body)).to.equal(undefined)
    })
  }

  it('never finds tokens and an error in one body, whatever it is (PUSH-7)', () => {
    const value = fc.oneof(fc.constantFrom('id', 'x', '', null), fc.jsonValue())
    const names = ['auth_req_id', 'error', 'access_token', 'id_token', 'refresh_token']
    const bodies = fc.record(Object.fromEntries(names.map((name) => [name, value])), { requiredKeys: [] })
    fc.assert(
      fc.property(fc.oneof(bodies, fc.jsonValue()), (body) => {
        const push = parsePush(body)
        if (push === undefined) return
        const members = push.body as Record<string, unknown>
        expect(push.authReqId).to.equal(members['auth_req_id']).and.be.a('string')
        expect(push.error === undefined).to.equal(members['error'] === undefined)
        if (push.error !== undefined) expect(members).to.not.have.any.keys(...names.slice(2))
      }),
      { numRuns: 5_000 },
    )
  })
})
