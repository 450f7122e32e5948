/** What becomes of a refresh that brings an ID token (OpenID Connect Core §12.2). */
import { expect } from 'chai'
import { exportJWK } from 'jose'
import type { CibaOptions } from '../../lib/index.ts'
import { encryptToken } from '../support/encryption.ts'
import { forge, forgeries, type ResponseOverrides, seconds } from '../support/id-tokens.ts'
import type { ScriptedOp } from '../support/scripted-op.ts'
import { signIn, storedLogin, tokenRoutes } from '../support/signed-in.ts'
import { generate, halfHash, signingKeys, withForeignKey } from '../support/signing-keys.ts'
import { type Browser, type Web, webs } from '../support/web.ts'

type Json = Record<string, unknown>
type Change = (op: ScriptedOp, web: Web) => ResponseOverrides | Promise<ResponseOverrides>

/** One way to answer a refresh, after a login that may have been special. */
interface Row {
  readonly what: string
  readonly options?: CibaOptions
  readonly first?: Json
  readonly change: Change
}

const claims = (what: string, change: Json | (() => Json), first?: Json): Row => ({
  what,
  ...(first && { first }),
  change: () => ({ claims: typeof change === 'function' ? change() : change }),
})

const members = (what: string, response: Json): Row => ({ what, change: () => ({ response }) })

/** Good but for an ID token made out of the parts of a good one. */
const forged = (what: string, by: (typeof forgeries)[keyof typeof forgeries]): Row => ({
  what,
  async change(op) {
    const { json } = (await op.refreshed()) as { json: Json }
    const { id_token: jwt, ...response } = json
    return { response: { ...response, id_token: forge(jwt, by, op.context()) } }
  },
})

const nonce: CibaOptions = { authorizationParams: { extra: { nonce: 'n-1' } } }

const good: readonly Row[] = [
  { what: 'as the first one', change: () => ({}) },
  claims('without auth_time', { auth_time: undefined }),
  claims('without at_hash', { at_hash: undefined }),
  claims('for an audience of one, in an array', { aud: ['client'] }),
  claims('with the azp of the first one', { azp: 'client' }, { azp: 'client' }),
  claims('with claims that have changed', { acr: 'urn:example:gold', roles: ['admin'] }),
  { what: 'signed with RS256', change: () => ({ header: { alg: 'RS256' } }) },
  { what: 'with the nonce of the first one', options: nonce, change: () => ({ claims: { nonce: 'n-1' } }) },
  { what: 'without the nonce of the first one', options: nonce, change: () => ({}) },
]

const defective: readonly Row[] = [
  claims('about another sub', { sub: 'mallory' }),
  claims('without sub', { sub: undefined }),
  claims('of another issuer', { iss: 'https://evil.test/' }),
  claims('for another audience', { aud: 'somebody else' }),
  claims('for another audience as well', { aud: ['client', 'evil'], azp: 'client' }),
  claims('for another party', { azp: 'evil' }),
  claims('with an azp that the first one did not have', { azp: 'client' }),
  claims('without the azp of the first one', { azp: undefined }, { azp: 'client' }),
  claims('with another auth_time', () => ({ auth_time: seconds(-100) })),
  claims('with a nonce that nobody sent', { nonce: 'n-1' }),
  { what: 'with another nonce', options: nonce, change: () => ({ claims: { nonce: 'n-2' } }) },
  claims('that has expired', () => ({ exp: seconds(-360) })),
  claims('that was issued a week ago', () => ({ iat: seconds(-7 * 24 * 3600) })),
  claims('that is of tomorrow', () => ({ iat: seconds(24 * 3600), exp: seconds(25 * 3600) })),
  claims('with the at_hash of another token', { at_hash: halfHash('another') }),
  forged('with flipped signature bits', forgeries.bitsFlipped),
  forged('that is not signed', forgeries.unsigned),
  forged('signed with the client secret', forgeries.hmacSigned),
  {
    what: 'signed with a foreign key',
    change: async () => ({ keys: await withForeignKey(await signingKeys()) }),
  },
  {
    what: 'signed with RS256 where ES256 is pinned',
    options: { idTokenSigningAlg: 'ES256' },
    change: () => ({ header: { alg: 'RS256' } }),
  },
  {
    what: 'that validateIdTokenClaims does not like',
    options: {
      validateIdTokenClaims(_claims, { isRefresh }) {
        if (isRefresh) throw new Error('not twice')
      },
    },
    change: () => ({}),
  },
  members('that is no JWT', { id_token: 'not a jwt' }),
  members('that is a number', { id_token: 5 }),
  members('beside no access token', { access_token: undefined }),
  members('beside a DPoP token that nobody asked for', { token_type: 'DPoP' }),
  members('beside a token of a foreign type', { token_type: 'mac' }),
]

