/**
 * `req.ciba`: what the app's own handlers can ask and do. Knows nothing of routes.
 */

import type { Request, Response } from 'express'
import type { CibaClient } from '../client.ts'
import { CibaError } from '../errors.ts'
import type { IdTokenClaims, TokenSet } from '../grant.ts'
import type { AuthenticationRequest } from '../protocol/authentication-request.ts'
import { isOpen, type Transaction } from '../transaction.ts'
import type { CountStart } from './limiter.ts'
import { type LoginParts, pollForLogin } from './login.ts'
import { becomeOwner, loginOf, ownerOf, ownerToBe, signOut } from './session.ts'

/** A transaction that waits for the person. */
export interface PendingStatus {
  /** The handle: worthless without the session that started it. */
  readonly transaction: string
  readonly status: 'pending'
  /** Seconds until the OP gives up. */
  readonly expiresIn: number
  /** Seconds between polls that do not wait. */
  readonly interval: number
}

/** A transaction that has just been started. */
export interface StartedTransaction extends PendingStatus {
  /** What the person should see on both devices, if there is a binding message. */
  readonly bindingMessage?: string
}

/** How a transaction stands. */
export type TransactionStatus =
  | PendingStatus
  | { readonly transaction: string; readonly status: 'complete' }
  | {
      readonly transaction: string
      readonly status: 'denied' | 'expired' | 'failed' | 'cancelled'
      /** The OP's error code, or `cancelled`, `invalid_token_response`, `login_refused`, `outcome_unknown`. */
      readonly error: string
    }

/** What {@link RequestContext} needs. */
export interface ContextParts extends LoginParts {
  readonly client: CibaClient
  readonly countStart: CountStart
  readonly longPollTimeoutMs: number
}

/** `req.ciba`. */
export class RequestContext {
  readonly #parts: ContextParts
  readonly #req: Request
  readonly #res: Response

  constructor(parts: ContextParts, req: Request, res: Response) {
    this.#parts = parts
    this.#req = req
    this.#res = res
  }

  /** Whether somebody is signed in. */
  isAuthenticated(): boolean {
    return loginOf(this.#req) !== undefined
  }

  /** The claims of the ID token of whoever is signed in. */
  get user(): IdTokenClaims | undefined {
    return loginOf(this.#req)?.user
  }

  /** The tokens of whoever is signed in. They never reach the browser unless the app sends them there. */
  get tokens(): TokenSet | undefined {
    return loginOf(this.#req)?.tokens
  }

  /**
   * Asks the OP to ask the person, for own routes. Counts against `startLimiter`.
   *
   * Rejects with a {@link CibaError}: a `RequestRefusedError` carries the OP's code, `unknown_user_id` included.
   */
  async start(request: AuthenticationRequest): Promise<StartedTransaction> {
    return startTransaction(this.#parts, this.#req, request, false)
  }

  /**
   * How a transaction of this session stands, after waiting up to `wait` seconds (at most `longPollTimeout`) for it
   * to change. When it is complete the session is signed in, under a new id.
   *
   * Rejects with 404 `ERR_CIBA_UNKNOWN_TRANSACTION` when it does not exist for this session.
   */
  async poll(transaction: string, { wait = 0 }: { readonly wait?: number } = {}): Promise<TransactionStatus> {
    const waitMs = wait > 0 ? Math.min(wait * 1000, this.#parts.longPollTimeoutMs) : 0
    const standing = await pollForLogin(this.#parts, this.#req, this.#res, transaction, waitMs)
    if (!standing) throw unknownTransaction()
    if (standing.status === 'pending') return pending(standing.transaction)
    return { transaction, ...standing }
  }

  /** Stops waiting for a transaction of this session; the person's device may still show it. Rejects as `poll`. */
  async cancel(transaction: string): Promise<void> {
    const owner = ownerOf(this.#req)
    const found = owner !== undefined && (await this.#parts.flow.cancel(transaction, owner))
    if (!found) throw unknownTransaction()
  }

  /** Ends the session, with all that is in it. The person stays signed in at the OP. */
  async logout(): Promise<void> {
    await signOut(this.#req)
  }
}

/** Starts for `req.ciba.start()` and for the route, where `hideUnknownUser` is for browsers that nobody knows [ERR-5]. */
export async function startTransaction(
  { client, countStart }: ContextParts,
  req: Request,
  request: AuthenticationRequest,
  hideUnknownUser: boolean,
): Promise<StartedTransaction> {
  const checked = client.check(request)
  const owner = ownerToBe(req)
  await countStart(checked.hint, owner)
  await becomeOwner(req, owner)
  const transaction = await client.flow.start(checked, { owner, hideUnknownUser })
  const { bindingMessage } = transaction
  return { ...pending(transaction), ...(bindingMessage === undefined ? {} : { bindingMessage }) }
}

function pending(transaction: Transaction): PendingStatus {
  const interval = isOpen(transaction) ? transaction.interval : 1
  const expiresIn = Math.max(0, Math.ceil((transaction.expiresAt - Date.now()) / 1000))
  return { transaction: transaction.id, status: 'pending', expiresIn, interval }
}

function unknownTransaction(): CibaError {
  return new CibaError('ERR_CIBA_UNKNOWN_TRANSACTION', 'there is no such transaction')
}
