/**
 * Encrypted tokens (compact JWE), the ones that nobody should make any more included. Knows nothing of what is in
 * them.
 */
import { constants, createCipheriv, createPublicKey, publicEncrypt, randomBytes } from 'node:crypto'
import { CompactEncrypt, importJWK, type JWK } from 'jose'
import { encode } from './signing-keys.ts'

/** For whom to encrypt, and how. */
export interface Encryption {
  /** The client's public key, or an `oct` key for `dir`. */
  readonly jwk: JWK
  /** @default RSA-OAEP-256 for an RSA key, ECDH-ES for all others */
  readonly alg?: string
  /** @default 'A256GCM' */
  readonly enc?: string
  /** Added to the header. */
  readonly header?: Record<string, unknown>
  /** Encrypted instead of the signed token. */
  readonly plaintext?: string
}

/** Nests the signed token (RFC 7519 §5.2). */
export async function encryptToken(signed: string, encryption: Encryption): Promise<string> {
  const { jwk, enc = 'A256GCM', plaintext = signed } = encryption
  const alg = encryption.alg ?? (jwk.kty === 'RSA' ? 'RSA-OAEP-256' : 'ECDH-ES')
  const header = { alg, enc, cty: 'JWT', ...(jwk.kid && { kid: jwk.kid }), ...encryption.header }
  if (alg === 'RSA1_5') return encryptByRsa15(plaintext, jwk, header)
  const key = await importJWK(jwk, alg)
  const crit = Object.fromEntries(Object.keys(encryption.header ?? {}).map((name) => [name, true]))
  return new CompactEncrypt(Buffer.from(plaintext)).setProtectedHeader(header).encrypt(key, { crit })
}

/** jose refuses RSA1_5, and A256GCM is all that is done here. */
function encryptByRsa15(plaintext: string, jwk: JWK, header: object): string {
  const contentKey = randomBytes(32)
  const iv = randomBytes(12)
  const head = encode(header)
  const cipher = createCipheriv('aes-256-gcm', contentKey, iv).setAAD(Buffer.from(head))
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()])
  const key = createPublicKey({ key: { ...jwk }, format: 'jwk' })
  const encryptedKey = publicEncrypt({ key, padding: constants.RSA_PKCS1_PADDING }, contentKey)
  const rest = [encryptedKey, iv, ciphertext, cipher.getAuthTag()].map((part) => part.toString('base64url'))
  return [head, ...rest].join('.')
}
