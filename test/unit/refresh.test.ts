import { expect } from 'chai'
import { CibaError } from '../../lib/errors.ts'
import type { Grant } from '../../lib/grant.ts'
import { type RefreshAnswer, refresh } from '../../lib/protocol/refresh.ts'
import type { CustomFetchInit } from '../../lib/protocol/transport.ts'
import { connectionTo } from '../support/connection.ts'
import { signingKeys } from '../support/signing-keys.ts'
import { goodRefreshResponse, seconds, type TokenContext } from '../support/token-response.ts'

const op: TokenContext = {
  issuer: 'https://op.test',
  clientId: 'client',
  clientSecret: 'secret',
  authReqId: 'id',
}
const metadata = {
  issuer: op.issuer,
  jwks_uri: 'https://op.test/jwks',
  token_endpoint: 'https://op.test/token',
  backchannel_authentication_endpoint: 'https://op.test/backchannel',
  id_token_signing_alg_values_supported: ['ES256'],
}

const grant = (): Grant => ({
  claims: { iss: op.issuer, sub: 'alice', aud: 'client', exp: seconds(), iat: seconds() },
  tokens: {
    accessToken: 'access-0',
    refreshToken: 'refresh-0',
    tokenType: 'bearer',
    scope: 'openid email',
    idToken: 'a.b.c',
    expiresAt: Date.now(),
  },
})

