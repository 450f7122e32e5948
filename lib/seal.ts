/**
 * Seals text that leaves this process for a store or a session, and opens it again. Knows nothing of what it says.
 */

import { CompactEncrypt, compactDecrypt } from 'jose'
import type { KeyRing } from './keys.ts'

/** Seals texts for one purpose; those of another do not open. */
export interface Sealer {
  seal(text: string): Promise<string>
  /** Rejects when `data` was not sealed with one of the keys, or for another purpose. */
  open(data: string): Promise<string>
}

/** Compact JWEs (`dir`, A256GCM) under the first key; all keys open [SEC-9]. */
export function sealer(keys: KeyRing, purpose: string): Sealer {
  const [{ keyId, sealing }] = keys
  const header = { alg: 'dir', enc: 'A256GCM', kid: keyId, typ: purpose }
  return {
    seal: (text) =>
      new CompactEncrypt(new TextEncoder().encode(text)).setProtectedHeader(header).encrypt(sealing),

    async open(data) {
      const { plaintext, protectedHeader } = await compactDecrypt(
        data,
        ({ kid }) => {
          const match = keys.find((candidate) => candidate.keyId === kid)
          if (!match) throw new Error('it was sealed with a secret that is not configured')
          return match.sealing
        },
        { keyManagementAlgorithms: ['dir'], contentEncryptionAlgorithms: ['A256GCM'] },
      )
      if (protectedHeader.typ !== purpose) throw new Error('it was sealed for another purpose')
      return new TextDecoder().decode(plaintext)
    },
  }
}
