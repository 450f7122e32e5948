/** Tokens that are bound to a key (RFC 9449), over a whole login and its life at a real OP and its resource. */
import { expect } from 'chai'
import { MemoryStore } from 'express-session'
import { calculateJwkThumbprint, decodeJwt, decodeProtectedHeader, type JWK } from 'jose'
import type { CibaOptions } from '../../lib/index.ts'
import type { FullOp } from '../support/full-op.ts'
import { privateJwk, type Scene, scenes } from '../support/real-op.ts'
import type { ResourceAnswer } from '../support/resource-server.ts'
import { until } from '../support/web.ts'

describe('ciba() with "dpop" at a real OP', function () {
  this.timeout(20_000)

  const scene = scenes()
  const offline: CibaOptions = { authorizationParams: { scope: 'openid offline_access' } }

  for (const mode of ['ping', 'poll'] as const) {
    for (const [what, key] of [
      ['a key for each login', true],
      ['an ES256 key for all', privateJwk('ES256')],
      ['a PS256 key for all', privateJwk('PS256')],
      ['an Ed25519 key for all', privateJwk('EdDSA')],
    ] as const) {
      if (mode === 'poll' && key !== true) continue
      it(`uses the tokens everywhere, all servers wanting nonces: ${what}, ${mode} [AUTH-7, TOK-2]`, async () => {
        const { op, login, get, metadata } = await scene({
          op: { dpopNonce: true },
          options: { deliveryMode: mode, dpop: key },
        })
        expect(metadata).to.include({ dpop_bound_access_tokens: true })
        expect(await login()).to.have.property('status', 'complete')
        expect(await get('/tokens')).to.include({ tokenType: 'dpop' })
        expect(await get('/userinfo')).to.include({ sub: 'alice' })
        const answer = await get<ResourceAnswer>('/resource')
        expect(answer).to.include({ sub: 'alice', scheme: 'dpop', binding: 'dpop', body: 'a body' })
        expect(op.counts, 'one challenge by each server').to.include({ token: 2, userinfo: 1, resource: 2 })
        const [, bound] = proofsIn(op)
        expect(await thumbprintIn(answer.headers['dpop'])).to.equal(await thumbprintIn(bound))
      })
    }
  }

  it('binds the tokens of each login to a key of its own [AUTH-7]', async () => {
    const { op, app, login, get } = await scene({ options: { dpop: true } })
    const bobs = app.browser()
    await login()
    await login({ by: bobs, request: { loginHint: 'bob' } })
    const [first, second] = await Promise.all(proofsIn(op).map(thumbprintIn))
    expect(first).to.be.a('string').and.not.equal(second)
    expect(await get('/resource')).to.include({ sub: 'alice', binding: 'dpop' })
    expect(await get('/resource', bobs)).to.include({ sub: 'bob', binding: 'dpop' })
  })

  it('binds the tokens of all logins to the key that it was given [AUTH-7]', async () => {
    const dpop = privateJwk('ES256')
    const { op, app, login, get } = await scene({ options: { dpop } })
    await login()
    await login({ by: app.browser(), request: { loginHint: 'bob' } })
    const given = await calculateJwkThumbprint(dpop as JWK)
    expect(await Promise.all(proofsIn(op).map(thumbprintIn))).to.deep.equal([given, given])
    expect(await get('/resource')).to.include({ sub: 'alice', binding: 'dpop' })
  })

  it('makes a proof for each request, and shows none before there is a token to bind [AUTH-7]', async () => {
    const { op, login, get } = await scene({ op: { dpopNonce: true }, options: { dpop: true } })
    await login()
    await get('/userinfo')
    const [asked, ...later] = op.received
    expect(asked).to.include({ route: 'backchannel_authentication' })
    expect(asked?.headers).not.to.have.property('dpop')
    const ids = later.map(({ headers }) => decodeJwt(String(headers['dpop'])).jti)
    expect(new Set(ids)).to.have.property('size', 3)
  })

  it('takes the nonce of one login for the next one: a new key is not challenged again [AUTH-7]', async () => {
    const { op, app, login } = await scene({ op: { dpopNonce: true }, options: { dpop: true } })
    await login()
    const before = op.counts.token
    expect(await login({ by: app.browser() })).to.have.property('status', 'complete')
    expect(op.counts.token - before).to.equal(1)
  })

  for (const [what, dpop] of [
    ['a key for each login', true],
    ['a key for all', privateJwk('ES256')],
  ] as const) {
    it(`refreshes with the same key: ${what} [AUTH-7, TOK-23]`, async () => {
      const { op, login, get } = await scene({
        op: { dpopNonce: true, accessTokenExpiresIn: 1 },
        options: { dpop, ...offline },
      })
      await login()
      const before = await get('/tokens')
      await until('it has expired', () => Date.now() > Number(before['expiresAt']))
      const answer = await get<ResourceAnswer>('/resource')
      expect(answer).to.include({ binding: 'dpop', sub: 'alice' })
      expect(op.counts).to.include({ refresh: 1 })
      expect(answer.headers['authorization']).not.to.include(before['accessToken'])
      const used = [...proofsIn(op), answer.headers['dpop']]
      expect(new Set(await Promise.all(used.map(thumbprintIn)))).to.have.property('size', 1)
      expect(await get('/tokens')).to.include({ tokenType: 'dpop' })
    })
  }

  for (const [what, secret, expected] of [
    ['goes on with the key', 'a secret that stays', { status: 200, sub: 'alice', binding: 'dpop' }],
    ['cannot use the key', 'another secret', { status: 401, uncaught: 'ERR_CIBA_INVALID_TOKEN' }],
  ] as const) {
    it(`${what} in another instance with ${secret} [AUTH-7, SEC-9]`, async () => {
      const store = new MemoryStore()
      let cookie = ''
      const first = await scene({
        op: { dpopNonce: true },
        options: { dpop: true, secret: 'a secret that stays' },
        session: { store },
        before: (app) => {
          app.use('/me', (req, _res, next) => {
            cookie = req.headers.cookie ?? ''
            next()
          })
        },
      })
      await first.login()
      expect(await first.get('/me')).to.include({ sub: 'alice' })
      expect(await first.get('/resource')).to.include({ binding: 'dpop' })
      const { app } = await scene({ op: first.op, options: { dpop: true, secret }, session: { store } })
      const answer = await fetch(`${app.origin}/resource`, { headers: { cookie } })
      expect({ status: answer.status, ...((await answer.json()) as object) }).to.include(expected)
    })
  }

  it('refuses a bearer token where one bound to a key was asked for [TOK-2]', async () => {
    const { op, login, browser } = await scene({
      // An OP that knows nothing of DPoP takes no notice of the proof.
      op: {
        configure: ({ features, ...rest }) => ({
          ...rest,
          features: { ...features, dPoP: { enabled: false } },
        }),
      },
      options: { dpop: true },
      registration: { dpop_bound_access_tokens: undefined },
    })
    expect(await login()).to.include({ status: 'failed', error: 'invalid_token_response' })
    expect(await browser.user()).to.equal(undefined)
    expect(op.counts).to.include({ token: 1, userinfo: 0 })
  })

  it('revokes bound tokens at the end [AUTH-7]', async () => {
    const { op, login, get, browser } = await scene({
      op: { dpopNonce: true },
      options: { dpop: true, ...offline },
    })
    await login()
    const { accessToken, refreshToken } = await tokensOf(get)
    await browser.agent.post('/ciba/logout').expect(204)
    expect(await Promise.all([accessToken, refreshToken].map(op.isActive))).to.deep.equal([false, false])
  })
})

/** Those that came with requests for tokens. */
function proofsIn(op: FullOp): unknown[] {
  return op.received.flatMap(({ route, headers }) => (route === 'token' ? headers['dpop'] : []))
}

async function thumbprintIn(proof: unknown): Promise<string> {
  return calculateJwkThumbprint(decodeProtectedHeader(String(proof)).jwk as JWK)
}

function tokensOf(get: Scene['get']): Promise<{ accessToken: string; refreshToken: string }> {
  return get('/tokens')
}
