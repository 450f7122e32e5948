/**
 * The CIBA client: options in, a running {@link Flow} out. Knows nothing of Express.
 */

import { systemClock } from './clock.ts'
import { Flow } from './flow.ts'
import { deriveKeys } from './keys.ts'
import { Ledger } from './ledger.ts'
import type { ResolvedClientOptions } from './options.ts'
import type { AuthenticationRequest, Hint } from './protocol/authentication-request.ts'
import { notificationTokens } from './protocol/notification.ts'
import { createOp } from './protocol/op.ts'
import { recordSealer } from './record.ts'

/** A flow with its surroundings. */
export interface CibaClient {
  readonly flow: Flow
  /** `request` on top of the `authorizationParams` option. */
  withDefaults(request: AuthenticationRequest): AuthenticationRequest
  /** Makes a name for a value that a limiter may store: it says nothing about the value, on no instance. */
  readonly pseudonymKey: Uint8Array
  /** Lets waiting callers go, follows token requests to their end, and leaves nothing running. */
  close(): Promise<void>
}

export function createClient(options: ResolvedClientOptions): CibaClient {
  const { store, deliveryMode, tokenTimeoutMs } = options
  const keys = deriveKeys(options.secrets)
  const op = createOp(options.op)
  const flow = new Flow({
    op,
    ledger: new Ledger(store, recordSealer(keys), systemClock),
    notificationTokens: notificationTokens(keys),
    clock: systemClock,
    deliveryMode,
    tokenTimeoutMs,
  })
  let closed: Promise<void> | undefined
  return {
    flow,
    withDefaults(request) {
      const given = Object.entries(request).filter(([, value]) => value !== undefined)
      return { ...options.authorizationParams, ...(Object.fromEntries(given) as unknown as Hint) }
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
