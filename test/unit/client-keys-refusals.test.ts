/** Keys that we must not use, or could not tell apart; and that none of them is ever shown. */
import { createSecretKey, type KeyObject } from 'node:crypto'
import { inspect } from 'node:util'
import { expect } from 'chai'
import { decryptionKey, jwksOf, signingKey, thumbprint, UnusableKey } from '../../lib/protocol/client-keys.ts'
import { testCertificates } from '../support/certificates.ts'
import { generate } from '../support/signing-keys.ts'

const readers = { 'signingKey()': signingKey, 'decryptionKey()': decryptionKey }
const noForm = 'a private key: JWK, KeyObject, CryptoKey, PEM, or { key, kid }'
const notPrivate = 'a private key, not a public or a secret one'
const forSigning = 'a private RSA, P-256, P-384, P-521 or Ed25519 key'
const forDecrypting = 'a private RSA, P-256, P-384, P-521 or X25519 key'
const tooShort = 'an RSA key of at least 2048 bits'
const badKid = 'a key whose "kid" is a non-empty string'

function refusal(read: () => unknown): UnusableKey {
  try {
    read()
  } catch (error) {
    if (error instanceof UnusableKey) return error
    throw error
  }
  return expect.fail('accepted')
}

const pemOf = (key: KeyObject, type: 'pkcs8' | 'spki') => key.export({ format: 'pem', type }).toString()
const jwkOf = (key: KeyObject) => key.export({ format: 'jwk' })

