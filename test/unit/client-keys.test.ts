/** Our own keys in every form in which an operator may have them: what is made of them must work. */
import { createPrivateKey, type KeyObject, type webcrypto } from 'node:crypto'
import { expect } from 'chai'
import {
  CompactEncrypt,
  CompactSign,
  calculateJwkThumbprint,
  compactDecrypt,
  compactVerify,
  createLocalJWKSet,
  importJWK,
  type JWK,
  type JWSHeaderParameters,
} from 'jose'
import { decryptionKey, type PublicJwk, signingKey, thumbprint } from '../../lib/protocol/client-keys.ts'
import { generate } from '../support/signing-keys.ts'

type KeyType = 'RSA' | 'P-256' | 'P-384' | 'P-521' | 'Ed25519' | 'X25519'
type Algorithm = webcrypto.RsaHashedImportParams | webcrypto.EcKeyImportParams | { readonly name: string }

const publicMembers: Readonly<Record<string, readonly string[]>> = {
  RSA: ['e', 'n'],
  EC: ['crv', 'x', 'y'],
  OKP: ['crv', 'x'],
}

/** Signs with what we sign with, verifies with what we publish. */
async function signAndVerify({ alg, kid, privateKey, publicJwk }: ReturnType<typeof signingKey>) {
  const signer = new CompactSign(Buffer.from('a payload')).setProtectedHeader({ alg, kid })
  const jws = await signer.sign(await privateKey())
  const jwks = createLocalJWKSet({ keys: [{ ...publicJwk } as JWK] })
  const { payload, protectedHeader } = await compactVerify(jws, (header, token) =>
    jwks(header as JWSHeaderParameters, token),
  )
  expect(Buffer.from(payload).toString()).to.equal('a payload')
  return protectedHeader
}

async function decrypts(publicJwk: PublicJwk, alg: string, key: KeyObject): Promise<void> {
  const jwk = { ...publicJwk, alg } as JWK
  const encrypted = await new CompactEncrypt(Buffer.from('a payload'))
    .setProtectedHeader({ alg, enc: 'A256GCM' })
    .encrypt(await importJWK(jwk, alg))
  const { plaintext } = await compactDecrypt(encrypted, key)
  expect(Buffer.from(plaintext).toString()).to.equal('a payload')
}

