import { inspect } from 'node:util'
import { expect } from 'chai'
import { CibaError, type CibaErrorCode, RequestRefusedError } from '../../lib/errors.ts'

/** What the routes answer for each code; the compiler misses a code that is left out. */
const table: Record<CibaErrorCode, [status: number, error: string, expose: boolean]> = {
  ERR_CIBA_INVALID_REQUEST: [400, 'invalid_request', true],
  ERR_CIBA_REQUEST_REFUSED: [400, 'invalid_request', true],
  ERR_CIBA_UNAUTHENTICATED: [401, 'unauthenticated', true],
  ERR_CIBA_INVALID_TOKEN: [401, 'invalid_token', true],
  ERR_CIBA_INSUFFICIENT_AUTHENTICATION: [401, 'insufficient_user_authentication', true],
  ERR_CIBA_FORBIDDEN: [403, 'forbidden', true],
  ERR_CIBA_APPROVAL_REQUIRED: [403, 'approval_required', true],
  ERR_CIBA_APPROVAL_PENDING: [409, 'approval_pending', true],
  ERR_CIBA_APPROVAL_REFUSED: [403, 'approval_refused', true],
  ERR_CIBA_APPROVAL_USED: [409, 'approval_used', true],
  ERR_CIBA_WRONG_ACTION: [403, 'wrong_action', true],
  ERR_CIBA_CROSS_SITE_REQUEST: [403, 'cross_site_request', true],
  ERR_CIBA_UNKNOWN_TRANSACTION: [404, 'unknown_transaction', true],
  ERR_CIBA_METHOD_NOT_ALLOWED: [405, 'method_not_allowed', true],
  ERR_CIBA_BODY_TOO_LARGE: [413, 'body_too_large', true],
  ERR_CIBA_UNSUPPORTED_MEDIA_TYPE: [415, 'unsupported_media_type', true],
  ERR_CIBA_TOO_MANY_STARTS: [429, 'too_many_requests', true],
  ERR_CIBA_NO_SESSION: [500, 'server_error', false],
  ERR_CIBA_INVALID_OP_METADATA: [502, 'bad_gateway', false],
  ERR_CIBA_OP_FAILED: [502, 'bad_gateway', true],
  ERR_CIBA_OP_UNREACHABLE: [503, 'temporarily_unavailable', true],
  ERR_CIBA_STORE_FULL: [503, 'temporarily_unavailable', true],
  ERR_CIBA_STORE_FAILED: [503, 'temporarily_unavailable', true],
  ERR_CIBA_CLOSED: [503, 'temporarily_unavailable', true],
}

describe('CibaError', () => {
  for (const [code, [status, error, expose]] of Object.entries(table)) {
    it(`${code} is ${status} ${error}`, () => {
      const fault = new CibaError(code as CibaErrorCode, 'the message')
      expect(fault).to.be.instanceOf(Error)
      expect(fault).to.include({ name: 'CibaError', message: 'the message', code, status, error, expose })
      expect([fault.cause, fault.retryAfter]).to.deep.equal([undefined, undefined])
    })
  }

  it('takes another status and a time to come back', () => {
    const fault = new CibaError('ERR_CIBA_OP_FAILED', 'busy', { status: 503, retryAfter: 7 })
    expect(fault).to.include({ status: 503, retryAfter: 7, error: 'bad_gateway' })
  })

  it('keeps its cause where serialisers do not look (SEC-11)', () => {
    const cause = new Error('auth_req_id=secret')
    const fault = new CibaError('ERR_CIBA_STORE_FAILED', 'the store failed', { cause })
    expect(fault.cause).to.equal(cause)
    expect(Object.keys(fault)).to.not.include('cause')
    expect(JSON.stringify(fault)).to.not.include('secret')
    expect(JSON.stringify({ ...fault })).to.not.include('secret')
  })

  it('says its name, code and message when it is printed', () => {
    const printed = inspect(new CibaError('ERR_CIBA_CLOSED', 'the client has been closed'))
    expect(printed)
      .to.match(/^CibaError: the client has been closed\n/)
      .and.include("code: 'ERR_CIBA_CLOSED'")
  })
})

describe('RequestRefusedError', () => {
  it("brings the OP's code and description (ERR-2)", () => {
    const fault = new RequestRefusedError('invalid_user_code', 'wrong code')
    expect(fault).to.be.instanceOf(CibaError)
    expect(fault).to.include({
      name: 'RequestRefusedError',
      message: 'the OP refused the authentication request: invalid_user_code',
      code: 'ERR_CIBA_REQUEST_REFUSED',
      status: 400,
      error: 'invalid_user_code',
      error_description: 'wrong code',
      expose: true,
    })
  })

  it('has no description where the OP gave none', () => {
    expect(new RequestRefusedError('unknown_user_id', undefined).error_description).to.equal(undefined)
  })

  it('is 403 when access was denied, and otherwise 400 or as said (ERR-2)', () => {
    expect(new RequestRefusedError('access_denied', undefined).status).to.equal(403)
    expect(new RequestRefusedError('some_new_code', undefined).status).to.equal(400)
    expect(new RequestRefusedError('access_denied', undefined, { status: 503 }).status).to.equal(503)
  })
})
