/** How the client authenticates, as the OP sees it: one method at both endpoints, and nothing besides. */
import { generateKeyPairSync, webcrypto } from 'node:crypto'
import { expect } from 'chai'
import { type CibaOptions, type ClientAuthMethod, cibaClientMetadata } from '../../lib/index.ts'
import { clientAssertionOf } from '../support/client-jwts.ts'
import { type Scene, scenes } from '../support/scenes.ts'
import { type Call, pending, type ScriptedOp, tokenError } from '../support/scripted-op.ts'

const clientSecret = 'a client secret of more than 32 bytes: ünï&+%'
const assertionType = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'
const pair = (curve: 'P-256' | 'P-384' | 'P-521') => generateKeyPairSync('ec', { namedCurve: curve })
const p256 = pair('P-256')
const keys = {
  RSA: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  'P-256': p256,
  'P-384': pair('P-384'),
  'P-521': pair('P-521'),
  Ed25519: generateKeyPairSync('ed25519'),
}

/** The calls that authenticate. */
const authenticated = ({ calls }: ScriptedOp): readonly Call[] =>
  calls.filter(({ endpoint }) => endpoint === 'backchannel' || endpoint === 'token')
const isClient = (name: string) => name.startsWith('client_') && name !== 'client_notification_token'
/** What identifies and authenticates the client in the form. */
const clientPartOf = ({ params }: Call): Record<string, string> =>
  Object.fromEntries([...params].filter(([name]) => isClient(name)))
/** Everything that went over the wire, as often as it may have been encoded. */
const wireOf = ({ body, headers, url }: Call): string => {
  const form = decodeURIComponent(body.replaceAll('+', ' '))
  const basic = Buffer.from(headers.authorization?.split(' ')[1] ?? '', 'base64').toString()
  return [url, body, form, JSON.stringify(headers), basic].join('\n')
}

