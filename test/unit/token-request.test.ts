import { expect } from 'chai'
import type { AuthorizationServer } from 'oauth4webapi'
import type { Expectations } from '../../lib/grant.ts'
import type { OpConfig } from '../../lib/protocol/registration.ts'
import { requestTokens, type TokenAnswer } from '../../lib/protocol/token-request.ts'
import { connectionTo } from '../support/connection.ts'
import { goodTokenResponse, signingKeys, type TokenContext } from '../support/id-tokens.ts'

const op: TokenContext = {
  issuer: 'https://op.test',
  clientId: 'client',
  clientSecret: 'secret',
  authReqId: 'id',
}
const expectations = (): Expectations => ({ requestedAt: Date.now(), scope: 'openid email' })

describe('requestTokens()', () => {
  let sent = 0
  let keysAsked = 0

  beforeEach(() => {
    sent = 0
    keysAsked = 0
  })

  /** Asks an OP that answers like this; its metadata are new each time, so that keys are not cached. */
  function ask(
    answer: () => Response | Promise<Response>,
    more: Partial<Expectations> = {},
    server: Partial<AuthorizationServer> = {},
    config: Partial<OpConfig> = {},
  ): Promise<TokenAnswer> {
    const metadata = {
      issuer: op.issuer,
      jwks_uri: 'https://op.test/jwks',
      token_endpoint: 'https://op.test/token',
      backchannel_authentication_endpoint: 'https://op.test/backchannel',
      id_token_signing_alg_values_supported: ['ES256', 'RS256'],
      ...server,
    }
    const connection = connectionTo(op.issuer, {
      async customFetch(url) {
        if (url.endsWith('/openid-configuration')) return Response.json(metadata)
        if (url.endsWith('/token')) {
          sent++
          return answer()
        }
        keysAsked++
        return Response.json((await signingKeys()).jwks)
      },
      ...config,
    })
    const { authReqId } = op
    return requestTokens(connection, { authReqId, expectations: { ...expectations(), ...more } }, 30_000)
  }

  const json = (body: unknown, status: number, headers: Record<string, string> = {}) =>
    Response.json(body, { status, headers })
  const html = (status: number, headers: Record<string, string> = {}) =>
    new Response('<html>', { status, headers: { 'content-type': 'text/html', ...headers } })

  context('the OP says no more than that', () => {
    const busy = (retryAfterMs: number, sent: boolean): TokenAnswer => ({ type: 'busy', retryAfterMs, sent })
    const table: [string, string, Response, TokenAnswer][] = [
      [
        'authorization_pending',
        'POLL-4',
        json({ error: 'authorization_pending' }, 400),
        { type: 'stillPending' },
      ],
      ['slow_down', 'POLL-3', json({ error: 'slow_down' }, 400), { type: 'slowedDown', retryAfterMs: 0 }],
      [
        'slow_down under 429 and Retry-After',
        'POLL-3',
        json({ error: 'slow_down' }, 429, { 'retry-after': '20' }),
        { type: 'slowedDown', retryAfterMs: 20_000 },
      ],
      ['408 of a proxy, which may hide an answer', 'POLL-13', html(408), busy(0, true)],
      ['425 of a proxy', 'POLL-13', html(425), busy(0, true)],
      [
        'access_denied',
        'POLL-11',
        json({ error: 'access_denied' }, 400),
        { type: 'denied', error: 'access_denied' },
      ],
      [
        'expired_token',
        'POLL-5',
        json({ error: 'expired_token' }, 400),
        { type: 'expired', error: 'expired_token' },
      ],
      [
        'authorization_pending behind a challenge',
        'ERR-1',
        json({ error: 'authorization_pending' }, 401, { 'www-authenticate': 'DPoP' }),
        { type: 'stillPending' },
      ],
      ['503', 'POLL-8', html(503), busy(0, false)],
      ['503 and Retry-After', 'POLL-8', html(503, { 'retry-after': '7' }), busy(7_000, false)],
      ['503 and an error code', 'POLL-8', json({ error: 'authorization_pending' }, 503), busy(0, false)],
      ['429', 'POLL-9', html(429), busy(0, false)],
      ['429 and an error code of its own', 'POLL-9', json({ error: 'too_many' }, 429), busy(0, false)],
      ['500, which may hide an answer', 'POLL-13', html(500), busy(0, true)],
      ['502, which may hide an answer', 'POLL-13', html(502), busy(0, true)],
      ['504, which may hide an answer', 'POLL-13', html(504), busy(0, true)],
    ]
    for (const [what, id, response, expected] of table) {
      it(`makes ${expected.type} of ${what} [${id}]`, async () => {
        expect(await ask(() => response)).to.deep.equal(expected)
        expect(sent).to.equal(1)
      })
    }
  })

  context('the OP ends it', () => {
    const table: [string, string, () => Response, string][] = [
      ['invalid_request', 'POLL-11', () => json({ error: 'invalid_request' }, 400), 'invalid_request'],
      ['invalid_grant', 'POLL-11', () => json({ error: 'invalid_grant' }, 400), 'invalid_grant'],
      ['invalid_client', 'POLL-11', () => json({ error: 'invalid_client' }, 401), 'invalid_client'],
      ['a code nobody knows', 'POLL-11', () => json({ error: 'of_tomorrow' }, 400), 'of_tomorrow'],
      ['a code that is none', 'ERR-6', () => json({ error: '"' }, 400), 'unknown_error'],
      ['403 as HTML', 'POLL-11', () => html(403), 'invalid_token_response'],
      [
        '302',
        'ERR-4',
        () => new Response(null, { status: 302, headers: { location: '/' } }),
        'invalid_token_response',
      ],
      ['204', 'TOK-1', () => new Response(null, { status: 204 }), 'invalid_token_response'],
      ['HTML under 200', 'TOK-1', () => html(200), 'invalid_token_response'],
      ['an empty object under 200', 'TOK-1', () => json({}, 200), 'invalid_token_response'],
      ['an error under 200', 'TOK-1', () => json({ error: 'slow_down' }, 200), 'invalid_token_response'],
    ]
    for (const [what, id, response, error] of table) {
      it(`fails with ${error} after ${what} [${id}]`, async () => {
        const answer = await ask(response)
        expect(answer).to.include({ type: 'failed', error })
        expect([sent, keysAsked]).to.deep.equal([1, 0])
      })
    }

    it('keeps the words of the OP out of its reason [SEC-11, ERR-6]', async () => {
      const description = 'auth_req_id 4711 of alice'
      const answer = await ask(() => json({ error: 'invalid_request', error_description: description }, 400))
      expect(JSON.stringify(answer)).to.not.match(/4711|alice/)
    })
  })

  it('refuses an access token that no header can carry: the error would quote it [SEC-11]', async () => {
    for (const access_token of ['a\nb', 'ä', 'a\u0000']) {
      const answer = await ask(async () =>
        json(await goodTokenResponse(op, { response: { access_token } }), 200),
      )
      expect(answer).to.include({ type: 'failed', error: 'invalid_token_response' })
    }
  })

  context('there is no answer', () => {
    const refused = Object.assign(new Error('refused'), { code: 'ECONNREFUSED' })

    it('knows that a refused connection was not sent [POLL-10]', async () => {
      const answer = await ask(() => Promise.reject(refused))
      expect(answer).to.deep.equal({ type: 'unanswered', sent: false, cause: refused })
    })

    it('takes a lost connection for sent [POLL-13]', async () => {
      const cause = Object.assign(new Error('reset'), { code: 'ECONNRESET' })
      expect(await ask(() => Promise.reject(cause))).to.deep.equal({ type: 'unanswered', sent: true, cause })
    })

    it('takes an answer that breaks off for sent [POLL-13]', async () => {
      const cause = new Error('other side closed')
      const body = new ReadableStream({ start: (controller) => controller.error(cause) })
      const answer = await ask(() => new Response(body))
      expect(answer).to.deep.equal({ type: 'unanswered', sent: true, cause })
    })
  })

  it('fails at once without the DPoP key, which no later try would bring, and sends nothing [AUTH-7]', async () => {
    const answer = await ask(() => json({}, 200), {}, {}, { dpop: 'perTransaction' })
    expect(answer).to.include({ type: 'failed', error: 'invalid_dpop_proof' })
    expect(sent).to.equal(0)
  })

  context('the OP grants', () => {
    const granted = async (
      overrides: Parameters<typeof goodTokenResponse>[1] = {},
      more: Partial<Expectations> = {},
    ) => {
      const response = await goodTokenResponse(op, overrides)
      const answer = await ask(() => json(response, 200), more)
      if (answer.type !== 'granted') throw new Error(`it was ${JSON.stringify(answer)}`)
      return { response, ...answer.grant }
    }

    it('returns claims and tokens [TOK-1, TOK-9]', async () => {
      const before = Date.now()
      const { response, claims, tokens } = await granted({
        response: { refresh_token: 'r', scope: 'openid' },
      })
      expect(claims).to.include({ iss: op.issuer, sub: 'alice', aud: 'client' })
      expect(tokens).to.include({
        accessToken: response['access_token'],
        tokenType: 'bearer',
        scope: 'openid',
        idToken: response['id_token'],
        refreshToken: 'r',
      })
      expect(tokens.expiresAt).to.be.within(before + 300_000, Date.now() + 300_000)
      expect(keysAsked).to.equal(1)
    })

    it('takes a missing scope for what was asked for, and a missing expires_in for unknown [TOK-20]', async () => {
      const { tokens } = await granted({ response: { expires_in: undefined } })
      expect(tokens.scope).to.equal('openid email')
      expect(tokens).to.not.have.any.keys('expiresAt', 'refreshToken')
    })

    const expected: [string, string, Partial<Expectations>, Partial<Expectations>][] = [
      ['the subject', 'TOK-18', { expectedSubject: 'alice' }, { expectedSubject: 'bob' }],
      ['the acr', 'TOK-15', { acrValues: ['silver', 'gold'] }, { acrValues: ['bronze'] }],
      ['the age of the authentication', 'TOK-16', { maxAge: 60 }, { maxAge: 0 }],
      ['the nonce', 'TOK-17', { nonce: 'n' }, { nonce: 'another' }],
      [
        'the time of the request',
        'TOK-11',
        { requestedAt: Date.now() - 5_000 },
        { requestedAt: Date.now() + 3_600_000 },
      ],
    ]
    for (const [what, id, right, wrong] of expected) {
      it(`holds the ID token to ${what} [${id}]`, async () => {
        const overrides = {
          claims: { acr: 'gold', nonce: 'n', auth_time: Math.floor(Date.now() / 1000) - 40 },
        }
        expect((await granted(overrides, { nonce: 'n', ...right })).claims.sub).to.equal('alice')
        const response = await goodTokenResponse(op, overrides)
        expect(await ask(() => json(response, 200), { nonce: 'n', ...wrong })).to.include({
          type: 'failed',
          error: 'invalid_token_response',
        })
      })
    }

    it('holds the ID token to this auth_req_id [TOK-14]', async () => {
      const claim = 'urn:openid:params:jwt:claim:auth_req_id'
      expect((await granted({ claims: { [claim]: 'id' } })).claims.sub).to.equal('alice')
      const response = await goodTokenResponse(op, { claims: { [claim]: 'another' } })
      expect(await ask(() => json(response, 200))).to.include({ error: 'invalid_token_response' })
    })

    it('says why it failed without a value of any token [SEC-11, TOK-21]', async () => {
      const response = await goodTokenResponse(op, { claims: { iss: 'https://evil.test' } })
      const answer = await ask(() => json(response, 200))
      expect(answer).to.include({ type: 'failed', error: 'invalid_token_response' })
      expect(answer).to.have.all.keys('type', 'error', 'reason')
      const text = JSON.stringify(answer)
      for (const secret of [response['access_token'], response['id_token'], 'evil.test']) {
        expect(text).to.not.include(secret)
      }
    })
  })
})
