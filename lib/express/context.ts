/**
 * `req.ciba`: what the app's own handlers can ask and do. Knows nothing of routes.
 */

import type { Request, Response } from 'express'
import type { IdTokenClaims, JsonValue, TokenSet } from '../grant.ts'
import type { AuthenticationRequest } from '../protocol/authentication-request.ts'
import type { UserInfo } from '../protocol/resource.ts'
import { type EndedStatus, type PendingStatus, pendingStatus } from '../status.ts'
import { type Approval, type ApprovalRequest, requestApproval, useApproval } from './approval.ts'
import { pollForLogin } from './login.ts'
import { loginOf, ownerOf } from './session.ts'
import { type ContextParts, startTransaction } from './start.ts'
import { freshGrant, logout } from './tokens.ts'

/** How a transaction stands. */
export type TransactionStatus =
  | PendingStatus
  | {
      readonly transaction: string
      readonly status: 'complete'
      /** Where the start asked to go: a path of this app. */
      readonly returnTo?: string
    }
  | EndedStatus

/** What is left to do after a logout. */
export interface LogoutResult {
  /** Where the browser ends its session at the OP: with the option `idpLogout`, if the OP has such a place. */
  readonly endSessionURL?: string
}

let partsIn: (context: RequestContext) => ContextParts
const approvals = new WeakMap<RequestContext, Approval>()

/** For the guards, which see no more of a request than its context. */
export function partsOf(context: RequestContext): ContextParts {
  return partsIn(context)
}

/** The guard has let this request pass for an approval. */
export function setApproval(context: RequestContext, approval: Approval): void {
  approvals.set(context, approval)
}

/** `req.ciba`. */
export class RequestContext {
  readonly #parts: ContextParts
  readonly #req: Request
  readonly #res: Response

  static {
    partsIn = (context) => context.#parts
  }

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
  async start(request: AuthenticationRequest): Promise<PendingStatus> {
    return startTransaction(this.#parts, this.#req, request, {})
  }

  /**
   * How a transaction of this session stands, after waiting up to `wait` seconds (at most `longPollTimeout`) for it
   * to change. When a login is complete the session is signed in, under a new id; an approval changes nothing.
   *
   * Rejects with 404 `ERR_CIBA_UNKNOWN_TRANSACTION` when it does not exist for this session.
   */
  async poll(transaction: string, { wait = 0 }: { readonly wait?: number } = {}): Promise<TransactionStatus> {
    const { flow, holds, longPollTimeoutMs } = this.#parts
    const longestMs = wait > 0 ? Math.min(wait * 1000, longPollTimeoutMs) : 0
    const standing = await holds.run(ownerOf(this.#req), longestMs, (waitMs) =>
      pollForLogin(this.#parts, this.#req, this.#res, transaction, waitMs),
    )
    if (!standing) throw this.#parts.core.missing()
    if (standing.status === 'pending') return pendingStatus(standing.transaction, flow.now())
    return { transaction, ...standing }
  }

  /** Stops waiting for a transaction of this session; the person's device may still show it. Rejects as `poll`. */
  async cancel(transaction: string): Promise<void> {
    const owner = ownerOf(this.#req)
    const found = owner !== undefined && (await this.#parts.flow.cancel(transaction, owner))
    if (!found) throw this.#parts.core.missing()
  }

  /**
   * Asks a person to approve one action, once; who is signed in does not change. Asks the signed-in person, unless
   * `anotherPerson` is set. Rejects as {@link start}, with 401 `ERR_CIBA_UNAUTHENTICATED` when nobody is signed in, and with a
   * `TypeError` for an `action` that is no JSON value.
   */
  async requestApproval(request: ApprovalRequest): Promise<PendingStatus> {
    return requestApproval(this.#parts, this.#req, request)
  }

  /**
   * What the approval of `action` brought: a single time, in the session that asked, for that action and the same signed-in
   * person. Call it right before the action. A process that dies in between has used it up.
   *
   * Rejects with a {@link CibaError}: 404 `ERR_CIBA_UNKNOWN_TRANSACTION`; 403 `ERR_CIBA_WRONG_ACTION`, and it stays usable for
   * the right one; 409 `ERR_CIBA_APPROVAL_PENDING`; 403 `ERR_CIBA_APPROVAL_REFUSED`; 409 `ERR_CIBA_APPROVAL_USED`.
   */
  async useApproval(transaction: string, action: JsonValue): Promise<Approval> {
    return useApproval(this.#parts, this.#req, transaction, action)
  }

  /** What the approval brought that {@link requireApproval} let this request pass for. */
  get approval(): Approval | undefined {
    return approvals.get(this)
  }

  /**
   * The access token of whoever is signed in; refreshed when it lasts for less than a minute, once for all concurrent
   * callers on all instances. What goes wrong with that does not matter as long as the old one is valid.
   *
   * Rejects with a {@link CibaError}: 401 `ERR_CIBA_UNAUTHENTICATED` when nobody is signed in, 401 `ERR_CIBA_INVALID_TOKEN`
   * when the person has to sign in again, 503 `ERR_CIBA_OP_UNREACHABLE` or 502 `ERR_CIBA_OP_FAILED`, 503
   * `ERR_CIBA_STORE_FAILED`, and 503 `ERR_CIBA_CLOSED` when another instance is refreshing it while this one closes.
   */
  async getAccessToken(): Promise<string> {
    return (await freshGrant(this.#parts.core, this.#req)).tokens.accessToken
  }

  /**
   * As the global `fetch`, with the access token: as Bearer or, with the `dpop` option, as DPoP (RFC 6750 §2.1, RFC 9449 §7),
   * and with the client certificate of the `mtls` option. Redirects come back as they are; there is no timeout but that
   * of `init.signal`.
   *
   * Rejects as {@link getAccessToken} and `fetch` do, and with a `TypeError` for anything but an https URL.
   */
  async fetch(url: string | URL, init?: RequestInit): Promise<globalThis.Response> {
    const { core } = this.#parts
    return core.tokens.fetch(await freshGrant(core, this.#req, init?.signal), url, init)
  }

  /**
   * What the OP's UserInfo endpoint says of whoever is signed in (OpenID Connect Core §5.3): JSON, or a signed JWT. It is
   * about the same `sub`.
   *
   * Rejects as {@link getAccessToken} does.
   */
  async fetchUserInfo(): Promise<UserInfo> {
    const { core } = this.#parts
    return core.tokens.userInfo(await freshGrant(core, this.#req))
  }

  /**
   * Ends the session, with all that is in it, and revokes its tokens where the OP has a revocation endpoint (RFC 7009);
   * waits no more than three seconds for that. The person stays signed in at the OP, unless `idpLogout` is set and the browser is
   * sent to `endSessionURL`.
   */
  async logout(): Promise<LogoutResult> {
    const { core, atTheOp } = this.#parts
    const endSessionURL = await logout(core, this.#req, atTheOp)
    return endSessionURL === undefined ? {} : { endSessionURL }
  }
}