describe('ciba({ clientAuthMethod })', () => {
  const set = scenes()

  async function loggedIn(ciba: CibaOptions): Promise<Scene> {
    const scene = await set({ ciba: { clientSecret, ...ciba }, op: { clientId: 'the client', clientSecret } })
    expect(await scene.login()).to.have.property('status', 'complete')
    expect(authenticated(scene.op).map(({ endpoint }) => endpoint)).to.deep.equal(['backchannel', 'token'])
    return scene
  }
  const base: CibaOptions = { clientID: 'the client' }

  it('client_secret_basic: id and secret in the header, both form-encoded, at both endpoints [AUTH-1]', async () => {
    const { op } = await loggedIn({ ...base, clientAuthMethod: 'client_secret_basic' })
    for (const { headers, ...call } of authenticated(op)) {
      const [scheme, credentials = ''] = headers.authorization?.split(' ') ?? []
      expect(scheme).to.equal('Basic')
      const halves = Buffer.from(credentials, 'base64').toString().split(':')
      expect(halves.map((half) => decodeURIComponent(half.replaceAll('+', ' ')))).to.deep.equal([
        'the client',
        clientSecret,
      ])
      const form = call.endpoint === 'token' ? {} : { client_id: 'the client' }
      expect(clientPartOf({ headers, ...call })).to.deep.equal(form)
    }
  })

  it('client_secret_post: id and secret in the form, at both endpoints [AUTH-1]', async () => {
    const { op } = await loggedIn({ ...base, clientAuthMethod: 'client_secret_post' })
    for (const call of authenticated(op)) {
      expect(clientPartOf(call)).to.deep.equal({ client_id: 'the client', client_secret: clientSecret })
      expect(call.headers).to.not.have.property('authorization')
      expect(call.url, 'never in a URL').to.not.match(/[?]/)
    }
  })

  const jwtMethods: readonly [ClientAuthMethod, CibaOptions, Parameters<typeof clientAssertionOf>[1]][] = [
    ['client_secret_jwt', {}, new TextEncoder().encode(clientSecret)],
    ['private_key_jwt', { clientAssertionSigningKey: p256.privateKey }, p256.publicKey],
  ]
  for (const [clientAuthMethod, options, key] of jwtMethods) {
    context(clientAuthMethod, () => {
      it('sends an assertion and no secret, at both endpoints [AUTH-1, AUTH-5]', async () => {
        const { op } = await loggedIn({ ...base, ...options, clientAuthMethod })
        for (const call of authenticated(op)) {
          const { client_assertion, ...rest } = clientPartOf(call)
          expect(rest).to.deep.equal({ client_id: 'the client', client_assertion_type: assertionType })
          expect(client_assertion?.split('.')).to.have.length(3)
          expect(call.headers).to.not.have.property('authorization')
          expect(wireOf(call)).to.not.include(clientSecret)
        }
      })

      it('says who, to whom and until when: aud is the issuer, as one string [AUTH-2]', async () => {
        const { op } = await loggedIn({ ...base, ...options, clientAuthMethod })
        for (const call of authenticated(op)) {
          const { claims } = await clientAssertionOf(call, key)
          const { jti, iat = 0, nbf, exp, ...rest } = claims
          expect(rest).to.deep.equal({ iss: 'the client', sub: 'the client', aud: op.issuer })
          expect(jti).to.be.a('string').with.length.of.at.least(20)
          expect(iat).to.be.closeTo(call.at / 1000, 5)
          expect([nbf, exp]).to.deep.equal([iat, iat + 60])
        }
      })

      it('makes a new one for each request, three polls included [AUTH-3]', async () => {
        const { op, browser } = await set({
          ciba: { ...base, ...options, clientAuthMethod, clientSecret, deliveryMode: 'poll' },
          op: { clientId: 'the client', clientSecret },
        })
        op.onToken(pending(), pending(), () => op.tokens())
        expect(await browser.outcome(await browser.begin())).to.have.property('status', 'complete')
        const assertions = await Promise.all(authenticated(op).map((call) => clientAssertionOf(call, key)))
        expect(assertions).to.have.length(4)
        expect(new Set(assertions.map(({ claims }) => claims.jti)).size).to.equal(4)
      })
    })
  }

  context('private_key_jwt', () => {
    const pem = keys.RSA.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
    const jwk = (name: keyof typeof keys) => keys[name].privateKey.export({ format: 'jwk' })
    const cryptoKey = (name: string) =>
      webcrypto.subtle.importKey(
        'pkcs8',
        keys.RSA.privateKey.export({ type: 'pkcs8', format: 'der' }),
        { name, hash: 'SHA-256' },
        true,
        ['sign'],
      )
    type Row = [
      what: string,
      key: () => unknown,
      alg: string,
      publicKey: keyof typeof keys,
      more?: CibaOptions,
    ]
    const rows: Row[] = [
      ['PEM, RSA', () => pem, 'PS256', 'RSA'],
      ['PEM, RSA for RS256', () => pem, 'RS256', 'RSA', { clientAssertionSigningAlg: 'RS256' }],
      ['PEM, RSA for PS512', () => pem, 'PS512', 'RSA', { clientAssertionSigningAlg: 'PS512' }],
      ['a JWK that names RS384', () => ({ ...jwk('RSA'), alg: 'RS384' }), 'RS384', 'RSA'],
      ['a JWK with a kid', () => ({ ...jwk('P-256'), kid: 'mine' }), 'ES256', 'P-256'],
      ['a KeyObject on P-384', () => keys['P-384'].privateKey, 'ES384', 'P-384'],
      ['{ key, kid } on P-521', () => ({ key: keys['P-521'].privateKey, kid: 'mine' }), 'ES512', 'P-521'],
      ['a CryptoKey for RSASSA-PKCS1-v1_5', () => cryptoKey('RSASSA-PKCS1-v1_5'), 'RS256', 'RSA'],
      ['a CryptoKey for RSA-PSS', () => cryptoKey('RSA-PSS'), 'PS256', 'RSA'],
      ['Ed25519', () => keys.Ed25519.privateKey, 'EdDSA', 'Ed25519'],
      [
        'Ed25519 by its newer name',
        () => keys.Ed25519.privateKey,
        'Ed25519',
        'Ed25519',
        { clientAssertionSigningAlg: 'Ed25519' },
      ],
      ['the first of two keys', () => [keys['P-256'].privateKey, pem], 'ES256', 'P-256'],
    ]
    for (const [what, key, alg, publicKey, more] of rows) {
      it(`signs with ${alg} and a kid that we publish: ${what} [AUTH-1, CFG-10]`, async () => {
        const options = { ...base, ...more, clientAssertionSigningKey: await key() } as CibaOptions
        const { op } = await loggedIn(options)
        const metadata = cibaClientMetadata({
          ...options,
          issuerBaseURL: op.issuer,
          clientSecret,
          allowInsecureRequests: true,
        })
        const [published] = metadata.jwks?.keys ?? []
        for (const call of authenticated(op)) {
          const { header } = await clientAssertionOf(call, keys[publicKey].publicKey)
          expect(header).to.deep.equal({ alg, kid: published?.kid })
          expect(published).to.have.property('alg', alg)
          if (/kid/.test(what)) expect(header.kid).to.equal('mine')
        }
      })
    }
  })

  it('does not fall back to another method when the OP refuses it: nobody is asked twice [AUTH-1]', async () => {
    const { op, browser } = await set({ ciba: { clientSecret } })
    op.onBackchannel(tokenError('invalid_client', 401, { 'www-authenticate': 'Basic realm="op"' }))
    const { status, body } = await browser.start()
    expect(status).to.equal(400)
    expect(body).to.have.property('error', 'invalid_client')
    expect(authenticated(op)).to.have.length(1)
  })

  it('fails the login when the OP refuses it at the token endpoint only [AUTH-1, POLL-11]', async () => {
    const { op, login } = await set({ ciba: { clientAssertionSigningKey: p256.privateKey } })
    const refused = tokenError('invalid_client', 401, { 'www-authenticate': 'Basic realm="op"' })
    expect(await login(refused)).to.include({ status: 'failed', error: 'invalid_client' })
    expect(op.callsTo('token')).to.have.length(1)
  })
})
