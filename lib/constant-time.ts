/**
 * Compares what nobody shall find out by measuring. Knows nothing of what it compares.
 */

import { createHash, timingSafeEqual } from 'node:crypto'

/** Whether two texts are the same, whole and of any length, in a time that tells nothing [PING-3]. */
export function sameSecret(a: string, b: string): boolean {
  // UTF-8 would turn every lone surrogate into the same character.
  const digest = (text: string) => createHash('sha256').update(Buffer.from(text, 'utf16le')).digest()
  return timingSafeEqual(digest(a), digest(b))
}
