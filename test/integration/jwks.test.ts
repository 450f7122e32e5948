/** The route by which an OP knows our keys (`jwks_uri`, RFC 7517). */
import { type KeyObject, X509Certificate } from 'node:crypto'
import { expect } from 'chai'
import { compactVerify, createRemoteJWKSet } from 'jose'
import type { CibaOptions } from '../../lib/index.ts'
import { cibaClientMetadata } from '../../lib/index.ts'
import { type Identity, makeCertificate } from '../support/certificates.ts'
import { generate } from '../support/signing-keys.ts'
import { cookiesOf, expressVersions, type WebOptions, webs } from '../support/web.ts'

const routes = { jwks: '/keys.json' }

describe('GET routes.jwks', () => {
  let rsa: KeyObject
  let ec: KeyObject
  let ed25519: KeyObject
  let x25519: KeyObject
  let selfSigned: Identity

  before(async () => {
    const pairs = await Promise.all([
      generate('rsa', { modulusLength: 2048 }),
      generate('ec', { namedCurve: 'P-256' }),
      generate('ed25519'),
      generate('x25519'),
    ])
    ;[rsa, ec, ed25519, x25519] = pairs.map(({ privateKey }) => privateKey) as [
      KeyObject,
      KeyObject,
      KeyObject,
      KeyObject,
    ]
    selfSigned = await makeCertificate({ selfSigned: true })
  })

  for (const { name, express } of expressVersions) {
    context(`under ${name}`, () => {
      const start = webs()
      const serve = (ciba: CibaOptions = {}, options: WebOptions = {}) =>
        start({ express, ...options, ciba: { clientAssertionSigningKey: ec, routes, ...ciba } })

      it('answers the public keys as a JWK set that may be kept for a while [CFG-11]', async () => {
        const web = await serve()
        const answer = await web.browser().get('/keys.json')
        expect(answer.status).to.equal(200)
        expect(answer.headers).to.include({
          'content-type': 'application/jwk-set+json',
          'cache-control': 'public, max-age=300',
        })
        const { keys, ...others } = answer.body as { keys: object[] }
        expect(others).to.deep.equal({})
        expect(keys).to.have.length(1)
        const { d: _, ...publicKey } = ec.export({ format: 'jwk' })
        expect(keys[0]).to.deep.include({ ...publicKey, use: 'sig', alg: 'ES256' })
        expect(Object.keys(keys[0] ?? {}).sort()).to.deep.equal([
          ...['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'],
        ])
      })

      it('answers HEAD with the same headers', async () => {
        const web = await serve()
        const [get, head] = [
          await web.browser().get('/keys.json'),
          await web.browser().send('head', '/keys.json'),
        ]
        expect([head.status, head.text ?? '']).to.deep.equal([200, ''])
        for (const header of ['content-type', 'cache-control', 'content-length', 'etag']) {
          expect([header, head.headers[header]]).to.deep.equal([header, get.headers[header]])
        }
      })

      for (const method of ['post', 'put', 'patch', 'delete', 'options'] as const) {
        it(`answers 405 to ${method.toUpperCase()}`, async () => {
          const web = await serve()
          const answer = await web.browser().send(method, '/keys.json')
          expect([answer.status, answer.text]).to.deep.equal([405, ''])
          expect(answer.headers).to.include({ allow: 'GET, HEAD', 'cache-control': 'no-store' })
        })
      }

      it('needs no session, and sets no cookie where there is one', async () => {
        const without = await serve({}, { session: false })
        expect((await without.browser().get('/keys.json')).status).to.equal(200)
        expect(without.errors).to.deep.equal([])
        const web = await serve({}, { session: { saveUninitialized: true, rolling: true, resave: true } })
        const browser = web.browser()
        expect(cookiesOf(await browser.get('/keys.json'))).to.deep.equal([])
        expect(web.sessions.seen).to.deep.equal([])
        // The same app gives one elsewhere, and the browser that has it gets no other.
        expect(cookiesOf(await browser.get('/me'))).to.have.length(1)
        expect(cookiesOf(await browser.get('/keys.json'))).to.deep.equal([])
      })

      it('is there where the app mounts it, in any case, with a slash at the end', async () => {
        const web = await serve({}, { mount: '/auth' })
        for (const [path, status] of [
          ['/auth/keys.json', 200],
          ['/auth/KEYS.json/', 200],
          ['/keys.json', 404],
          ['/auth/keys', 404],
        ] as const) {
          expect([path, (await web.browser().get(path)).status]).to.deep.equal([path, status])
        }
      })

      it('is open to other sites: everything in it is public', async () => {
        const web = await serve()
        const headers = { origin: 'https://op.example.com', 'sec-fetch-site': 'cross-site' }
        expect((await web.browser().send('get', '/keys.json', undefined, headers)).status).to.equal(200)
      })

      it('is not there by default', async () => {
        const web = await start({ express, ciba: { clientAssertionSigningKey: ec } })
        for (const path of ['/keys.json', '/ciba/jwks', '/ciba/jwks.json']) {
          expect((await web.browser().get(path)).status).to.equal(404)
        }
      })
    })
  }

  context('the keys in it', () => {
    const start = webs()

    async function published(ciba: CibaOptions) {
      const web = await start({ ciba: { routes, ...ciba } })
      const { body } = await web.browser().get('/keys.json')
      return body.keys as Record<string, unknown>[]
    }

    it('are those of all roles, and old and new in a rotation [CFG-10, SIG-6]', async () => {
      const keys = await published({
        clientAssertionSigningKey: [
          { key: ec, kid: 'new' },
          { key: ed25519, kid: 'old' },
        ],
        requestObjectSigningKey: { key: rsa, kid: 'requests' },
        idTokenDecryptionKey: { key: x25519, kid: 'decryption' },
        dpop: { key: ec, kid: 'nobody needs to know' },
      })
      expect(keys.map(({ kid, use, alg }) => [kid, use, alg])).to.deep.equal([
        ['new', 'sig', 'ES256'],
        ['old', 'sig', 'EdDSA'],
        ['requests', 'sig', 'PS256'],
        ['decryption', 'enc', 'ECDH-ES'],
      ])
    })

    it('are published for the algorithm that is going to be used after a rotation, too [CFG-6]', async () => {
      const { privateKey: next } = await generate('rsa', { modulusLength: 2048 })
      const { privateKey: third } = await generate('rsa', { modulusLength: 2048 })
      const keys = await published({
        requestObjectSigningKey: [rsa, next, { ...third.export({ format: 'jwk' }), alg: 'PS512' }, ec],
        requestObjectSigningAlg: 'RS256',
      })
      expect(keys.map(({ alg }) => alg)).to.deep.equal(['RS256', 'RS256', 'PS512', 'ES256'])
    })

    it('are the one of the certificate for self_signed_tls_client_auth [AUTH-5]', async () => {
      const [key, ...others] = await published({
        clientAuthMethod: 'self_signed_tls_client_auth',
        mtls: selfSigned,
      })
      const { raw, publicKey } = new X509Certificate(selfSigned.cert)
      expect(key).to.deep.include({
        ...publicKey.export({ format: 'jwk' }),
        use: 'sig',
        x5c: [raw.toString('base64')],
      })
      expect(others).to.deep.equal([])
    })

    it('are none where there are none', async () => {
      expect(await published({})).to.deep.equal([])
    })

    it('are at the jwks_uri that is registered, and verify what we send [CFG-11, SIG-1]', async () => {
      const options = { clientAssertionSigningKey: ed25519, requestObjectSigningKey: [rsa, ec], routes }
      const web = await start({ ciba: options })
      await web.browser().begin()
      const { jwks_uri } = cibaClientMetadata({
        ...options,
        issuerBaseURL: web.op.issuer,
        clientID: web.op.clientId,
        baseURL: web.origin,
        allowInsecureRequests: true,
      })
      expect(jwks_uri).to.equal(`${web.origin}/keys.json`)
      const jwks = createRemoteJWKSet(new URL(String(jwks_uri)))
      const { params } = web.op.callsTo('backchannel')[0] ?? {}
      for (const [name, alg] of [
        ['request', 'PS256'],
        ['client_assertion', 'EdDSA'],
      ] as const) {
        const { protectedHeader } = await compactVerify(String(params?.get(name)), jwks)
        expect(protectedHeader.alg).to.equal(alg)
      }
    })
  })
})
