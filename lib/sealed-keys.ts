/**
 * The private keys that tokens are bound to, in the form in which they leave this process [AUTH-7]. Knows nothing of where
 * they rest.
 */

import { CibaError } from './errors.ts'
import type { PrivateJwk } from './grant.ts'
import type { Sealer } from './seal.ts'

/** Seals and opens private keys. */
export interface SealedKeys {
  seal(key: PrivateJwk): string
  /** The same object each time: what proofs are made with hangs on it. Rejects with `ERR_CIBA_INVALID_TOKEN`. */
  open(sealed: string): Promise<PrivateJwk>
}

const mostOpenKeys = 1_000

/** Keys sealed by `sealer`; the latest of them stay open. */
export function sealedKeys(sealer: Sealer): SealedKeys {
  const openKeys = new Map<string, Promise<PrivateJwk>>()

  async function openAnew(sealed: string): Promise<PrivateJwk> {
    try {
      return JSON.parse(sealer.open(sealed)) as PrivateJwk
    } catch {
      throw new CibaError(
        'ERR_CIBA_INVALID_TOKEN',
        'the key of the tokens was sealed with another secret: sign in again',
      )
    }
  }

  return {
    seal: (key) => sealer.seal(JSON.stringify(key)),
    open(sealed) {
      const known = openKeys.get(sealed)
      if (known !== undefined) return known
      const [oldest] = openKeys.keys()
      if (openKeys.size >= mostOpenKeys && oldest !== undefined) openKeys.delete(oldest)
      const opening = openAnew(sealed)
      openKeys.set(sealed, opening)
      opening.catch(() => openKeys.delete(sealed))
      return opening
    },
  }
}
