/**
 * `req.ciba`: what the app's own handlers can ask and do. Knows nothing of routes.
 */

import type { Request, Response } from 'express'
import type { CibaClient } from '../client.ts'
import { CibaError } from '../errors.ts'
import type { IdTokenClaims, TokenSet } from '../grant.ts'
import type { AuthenticationRequest } from '../protocol/authentication-request.ts'
import type { UserInfo } from '../protocol/resource.ts'
import { isOpen, type Transaction } from '../transaction.ts'
import type { CountStart } from './limiter.ts'
import { type LoginParts, pollForLogin } from './login.ts'
import { becomeOwner, loginOf, ownerOf, ownerToBe } from './session.ts'
import { freshGrant, logout } from './tokens.ts'

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

/** What is left to do after a logout. */
export interface LogoutResult {
  /** Where the browser ends its session at the OP: with the option `idpLogout`, if the OP has such a place. */
  readonly endSessionURL?: string
}

/** What {@link RequestContext} needs. */
export interface ContextParts extends LoginParts {
  readonly client: CibaClient
  readonly countStart: CountStart
  readonly longPollTimeoutMs: number
  /** Where the OP sends browsers back to after a logout there; absent: they are not sent there. */
  readonly atTheOp?: { readonly postLogoutRedirect: string | undefined }
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

  /**
   * The access token of whoever is signed in; refreshed when it lasts for less than a minute, once for all concurrent
   * callers. What goes wrong with that does not matter as long as the old one is valid.
   *
   * Rejects with a {@link CibaError}: 401 `ERR_CIBA_UNAUTHENTICATED` when nobody is signed in, 401 `ERR_CIBA_INVALID_TOKEN`
   * when the person has to sign in again, 503 `ERR_CIBA_OP_UNREACHABLE` or 502 `ERR_CIBA_OP_FAILED`.
   */
  async getAccessToken(): Promise<string> {
    return (await freshGrant(this.#parts.client, this.#req)).tokens.accessToken
  }

  /**
   * As the global `fetch`, with the access token: as Bearer or, with the `dpop` option, as DPoP (RFC 6750 §2.1, RFC 9449 §7),
   * and with the client certificate of the `mtls` option. Redirects come back as they are; there is no timeout but that
   * of `init.signal`.
   *
   * Rejects as {@link getAccessToken} and `fetch` do, and with a `TypeError` for anything but an https URL.
   */
  async fetch(url: string | URL, init?: RequestInit): Promise<globalThis.Response> {
    const { client } = this.#parts
    return client.tokens.fetch(await freshGrant(client, this.#req, init?.signal), url, init)
  }

  /**
   * What the OP's UserInfo endpoint says of whoever is signed in (OpenID Connect Core §5.3): JSON, or a signed JWT. It is
   * about the same `sub`.
   *
   * Rejects as {@link getAccessToken} does.
   */
  async fetchUserInfo(): Promise<UserInfo> {
    const { client } = this.#parts
    return client.tokens.userInfo(await freshGrant(client, this.#req))
  }

  /**
   * Ends the session, with all that is in it, and revokes its tokens where the OP has a revocation endpoint (RFC 7009);
   * waits no more than three seconds for that. The person stays signed in at the OP, unless `idpLogout` is set and the browser is
   * sent to `endSessionURL`.
   */
  async logout(): Promise<LogoutResult> {
    const { client, atTheOp } = this.#parts
    const endSessionURL = await logout(client, this.#req, atTheOp)
    return endSessionURL === undefined ? {} : { endSessionURL }
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
