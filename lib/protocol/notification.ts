/**
 * The OP's ping (CIBA Core §10.2): the notification token that proves where it comes from, and its body. Knows
 * nothing of HTTP frameworks or of the transaction behind it.
 */

import { createHmac, timingSafeEqual } from 'node:crypto'
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

/** RFC 6750 §2.1: the scheme in any case, one or more spaces, one b64token [PING-2]. */
const bearer = /^bearer +([A-Za-z0-9\-._~+/]+=*)$/i
/** Our own tokens are far shorter than the 1024 characters of CIBA Core §7.1. */
const longestHeader = 256

/**
 * Tokens are derived from the transaction id, so that nothing secret needs storing and every instance can check
 * them. All keys verify, the first one makes new tokens.
 */
export function notificationTokens(keys: KeyRing): NotificationTokens {
  const mac = (key: Uint8Array, id: string) => createHmac('sha256', key).update(id).digest()
  return {
    issue: (id) => `${id}.${mac(keys[0].notification, id).toString('base64url')}`,
    verify(authorization) {
      if (authorization === undefined || authorization.length > longestHeader) return undefined
      const [id = '', given = '', ...rest] = bearer.exec(authorization)?.[1]?.split('.') ?? []
      const received = Buffer.from(given, 'base64url')
      // Other spellings of the same bytes are other tokens: whole values are compared [PING-3].
      if (id === '' || rest.length > 0 || received.toString('base64url') !== given) return undefined
      const genuine = keys.some(({ notification }) => {
        const expected = mac(notification, id)
        return expected.length === received.length && timingSafeEqual(expected, received)
      })
      return genuine ? id : undefined
    },
  }
}

/** The `auth_req_id` of a ping's JSON body; `undefined` for everything else. Other members are ignored [PING-1]. */
export function parsePing(body: unknown): string | undefined {
  if (typeof body !== 'object' || body === null) return undefined
  const { auth_req_id: authReqId } = body as Record<string, unknown>
  return isAuthReqId(authReqId) ? authReqId : undefined
}
