/** `req.ciba.fetchUserInfo()` (OpenID Connect Core §5.3). */
import { inspect } from 'node:util'
import { expect } from 'chai'
import { exportJWK } from 'jose'
import type { CibaOptions } from '../../lib/index.ts'
import { forge, forgeries, type ResponseOverrides } from '../support/id-tokens.ts'
import { type Answer, html, redirect, resourceError, type ScriptedOp } from '../support/scripted-op.ts'
import { expired, signIn, tokenRoutes } from '../support/signed-in.ts'
import { generate, signingKeys, withForeignKey } from '../support/signing-keys.ts'
import type { JwtOverrides } from '../support/token-response.ts'
import { type Browser, type Web, webs } from '../support/web.ts'

type Json = Record<string, unknown>

const token = { response: { access_token: 'access-0', refresh_token: 'refresh-0' } }
/** What nobody shall find in an error. */
const secrets = /access-0|refresh-0|mallory|\+49 30/

/** A signed answer made out of the parts of a good one. */
const forged = (by: (typeof forgeries)[keyof typeof forgeries]) => async (op: ScriptedOp) => {
  const answer = (await op.signedUserinfo()) as { body: string; headers: Record<string, string> }
  return { ...answer, body: forge(answer.body, by, op.context()) }
}

const signed = (overrides: JwtOverrides) => (op: ScriptedOp) => op.signedUserinfo(overrides)

const json = (value: unknown) => (): Answer => ({ json: value })

const failures: readonly {
  readonly what: string
  readonly answer: (op: ScriptedOp) => Answer | Promise<Answer>
  readonly metadata?: Json
}[] = [
  { what: 'about another person [TOK-24]', answer: json({ sub: 'mallory', phone_number: '+49 30 1' }) },
  { what: 'about nobody [TOK-24]', answer: json({ name: 'mallory' }) },
  { what: 'with a sub that is a number', answer: json({ sub: 5 }) },
  { what: 'with an empty sub', answer: json({ sub: '' }) },
  { what: 'that is an array', answer: json(['mallory']) },
  { what: 'that is no JSON', answer: () => html(200) },
  { what: 'under status 201', answer: () => ({ status: 201, json: { sub: 'alice' } }) },
  { what: 'under status 403', answer: () => resourceError('insufficient_scope', { status: 403 }) },
  { what: 'under status 404', answer: () => ({ status: 404, json: { error: 'mallory' } }) },
  { what: 'under status 500', answer: () => ({ status: 500, body: 'mallory' }) },
  { what: 'that redirects', answer: () => redirect('/elsewhere', 307) },
  { what: 'that breaks off', answer: () => ({ reset: 'mid-body' }) },
  { what: 'signed, about another person [TOK-24]', answer: signed({ claims: { sub: 'mallory' } }) },
  { what: 'signed, of another issuer', answer: signed({ claims: { iss: 'https://evil.test/' } }) },
  { what: 'signed, for another client', answer: signed({ claims: { aud: 'evil' } }) },
  {
    what: 'signed with a foreign key',
    answer: async (op) => op.signedUserinfo({ keys: await withForeignKey(await signingKeys()) }),
  },
  { what: 'signed with an unknown key', answer: signed({ header: { kid: 'unknown' } }) },
  {
    what: 'signed with RS256 where the OP lists ES256',
    answer: signed({ header: { alg: 'RS256' } }),
    metadata: { userinfo_signing_alg_values_supported: ['ES256'] },
  },
  { what: 'signed, with flipped bits', answer: forged(forgeries.bitsFlipped) },
  { what: 'not signed at all', answer: forged(forgeries.unsigned) },
  {
    what: 'not signed at all, from an OP that lists none',
    answer: forged(forgeries.unsigned),
    metadata: { userinfo_signing_alg_values_supported: ['none', 'ES256'] },
  },
  {
    what: 'signed with the client secret, from an OP that lists that',
    answer: forged(forgeries.hmacSigned),
    metadata: { userinfo_signing_alg_values_supported: ['HS256', 'ES256'] },
  },
  {
    what: 'a JWT that says it is something else',
    answer: async (op) => ({ ...((await forged(forgeries.unsigned)(op)) as object), headers: {} }),
  },
]