describe('a refreshed ID token', () => {
  const start = webs()

  async function startSignedIn(
    expires_in: number,
    { options = {}, first = {} }: Pick<Row, 'options' | 'first'>,
    extra: ResponseOverrides = {},
  ): Promise<[Web, Browser]> {
    const web = await start({ own: tokenRoutes, ciba: options })
    const response = { access_token: 'access-0', refresh_token: 'refresh-0', expires_in }
    return [web, await signIn(web, { ...extra, response, claims: first })]
  }

  for (const row of good) {
    it(`is taken: ${row.what} [TOK-23]`, async () => {
      const [web, browser] = await startSignedIn(0, row)
      const overrides = await row.change(web.op, web)
      const response = { access_token: 'access-1', ...overrides.response }
      web.op.onToken(await web.op.refreshed({ ...overrides, response }))
      expect((await browser.get('/token')).body).to.deep.equal({ token: 'access-1' })
      const { user, tokens } = (await browser.get('/tokens')).body
      const issued = web.op.callsTo('token')[1]?.answer?.['id_token']
      expect(tokens.idToken).to.equal(issued)
      const payload = JSON.parse(Buffer.from(String(issued).split('.')[1] ?? '', 'base64url').toString())
      // It is the same authentication, although it need not say so again.
      expect(user).to.deep.equal({ auth_time: user.auth_time, ...payload })
      expect(user.auth_time).to.be.a('number')
      expect((await storedLogin(web, browser))?.user).to.deep.equal(user)
    })
  }

  for (const row of defective) {
    it(`is refused with all that came with it: ${row.what} [TOK-23]`, async () => {
      const [web, browser] = await startSignedIn(0, row)
      const before = await storedLogin(web, browser)
      web.op.onToken(await web.op.refreshed(await row.change(web.op, web)))
      expect((await browser.get('/token')).status).to.equal(401)
      expect(web.errors[0]).to.include({ code: 'ERR_CIBA_INVALID_TOKEN' })
      expect(await storedLogin(web, browser)).to.deep.equal(before)
    })
  }

  it('that is defective does no harm while the old token is valid', async () => {
    const [web, browser] = await startSignedIn(30, {})
    web.op.onToken(await web.op.refreshed({ claims: { sub: 'mallory' } }))
    expect((await browser.get('/token')).body).to.deep.equal({ token: 'access-0' })
    const { user, tokens } = (await browser.get('/tokens')).body
    expect([user.sub, tokens.accessToken, tokens.refreshToken]).to.deep.equal([
      'alice',
      'access-0',
      'refresh-0',
    ])
  })

  it('that is absent leaves the claims and the ID token as they were', async () => {
    const [web, browser] = await startSignedIn(0, {})
    const before = await storedLogin(web, browser)
    await browser.get('/token')
    const after = await storedLogin(web, browser)
    expect(after?.tokens.accessToken).to.not.equal('access-0')
    expect(after?.user).to.deep.equal(before?.user)
    expect(after?.tokens.idToken).to.equal(before?.tokens.idToken)
  })

  it('is shown to validateIdTokenClaims as a refresh', async () => {
    const seen: boolean[] = []
    const options: CibaOptions = { validateIdTokenClaims: (_, { isRefresh }) => void seen.push(isRefresh) }
    const [web, browser] = await startSignedIn(0, { options })
    web.op.onToken(await web.op.refreshed())
    await browser.get('/token')
    expect(seen).to.deep.equal([false, true])
  })

  it('keeps the sid by which the OP may end the login, if it has none of its own', async () => {
    const [web, browser] = await startSignedIn(0, { first: { sid: 'session-1' } })
    web.op.onToken(await web.op.refreshed())
    await browser.get('/token')
    expect((await browser.get('/tokens')).body.user).to.include({ sub: 'alice', sid: 'session-1' })
  })

  context('when ID tokens are registered as encrypted [TOK-19]', () => {
    const encrypted = async () => {
      const { privateKey, publicKey } = await generate('ec', { namedCurve: 'P-256' })
      return { key: privateKey, encrypt: { jwk: await exportJWK(publicKey) } }
    }

    it('is decrypted, and the JWS inside becomes the ID token [REQ-6]', async () => {
      const { key, encrypt } = await encrypted()
      const [web, browser] = await startSignedIn(0, { options: { idTokenDecryptionKey: key } }, { encrypt })
      web.op.onToken(await web.op.refreshed({ encrypt, response: { access_token: 'access-1' } }))
      expect((await browser.get('/token')).body).to.deep.equal({ token: 'access-1' })
      expect((await browser.get('/tokens')).body.tokens.idToken.split('.')).to.have.length(3)
    })

    it('is refused in the clear', async () => {
      const { key, encrypt } = await encrypted()
      const [web, browser] = await startSignedIn(0, { options: { idTokenDecryptionKey: key } }, { encrypt })
      web.op.onToken(await web.op.refreshed())
      expect((await browser.get('/token')).status).to.equal(401)
    })

    it('is refused when it is encrypted for another key', async () => {
      const { key, encrypt } = await encrypted()
      const [web, browser] = await startSignedIn(0, { options: { idTokenDecryptionKey: key } }, { encrypt })
      web.op.onToken(await web.op.refreshed({ encrypt: (await encrypted()).encrypt }))
      expect((await browser.get('/token')).status).to.equal(401)
    })

    it('is refused when what is inside is about somebody else', async () => {
      const { key, encrypt } = await encrypted()
      const [web, browser] = await startSignedIn(0, { options: { idTokenDecryptionKey: key } }, { encrypt })
      web.op.onToken(await web.op.refreshed({ encrypt, claims: { sub: 'mallory' } }))
      expect((await browser.get('/token')).status).to.equal(401)
    })
  })

  it('is refused when it comes encrypted though nobody registered that', async () => {
    const [web, browser] = await startSignedIn(0, {})
    const { publicKey } = await generate('ec', { namedCurve: 'P-256' })
    const { json } = (await web.op.refreshed()) as { json: Json }
    const jwe = await encryptToken(String(json['id_token']), { jwk: await exportJWK(publicKey) })
    web.op.onToken({ json: { ...json, id_token: jwe } })
    expect((await browser.get('/token')).status).to.equal(401)
  })
})
