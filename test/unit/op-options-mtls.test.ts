import { createPrivateKey } from 'node:crypto'
import { inspect } from 'node:util'
import { expect } from 'chai'
import type { ClientCertificate } from '../../lib/index.ts'
import { type Identity, makeCertificate, testCertificates } from '../support/certificates.ts'
import { refusal, required, resolve } from '../support/option-rules.ts'

const passphrase = 'hunter22-passphrase'
const fetch = async () => new Response()
const refused = (mtls: unknown, beside: object = {}) => {
  const { option, message } = refusal({ mtls, ...beside })
  return [option, message]
}
const noCertificate = [
  'mtls',
  '"mtls" option must be { cert, key, ca?, passphrase? } in PEM, and the key that of the certificate',
]

/** RSA, 1024 bits; its key was thrown away. */
const weak = `-----BEGIN CERTIFICATE-----
MIIB+jCCAWOgAwIBAgIUec/RsqVmkCBi4yVByjwsdljVjSYwDQYJKoZIhvcNAQEL
BQAwDzENMAsGA1UEAwwEd2VhazAeFw0yNjExMjIxNzI4NTlaFw0yNjExMjMxNzI4
NTlaMA8xDTALBgNVBAMMBHdlYWswgZ8wDQYJKoZIhvcNAQEBBQADgY0AMIGJAoGB
AL2MRlPMD5FCXudR+bzTsPu9l4jUdlBWNb6/ZkaWS7Mom8t5i5m2v4c1OdrJw6Id
9ipvFKJgDgbhLGgkQ2n6VUM9HJw+8AsEY1ldVBXa4UHpFgfvwkus8QoLx/x0u0IG
+YC3OAzD9iKrGDDZdAzdeQB8rqD7uWteGrC8+vU8yQBBAgMBAAGjUzBRMB0GA1Ud
DgQWBBQom3D93x3KqHviw9cNZrgU6DvcuzAfBgNVHSMEGDAWgBQom3D93x3KqHvi
w9cNZrgU6DvcuzAPBgNVHRMBAf8EBTADAQH/MA0GCSqGSIb3DQEBCwUAA4GBAAwN
T9eh/4+GKASm4H3NAZVZdE7jle0wI/5r4d228iEPFPStA0gBiEfa1eLIjE/Nlj1G
bKU0VEebmpTdg+CRGNWBdyA9nICQq0dL595P7YjtKtKgro7Nebrg3UtB9TgBj4UJ
nLJ0X2O+lGAXT3kumDZUZ0cvnSIB75IBQPOBPhOM
-----END CERTIFICATE-----`