describe('req.ciba.fetchUserInfo()', () => {
  const start = webs()

  async function startSignedIn(
    ciba: CibaOptions = {},
    overrides: ResponseOverrides = {},
    metadata: Json = {},
  ): Promise<[Web, Browser]> {
    const web = await start({ own: tokenRoutes, ciba })
    Object.assign(web.op.metadata, metadata)
    return [web, await signIn(web, { ...token, ...overrides })]
  }

  it('rejects with 401 when nobody is signed in', async () => {
    const web = await start({ own: tokenRoutes })
    expect((await web.browser().get('/userinfo')).status).to.equal(401)
    expect(web.errors[0]).to.include({ code: 'ERR_CIBA_UNAUTHENTICATED' })
    expect(web.op.calls).to.be.empty
  })

  it('gives what the OP says of the person [TOK-24]', async () => {
    const [web, browser] = await startSignedIn()
    expect((await browser.get('/userinfo')).body).to.deep.equal({ sub: 'alice', name: 'Alice Example' })
    const [call] = web.op.callsTo('userinfo')
    expect(call).to.include({ method: 'GET', url: `${web.op.issuer}/userinfo`, body: '' })
    expect(call?.headers.authorization).to.equal('Bearer access-0') // [FAPI-7]
  })

  it('asks each time, and changes nothing in the session', async () => {
    const [web, browser] = await startSignedIn()
    const before = await web.sessions.read(browser.sessionId ?? '')
    web.op.onUserinfo(json({ sub: 'alice', name: 'Alice A.' })(), json({ sub: 'alice', name: 'Alice B.' })())
    expect((await browser.get('/userinfo')).body.name).to.equal('Alice A.')
    expect((await browser.get('/userinfo')).body.name).to.equal('Alice B.')
    expect(await web.sessions.read(browser.sessionId ?? '')).to.deep.equal(before)
  })

  it('asks with a fresh token', async () => {
    const [web, browser] = await startSignedIn({}, expired)
    web.op.onToken(await web.op.refreshed({ response: { access_token: 'access-1', id_token: undefined } }))
    await browser.get('/userinfo')
    expect(web.op.callsTo('userinfo').map(({ headers }) => headers.authorization)).to.deep.equal([
      'Bearer access-1',
    ])
  })

  for (const [what, answer] of [
    ['with a challenge', resourceError('invalid_token')],
    ['without a challenge', { status: 401, json: { error: 'invalid_token' } }],
    ['without anything', { status: 401 }],
  ] as const) {
    it(`rejects with 401 when the OP answers 401 ${what}`, async () => {
      const [web, browser] = await startSignedIn()
      web.op.onUserinfo(answer)
      expect((await browser.get('/userinfo')).status).to.equal(401)
      expect(web.errors[0]).to.include({ code: 'ERR_CIBA_INVALID_TOKEN', error: 'invalid_token' })
      expect(web.op.callsTo('userinfo')).to.have.length(1)
    })
  }

  for (const { what, answer, metadata } of failures) {
    it(`rejects with 502 for an answer ${what}`, async () => {
      const [web, browser] = await startSignedIn({}, {}, metadata)
      web.op.onUserinfo(await answer(web.op))
      expect((await browser.get('/userinfo')).status).to.equal(502)
      expect(web.errors[0]).to.include({ code: 'ERR_CIBA_OP_FAILED', status: 502 })
      expect(inspect(web.errors[0], { showHidden: true, depth: 9 })).to.not.match(secrets) // [SEC-11]
      expect(web.op.callsTo('userinfo')).to.have.length(1)
      expect(web.op.callsTo('other'), 'a redirect followed').to.be.empty
    })
  }

  it('rejects with 503 when the OP is down', async () => {
    const [web, browser] = await startSignedIn()
    await web.op.down()
    expect((await browser.get('/userinfo')).status).to.equal(503)
    expect(web.errors[0]).to.include({ code: 'ERR_CIBA_OP_UNREACHABLE' })
  })

  it('rejects with 502 when the OP hangs for longer than httpTimeout', async () => {
    const [web, browser] = await startSignedIn({ httpTimeout: 1 })
    web.op.onUserinfo({ hang: true })
    expect((await browser.get('/userinfo')).status).to.equal(502)
    expect(web.errors[0]).to.include({ code: 'ERR_CIBA_OP_FAILED' })
  })

  it('rejects with 502 for an OP without a UserInfo endpoint, and names what is missing', async () => {
    const [web, browser] = await startSignedIn({}, {}, { userinfo_endpoint: undefined })
    expect((await browser.get('/userinfo')).status).to.equal(502)
    expect(web.errors[0]).to.include({ code: 'ERR_CIBA_INVALID_OP_METADATA' })
    expect(String(web.errors[0])).to.include('userinfo_endpoint')
    expect(web.op.callsTo('userinfo')).to.be.empty
  })

  context('when the answer is signed', () => {
    for (const [what, overrides, metadata] of [
      ['with ES256', {}, {}],
      ['with RS256', { header: { alg: 'RS256' } }, {}],
      ['with an algorithm that is listed', {}, { userinfo_signing_alg_values_supported: ['ES256'] }],
      ['without iss and aud', { claims: { iss: undefined, aud: undefined } }, {}],
    ] as [string, JwtOverrides, Json][]) {
      it(`gives its claims: ${what}`, async () => {
        const [web, browser] = await startSignedIn({}, {}, metadata)
        web.op.onUserinfo(
          await web.op.signedUserinfo({ ...overrides, claims: { ...overrides.claims, email: 'a@b.c' } }),
        )
        expect((await browser.get('/userinfo')).body).to.include({ sub: 'alice', email: 'a@b.c' })
      })
    }
  })

  context('when the answer is encrypted [TOK-19]', () => {
    it('gives the claims of the JWT inside', async () => {
      const { privateKey, publicKey } = await generate('ec', { namedCurve: 'P-256' })
      const encrypt = { jwk: await exportJWK(publicKey) }
      const [web, browser] = await startSignedIn({ idTokenDecryptionKey: privateKey }, { encrypt })
      web.op.onUserinfo(await web.op.signedUserinfo({ encrypt }))
      expect((await browser.get('/userinfo')).body).to.include({ sub: 'alice' })
      web.op.onUserinfo(await web.op.signedUserinfo({ encrypt, claims: { sub: 'mallory' } }))
      expect((await browser.get('/userinfo')).status).to.equal(502)
      web.op.onUserinfo(
        await web.op.signedUserinfo({ encrypt, keys: await withForeignKey(await signingKeys()) }),
      )
      expect((await browser.get('/userinfo')).status).to.equal(502)
    })

    it('rejects what is encrypted for somebody else', async () => {
      const { publicKey } = await generate('ec', { namedCurve: 'P-256' })
      const [web, browser] = await startSignedIn()
      web.op.onUserinfo(await web.op.signedUserinfo({ encrypt: { jwk: await exportJWK(publicKey) } }))
      expect((await browser.get('/userinfo')).status).to.equal(502)
    })
  })
})
