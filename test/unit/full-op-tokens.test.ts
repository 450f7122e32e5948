/** What the OP for tests issues, takes back and tells. Nothing of the library is in here. */
import { expect } from 'chai'
import * as jose from 'jose'
import * as oauth from 'oauth4webapi'
import type { FullApproval } from '../support/full-op.ts'
import { RESOURCES } from '../support/full-op-configuration.ts'
import { basicClient, CLIENT_SECRET, failure, fullOps } from '../support/oauth-client.ts'
import { followEndSession } from '../support/op-sign-out.ts'

const payment = { type: 'payment_initiation', instructedAmount: { currency: 'EUR', amount: '1.00' } }
const account = { type: 'account_information' }
const event = { events: { 'http://schemas.openid.net/event/backchannel-logout': {} } }

describe('startFullOp(): tokens', () => {
  const { start, clientOf, endpoints } = fullOps()

  for (const alg of ['HS256', 'HS512', 'RS256', 'PS256', 'ES256', 'EdDSA', 'Ed25519']) {
    it(`signs ID tokens and userinfo with ${alg}`, async () => {
      const metadata = { id_token_signed_response_alg: alg, userinfo_signed_response_alg: alg }
      const op = await start({ clients: [{ ...basicClient, ...metadata }] })
      const client = await clientOf(op, { metadata })
      const { id_token: idToken = '', access_token: token } = await client.login()
      const { protectedHeader } = alg.startsWith('HS')
        ? await jose.jwtVerify(idToken, Buffer.from(CLIENT_SECRET))
        : await jose.jwtVerify(idToken, client.keys)
      expect(protectedHeader).to.include({ alg })
      expect(await client.userinfo(token)).to.include({ sub: 'alice', aud: 'app' })
      expect(op.received.at(-1)).to.include({ route: 'userinfo' }).and.have.property('answer').a('string')
    })
  }

  it('encrypts ID tokens, and logout tokens with them', async () => {
    const { origin, calls } = await endpoints()
    const { privateKey, publicKey } = await jose.generateKeyPair('ECDH-ES', { crv: 'P-256' })
    const op = await start()
    await op.register({
      ...basicClient,
      jwks: { keys: [{ ...(await jose.exportJWK(publicKey)), use: 'enc', kid: 'e1' }] },
      id_token_encrypted_response_alg: 'ECDH-ES',
      id_token_encrypted_response_enc: 'A256GCM',
      backchannel_logout_uri: `${origin}/logout`,
    })
    const client = await clientOf(op)
    const authReqId = await client.ask()
    await op.approve(authReqId)
    const decrypt = async (jwe: string) => {
      const { plaintext, protectedHeader } = await jose.compactDecrypt(jwe, privateKey)
      expect(protectedHeader).to.include({ alg: 'ECDH-ES', enc: 'A256GCM', kid: 'e1', cty: 'JWT' })
      return new TextDecoder().decode(plaintext)
    }
    const { claims, id_token: idToken } = await client.tokens(authReqId, { [oauth.jweDecrypt]: decrypt })
    expect(claims).to.include({ sub: 'alice' })
    await op.backchannelLogout('alice')
    const logoutToken = await decrypt(logoutTokenIn(calls.at(-1)?.body))
    expect(jose.decodeProtectedHeader(logoutToken)).to.include({ typ: 'logout+jwt' })
    const url = `${client.as.end_session_endpoint}?id_token_hint=${idToken}`
    expect(await failure(followEndSession(url)), 'still encrypted').to.match(/could not decode id_token_hint/)
  })

  it('rotates refresh tokens, and ends all of a login when one comes back', async () => {
    const op = await start({ clients: [basicClient], refreshTokens: 'always', accessTokenExpiresIn: 50 })
    const client = await clientOf(op)
    const said = { acr: 'urn:example:loa:1', amr: ['face'], sid: 'a sid' }
    const first = await client.login({ nonce: 'n' }, { ...said, authTime: 1_700_000_000 })
    expect(first).to.include({ expires_in: 50 })
    const second = await client.refresh(first.refresh_token)
    const claims = { sub: 'alice', nonce: 'n', auth_time: 1_700_000_000, acr: said.acr, sid: said.sid }
    expect(first.claims).to.include(claims)
    expect(oauth.getValidatedIdTokenClaims(second)).to.include(claims)
    const active = () =>
      Promise.all([first.access_token, second.access_token, String(second.refresh_token)].map(op.isActive))
    expect(await active()).to.deep.equal([true, true, true])
    expect(await failure(client.refresh(first.refresh_token))).to.include({ error: 'invalid_grant' })
    expect(await active()).to.deep.equal([false, false, false])
    expect(op.counts).to.include({ token: 3, refresh: 2 })
  })

  it('revokes both tokens by one of them', async () => {
    const op = await start({ clients: [basicClient] })
    const client = await clientOf(op)
    for (const which of ['access_token', 'refresh_token'] as const) {
      const tokens = await client.login({ scope: 'openid offline_access' })
      expect(await client.revoke(tokens[which])).to.equal(200)
      expect(await op.isActive(tokens.access_token)).to.equal(false)
      expect(await op.isActive(String(tokens.refresh_token))).to.equal(false)
      expect(await failure(client.userinfo(tokens.access_token))).to.include({ status: 401 })
      expect(await failure(client.resource(tokens.access_token))).to.include({ status: 401 })
    }
    expect(await client.revoke('unknown')).to.equal(200)
    expect(op.counts).to.include({ revocation: 3 })
  })

  it('takes new keys while it runs', async () => {
    const op = await start({ clients: [basicClient] })
    const client = await clientOf(op)
    const authReqId = await client.ask()
    const published = async () => {
      const { keys } = (await (await fetch(String(client.as.jwks_uri))).json()) as jose.JSONWebKeySet
      return keys.map(({ kid }) => kid)
    }
    const before = await published()
    await op.rotateKeys({ keep: true })
    const both = await published()
    expect(both).to.have.length(before.length * 2)
    expect(both).to.include.members(before)
    await op.rotateKeys()
    await op.approve(authReqId)
    const { id_token: idToken = '' } = await client.tokens(authReqId)
    const { protectedHeader } = await jose.jwtVerify(idToken, client.keys)
    expect(await published()).to.include(protectedHeader.kid)
    expect(both).not.to.include(protectedHeader.kid)
  })

  it('grants authorization_details wholly or in part', async () => {
    const types = { authorization_details_types: [payment.type, account.type] }
    const op = await start({ clients: [{ ...basicClient, ...types }] })
    const client = await clientOf(op)
    for (const type of [payment.type, 'unknown']) {
      const wrong = client.ask({ authorization_details: JSON.stringify([{ type }]) })
      expect(await failure(wrong)).to.include({ error: 'invalid_authorization_details' })
    }
    const form = {
      authorization_details: JSON.stringify([payment, account]),
      scope: 'openid offline_access',
    }
    const granted = async (approval?: FullApproval) => {
      const tokens = await client.login(form, approval)
      const { authorizationDetails } = await client.resource(tokens.access_token)
      const { authorization_details: refreshed } = await client.refresh(tokens.refresh_token)
      expect(authorizationDetails).to.deep.equal(tokens.authorization_details)
      expect(refreshed).to.deep.equal(tokens.authorization_details)
      expect(await client.userinfo(tokens.access_token)).to.include({ sub: 'alice' })
      return tokens.authorization_details
    }
    expect(await granted()).to.deep.equal([payment, account])
    expect(await granted({ authorizationDetails: [payment] })).to.deep.equal([payment])
    expect(await granted({ authorizationDetails: [{ type: 'new' }] })).to.deep.equal([{ type: 'new' }])
    expect(await granted({ authorizationDetails: [] })).to.equal(undefined)
    await op.register(basicClient)
    expect(await failure(client.ask(form))).to.include({ error: 'invalid_authorization_details' })
  })

  it('issues access tokens for a resource, the first of several', async () => {
    const op = await start({ clients: [basicClient] })
    const client = await clientOf(op)
    const unknown = client.ask({ resource: 'https://unknown.example.com' })
    expect(await failure(unknown)).to.include({ error: 'invalid_target' })
    for (const [format, audience] of Object.entries(RESOURCES)) {
      const tokens = await client.login({ resource: audience, scope: 'openid accounts offline_access' })
      expect(tokens.scope).to.equal('accounts')
      const seen = { format, audience, scope: 'accounts' }
      expect(await client.resource(tokens.access_token)).to.include(seen)
      const status = format === 'jwt' ? 401 : 403
      expect(await failure(client.userinfo(tokens.access_token))).to.include({ status })
      expect(await client.revoke(tokens.access_token)).to.equal(format === 'jwt' ? 400 : 200)
    }
    const several = await client.login(Object.values(RESOURCES).map((resource) => ['resource', resource]))
    expect(several.scope, 'without a scope of the resource').to.equal('')
    expect(await client.resource(several.access_token)).to.include({ audience: RESOURCES.opaque })
  })

  it('tells clients of logouts', async () => {
    const { origin, calls } = await endpoints()
    const wants = { ...basicClient, backchannel_logout_uri: `${origin}/logout` }
    const op = await start({ clients: [wants] })
    const { keys } = await clientOf(op)
    const verified = async (token: string) => {
      const expected = { issuer: op.issuer, audience: 'app', typ: 'logout+jwt' }
      return (await jose.jwtVerify(token, keys, expected)).payload
    }
    await op.backchannelLogout('alice', 'a sid')
    const sent = await verified(logoutTokenIn(calls.at(-1)?.body))
    expect(sent).to.have.all.keys('iss', 'aud', 'iat', 'exp', 'jti', 'sub', 'events')
    expect(sent).to.deep.include({ sub: 'alice', ...event })
    await op.register({ ...wants, backchannel_logout_session_required: true })
    await op.backchannelLogout('alice', 'a sid')
    expect(await verified(logoutTokenIn(calls.at(-1)?.body))).to.include({ sub: 'alice', sid: 'a sid' })
    const made = { clientId: 'app', sub: 'alice', claims: { iat: undefined }, header: { alg: 'ES256' } }
    const own = await verified(await op.logoutToken(made))
    expect(own).to.have.all.keys('iss', 'aud', 'exp', 'jti', 'sub', 'events')
  })

  it('sends browsers back from end_session_endpoint', async () => {
    const back = 'http://127.0.0.1:1/bye'
    const op = await start({ clients: [{ ...basicClient, post_logout_redirect_uris: [back] }] })
    const client = await clientOf(op)
    const url = new URL(String(client.as.end_session_endpoint))
    url.searchParams.set('id_token_hint', String((await client.login()).id_token))
    url.searchParams.set('client_id', 'app')
    url.searchParams.set('post_logout_redirect_uri', `${back}/elsewhere`)
    expect(await failure(followEndSession(url.href))).to.match(/post_logout_redirect_uri not registered/)
    url.searchParams.set('post_logout_redirect_uri', back)
    expect(await followEndSession(url.href)).to.equal(back)
    url.searchParams.delete('post_logout_redirect_uri')
    expect(await followEndSession(url.href)).to.equal(`${op.issuer}/session/end/success`)
    expect(op.counts).to.include({ endSession: 3 })
  })
})

const logoutTokenIn = (body = '') => String(new URLSearchParams(body).get('logout_token'))
