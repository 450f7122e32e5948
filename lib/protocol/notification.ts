/**
 * The OP's ping (CIBA Core §10.2): the notification token that proves where it comes from, and its body. Knows
 * nothing of HTTP frameworks or of the transaction behind it.
 */

import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from 'node:crypto'
import type { KeyRing } from '../keys.ts'
import { isAuthReqId } from './acknowledgement.ts'

/** Makes and checks client notification tokens. */
export interface NotificationTokens {
  /** The `client_notification_token` of a transaction: `<id>.<mac>`, 32 bytes of HMAC behind the dot [REQ-4]. */
  issue(transactionId: string): string
  /**
   * The transaction whose token this `Authorization` header carries, or `undefined` for everything else. It
   * looks nothing up: a forged token costs one HMAC and no store access.
   */
  verify(authorization: string | undefined): string | undefined
}

/**
 * RFC 6750 §2.1: the scheme in any case, one or more spaces, one b64token [PING-2]; of those, the ones that look like ours: an id, a
 * dot and 32 bytes.
 */
const bearer = /^bearer +([A-Za-z0-9\-_~+/]+)\.([A-Za-z0-9\-_]{43})$/i
/** Our own tokens are far shorter than the 1024 characters of CIBA Core §7.1. */
const longestHeader = 256

/**
 * Tokens are derived from the transaction id, so that nothing secret needs storing and every instance can check
 * them. All keys verify, the first one makes new tokens.
 */
export function notificationTokens(keys: KeyRing): NotificationTokens {
  // From bytes, Node.js would make a key object anew each time: that costs four times as much as the HMAC.
  const macKeys = keys.map(({ notification }) => createSecretKey(notification))
  const mac = (key: KeyObject, id: string) => createHmac('sha256', key).update(id).digest('base64url')
  const isMac = (key: KeyObject, id: string, given: string) =>
    timingSafeEqual(Buffer.from(mac(key, id)), Buffer.from(given))
  return {
    issue: (id) => `${id}.${mac(macKeys[0] as KeyObject, id)}`,
    verify(authorization) {
      if (authorization === undefined || authorization.length > longestHeader) return undefined
      // Whole values are compared as they are spelt: other spellings of the same bytes are other tokens [PING-3].
      const [, id, given] = bearer.exec(authorization) ?? []
      if (id === undefined || given === undefined) return undefined
      return macKeys.some((key) => isMac(key, id, given)) ? id : undefined
    },
  }
}

/** The `auth_req_id` of a ping's JSON body; `undefined` for everything else. Other members are ignored [PING-1]. */
export function parsePing(body: unknown): string | undefined {
  if (typeof body !== 'object' || body === null) return undefined
  const { auth_req_id: authReqId } = body as Record<string, unknown>
  return isAuthReqId(authReqId) ? authReqId : undefined
}