describe('refresh()', () => {
  let sent: CustomFetchInit[] = []

  beforeEach(() => {
    sent = []
  })

  async function ask(
    answer: (init: CustomFetchInit) => Response | Promise<Response>,
    {
      timeoutMs = 1_000,
      before = grant(),
      discovery = () => Response.json(metadata),
      jwks = async (): Promise<Response> => Response.json((await signingKeys()).jwks),
    }: {
      timeoutMs?: number
      before?: Grant
      discovery?: () => Response
      jwks?: () => Response | Promise<Response>
    } = {},
  ): Promise<RefreshAnswer> {
    const connection = connectionTo(op.issuer, {
      async customFetch(url, init) {
        if (url.endsWith('/openid-configuration')) return discovery()
        if (url.endsWith('/jwks')) return jwks()
        sent.push(init)
        return answer(init)
      },
    })
    return refresh(connection, before, timeoutMs)
  }

  it('grants what passes the checks, and keeps what the OP does not repeat [TOK-23]', async () => {
    const response = { access_token: 'access-1', id_token: undefined, refresh_token: undefined }
    const before = grant()
    const answer = await ask(async () => Response.json(await goodRefreshResponse(op, { response })), {
      before,
    })
    if (answer.type !== 'granted') throw new Error(answer.type)
    expect(answer.grant.claims).to.deep.equal(before.claims)
    const { expiresAt = 0, ...tokens } = answer.grant.tokens
    expect(tokens).to.deep.equal({
      accessToken: 'access-1',
      refreshToken: 'refresh-0',
      tokenType: 'bearer',
      scope: 'openid email',
      idToken: 'a.b.c',
    })
    expect(expiresAt - Date.now()).to.be.within(290_000, 300_000)
    expect(new URLSearchParams(String(sent[0]?.body)).get('refresh_token')).to.equal('refresh-0')
  })

  it('gives up when the OP hangs for longer than the timeout: it may have seen the request', async () => {
    const hang = ({ signal }: CustomFetchInit) =>
      new Promise<Response>((_, reject) => {
        signal?.addEventListener('abort', () => reject(signal.reason))
      })
    const answer = await ask(hang, { timeoutMs: 50 })
    expect(answer).to.include({ type: 'unavailable', sent: true, retryAfterMs: 0 })
    expect(sent).to.have.length(1)
  })

  it('takes no authorization_details of a kind that nobody asked for [TOK-20]', async () => {
    const details = [{ type: 'payment' }]
    const answerWith = async (authorizationTypes?: readonly string[]) => {
      const before = { ...grant(), ...(authorizationTypes && { authorizationTypes }) }
      const response = { id_token: undefined, authorization_details: details }
      return ask(async () => Response.json(await goodRefreshResponse(op, { response })), { before })
    }
    expect(await answerWith()).to.have.property('type', 'refused')
    expect(await answerWith(['account'])).to.have.property('type', 'refused')
    const answer = await answerWith(['account', 'payment'])
    expect(answer.type === 'granted' && answer.grant.tokens.authorizationDetails).to.deep.equal(details)
  })

  it('keeps the new tokens without an ID token when the keys for it cannot be had [TOK-23]', async () => {
    const answer = await ask(async () => Response.json(await goodRefreshResponse(op)), {
      jwks: () => new Response(null, { status: 503 }),
    })
    if (answer.type !== 'granted') throw new Error(answer.type)
    expect(answer.grant.tokens).to.include({ idToken: 'a.b.c' })
    expect(answer.grant.tokens.accessToken).to.not.equal('access-0')
  })

  it('says that the OP was not reached where that is certain', async () => {
    const answer = await ask(() => {
      throw Object.assign(new Error('refused'), { code: 'ECONNREFUSED' })
    })
    expect(answer).to.include({ type: 'unavailable', sent: false })
  })

  it('says what kept the OP from being found, and sends nothing', async () => {
    const discovery = () => new Response('nonsense')
    const answer = await ask(() => new Response(), { discovery })
    expect(answer).to.include({ type: 'unavailable', sent: false })
    expect((answer as { cause?: unknown }).cause).to.be.an.instanceOf(CibaError)
    expect(sent).to.be.empty
  })

  for (const error of ['invalid_grant', 'invalid_client', 'unauthorized_client', 'invalid_scope']) {
    const type = error === 'invalid_grant' ? 'refused' : 'failed'
    it(`is ${type} when the OP says ${error}, whatever the status of the 4xx`, async () => {
      for (const status of [400, 401]) {
        const headers = { 'www-authenticate': 'Basic' }
        expect(await ask(() => Response.json({ error }, { status, headers }))).to.deep.equal({
          type,
          error,
        })
      }
    })
  }

  for (const [what, response, expected] of [
    ['a 500', () => new Response('', { status: 500 }), { sent: true, retryAfterMs: 0 }],
    ['a 500 with an error', () => Response.json({ error: 'invalid_grant' }, { status: 500 }), { sent: true }],
    [
      'a 503',
      () => new Response('', { status: 503, headers: { 'retry-after': '9' } }),
      { retryAfterMs: 9_000 },
    ],
    ['a 429', () => Response.json({ error: 'slow_down' }, { status: 429 }), { sent: false }],
    ['a page that is not found', () => new Response('<html>', { status: 404 }), { sent: true }],
    ['a redirect', () => new Response(null, { status: 302, headers: { location: '/' } }), { sent: true }],
    ['an empty 204', () => new Response(null, { status: 204 }), { sent: true }],
  ] as const) {
    it(`takes ${what} for a passing trouble, and does not try again`, async () => {
      const answer = await ask(response)
      expect(answer).to.include({ type: 'unavailable', ...expected })
      expect(sent).to.have.length(1)
    })
  }

  for (const body of ['', '<html>', '[]', '{}', '{"access_token":"a"}', '{"token_type":"bearer"}']) {
    it(`refuses a 200 with ${body || 'no body'}`, async () => {
      const headers = { 'content-type': 'application/json' }
      expect(await ask(() => new Response(body, { headers }))).to.deep.equal({
        type: 'refused',
        error: 'invalid_token_response',
      })
    })
  }

  it('is refused without the key that the token is bound to, and sends nothing [AUTH-7]', async () => {
    const { tokens, claims } = grant()
    const before: Grant = { claims, tokens: { ...tokens, tokenType: 'dpop' } }
    expect(await ask(() => new Response(), { before })).to.include({ type: 'refused' })
    expect(sent).to.be.empty
  })
})
