/**
 * Certificates for mutual TLS on loopback: an authority, a server's, and clients' with and without the authority
 * behind them. Made when first asked for. Knows nothing of who presents them.
 */
import type { webcrypto } from 'node:crypto'
import type { JsonName } from '@peculiar/x509'

/** PEM. */
export interface Identity {
  readonly cert: string
  readonly key: string
}

export interface TestCertificates {
  /** Of the authority that signed `server` and `client`. */
  readonly ca: string
  /** For 127.0.0.1 and localhost. */
  readonly server: Identity
  /** Of {@link CLIENT_SUBJECT}. */
  readonly client: Identity
  /** Of {@link CLIENT_SUBJECT}, too, and signed by nobody else. */
  readonly selfSigned: Identity
}

/** As RFC 4514 writes it: the certificate itself begins with the country. */
export const CLIENT_SUBJECT = 'CN=client,O=Express CIBA,C=DE'

const HOUR = 3600_000
const algorithms = {
  ES256: { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' },
  RS256: {
    name: 'RSASSA-PKCS1-v1_5',
    modulusLength: 2048,
    publicExponent: new Uint8Array([1, 0, 1]),
    hash: 'SHA-256',
  },
} as const

let certificatesOfThisProcess: Promise<TestCertificates> | undefined

/** The same for everybody in this process. */
export function testCertificates(): Promise<TestCertificates> {
  certificatesOfThisProcess ??= makeCertificates()
  return certificatesOfThisProcess
}

async function makeCertificates(): Promise<TestCertificates> {
  const [{ ca }, server, client, selfSigned] = await Promise.all([
    authority(),
    makeCertificate({ subject: 'CN=127.0.0.1', server: true }),
    makeCertificate(),
    makeCertificate({ selfSigned: true }),
  ])
  return { ca, server, client, selfSigned }
}

export interface CertificateOptions {
  /** RFC 4514. @default {@link CLIENT_SUBJECT} */
  readonly subject?: string
  /** Instead of signed by the authority. @default false */
  readonly selfSigned?: boolean
  /** Of its key. @default 'ES256' */
  readonly algorithm?: keyof typeof algorithms
  /** For 127.0.0.1 and localhost. @default false */
  readonly server?: boolean
}

/** A fresh one, valid for an hour. */
export async function makeCertificate(options: CertificateOptions = {}): Promise<Identity> {
  const { subject = CLIENT_SUBJECT, selfSigned = false, algorithm = 'ES256', server = false } = options
  const x509 = await library()
  const keys = await generate(algorithm)
  const extensions = server
    ? [
        new x509.SubjectAlternativeNameExtension([
          { type: 'ip', value: '127.0.0.1' },
          { type: 'dns', value: 'localhost' },
        ]),
      ]
    : []
  const common = { ...validity(), extensions }
  const name = await encoded(subject)
  const signingAlgorithm = algorithms[selfSigned ? algorithm : 'ES256']
  const certificate = selfSigned
    ? await x509.X509CertificateGenerator.createSelfSigned({ ...common, signingAlgorithm, name, keys })
    : await x509.X509CertificateGenerator.create({
        ...common,
        signingAlgorithm,
        subject: name,
        issuer: (await authority()).name,
        publicKey: keys.publicKey,
        signingKey: (await authority()).signingKey,
      })
  const key = x509.PemConverter.encode(await crypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY')
  return { cert: certificate.toString('pem'), key }
}

interface Authority {
  readonly ca: string
  readonly name: string
  readonly signingKey: webcrypto.CryptoKey
}

let authorityOfThisProcess: Promise<Authority> | undefined

function authority(): Promise<Authority> {
  authorityOfThisProcess ??= makeAuthority()
  return authorityOfThisProcess
}

async function makeAuthority(): Promise<Authority> {
  const x509 = await library()
  const keys = await generate('ES256')
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    ...validity(),
    name: 'CN=Express CIBA test authority',
    keys,
    signingAlgorithm: algorithms.ES256,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
    ],
  })
  return { ca: certificate.toString('pem'), name: certificate.subject, signingKey: keys.privateKey }
}

function validity() {
  return { notBefore: new Date(Date.now() - HOUR), notAfter: new Date(Date.now() + HOUR) }
}

function generate(algorithm: keyof typeof algorithms): Promise<webcrypto.CryptoKeyPair> {
  return crypto.subtle.generateKey(algorithms[algorithm], true, ['sign', 'verify'])
}

/** The library keeps the order it is given, and RFC 4514 names the last attribute first. */
async function encoded(subject: string): Promise<JsonName> {
  const { Name } = await library()
  return new Name(subject).toJSON().reverse()
}

function library(): Promise<typeof import('@peculiar/x509')> {
  // Its dependency injection insists on a polyfill of which it needs this much.
  const metadata = { getMetadata: () => undefined, getOwnMetadata: () => undefined }
  if (!('getMetadata' in Reflect)) Object.assign(Reflect, metadata)
  return import('@peculiar/x509')
}
