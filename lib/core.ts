/**
 * Builds the parts of a CIBA client: options in, a running {@link Flow} and what comes after it out. Knows nothing of
 * who uses it.
 */

import { type Clock, systemClock } from './clock.ts'
import { type CibaError, closed } from './errors.ts'
import { Flow } from './flow.ts'
import type { Grant, TokenSet } from './grant.ts'
import { Jobs } from './jobs.ts'
import { deriveKeys } from './keys.ts'
import { Ledger } from './ledger.ts'
import { LogoutMarks } from './logout-marks.ts'
import type { ResolvedClientOptions } from './options.ts'
import { requireContext } from './profile.ts'
import {
  type AuthenticationRequest,
  type CheckedRequest,
  checkAuthenticationRequest,
  type Hint,
} from './protocol/authentication-request.ts'
import { connect } from './protocol/connection.ts'
import { ecosystemTimeoutMs } from './protocol/granted.ts'
import { endSessionURL, type LogoutToken, revoke, verifyLogoutToken } from './protocol/logout.ts'
import { notificationTokens } from './protocol/notification.ts'
import { createOp } from './protocol/op.ts'
import { refresh } from './protocol/refresh.ts'
import { fetchResource, fetchUserInfo, type UserInfo } from './protocol/resource.ts'
import { recordSealer } from './record.ts'
import { RefreshLeases } from './refresh-leases.ts'
import { sealer } from './seal.ts'
import { type SealedKeys, sealedKeys } from './sealed-keys.ts'
import { unknownTransaction } from './status.ts'
import { TokenKeeper } from './token-keeper.ts'

/** A flow with its surroundings. */
export interface Core {
  readonly options: ResolvedClientOptions
  readonly flow: Flow
  /** Keeps tokens fresh. */
  readonly keeper: TokenKeeper
  /** What granted tokens are for, and how they end. */
  readonly tokens: TokenUse
  /** Makes tokens worthless at the OP; goes on although nobody waits. Never rejects. */
  revoke(tokens: () => Promise<TokenSet>): Promise<void>
  /** Whom the OP has logged out. */
  readonly logoutMarks: LogoutMarks
  /** DPoP keys, in the form in which they leave this process [AUTH-7]. */
  readonly dpopKeys: SealedKeys
  /** Checks `request` on top of the `authorizationParams` option; see {@link checkAuthenticationRequest}. */
  check(request: AuthenticationRequest): CheckedRequest
  /**
   * What there is to say of a transaction that was not found. A store of our own is empty after `close()`, which says nothing
   * about the handle.
   */
  missing(): CibaError
  /** Makes a name for a value that a limiter may store: it says nothing about the value, on no instance. */
  readonly pseudonymKey: Uint8Array
  /** Lets waiting callers go, follows token requests to their end, and leaves nothing running. */
  close(): Promise<void>
}

/** See the functions of the same names in `protocol/`. */
export interface TokenUse {
  fetch(grant: Pick<Grant, 'tokens' | 'dpopKey'>, url: string | URL, init?: RequestInit): Promise<Response>
  userInfo(grant: Grant): Promise<UserInfo>
  endSessionURL(tokens: TokenSet, postLogoutRedirect: string | undefined): Promise<string | undefined>
  verifyLogoutToken(token: string): Promise<LogoutToken>
}

export function createCore(options: ResolvedClientOptions): Core {
  const { store, marksStore, tokenTimeoutMs, profile } = options
  const keys = deriveKeys(options.secrets)
  // Hosts may disagree about the time by seconds; an OP that is asked too early may take it amiss [POLL-1].
  const clock: Clock = { ...systemClock, now: () => store.now?.() ?? Date.now() }
  const connection = connect(options.op)
  const op = createOp(connection)
  const registration = `${options.op.clientID} ${options.op.issuer.href}`
  // Keys may be fetched twice, when the OP has just rotated them.
  const validationTimeoutMs =
    2 * options.op.timeoutMs + (options.op.validateIdTokenClaims ? ecosystemTimeoutMs : 0)
  const flow = new Flow({
    op,
    ledger: new Ledger(
      store,
      recordSealer(keys, {
        registration,
        stayHere: options.recordsStayHere,
      }),
      clock,
    ),
    notificationTokens: notificationTokens(keys),
    clock,
    deliveryMode: options.op.deliveryMode,
    tokenTimeoutMs,
    validationTimeoutMs,
  })
  const jobs = new Jobs()
  const keeper = new TokenKeeper({
    refresh: (grant, timeoutMs) => refresh(connection, grant, timeoutMs),
    revoke: (tokens) => jobs.run(() => revoke(connection, tokens)),
    leases: new RefreshLeases({
      store: marksStore,
      sealer: sealer(keys, 'refresh'),
      registration,
      recordsStayHere: options.recordsStayHere,
      clock,
    }),
    clock,
    tokenTimeoutMs,
    validationTimeoutMs,
  })
  let closing: Promise<void> | undefined
  return {
    options,
    flow,
    keeper,
    tokens: {
      fetch: (grant, url, init) => fetchResource(connection, grant, url, init, profile !== undefined),
      userInfo: (grant) => fetchUserInfo(connection, grant),
      endSessionURL: (tokens, redirect) => endSessionURL(connection, tokens, redirect),
      verifyLogoutToken: (token) => verifyLogoutToken(connection, token),
    },
    revoke: (tokens) => jobs.run(async () => revoke(connection, await tokens())),
    logoutMarks: new LogoutMarks(marksStore, keys, clock),
    dpopKeys: sealedKeys(sealer(keys, 'dpop key')),
    check(request) {
      if (typeof request !== 'object' || request === null) return checkAuthenticationRequest(request)
      const given = Object.fromEntries(Object.entries(request).filter(([, value]) => value !== undefined))
      const checked = checkAuthenticationRequest({
        ...options.authorizationParams,
        ...(given as unknown as Hint),
      })
      if (profile) requireContext(checked)
      return checked
    },
    missing: () => (flow.closing && options.ownsStore ? closed() : unknownTransaction()),
    pseudonymKey: keys[0].pseudonym,
    close() {
      closing ??= (async () => {
        await Promise.all([flow.close(), keeper.close()])
        await jobs.ended()
        await connection.close()
        if (options.ownsStore) await Promise.all([store.close?.(), marksStore.close?.()])
      })()
      return closing
    },
  }
}
