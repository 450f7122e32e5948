/**
 * The CIBA client: options in, a running {@link Flow} out. Knows nothing of Express.
 */

import { systemClock } from './clock.ts'
import { Flow } from './flow.ts'
import { deriveKeys } from './keys.ts'
import { Ledger } from './ledger.ts'
import type { ResolvedClientOptions } from './options.ts'
import {
  type AuthenticationRequest,
  type CheckedRequest,
  checkAuthenticationRequest,
  type Hint,
} from './protocol/authentication-request.ts'
import { notificationTokens } from './protocol/notification.ts'
import { createOp } from './protocol/op.ts'
import { recordSealer } from './record.ts'

/** A flow with its surroundings. */
export interface CibaClient {
  readonly flow: Flow
  /** Checks `request` on top of the `authorizationParams` option; see {@link checkAuthenticationRequest}. */
  check(request: AuthenticationRequest): CheckedRequest
  /** Makes a name for a value that a limiter may store: it says nothing about the value, on no instance. */
  readonly pseudonymKey: Uint8Array
  /** Lets waiting callers go, follows token requests to their end, and leaves nothing running. */
  close(): Promise<void>
}

export function createClient(options: ResolvedClientOptions): CibaClient {
  const { store, tokenTimeoutMs } = options
  const keys = deriveKeys(options.secrets)
  const op = createOp(options.op)
  const flow = new Flow({
    op,
    ledger: new Ledger(store, recordSealer(keys), systemClock),
    notificationTokens: notificationTokens(keys),
    clock: systemClock,
    deliveryMode: options.op.deliveryMode,
    tokenTimeoutMs,
    keysTimeoutMs: options.op.timeoutMs,
  })
  let closed: Promise<void> | undefined
  return {
    flow,
    check(request) {
      if (typeof request !== 'object' || request === null) return checkAuthenticationRequest(request)
      const given = Object.fromEntries(Object.entries(request).filter(([, value]) => value !== undefined))
      return checkAuthenticationRequest({ ...options.authorizationParams, ...(given as unknown as Hint) })
    },
    pseudonymKey: keys[0].pseudonym,
    close() {
      closed ??= (async () => {
        await flow.close()
        await op.close()
        if (options.ownsStore) await store.close?.()
      })()
      return closed
    },
  }
}
