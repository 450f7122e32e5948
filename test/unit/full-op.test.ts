/** Whom the OP for tests lets in, and what it binds tokens to. Nothing of the library is in here. */
import { createPublicKey, X509Certificate } from 'node:crypto'
import { expect } from 'chai'
import * as jose from 'jose'
import * as oauth from 'oauth4webapi'
import { CLIENT_SUBJECT, makeCertificate, testCertificates } from '../support/certificates.ts'
import {
  anyClient,
  basicClient,
  CLIENT_SECRET,
  type Form,
  failure,
  fullOps,
} from '../support/oauth-client.ts'

const mtls = { ...anyClient, tls_client_certificate_bound_access_tokens: true }

describe('startFullOp()', () => {
  const { start, clientOf, endpoints } = fullOps()
  let key: oauth.PrivateKey
  let jwks: { keys: jose.JWK[] }

  before(async () => {
    const { privateKey, publicKey } = await oauth.generateKeyPair('ES256', { extractable: true })
    key = { key: privateKey, kid: 'k1' }
    jwks = { keys: [{ ...(await jose.exportJWK(publicKey)), kid: 'k1', use: 'sig', alg: 'ES256' }] }
  })

  context('authenticating clients', () => {
    it('refuses registrations that contradict themselves', async () => {
      const op = await start()
      const keyless = { ...anyClient, token_endpoint_auth_method: 'private_key_jwt' }
      expect(await failure(op.register(keyless))).to.match(/jwks or jwks_uri is mandatory/)
      const twice = { ...mtls, ...basicClient, dpop_bound_access_tokens: true }
      expect(await failure(op.register(twice))).to.match(/only one proof of possession/)
    })

    it('takes a secret', async () => {
      const op = await start()
      for (const [method, auth] of [
        ['client_secret_basic', oauth.ClientSecretBasic],
        ['client_secret_post', oauth.ClientSecretPost],
        ['client_secret_jwt', oauth.ClientSecretJwt],
      ] as const) {
        await op.register({ ...basicClient, token_endpoint_auth_method: method })
        const wrong = await clientOf(op, { auth: auth(`${CLIENT_SECRET}!`) })
        expect(await failure(wrong.ask())).to.include({ status: 401 })
        const right = await clientOf(op, { auth: auth(CLIENT_SECRET) })
        expect((await right.login()).claims).to.include({ sub: 'alice' })
      }
    })

    for (const deliveryMode of ['poll', 'ping']) {
      for (const form of ['plain', 'signed']) {
        it(`takes private_key_jwt: ${deliveryMode}, ${form}`, async () => {
          const { origin, calls } = await endpoints(jwks)
          const op = await start()
          await op.register({
            ...anyClient,
            token_endpoint_auth_method: 'private_key_jwt',
            jwks_uri: `${origin}/jwks`,
            backchannel_token_delivery_mode: deliveryMode,
            backchannel_client_notification_endpoint: `${origin}/ping`,
            ...(form === 'signed' && { backchannel_authentication_request_signing_alg: 'ES256' }),
          })
          const client = await clientOf(op, { auth: oauth.PrivateKeyJwt(key) })
          const asked = { client_notification_token: 'a-token', requested_expiry: '33' }
          const authReqId = await client.ask(
            form === 'signed' ? { request: await client.sign(key, asked) } : asked,
          )
          expect(op.received.at(-1)?.answer).to.include({ auth_req_id: authReqId, expires_in: 33 })
          expect(await failure(client.tokens(authReqId))).to.include({ error: 'authorization_pending' })
          await op.approve((await op.waitForRequest()).authReqId)
          expect(calls.filter(({ path }) => path === '/ping')).to.have.length(op.counts.ping)
          expect(op.counts.ping).to.equal(deliveryMode === 'ping' ? 1 : 0)
          expect((await client.tokens(authReqId)).claims).to.include({ sub: 'alice', aud: 'app' })
        })
      }
    }

    it('takes a certificate of the authority, at the alias', async () => {
      const { client: identity, selfSigned } = await testCertificates()
      const op = await start({ mtlsAliases: true })
      const registration = { ...mtls, token_endpoint_auth_method: 'tls_client_auth' }
      await op.register({ ...registration, tls_client_auth_subject_dn: CLIENT_SUBJECT })
      const auth = oauth.TlsClientAuth()
      const client = await clientOf(op, { auth, identity })
      const { access_token: token } = await client.login()
      expect(await client.userinfo(token)).to.include({ sub: 'alice' })
      expect(op.received.map(({ host }) => `https://${host}`)).to.deep.equal(Array(3).fill(op.mtlsOrigin))
      expect(await client.resource(token)).to.include({ binding: 'certificate', sub: 'alice' })
      const other = await clientOf(op, { auth, identity: await makeCertificate({ subject: 'CN=other' }) })
      expect(await failure(other.resource(token))).to.include({ status: 401 })
      const main = await clientOf(op, { auth, identity, metadata: { use_mtls_endpoint_aliases: false } })
      const self = await clientOf(op, { auth, identity: selfSigned })
      const none = await clientOf(op, { auth })
      for (const refused of [other, main, self, none]) {
        expect(await failure(refused.ask())).to.include({ error: 'invalid_client', status: 401 })
      }
      const reversed = CLIENT_SUBJECT.split(',').reverse().join(',')
      await op.register({ ...registration, tls_client_auth_subject_dn: reversed })
      expect(await failure(client.ask())).to.include({ error: 'invalid_client' })
    })

    it('takes a certificate of their own', async () => {
      const { client: foreign } = await testCertificates()
      const identity = await makeCertificate({ selfSigned: true, algorithm: 'RS256' })
      const x5c = [new X509Certificate(identity.cert).raw.toString('base64')]
      const keys = [{ ...createPublicKey(identity.cert).export({ format: 'jwk' }), use: 'sig', x5c }]
      const op = await start({ tls: true })
      const method = { token_endpoint_auth_method: 'self_signed_tls_client_auth' }
      await op.register({ ...mtls, ...method, jwks: { keys } })
      const auth = oauth.TlsClientAuth()
      const client = await clientOf(op, { auth, identity })
      const { access_token: token } = await client.login()
      expect(await client.resource(token)).to.include({ binding: 'certificate' })
      const other = await clientOf(op, { auth, identity: foreign })
      expect(await failure(other.ask())).to.include({ error: 'invalid_client' })
      const both = await clientOf(op, { auth, identity, dpop: await dpop() })
      expect(await failure(both.login()), 'bound twice').to.include({ error: 'invalid_request' })
      await op.register({ ...anyClient, ...method, jwks: { keys } })
      const { access_token: dpopToken } = await both.login()
      expect(await both.resource(dpopToken), 'bound to the DPoP key alone').to.include({ binding: 'dpop' })
    })
  })

  context('asked by signed requests', () => {
    it('takes them from all, and nothing else from those who registered an algorithm', async () => {
      const op = await start({ clients: [{ ...basicClient, jwks }] })
      const client = await clientOf(op)
      const request = await client.sign(key)
      expect(await client.ask({ request })).to.be.a('string')
      expect(await client.ask({ request }), 'a second time').to.be.a('string')
      for (const wrong of [{ aud: 'x' }, { iss: 'x' }, { exp: 1 }, { jti: undefined }, { nbf: undefined }]) {
        const refused = client.ask({ request: await client.sign(key, {}, wrong) })
        expect(await failure(refused)).to.include({ error: 'invalid_request' })
      }
      for (const alg of ['ES256', 'PS256']) {
        await op.register({ ...basicClient, jwks, backchannel_authentication_request_signing_alg: alg })
        const refused = alg === 'ES256' ? client.ask() : client.ask({ request })
        expect(await failure(refused)).to.include({ error: 'invalid_request' })
      }
    })

    it('loses a request_context that is an object: oidc-provider makes a text of it', async () => {
      const op = await start({ clients: [{ ...basicClient, jwks }] })
      const client = await clientOf(op)
      const arrived = async (form: Form) => {
        const { BackchannelAuthenticationRequest } = op.provider
        return (await BackchannelAuthenticationRequest.find(await client.ask(form)))?.params
      }
      const text = '{"ip":"::1"}'
      expect(await arrived({ request_context: text })).to.include({ request_context: text })
      const signedText = await client.sign(key, { request_context: text })
      expect(await arrived({ request: signedText })).to.include({ request_context: text })
      const signedObject = await client.sign(key, {}, { request_context: { ip: '::1' } })
      expect(await arrived({ request: signedObject })).to.include({ request_context: '[object Object]' })
      expect(op.received.at(-1)?.form, 'where the test finds it').to.include({ request: signedObject })
    })
  })

  context('given DPoP proofs', () => {
    it('binds access tokens, and leaves refresh tokens to client authentication', async () => {
      const op = await start({ clients: [{ ...basicClient, dpop_bound_access_tokens: true }] })
      const client = await clientOf(op, { dpop: await dpop() })
      const other = await clientOf(op, { dpop: await dpop() })
      const bearer = await clientOf(op)
      const tokens = await client.login({ scope: 'openid offline_access' })
      expect(tokens.token_type).to.equal('dpop')
      expect(await client.resource(tokens.access_token)).to.include({ binding: 'dpop', body: 'a body' })
      for (const thief of [other, bearer]) {
        expect(await failure(thief.resource(tokens.access_token))).to.include({ status: 401 })
        expect(await failure(thief.userinfo(tokens.access_token))).to.include({ status: 401 })
      }
      expect(await failure(bearer.refresh(tokens.refresh_token))).to.include({ error: 'invalid_grant' })
      expect(await other.refresh(tokens.refresh_token)).to.include({ token_type: 'dpop' })
    })

    it('insists on a nonce, where that was said, of pending requests too', async () => {
      const op = await start({ clients: [basicClient], dpopNonce: true })
      const client = await clientOf(op, { dpop: await dpop('PS256') })
      const authReqId = await client.ask()
      expect(await failure(client.tokens(authReqId))).to.satisfy(oauth.isDPoPNonceError)
      expect(await failure(client.tokens(authReqId))).to.include({ error: 'authorization_pending' })
      await op.approve(authReqId)
      const { access_token: token, token_type: type } = await client.tokens(authReqId)
      expect(type, 'for a client that registered nothing of the kind').to.equal('dpop')
      expect(await client.userinfo(token)).to.include({ sub: 'alice' })
      expect(await failure(client.resource(token))).to.satisfy(oauth.isDPoPNonceError)
      expect(await client.resource(token)).to.include({ binding: 'dpop' })
      expect(op.counts).to.include({ token: 3, userinfo: 1, resource: 2 })
    })
  })
})

const dpop = async (alg = 'ES256') => oauth.DPoP({}, await oauth.generateKeyPair(alg))