describe('keys that are refused', () => {
  let rsa: KeyObject
  let rsaPublic: KeyObject
  let ec: KeyObject
  let ecPublic: KeyObject
  let otherEc: KeyObject

  before(async () => {
    const [one, two, three] = await Promise.all([
      generate('rsa', { modulusLength: 2048 }),
      generate('ec', { namedCurve: 'P-256' }),
      generate('ec', { namedCurve: 'P-256' }),
    ])
    ;({ privateKey: rsa, publicKey: rsaPublic } = one)
    ;({ privateKey: ec, publicKey: ecPublic } = two)
    otherEc = three.privateKey
  })

  describe('signingKey() and decryptionKey()', () => {
    const weak: [string, () => Promise<{ privateKey: KeyObject }>, string, string][] = [
      ['RSA of 1024 bits', () => generate('rsa', { modulusLength: 1024 }), tooShort, tooShort],
      ['RSA of 2047 bits', () => generate('rsa', { modulusLength: 2047 }), tooShort, tooShort],
      ['P-224', () => generate('ec', { namedCurve: 'secp224r1' }), forSigning, forDecrypting],
      ['secp256k1', () => generate('ec', { namedCurve: 'secp256k1' }), forSigning, forDecrypting],
      ['P-192', () => generate('ec', { namedCurve: 'prime192v1' }), forSigning, forDecrypting],
      ['Ed448', () => generate('ed448'), forSigning, forDecrypting],
      ['X448', () => generate('x448'), forSigning, forDecrypting],
      ['RSA for PSS alone', () => generate('rsa-pss', { modulusLength: 2048 }), forSigning, forDecrypting],
    ]
    for (const [what, pair, toSign, toDecrypt] of weak) {
      it(`refuse ${what} in every form [CFG-10]`, async () => {
        const { privateKey } = await pair()
        for (const input of [privateKey, pemOf(privateKey, 'pkcs8'), { key: privateKey, kid: 'a' }]) {
          expect(refusal(() => signingKey(input)).message).to.equal(toSign)
          expect(refusal(() => decryptionKey(input)).message).to.equal(toDecrypt)
        }
      })
    }

    it('refuse a short RSA key as a JWK [CFG-10]', async () => {
      const { privateKey } = await generate('rsa', { modulusLength: 1024 })
      expect(refusal(() => signingKey(jwkOf(privateKey))).message).to.equal(tooShort)
    })

    it('refuse a short RSA key as a CryptoKey [CFG-10]', async () => {
      const algorithm = { name: 'RSA-PSS', hash: 'SHA-256', publicExponent: new Uint8Array([1, 0, 1]) }
      const { privateKey } = await crypto.subtle.generateKey({ ...algorithm, modulusLength: 1024 }, false, [
        'sign',
        'verify',
      ])
      expect(refusal(() => signingKey(privateKey)).message).to.equal(tooShort)
    })

    it('refuse keys that can do only the other', async () => {
      const [x25519, ed25519] = [await generate('x25519'), await generate('ed25519')]
      expect(refusal(() => signingKey(x25519.privateKey)).message).to.equal(forSigning)
      expect(refusal(() => decryptionKey(ed25519.privateKey)).message).to.equal(forDecrypting)
    })

    for (const [name, read] of Object.entries(readers)) {
      it(`${name} refuses public and secret keys [CFG-10]`, async () => {
        const hmac = { name: 'HMAC', hash: 'SHA-256' }
        const spki = ecPublic.export({ format: 'der', type: 'spki' })
        const ecdsa = { name: 'ECDSA', namedCurve: 'P-256' }
        for (const [input, message] of [
          [rsaPublic, notPrivate],
          [{ key: ecPublic, kid: 'a' }, notPrivate],
          [createSecretKey(Buffer.alloc(32, 'hunter22')), notPrivate],
          [await crypto.subtle.generateKey(hmac, true, ['sign']), notPrivate],
          [await crypto.subtle.importKey('spki', spki, ecdsa, true, ['verify']), notPrivate],
          [pemOf(rsaPublic, 'spki'), noForm],
          [jwkOf(ecPublic), noForm],
          [{ kty: 'oct', k: 'hunter22' }, noForm],
          [(await testCertificates()).client.cert, noForm],
        ] as const) {
          expect(refusal(() => read(input)).message).to.equal(message)
        }
      })

      it(`${name} refuses what is no key`, () => {
        const passphrase = 'hunter22'
        const options = { format: 'pem', type: 'pkcs8', cipher: 'aes-256-cbc', passphrase } as const
        const hostile = new Proxy({}, { has: () => expect.fail('looked at'), get: () => expect.fail('read') })
        for (const input of [
          ...[undefined, null, true, 7, '', 'hunter22', Symbol('key'), 10n, () => ec],
          ...[{}, [], [ec], new Date(), new Map([['kty', 'EC']]), Object.create(null), hostile],
          ec.export(options),
          { ...jwkOf(ec), crv: 'P-384' },
          { ...jwkOf(ec), crv: undefined },
          { ...jwkOf(ec), kty: 'RSA' },
          { ...jwkOf(ec), d: '' },
          { ...jwkOf(ec), d: jwkOf(otherEc).d },
          { ...jwkOf(rsa), p: undefined },
          JSON.stringify(jwkOf(ec)),
          ec.export({ format: 'der', type: 'pkcs8' }),
          pemOf(ec, 'pkcs8').slice(30),
          { key: ec },
          { key: undefined, kid: 'a' },
          { key: 'hunter22', kid: 'a' },
          { key: { key: ec, kid: 'a' }, kid: 'b' },
        ]) {
          expect(refusal(() => read(input)).message).to.equal(noForm)
        }
      })

      it(`${name} refuses a kid that is no name [SIG-6]`, () => {
        for (const kid of ['', 7, null, {}, ['a']]) {
          expect(refusal(() => read({ key: ec, kid })).message).to.equal(badKid)
          expect(refusal(() => read({ ...jwkOf(ec), kid })).message).to.equal(badKid)
        }
      })
    }

    it('shows what a key is for, and what it should be for [CFG-6]', () => {
      expect(refusal(() => signingKey(ec, { alg: 'ES384' })).message).to.equal(
        'a key for "ES384", but it is one for ES256; see the algorithm option beside it',
      )
      for (const alg of ['RS256', 'HS256', 'none', 'RSA-OAEP-256', '']) {
        expect(refusal(() => signingKey({ ...jwkOf(ec), alg })).message).to.include(
          `a key for ${JSON.stringify(alg)}`,
        )
      }
      for (const alg of ['RSA1_5', 'dir', 'A256KW', 'ECDH-ES', 'PS256']) {
        expect(refusal(() => decryptionKey({ ...jwkOf(rsa), alg })).message, 'TOK-19').to.equal(
          `a key for RSA-OAEP-256, RSA-OAEP, RSA-OAEP-384, RSA-OAEP-512, but it says that it is for ${alg}`,
        )
      }
    })

    it('refuse a CryptoKey that is for the other [CFG-6]', async () => {
      const der = rsa.export({ format: 'der', type: 'pkcs8' })
      const hash = 'SHA-256'
      const oaep = await crypto.subtle.importKey('pkcs8', der, { name: 'RSA-OAEP', hash }, true, ['decrypt'])
      expect(refusal(() => signingKey(oaep)).message).to.include('a key for "RSA-OAEP-256"')
      const pss = await crypto.subtle.importKey('pkcs8', der, { name: 'RSA-PSS', hash }, true, ['sign'])
      expect(refusal(() => decryptionKey(pss)).message).to.include('it says that it is for PS256')
      const old = { name: 'RSA-PSS', hash: 'SHA-1' }
      const sha1 = await crypto.subtle.importKey('pkcs8', der, old, true, ['sign'])
      expect(refusal(() => signingKey(sha1)).message).to.include('a key for "PS1"')
    })

    it('never show the key [SEC-11]', () => {
      const errors = [rsa, ec].flatMap((key) =>
        Object.values(readers).flatMap((read) => [
          refusal(() => read({ ...jwkOf(key), kid: '' })),
          refusal(() => read({ ...jwkOf(key), alg: 'none' })),
          refusal(() => read({ ...jwkOf(key), kty: 'OKP' })),
          refusal(() => read(JSON.stringify(jwkOf(key)))),
          refusal(() => read(`${pemOf(key, 'pkcs8').slice(0, -40)}!`)),
          refusal(() => read([pemOf(key, 'pkcs8')])),
        ]),
      )
      const secrets = [rsa, ec].flatMap((key) => [
        ...(['d', 'p', 'q', 'dp', 'dq', 'qi'] as const).flatMap((name) => jwkOf(key)[name] ?? []),
        ...pemOf(key, 'pkcs8').split('\n').slice(1, -2),
      ])
      expect(secrets).to.have.length.above(20)
      for (const error of errors) {
        const shown = inspect(error, { depth: 9, showHidden: true })
        for (const secret of secrets) expect(shown).to.not.include(secret)
        expect(error).to.not.have.property('cause')
      }
    })
  })

  describe('jwksOf()', () => {
    const of = (...keys: Parameters<typeof jwksOf>[0][number][]) => jwksOf(keys)

    it('has each key once, in order [CFG-10]', () => {
      const [one, two] = [signingKey({ key: ec, kid: 'b' }), signingKey({ key: otherEc, kid: 'a' })]
      expect(of(one, two, one)).to.deep.equal([one.publicJwk, two.publicJwk])
      expect(of()).to.deep.equal([])
    })

    it('refuses two keys with one kid, and names it [CFG-10]', () => {
      const [one, two] = [signingKey({ key: ec, kid: 'a' }), signingKey({ key: otherEc, kid: 'a' })]
      expect(refusal(() => of(one, two)).message).to.equal('keys with different "kid"s, but two have "a"')
    })

    it('leaves the algorithm out of a key that serves several', () => {
      const [ps256, rs256] = [signingKey(rsa), signingKey(rsa, { alg: 'RS256' })]
      const { alg, ...rest } = ps256.publicJwk
      expect(alg).to.equal('PS256')
      for (const keys of [
        [ps256, rs256],
        [ps256, rs256, ps256],
        [rs256, rs256, ps256, rs256],
      ]) {
        expect(of(...keys)).to.deep.equal([rest])
      }
      expect(of(rs256, rs256)).to.deep.equal([rs256.publicJwk])
    })

    it('refuses one key for signing and for decrypting', () => {
      expect(refusal(() => of(signingKey(ec), decryptionKey(ec))).message).to.equal(
        'different keys for signing and for decrypting',
      )
      expect(thumbprint(signingKey(ec).publicJwk)).to.equal(thumbprint(decryptionKey(ec).publicJwk))
    })
  })
})
