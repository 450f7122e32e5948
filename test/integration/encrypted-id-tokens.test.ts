/** ID tokens that come encrypted for us (OpenID Connect Core §10.2) [TOK-19]. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { expect } from 'chai'
import type { JWK } from 'jose'
import type { CibaOptions, TokenSet } from '../../lib/index.ts'
import { defectiveEncryption } from '../support/defective-encryption.ts'
import { debugLines, type Scene, scenes } from '../support/scenes.ts'

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const anotherRsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' })
const p521 = generateKeyPairSync('ec', { namedCurve: 'P-521' })
const x25519 = generateKeyPairSync('x25519')

/** The public key as the OP has it. */
const jwkOf = ({ publicKey }: { publicKey: KeyObject }, kid?: string): JWK => ({
  ...(publicKey.export({ format: 'jwk' }) as JWK),
  ...(kid && { kid }),
})
const refused = { status: 'failed', error: 'invalid_token_response' }

describe('ciba({ idTokenDecryptionKey })', () => {
  const set = scenes()
  let idTokens: string[]

  beforeEach(() => {
    idTokens = []
  })

  const decrypting = (idTokenDecryptionKey: CibaOptions['idTokenDecryptionKey'], more: CibaOptions = {}) =>
    set({
      ciba: {
        idTokenDecryptionKey,
        afterAuthentication: (_req, { tokens }: { tokens: TokenSet }) => void idTokens.push(tokens.idToken),
        ...more,
      },
    })

  const rows: [alg: string, pair: { privateKey: KeyObject; publicKey: KeyObject }, enc?: string][] = [
    ['RSA-OAEP-256', rsa],
    ['RSA-OAEP', rsa],
    ['RSA-OAEP-512', rsa, 'A128CBC-HS256'],
    ['ECDH-ES', p256],
    ['ECDH-ES', p384, 'A256CBC-HS512'],
    ['ECDH-ES+A256KW', p521],
    ['ECDH-ES', x25519],
  ]
  for (const [alg, pair, enc] of rows) {
    const { asymmetricKeyType, asymmetricKeyDetails } = pair.privateKey
    const { namedCurve = '' } = asymmetricKeyDetails ?? {}
    it(`signs in by ${alg} for a key of type ${asymmetricKeyType} ${namedCurve} [TOK-19]`, async () => {
      const { op, login, browser } = await decrypting(pair.privateKey)
      const encrypt = { jwk: jwkOf(pair), alg, ...(enc && { enc }) }
      expect(await login(() => op.tokens({ encrypt }))).to.have.property('status', 'complete')
      expect(await browser.user()).to.equal('alice')
    })
  }

  it('keeps the algorithm and the hash of the JWS inside: PS256, ES384, EdDSA [TOK-13, TOK-19]', async () => {
    const { op, login } = await decrypting(rsa.privateKey)
    for (const alg of ['PS256', 'ES384', 'EdDSA']) {
      const encrypt = { jwk: jwkOf(rsa) }
      const good = await login(() => op.tokens({ encrypt, header: { alg } }))
      expect(good, alg).to.have.property('status', 'complete')
      const claims = { at_hash: 'of another token' }
      expect(await login(() => op.tokens({ encrypt, header: { alg }, claims })), alg).to.include(refused)
    }
  })

  it('pins the algorithm of the JWS inside [TOK-8, TOK-19]', async () => {
    const { op, login } = await decrypting(rsa.privateKey, { idTokenSigningAlg: 'ES256' })
    const encrypt = { jwk: jwkOf(rsa) }
    expect(await login(() => op.tokens({ encrypt, header: { alg: 'RS256' } }))).to.include(refused)
    expect(await login(() => op.tokens({ encrypt }))).to.have.property('status', 'complete')
  })

  it('gives the app the signed JWT, which serves as the hint of the next login [REQ-6, TOK-19]', async () => {
    let idTokenHint: string | undefined
    const { op, login, browser, sessions } = await decrypting(p256.privateKey, {
      startParams: () => (idTokenHint ? { idTokenHint } : { loginHint: 'alice' }),
    })
    const encrypt = { jwk: jwkOf(p256) }
    expect(await login(() => op.tokens({ encrypt }))).to.have.property('status', 'complete')
    expect(op.callsTo('token')[0]?.answer?.['id_token'], 'what came')
      .to.be.a('string')
      .that.satisfies((jwe: string) => jwe.split('.').length === 5)
    ;[idTokenHint] = idTokens
    expect(idTokenHint?.split('.')).to.have.length(3)
    expect(sessions.last()?.login?.tokens.idToken).to.equal(idTokenHint)
    // Its subject is then expected, too [TOK-18].
    const mallory = await login(() => op.tokens({ encrypt, claims: { sub: 'mallory' } }))
    expect(mallory).to.include(refused)
    expect(op.callsTo('backchannel')[1]?.params.get('id_token_hint')).to.equal(idTokenHint)
    expect(await login(() => op.tokens({ encrypt }))).to.have.property('status', 'complete')
    expect(await browser.user()).to.equal('alice')
  })

  context('several keys', () => {
    const keys = [
      { key: rsa.privateKey, kid: 'new' },
      { key: anotherRsa.privateKey, kid: 'old' },
      { key: p256.privateKey, kid: 'ec' },
      { key: p384.privateKey, kid: 'ec2' },
    ]
    const cases: [what: string, jwk: JWK, alg?: string][] = [
      ['the first, by its kid', jwkOf(rsa, 'new')],
      ['the second, by its kid', jwkOf(anotherRsa, 'old')],
      ['one of another type', jwkOf(p256, 'ec')],
      ['the first, without a kid', jwkOf(rsa)],
      ['the second, without a kid', jwkOf(anotherRsa)],
      ['the second curve, without a kid', jwkOf(p384)],
      ['the second, under a kid that we do not know', jwkOf(anotherRsa, 'renamed')],
    ]
    for (const [what, jwk] of cases) {
      it(`all decrypt: ${what} [TOK-19, CFG-10]`, async () => {
        const { op, login } = await decrypting(keys)
        expect(await login(() => op.tokens({ encrypt: { jwk } }))).to.have.property('status', 'complete')
      })
    }

    it('refuse a token for one key under the name of another [TOK-19]', async () => {
      const { op, login } = await decrypting(keys)
      const encrypt = { jwk: jwkOf(anotherRsa, 'new') }
      expect(await login(() => op.tokens({ encrypt }))).to.include(refused)
    })
  })

  it('takes no other algorithm than the one that a JWK names [TOK-19]', async () => {
    const jwk = { ...rsa.privateKey.export({ format: 'jwk' }), alg: 'RSA-OAEP-256' }
    const { op, login } = await decrypting(jwk)
    const other = { jwk: jwkOf(rsa), alg: 'RSA-OAEP' }
    expect(await login(() => op.tokens({ encrypt: other }))).to.include(refused)
    expect(await login(() => op.tokens({ encrypt: { jwk: jwkOf(rsa) } }))).to.have.property(
      'status',
      'complete',
    )
  })

  it('goes with ID tokens by HMAC too [TOK-9, TOK-19]', async () => {
    const scene = await decrypting(rsa.privateKey, { idTokenSigningAlg: 'HS256' })
    const { op, login } = scene
    op.metadata['id_token_signing_alg_values_supported'] = ['HS256', 'ES256']
    const good = { encrypt: { jwk: jwkOf(rsa) }, header: { alg: 'HS256' } }
    expect(await login(() => op.tokens(good))).to.have.property('status', 'complete')
    expect(await login(() => op.tokens({ encrypt: { jwk: jwkOf(rsa) } }))).to.include(refused)
    expect(op.callsTo('jwks'), 'no key is needed').to.have.length(0)
  })

  context('the ID token is defective', () => {
    const lines = debugLines()
    const pairs = { RSA: rsa, 'P-256': p256 }

    async function expectRefused({ op, app, browser }: Scene, make: () => Promise<object>): Promise<void> {
      const transaction = await browser.begin()
      const json = await make()
      op.onToken({ json })
      await op.ping(app.notificationUrl)
      expect(await browser.outcome(transaction)).to.deep.equal({ transaction, ...refused })
      expect(await browser.user()).to.equal(undefined)
      expect(op.callsTo('token')).to.have.length(1)
      const { access_token } = json as { access_token: string }
      expect(lines.join('\n'))
        .to.match(/failed/)
        .and.not.include(access_token)
    }

    for (const [type, pair] of Object.entries(pairs)) {
      for (const { id, what, make } of defectiveEncryption(jwkOf(pair, 'enc'))) {
        it(`fails and signs nobody in: ${what}, ${type} [${id}, TOK-21]`, async () => {
          const scene = await decrypting({ key: pair.privateKey, kid: 'enc' })
          await expectRefused(scene, () => make(scene.op.context()))
        })
      }
    }

    it('fails where it is encrypted twice [TOK-19]', async () => {
      const scene = await decrypting(rsa.privateKey)
      const { op } = scene
      await expectRefused(scene, async () => {
        const encrypt = { jwk: jwkOf(rsa) }
        const once = (await op.tokens({ encrypt })) as { json: { id_token: string } }
        const twice = await op.tokens({ encrypt: { ...encrypt, plaintext: once.json.id_token } })
        return (twice as { json: object }).json
      })
    })

    it('says in the log why, and not in the words of the token [TOK-19, ERR-6]', async () => {
      const scene = await decrypting(rsa.privateKey)
      await expectRefused(scene, async () => {
        const header = Buffer.from('{"alg":"RSA-OAEP\\nforged line","enc":"A256GCM"}').toString('base64url')
        const good = (await scene.op.tokens({ encrypt: { jwk: jwkOf(rsa) } })) as {
          json: { id_token: string }
        }
        const [, ...rest] = good.json.id_token.split('.')
        return { ...good.json, id_token: [header, ...rest].join('.') }
      })
      expect(lines.join('\n'))
        .to.match(/decrypt|encrypted/)
        .and.not.match(/forged line/)
    })
  })
})
