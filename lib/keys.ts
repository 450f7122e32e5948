/**
 * Turns the `secret` option into keys, one set for each secret. Knows nothing of what the keys are used for.
 */

import { hkdfSync } from 'node:crypto'

/** The keys of one secret. */
export interface Keys {
  /** Names the secret in sealed records; says nothing about it. */
  readonly keyId: string
  /** Seals records: AES-256-GCM. */
  readonly sealing: Uint8Array
  /** Makes notification tokens: HMAC-SHA-256. */
  readonly notification: Uint8Array
  /** Makes names for hints and sessions that limiters may store: HMAC-SHA-256. */
  readonly pseudonym: Uint8Array
}

/** The first set makes new things, all sets are tried on old ones: so that a secret can be rotated. */
export type KeyRing = readonly [Keys, ...Keys[]]

/** Derives one independent key for each purpose from each secret (HKDF, RFC 5869). */
export function deriveKeys(secrets: readonly [string, ...string[]]): KeyRing {
  const [first, ...others] = secrets
  return [keysOf(first), ...others.map(keysOf)]
}

function keysOf(secret: string): Keys {
  const derive = (purpose: string, length: number) =>
    new Uint8Array(hkdfSync('sha256', secret, '', `express-ciba v1 ${purpose}`, length))
  return {
    keyId: Buffer.from(derive('key id', 6)).toString('base64url'),
    sealing: derive('record', 32),
    notification: derive('notification token', 32),
    pseudonym: derive('pseudonym', 32),
  }
}
