/**
 * Compares what nobody shall find out by measuring. Knows nothing of what it compares.
 */

import { timingSafeEqual } from 'node:crypto'

/** Whether two texts are the same, whole, in a time that tells nothing but whether they are of one length [PING-3]. */
export function sameSecret(a: string, b: string): boolean {
  if (a.length !== b.length) return false
  // UTF-8 would turn every lone surrogate into the same character.
  return timingSafeEqual(Buffer.from(a, 'utf16le'), Buffer.from(b, 'utf16le'))
}
