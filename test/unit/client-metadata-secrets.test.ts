/** Whatever the options: what is registered at the OP may be shown to everybody. */
import { createPrivateKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import { expect } from 'chai'
import { type CibaClientMetadata, type CibaOptions, cibaClientMetadata } from '../../lib/index.ts'
import { makeCertificate } from '../support/certificates.ts'
import { generate } from '../support/signing-keys.ts'

const clientSecret = 'hunter22-client-secret-of-more-than-32-bytes'
const sealingSecret = 'hunter22-sealing-secret'
const passphrase = 'hunter22-passphrase'
const routes = { jwks: '/jwks', backchannelLogout: '/logged-out' }
const off = {}

/** RFC 7518 §6, every private or secret member; and what RFC 7591 would call a secret. */
const privateNames = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k', 'r', 't', 'priv', 'client_secret']

function namesIn(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([name, inner]) => [name, ...namesIn(inner)])
}

/** One value of each list. */
function combinations(lists: readonly (readonly CibaOptions[])[]): CibaOptions[] {
  return lists.reduce<CibaOptions[]>(
    (all, list) => all.flatMap((one) => list.map((other) => ({ ...one, ...other }))),
    [{}],
  )
}

describe('cibaClientMetadata(), for every combination of options', () => {
  const keys: KeyObject[] = []
  let all: CibaClientMetadata[]

  before(async function () {
    this.timeout(30_000)
    const [rsa, ec, ed25519, x25519, certificate] = await Promise.all([
      generate('rsa', { modulusLength: 2048 }),
      generate('ec', { namedCurve: 'P-384' }),
      generate('ed25519'),
      generate('x25519'),
      makeCertificate({ selfSigned: true }),
    ])
    const [rsaJwk, ecPem] = [
      rsa.privateKey.export({ format: 'jwk' }),
      ec.privateKey.export({ format: 'pem', type: 'sec1' }).toString(),
    ]
    const tlsKey = createPrivateKey(certificate.key)
    keys.push(rsa.privateKey, ec.privateKey, ed25519.privateKey, x25519.privateKey, tlsKey)
    const key = tlsKey.export({ format: 'pem', type: 'pkcs8', cipher: 'aes-256-cbc', passphrase })
    const possible = combinations([
      [{ issuerBaseURL: 'https://op.example.com', clientID: 'the-client', clientSecret }],
      [off, { secret: sealingSecret, baseURL: 'https://my-app.example.com/sub' }],
      [{ deliveryMode: 'poll' }, { deliveryMode: 'ping' }, { deliveryMode: 'push' }],
      [
        { clientAuthMethod: 'client_secret_basic' },
        { clientAuthMethod: 'client_secret_post' },
        { clientAuthMethod: 'client_secret_jwt' },
        { clientAuthMethod: 'private_key_jwt', clientAssertionSigningKey: rsaJwk },
        { clientAuthMethod: 'private_key_jwt', clientAssertionSigningKey: [ecPem, ed25519.privateKey] },
        { clientAuthMethod: 'tls_client_auth' },
        { clientAuthMethod: 'self_signed_tls_client_auth' },
      ],
      [off, { mtls: { cert: certificate.cert, key, passphrase } }],
      [off, { requestObjectSigningKey: rsaJwk }, { requestObjectSigningKey: { key: ecPem, kid: 'a' } }],
      [off, { idTokenDecryptionKey: x25519.privateKey }],
      [off, { dpop: true }, { dpop: ed25519.privateKey }],
      [off, { routes }],
    ]).filter(
      ({ baseURL, deliveryMode, dpop, clientAuthMethod, mtls }) =>
        (deliveryMode === 'poll' || baseURL !== undefined) &&
        !(deliveryMode === 'push' && dpop !== undefined) &&
        (mtls !== undefined || !clientAuthMethod?.endsWith('tls_client_auth')),
    )
    all = possible.map((options) => cibaClientMetadata(options))
  })

  it('holds nothing private: no member, no value, no PEM [CFG-11, SEC-11]', () => {
    const values = keys.flatMap((key) => {
      const jwk: JsonWebKey = key.export({ format: 'jwk' })
      const members = (['d', 'p', 'q', 'dp', 'dq', 'qi'] as const).flatMap((name) => jwk[name] ?? [])
      // Later lines may be of the public part.
      const [, pem] = key.export({ format: 'pem', type: 'pkcs8' }).toString().split('\n')
      return [...members, String(pem)]
    })
    expect(all).to.have.length.above(1000)
    expect(values).to.have.length(6 + 4 * 1 + 5)
    for (const metadata of all) {
      const text = JSON.stringify(metadata)
      for (const value of [...values, 'hunter22', 'PRIVATE']) {
        if (text.includes(value)) expect.fail(`${value} is in ${text}`)
      }
      const names = namesIn(metadata).filter((name) => privateNames.includes(name))
      if (names.length > 0) expect.fail(`${names} is in ${text}`)
    }
  })

  it('has unique kids, and what the OP needs of each key [CFG-10, SIG-6]', () => {
    let seen = 0
    for (const { jwks } of all) {
      const kids = jwks?.keys.map(({ kid }) => kid) ?? []
      if (new Set(kids).size !== kids.length) expect.fail(`${kids} has one twice`)
      for (const key of jwks?.keys ?? []) {
        seen++
        if (!key.kty || !key.kid || !key.use) expect.fail(`something is missing: ${JSON.stringify(key)}`)
      }
    }
    expect(seen).to.be.above(1000)
  })
})
