/**
 * What the OP has to know of our keys and our certificate. Never a private member. Knows nothing of how it gets there.
 */

import { X509Certificate } from 'node:crypto'
import { jwksOf, type PublicJwk, thumbprint } from './client-keys.ts'
import type { OpConfig } from './registration.ts'

/** The public halves of all keys, and for `self_signed_tls_client_auth` the certificate (RFC 8705 §2.2.2). */
export function publishedKeys(op: OpConfig): readonly PublicJwk[] {
  const { clientAssertionKeys = [], requestObjectKeys = [], idTokenDecryptionKeys = [] } = op
  const certificate = certificateOf(op)
  const assertionKeys = op.clientAuthMethod === 'private_key_jwt' ? clientAssertionKeys : []
  const keys = jwksOf([...assertionKeys, ...requestObjectKeys, ...idTokenDecryptionKeys])
  if (!certificate || op.clientAuthMethod !== 'self_signed_tls_client_auth') return keys
  const own = certificateJwk(certificate)
  const others = keys.filter((key) => thumbprint(key) !== own.kid)
  if (others.length === keys.length) return [...keys, own]
  // The same key signs, too: once in the set [CFG-10].
  return keys.map((key) => (others.includes(key) ? key : { ...key, x5c: own['x5c'] }))
}

/** The subject as RFC 4514 writes it, for `tls_client_auth_subject_dn` (RFC 8705 §2.1.2). */
export function certificateSubject(op: OpConfig): string | undefined {
  // Node.js puts spaces around the plus that joins several attributes; one within a value is escaped.
  return certificateOf(op)?.subject.split('\n').reverse().join(',').replaceAll(' + ', '+')
}

/** `undefined` too where `customFetch` has the certificate, and we never see it. */
function certificateOf({ mtls }: OpConfig): X509Certificate | undefined {
  return mtls && mtls !== true ? new X509Certificate(mtls.cert) : undefined
}

function certificateJwk(certificate: X509Certificate): PublicJwk {
  const jwk = certificate.publicKey.export({ format: 'jwk' }) as { kty: string }
  return { ...jwk, kid: thumbprint(jwk), use: 'sig', x5c: [certificate.raw.toString('base64')] }
}
