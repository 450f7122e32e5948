/**
 * Encrypted tokens (OpenID Connect Core §10.2, §16.14): from the JWE to the JWS inside. Knows nothing of what the JWS
 * says.
 */

import { type CompactDecryptResult, compactDecrypt, decodeProtectedHeader } from 'jose'
import type { DecryptionKey } from './client-keys.ts'

/** Decrypts with whichever key fits; RSA1_5 and shared secrets never do [TOK-19]. Rejects if none does. */
export function decrypter(keys: readonly DecryptionKey[]): (jwe: string) => Promise<string> {
  return async (jwe) => {
    const { alg, kid } = decodeProtectedHeader(jwe)
    const usable = keys.filter(({ algs }) => alg !== undefined && algs.includes(alg))
    const named = usable.filter((key) => key.kid === kid)
    let result: CompactDecryptResult | undefined
    // An OP may leave the kid out, or know the key by another one; after a rotation there are two.
    for (const { key, algs } of named.length > 0 ? named : usable) {
      result ??= await compactDecrypt(jwe, key, { keyManagementAlgorithms: [...algs] }).catch(() => undefined)
    }
    if (result === undefined) {
      // The header is not quoted: nobody vouches for it [ERR-6].
      const what = usable.length > 0 ? 'for any of our keys' : 'by an algorithm that any of our keys is for'
      throw new Error(`the token is not encrypted ${what}`)
    }
    return new TextDecoder().decode(result.plaintext)
  }
}
