/**
 * CIBA without a browser: for jobs, agents and other web frameworks. Knows nothing of Express or sessions.
 */

import { type CibaClientOptions, clientOptionNames } from './client-options.ts'
import { type Core, createCore } from './core.ts'
import { CibaError, closed, invalidOption } from './errors.ts'
import type { IdTokenClaims, TokenSet } from './grant.ts'
import { object, refuseUnknownOptions } from './option-checks.ts'
import { resolveClientOptions } from './options.ts'
import type { AuthenticationRequest } from './protocol/authentication-request.ts'
import {
  type EndedStatus,
  endedStatus,
  type PendingStatus,
  pendingStatus,
  unknownTransaction,
} from './status.ts'
import { isOpen, type Transaction } from './transaction.ts'

/** The person has approved, and the tokens passed every check. Survives `JSON.stringify`. */
export interface ApprovedStatus {
  readonly transaction: string
  readonly status: 'complete'
  /** The claims of the ID token. */
  readonly user: IdTokenClaims
  readonly tokens: TokenSet
  /** The sealed key that the tokens are bound to, with `dpop: true`: for {@link CibaClient.fetch}. */
  readonly dpopKey?: string
}

/** How a transaction of a {@link CibaClient} stands. */
export type ClientStatus = PendingStatus | ApprovedStatus | EndedStatus

/** How {@link CibaClient.wait} waits. */
export interface ClientWaitOptions {
  /** Ends the wait; it then rejects with the signal's reason. A token request in flight goes on. */
  readonly signal?: AbortSignal | undefined
  /** Seconds, after which it resolves to how the transaction stands then. @default until it is over */
  readonly timeout?: number | undefined
}

/** What to answer the OP's ping or push with. */
export interface NotificationAnswer {
  /** 204: taken. 400: the body is none, or the pushed tokens did not pass the checks. 401: answer with `WWW-Authenticate: Bearer`. */
  readonly status: 204 | 400 | 401
  /** Asks the OP for the tokens of a ping. Call it once the answer has left (CIBA Core §10.2); who waits asks too, a second later. */
  proceed(): void
}

/** A CIBA client: `createCibaClient()` makes it. */
export interface CibaClient {
  /**
   * Asks the OP to ask the person. The handle, `transaction`, can be waited for in any process that shares `store` and
   * `secret`: write it down before you wait. It is all that is needed to get the tokens: keep it as secret as them.
   *
   * Rejects with a {@link CibaError}: a `RequestRefusedError` carries the OP's code.
   */
  start(request: AuthenticationRequest): Promise<PendingStatus>
  /** How it stands; asks the OP if that is due. Rejects with `ERR_CIBA_UNKNOWN_TRANSACTION` for what this client, or another with the same store, did not start, and 5 minutes after it expired. */
  check(transaction: string): Promise<ClientStatus>
  /**
   * Waits until it is over, or until `timeout`, and resolves to how it stands then. Tokens can be had again, here and
   * elsewhere, until 5 minutes after the request expires: nothing is lost when a process dies.
   *
   * Rejects as {@link check}, with the reason of `signal`, and with `ERR_CIBA_CLOSED` after `close()`.
   */
  wait(transaction: string, options?: ClientWaitOptions): Promise<ClientStatus>
  /** Stops waiting; the person's device may still show it. Rejects as {@link check}. */
  cancel(transaction: string): Promise<void>
  /**
   * Takes the OP's ping or push, for servers without Express: `authorization` is that header, `body` the parsed JSON. Rejects
   * when the store fails, or when the OP's keys cannot be had: answer 503 then.
   */
  notify(authorization: string | undefined, body: unknown): Promise<NotificationAnswer>
  /**
   * As the global `fetch`, with the access token of `approved`: as Bearer or DPoP, with the client certificate of the `mtls`
   * option. Does not refresh. Rejects as `fetch` does, and with a `TypeError` for anything but an https URL.
   */
  fetch(approved: ApprovedStatus, url: string | URL, init?: RequestInit): Promise<Response>
  /** Lets waiting callers go, follows token requests in flight to their end, and leaves nothing running. */
  close(): Promise<void>
}

/** Owns what is started here. Sessions have longer names, so neither sees the other's transactions. */
const owner = 'client'

const cores = new WeakMap<CibaClient, Core>()

/** What a client is made of; `undefined` for what `createCibaClient()` did not make. */
export function coreOf(client: object): Core | undefined {
  return cores.get(client as CibaClient)
}

/**
 * A CIBA client without Express: starts, waits and takes notifications. The options are those of `ciba()` that concern the OP
 * and the store, environment variables included. `ciba({ client })` serves its notification route.
 *
 * @throws TypeError with `code: 'ERR_CIBA_INVALID_OPTION'`, naming the option and the remedy.
 */
export function createCibaClient(options: CibaClientOptions = {}): CibaClient {
  if (object(options) === undefined) throw invalidOption('options', 'must be an object')
  refuseUnknownOptions(options, clientOptionNames)
  const core = createCore(resolveClientOptions(options, process.env))
  const { flow } = core

  async function look(id: string, timeoutMs: number, signal?: AbortSignal): Promise<ClientStatus> {
    signal?.throwIfAborted()
    const transaction = await flow.wait(id, { owner, timeoutMs, ...(signal && { signal }) })
    if (!transaction) throw core.missing()
    if (isOpen(transaction)) signal?.throwIfAborted()
    return statusOf(transaction)
  }

  async function statusOf(transaction: Transaction): Promise<ClientStatus> {
    if (isOpen(transaction)) return pendingStatus(transaction, flow.now())
    if (transaction.state !== 'complete') return endedStatus(transaction)
    const { claims: user, tokens, dpopKey } = transaction.grant ?? {}
    if (!user || !tokens) throw unknownTransaction()
    const sealed = dpopKey && { dpopKey: core.dpopKeys.seal(dpopKey) }
    return { transaction: transaction.id, status: 'complete', user, tokens, ...sealed }
  }

  const client: CibaClient = {
    async start(request) {
      return pendingStatus(await flow.start(core.check(request), { owner }), flow.now())
    },
    check: (id) => look(id, 0),
    async wait(id, { signal, timeout = Number.POSITIVE_INFINITY } = {}) {
      if (typeof timeout !== 'number' || !(timeout >= 0)) {
        throw new CibaError('ERR_CIBA_INVALID_REQUEST', '"timeout" must be a number of seconds')
      }
      const status = await look(id, timeout * 1000, signal)
      if (status.status === 'pending' && flow.closing) throw closed()
      return status
    },
    async cancel(id) {
      if (!(await flow.cancel(id, owner))) throw core.missing()
    },
    async notify(authorization, body) {
      const id = flow.notifications.verify(authorization)
      const notified = id === undefined ? refused : await flow.notifications.take(id, body)
      if (notified.verdict === 'accepted') return { status: 204, proceed: () => void notified.proceed() }
      return { status: notified.verdict === 'unauthorized' ? 401 : 400, proceed: () => {} }
    },
    async fetch({ tokens, dpopKey }, url, init) {
      const key = dpopKey === undefined ? {} : { dpopKey: await core.dpopKeys.open(dpopKey) }
      return core.tokens.fetch({ tokens, ...key }, url, init)
    },
    close: () => core.close(),
  }
  cores.set(client, core)
  return client
}

const refused = { verdict: 'unauthorized' } as const