describe('resolveOptions(): "mtls" (AUTH-5)', () => {
  let own: Identity
  let ofAnother: Identity
  let ca: string
  let encryptedKey: string

  before(async () => {
    const certificates = await testCertificates()
    own = certificates.client
    ofAnother = certificates.selfSigned
    ca = certificates.ca
    encryptedKey = createPrivateKey(own.key)
      .export({ format: 'pem', type: 'pkcs8', cipher: 'aes-256-cbc', passphrase })
      .toString()
  })

  context('a certificate with its key', () => {
    const good: [string, () => ClientCertificate][] = [
      ['as text', () => own],
      ['as buffers', () => ({ cert: Buffer.from(own.cert), key: Buffer.from(own.key) })],
      ['with the chain', () => ({ ...own, cert: `${own.cert}\n${ca}` })],
      ['with a passphrase', () => ({ cert: own.cert, key: encryptedKey, passphrase })],
      ['with an authority for the OP', () => ({ ...own, ca })],
      ['with several authorities', () => ({ ...own, ca: [ca, Buffer.from(ofAnother.cert)] })],
      ['with members that are undefined', () => ({ ...own, ca: undefined, passphrase: undefined })],
    ]
    for (const [how, certificate] of good) {
      it(`is taken ${how}`, () => {
        const { mtls } = resolve({ mtls: certificate() }).client.op
        expect(mtls).to.deep.equal(certificate())
        expect(mtls).to.satisfy(Object.isFrozen)
      })
    }

    it('is taken with an RSA key of 2048 bits (CFG-10)', async () => {
      const rsa = await makeCertificate({ algorithm: 'RS256' })
      expect(resolve({ mtls: rsa }).client.op.mtls).to.deep.equal(rsa)
    })
  })

  context('anything else', () => {
    const bad: [string, () => unknown][] = [
      ['nothing', () => ({})],
      ['no key', () => ({ cert: own.cert })],
      ['an empty key', () => ({ ...own, key: '' })],
      ['an empty buffer for a key', () => ({ ...own, key: Buffer.alloc(0) })],
      ['a key that is null', () => ({ ...own, key: null })],
      ['a key that is no PEM', () => ({ ...own, key: 'hunter22' })],
      ['no certificate', () => ({ key: own.key })],
      ['an empty certificate', () => ({ ...own, cert: '' })],
      ['a certificate that is no PEM', () => ({ ...own, cert: 'hunter22' })],
      ['the key in the place of the certificate', () => ({ ...own, cert: own.key })],
      ['certificate and key the wrong way round', () => ({ cert: own.key, key: own.cert })],
      ['the key of another certificate', () => ({ ...own, key: ofAnother.key })],
      ['an encrypted key without a passphrase', () => ({ ...own, key: encryptedKey })],
      ['a wrong passphrase', () => ({ ...own, key: encryptedKey, passphrase: 'hunter2' })],
      ['an authority that is no PEM', () => ({ ...own, ca: 'hunter22' })],
      ['several authorities of which one is no PEM', () => ({ ...own, ca: [ca, 'hunter22'] })],
      ['an authority that is null', () => ({ ...own, ca: null })],
      ['several certificates in an array', () => ({ ...own, cert: [own.cert, ca] })],
    ]
    for (const [what, certificate] of bad) {
      it(`is refused: ${what}`, () => {
        expect(refused(certificate())).to.deep.equal(noCertificate)
      })
    }

    it('is refused: an RSA key of less than 2048 bits (CFG-10)', () => {
      expect(refused({ cert: weak, key: own.key })).to.deep.equal([
        'mtls',
        '"mtls" option must be a certificate for an RSA key of at least 2048 bits',
      ])
    })

    it('is refused: a member that nobody knows', () => {
      expect(refused({ ...own, certs: own.cert })).to.deep.equal([
        'mtls.certs',
        '"mtls.certs" option is unknown, did you mean "mtls.cert"?',
      ])
      expect(refused({ ...own, rejectUnauthorized: false })).to.deep.equal([
        'mtls.rejectUnauthorized',
        '"mtls.rejectUnauthorized" option is unknown',
      ])
    })
  })

  context('with "customFetch"', () => {
    it('is true: the transport presents the certificate itself', () => {
      expect(resolve({ mtls: true, customFetch: fetch }).client.op.mtls).to.equal(true)
      expect(refused(true)).to.deep.equal([
        'mtls',
        '"mtls" option must be { cert, key }, or true together with a "customFetch" that presents them',
      ])
    })

    it('is not a certificate that nobody would present', () => {
      expect(refused(own, { customFetch: fetch })).to.deep.equal([
        'mtls',
        '"mtls" option must be true with "customFetch", which replaces our transport and has to present the certificate itself',
      ])
    })
  })

  it('does not follow later changes of what was given', () => {
    const given = { ...own }
    const { mtls } = resolve({ mtls: given }).client.op
    given.key = ofAnother.key
    expect(mtls).to.deep.equal(own)
  })

  it('never shows key or passphrase (SEC-11)', () => {
    for (const mtls of [
      { cert: own.cert, key: ofAnother.key },
      { cert: own.cert, key: encryptedKey, passphrase },
      { cert: own.key, key: own.key },
      own.key,
    ]) {
      const beside = { ...required, clientAuthMethod: 'nonsense' }
      const shown = inspect(refusal({ ...beside, mtls }), { depth: 5 })
      for (const key of [own.key, ofAnother.key, encryptedKey]) {
        for (const line of key.split('\n').slice(1, 2)) expect(shown).to.not.include(line)
      }
      expect(shown).to.not.include(passphrase)
    }
  })
})