describe('our own keys', () => {
  const keys = {} as Record<KeyType, KeyObject>

  before(async () => {
    const pairs = await Promise.all([
      generate('rsa', { modulusLength: 2048 }),
      generate('ec', { namedCurve: 'P-256' }),
      generate('ec', { namedCurve: 'P-384' }),
      generate('ec', { namedCurve: 'P-521' }),
      generate('ed25519'),
      generate('x25519'),
    ])
    const types: readonly KeyType[] = ['RSA', 'P-256', 'P-384', 'P-521', 'Ed25519', 'X25519']
    for (const [index, type] of types.entries()) keys[type] = pairs[index]!.privateKey
  })

  const jwkOf = (type: KeyType) => keys[type].export({ format: 'jwk' })
  const pemOf = (type: KeyType, as: 'pkcs8' | 'pkcs1' | 'sec1') =>
    keys[type].export({ format: 'pem', type: as }).toString()
  const cryptoKeyOf = (type: KeyType, algorithm: Algorithm, usages: KeyUsages, extractable = false) =>
    crypto.subtle.importKey(
      'pkcs8',
      keys[type].export({ format: 'der', type: 'pkcs8' }),
      algorithm,
      extractable,
      usages,
    )
  type KeyUsages = webcrypto.KeyUsage[]

  const webCrypto: Partial<Record<KeyType, Algorithm>> = {
    RSA: { name: 'RSA-PSS', hash: 'SHA-256' },
    'P-256': { name: 'ECDSA', namedCurve: 'P-256' },
    'P-384': { name: 'ECDSA', namedCurve: 'P-384' },
    'P-521': { name: 'ECDSA', namedCurve: 'P-521' },
    Ed25519: { name: 'Ed25519' },
  }

  describe('signingKey()', () => {
    const byDefault = [
      ['RSA', 'PS256'],
      ['P-256', 'ES256'],
      ['P-384', 'ES384'],
      ['P-521', 'ES512'],
      ['Ed25519', 'EdDSA'],
    ] as const
    for (const [type, alg] of byDefault) {
      const forms: [string, () => unknown][] = [
        ['JWK', () => jwkOf(type)],
        ['KeyObject', () => keys[type]],
        ['PEM (PKCS #8)', () => pemOf(type, 'pkcs8')],
        ['PEM with empty lines around it', () => `\n\n${pemOf(type, 'pkcs8')}\n\n`],
        ['PEM with the line ends of Windows', () => pemOf(type, 'pkcs8').replaceAll('\n', '\r\n')],
        ['CryptoKey', () => cryptoKeyOf(type, webCrypto[type]!, ['sign'])],
        ['extractable CryptoKey', () => cryptoKeyOf(type, webCrypto[type]!, ['sign'], true)],
      ]
      if (type === 'RSA') forms.push(['PEM (PKCS #1)', () => pemOf(type, 'pkcs1')])
      if (type.startsWith('P-')) forms.push(['PEM (SEC 1)', () => pemOf(type, 'sec1')])
      for (const [form, input] of forms) {
        it(`takes ${type} as ${form}: signs with ${alg} what the published key verifies [AUTH-1, SIG-4]`, async () => {
          const key = signingKey(await input())
          const kid = await calculateJwkThumbprint(jwkOf(type) as JWK)
          expect([key.alg, key.kid]).to.deep.equal([alg, kid])
          expect(await signAndVerify(key)).to.deep.equal({ alg, kid })
        })
      }
      for (const [form, input] of forms.slice(1)) {
        it(`takes ${type} as { key: ${form}, kid } [SIG-6]`, async () => {
          const key = signingKey({ key: await input(), kid: 'known as' })
          expect(await signAndVerify(key)).to.deep.equal({ alg, kid: 'known as' })
        })
      }

      it(`publishes of ${type} what is public, and nothing else [CFG-11]`, () => {
        const { publicJwk } = signingKey({ ...jwkOf(type), kid: 'a', key_ops: ['sign'], ext: true })
        const { kty, kid, use, alg: named, ...rest } = publicJwk
        expect([kid, use, named]).to.deep.equal(['a', 'sig', alg])
        expect(Object.keys(rest).sort()).to.deep.equal(publicMembers[kty])
        const own = jwkOf(type) as Record<string, unknown>
        for (const [name, value] of Object.entries(rest)) expect(value).to.equal(own[name])
      })
    }

    for (const [type, algs] of [
      ['RSA', ['PS256', 'PS384', 'PS512', 'RS256', 'RS384', 'RS512']],
      ['P-256', ['ES256']],
      ['P-384', ['ES384']],
      ['P-521', ['ES512']],
      ['Ed25519', ['EdDSA', 'Ed25519']],
    ] as const) {
      for (const alg of algs) {
        it(`signs with ${alg} when told, or when the JWK says so [CFG-6]`, async () => {
          const told = signingKey(keys[type], { alg })
          expect(await signAndVerify(told)).to.deep.equal({ alg, kid: told.kid })
          expect(signingKey({ ...jwkOf(type), alg }).alg).to.equal(alg)
          expect(told.publicJwk.alg).to.equal(alg)
        })
      }
    }

    for (const [alg, algorithm] of [
      ['PS384', { name: 'RSA-PSS', hash: 'SHA-384' }],
      ['PS512', { name: 'RSA-PSS', hash: 'SHA-512' }],
      ['RS256', { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }],
      ['RS512', { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-512' }],
    ] as const) {
      it(`signs with ${alg} where the CryptoKey is one for it [CFG-6]`, async () => {
        const key = signingKey(await cryptoKeyOf('RSA', algorithm, ['sign']))
        expect((await signAndVerify(key)).alg).to.equal(alg)
      })
    }

    it('prefers what it is told to what the key says, and that to what is merely possible', () => {
      const jwk = { ...jwkOf('RSA'), alg: 'RS384' }
      expect(signingKey(jwk, { alg: 'PS512' }).alg).to.equal('PS512')
      expect(signingKey(jwk, { algIfPossible: 'PS512' }).alg).to.equal('RS384')
      expect(signingKey(keys.RSA, { algIfPossible: 'RS256' }).alg).to.equal('RS256')
      expect(signingKey(keys['P-384'], { algIfPossible: 'RS256' }).alg).to.equal('ES384')
    })

    it('makes a key that cannot be taken out again, once', async () => {
      const key = signingKey(jwkOf('P-256'))
      const [one, other] = await Promise.all([key.privateKey(), key.privateKey()])
      expect(one).to.equal(other)
      expect([one.extractable, one.usages]).to.deep.equal([false, ['sign']])
      for (const part of [key, key.publicJwk]) expect(part).to.satisfy(Object.isFrozen)
    })

    it("keeps a JWK's own kid, unless it is given another", () => {
      const jwk = { ...jwkOf('Ed25519'), kid: 'its own' }
      expect(signingKey(jwk).kid).to.equal('its own')
      expect(signingKey({ key: pemOf('Ed25519', 'pkcs8'), kid: 'ours' }).kid).to.equal('ours')
    })
  })

  describe('decryptionKey()', () => {
    const ecdh = ['ECDH-ES', 'ECDH-ES+A128KW', 'ECDH-ES+A192KW', 'ECDH-ES+A256KW']
    const rsa = ['RSA-OAEP-256', 'RSA-OAEP', 'RSA-OAEP-384', 'RSA-OAEP-512']
    for (const [type, algs] of [
      ['RSA', rsa],
      ['P-256', ecdh],
      ['P-384', ecdh],
      ['P-521', ecdh],
      ['X25519', ecdh],
    ] as const) {
      for (const [form, input] of [
        ['JWK', () => jwkOf(type)],
        ['KeyObject', () => keys[type]],
        ['PEM', () => pemOf(type, 'pkcs8')],
        ['{ key, kid }', () => ({ key: pemOf(type, 'pkcs8'), kid: 'a' })],
      ] as const) {
        it(`takes ${type} as ${form} for ${algs.join(', ')}, and registers the first [TOK-19]`, async () => {
          const key = decryptionKey(input())
          expect(key.algs).to.deep.equal(algs)
          expect(key.publicJwk).to.include({ use: 'enc', alg: algs[0], kid: key.kid })
          const { kty, kid, use, alg, ...rest } = key.publicJwk
          expect(Object.keys(rest).sort()).to.deep.equal(publicMembers[kty])
          for (const each of algs) await decrypts(key.publicJwk, each, key.key)
        })
      }

      it(`takes ${type} for the one algorithm that its JWK names [TOK-19]`, () => {
        const alg = algs.at(-1)
        const key = decryptionKey({ ...jwkOf(type), alg })
        expect([key.algs, key.publicJwk.alg]).to.deep.equal([[alg], alg])
      })
    }

    for (const [type, algorithm, usages, algs] of [
      ['RSA', { name: 'RSA-OAEP', hash: 'SHA-1' }, ['decrypt'], ['RSA-OAEP']],
      ['RSA', { name: 'RSA-OAEP', hash: 'SHA-512' }, ['decrypt'], ['RSA-OAEP-512']],
      ['P-256', { name: 'ECDH', namedCurve: 'P-256' }, ['deriveBits'], ecdh],
      ['X25519', { name: 'X25519' }, ['deriveBits'], ecdh],
    ] as const) {
      it(`takes a CryptoKey for ${algorithm.name}: ${algs.join(', ')}`, async () => {
        const key = decryptionKey(await cryptoKeyOf(type, algorithm, [...usages]))
        expect(key.algs).to.deep.equal(algs)
        await decrypts(key.publicJwk, algs[0]!, key.key)
      })
    }
  })

  describe('thumbprint()', () => {
    it('agrees with the examples of the standards (RFC 7638 §3.1, RFC 8037 §A.3)', () => {
      const rsa = {
        kty: 'RSA',
        n: '0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw',
        e: 'AQAB',
        alg: 'RS256',
        kid: '2011-04-29',
      }
      expect(thumbprint(rsa)).to.equal('NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs')
      const ed25519 = {
        kty: 'OKP',
        crv: 'Ed25519',
        d: 'nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A',
        x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo',
      }
      const expected = 'kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k'
      expect(thumbprint(ed25519)).to.equal(expected)
      expect(signingKey(ed25519).kid).to.equal(expected)
      expect(signingKey(createPrivateKey({ key: ed25519, format: 'jwk' })).kid).to.equal(expected)
    })
  })
})
