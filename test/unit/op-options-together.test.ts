import { generateKeyPairSync } from 'node:crypto'
import { expect } from 'chai'
import { refusal, type required, resolve } from '../support/option-rules.ts'

const fetch = async () => new Response()
const { privateKey: p256 } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const { privateKey: p384, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' })
const secretOf = (bytes: number) => 'é'.repeat(bytes / 2)

const without = (...names: (keyof typeof required)[]) =>
  Object.fromEntries(names.map((name) => [name, undefined]))
const message = (options: object) => refusal(options).message
const refused = (options: object) => [refusal(options).option, message(options)]

describe('resolveOptions(): keys, secrets and certificates together with', () => {
  context('no "clientAuthMethod"', () => {
    const mtls = { mtls: true, customFetch: fetch } as const
    for (const [what, options, method] of [
      ['a key', { clientAssertionSigningKey: p256 }, 'private_key_jwt'],
      ['key, secret and certificate', { clientAssertionSigningKey: p256, ...mtls }, 'private_key_jwt'],
      ['secret and certificate', mtls, 'client_secret_basic'],
      ['a certificate alone', { ...mtls, ...without('clientSecret') }, 'tls_client_auth'],
      [
        'a key and a certificate',
        { clientAssertionSigningKey: p256, ...mtls, ...without('clientSecret') },
        'private_key_jwt',
      ],
    ] as const) {
      it(`is ${method} with ${what} (AUTH-4)`, () => {
        expect(resolve(options).client.op.clientAuthMethod).to.equal(method)
      })
    }

    it('needs a secret where nothing else is given', () => {
      expect(refusal(without('clientSecret')).option).to.equal('clientSecret')
    })
  })

  context('a "clientAuthMethod" that needs something', () => {
    for (const method of ['client_secret_basic', 'client_secret_post', 'client_secret_jwt']) {
      it(`${method} needs a secret, whatever else there is`, () => {
        const options = { clientAuthMethod: method, clientAssertionSigningKey: p256 }
        expect(refused({ ...options, ...without('clientSecret') })).to.deep.equal([
          'clientSecret',
          '"clientSecret" option (or the environment variable CLIENT_SECRET) is required: the client_secret that the OP has registered',
        ])
      })
    }

    it('private_key_jwt needs a key', () => {
      expect(refused({ clientAuthMethod: 'private_key_jwt' })).to.deep.equal([
        'clientAssertionSigningKey',
        '"clientAssertionSigningKey" option is required with "clientAuthMethod" private_key_jwt',
      ])
    })

    for (const method of ['tls_client_auth', 'self_signed_tls_client_auth']) {
      it(`${method} needs a certificate (AUTH-5)`, () => {
        expect(refused({ clientAuthMethod: method })).to.deep.equal([
          'mtls',
          `"mtls" option is required with "clientAuthMethod" ${method}`,
        ])
      })
    }

    it('client_secret_jwt needs a secret of 32 bytes, and HS256 is all it takes (CFG-10)', () => {
      const options = { clientAuthMethod: 'client_secret_jwt' }
      expect(refused({ ...options, clientSecret: 'x'.repeat(31) })).to.deep.equal([
        'clientSecret',
        '"clientSecret" option must be of at least 32 bytes for HS256',
      ])
      const clientSecret = secretOf(32)
      expect(clientSecret, 'bytes count, not letters').to.have.length(16)
      const { op } = resolve({ ...options, clientSecret, clientAssertionSigningAlg: 'HS256' }).client
      expect(op.clientAuthMethod).to.equal('client_secret_jwt')
      for (const alg of ['HS512', 'ES256', null]) {
        expect(refused({ ...options, clientSecret, clientAssertionSigningAlg: alg })).to.deep.equal([
          'clientAssertionSigningAlg',
          '"clientAssertionSigningAlg" option must be "HS256" with "clientAuthMethod" client_secret_jwt',
        ])
      }
    })

    it('refuses "clientAssertionSigningAlg" where there is no assertion', () => {
      for (const clientAuthMethod of ['client_secret_basic', 'client_secret_post', undefined]) {
        expect(refused({ clientAuthMethod, clientAssertionSigningAlg: 'ES256' })).to.deep.equal([
          'clientAssertionSigningAlg',
          `"clientAssertionSigningAlg" option has no meaning with "clientAuthMethod" ${clientAuthMethod ?? 'client_secret_basic'}`,
        ])
      }
    })
  })

  context('ID tokens that are signed with the secret (CFG-8)', () => {
    for (const [alg, bytes] of [
      ['HS256', 32],
      ['HS384', 48],
      ['HS512', 64],
    ] as const) {
      it(`need one of ${bytes} bytes for ${alg}`, () => {
        const options = { clientAssertionSigningKey: p256, idTokenSigningAlg: ['ES256', alg] }
        expect(refusal({ ...options, ...without('clientSecret') }).option).to.equal('clientSecret')
        expect(message({ ...options, clientSecret: secretOf(bytes).slice(1) })).to.equal(
          `"clientSecret" option must be of at least ${bytes} bytes for ${alg}`,
        )
        const { op } = resolve({ ...options, clientSecret: secretOf(bytes) }).client
        expect(op.idTokenSigningAlgs).to.deep.equal(['ES256', alg])
      })
    }
  })

  context('keys', () => {
    it('need one for "requestObjectSigningAlg" (CFG-6)', () => {
      expect(refused({ requestObjectSigningAlg: 'ES256' })).to.deep.equal([
        'requestObjectSigningKey',
        '"requestObjectSigningKey" option is required with "requestObjectSigningAlg"',
      ])
    })

    for (const option of ['requestObjectSigningKey', 'clientAssertionSigningKey']) {
      it(`"${option}" must fit its algorithm, and the option says so (CFG-6)`, () => {
        const alg = option.replace('Key', 'Alg')
        expect(refused({ [option]: p256, [alg]: 'ES384' })).to.deep.equal([
          option,
          `"${option}" option must be a key for "ES384", but it is one for ES256; see the algorithm option beside it`,
        ])
      })
    }

    for (const option of ['requestObjectSigningKey', 'clientAssertionSigningKey', 'idTokenDecryptionKey']) {
      it(`"${option}" must not be an empty array, nor one with a wrong key in it`, () => {
        expect(refused({ [option]: [] })).to.deep.equal([
          option,
          `"${option}" option must be a key, or a non-empty array of keys`,
        ])
        expect(refused({ [option]: [p256, publicKey] })).to.deep.equal([
          option,
          `"${option}" option must be a private key, not a public or a secret one`,
        ])
      })
    }

    it('differ in their "kid", and the option of the second one is blamed (CFG-10)', () => {
      const [one, other] = [
        { key: p256, kid: 'a' },
        { key: p384, kid: 'a' },
      ]
      const clash = 'must be keys with different "kid"s, but two have "a"'
      for (const [options, option] of [
        [{ requestObjectSigningKey: [one, other] }, 'requestObjectSigningKey'],
        [{ clientAssertionSigningKey: one, requestObjectSigningKey: other }, 'requestObjectSigningKey'],
        [{ clientAssertionSigningKey: [other, one] }, 'clientAssertionSigningKey'],
        [{ requestObjectSigningKey: one, idTokenDecryptionKey: other }, 'idTokenDecryptionKey'],
      ] as const) {
        expect(refused(options)).to.deep.equal([option, `"${option}" option ${clash}`])
      }
      expect(refused({ requestObjectSigningKey: one, idTokenDecryptionKey: one })).to.deep.equal([
        'idTokenDecryptionKey',
        '"idTokenDecryptionKey" option must be different keys for signing and for decrypting',
      ])
      const { op } = resolve({ clientAssertionSigningKey: one, requestObjectSigningKey: one }).client
      expect([op.clientAssertionKeys, op.requestObjectKeys].map((keys) => keys?.[0]?.kid)).to.deep.equal([
        'a',
        'a',
      ])
    })
  })

  context('"idTokenChecks"', () => {
    it('knows "acr" and "nonce", which are true or false (TOK-15, TOK-17)', () => {
      expect(refused({ idTokenChecks: { nonc: false } })).to.deep.equal([
        'idTokenChecks.nonc',
        '"idTokenChecks.nonc" option is unknown, did you mean "idTokenChecks.nonce"?',
      ])
      expect(message({ idTokenChecks: { signature: false } })).to.equal(
        '"idTokenChecks.signature" option is unknown',
      )
      for (const name of ['acr', 'nonce']) {
        expect(refused({ idTokenChecks: { [name]: 'no' } })).to.deep.equal([
          `idTokenChecks.${name}`,
          `"idTokenChecks.${name}" option must be true or false, received "no"`,
        ])
        expect(message({ idTokenChecks: { [name]: null } })).to.include('received null')
      }
    })
  })

  context('"dpop"', () => {
    it('is refused in push mode, which has no token request (PUSH-10)', () => {
      const push = { deliveryMode: 'push', baseURL: 'https://my-app.example.com' }
      for (const dpop of [true, p256]) {
        expect(refused({ ...push, dpop })).to.deep.equal([
          'dpop',
          '"dpop" option must be false in push mode, which has no token request; use "mtls" (CIBA Core §5)',
        ])
      }
      expect(resolve({ ...push, dpop: false }).client.op).to.not.have.property('dpop')
    })
  })
})
