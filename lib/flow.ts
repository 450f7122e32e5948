/**
 * The one coordinator: brings the OP, the transactions and the people who wait together. Must never know HTTP
 * frameworks, sessions or protocol messages.
 *
 * Who asks the OP for tokens:
 *   - whoever waits or looks, when the interval has passed and no other token request is in flight. Nobody polls
 *     the OP for a transaction that nobody waits for;
 *   - whoever received the ping, once, after its 204 has left.
 *
 * Any instance may do any step. What keeps them apart is in the record: a lease for the token request, a hold for
 * the receiver of a ping, a claim for the answer that delivers the tokens. A token request, once sent, is followed
 * to its end even when everybody who waited has gone.
 */

import { randomBytes } from 'node:crypto'
import createDebug from 'debug'
import { type ApprovalUse, useApproval } from './approval.ts'
import type { StopSignal } from './clock.ts'
import { Decoys } from './decoy.ts'
import { type Claim, Delivery, type DeliveryName } from './delivery.ts'
import { Doorbell } from './doorbell.ts'
import { CibaError, closed, RequestRefusedError } from './errors.ts'
import { publish } from './events.ts'
import { Jobs } from './jobs.ts'
import type { Entry } from './ledger.ts'
import { Notifications } from './notifications.ts'
import type { CheckedRequest } from './protocol/authentication-request.ts'
import type { NotificationTokens } from './protocol/notification.ts'
import { TokenRequester, type TokenRequesterParts } from './token-requester.ts'
import {
  type ApprovalTerms,
  type CompleteTransaction,
  type DeliveryMode,
  newTransaction,
  shortId,
  type Transaction,
  type TransactionEvent,
} from './transaction.ts'
import { Waiter, type WaitOptions } from './waiter.ts'

const debug = createDebug('express-ciba:flow')

/** The parts that a {@link Flow} brings together. */
export interface FlowParts extends Omit<TokenRequesterParts, 'decoys'> {
  readonly notificationTokens: NotificationTokens
  readonly deliveryMode: DeliveryMode
}

/** Whom a start is for. */
export interface StartOptions {
  /** Names the session or agent; only it may see the transaction [SEC-6]. */
  readonly owner: string
  /** Answer a start for a person whom the OP does not know like any other [ERR-5]. */
  readonly hideUnknownUser?: boolean
  /** Where the browser goes once it is signed in. */
  readonly returnTo?: string | undefined
  /** What shall be approved; absent: a login. */
  readonly approval?: ApprovalTerms | undefined
}

type StartEvent =
  | { readonly event: 'started'; readonly unknownUser?: true }
  | { readonly event: 'notStarted'; readonly error: string }

/** How long a failing store is tried again after the OP has asked the person. */
const recordPatienceMs = 5_000

export class Flow {
  readonly #parts: FlowParts
  readonly #requester: TokenRequester
  readonly #waiter: Waiter
  readonly #delivery: Delivery
  /** What the OP tells us by itself. */
  readonly notifications: Notifications
  readonly #jobs = new Jobs()
  readonly #decoys = new Decoys()
  readonly #closing = new AbortController()
  /** Distinguishes this process from the others, and each of its jobs from the next. */
  readonly #name = randomBytes(9).toString('base64url')
  #holders = 0

  constructor(parts: FlowParts) {
    this.#parts = parts
    this.#requester = new TokenRequester({ ...parts, decoys: this.#decoys })
    this.#waiter = new Waiter({
      ...parts,
      requester: this.#requester,
      jobs: this.#jobs,
      closing: this.#closing.signal,
      newHolder: () => this.#newHolder(),
    })
    this.#delivery = new Delivery({ ...parts, jobs: this.#jobs })
    this.notifications = new Notifications({
      ...parts,
      jobs: this.#jobs,
      newHolder: () => this.#newHolder(),
      pursuePing: (id, holder) => this.#pursuePing(id, holder),
    })
  }

  /**
   * Asks the OP to ask the person. The record exists before the request is sent, since a ping can overtake the
   * acknowledgement [PING-11]; once sent, the request is followed to its end.
   *
   * Rejects with a {@link CibaError}; see {@link Op} for those of the protocol.
   */
  async start(request: CheckedRequest, options: StartOptions): Promise<Transaction> {
    if (this.closing) throw closed()
    return this.#jobs.run(() => this.#start(request, options))
  }

  /** See {@link Waiter.wait}; ends with `close()` too. */
  wait(id: string, options: WaitOptions): Promise<Transaction | undefined> {
    return isHandle(id) ? this.#waiter.wait(id, options) : Promise.resolve(undefined)
  }

  /** Gives up waiting; CIBA has no way to tell the OP [POLL-14]. `false`: it does not exist for this caller. */
  async cancel(id: string, owner?: string): Promise<boolean> {
    const entry = isHandle(id) ? await this.#parts.ledger.find(id, owner) : undefined
    if (!entry) return false
    await this.#parts.ledger.apply(id, { type: 'cancelled' }, entry)
    return true
  }

  /** See {@link useApproval}; asks the OP first if that is due. `isStillAllowed` is asked after that. */
  async useApproval(
    id: string,
    owner: string,
    terms: ApprovalTerms,
    isStillAllowed: () => Promise<boolean>,
  ): Promise<ApprovalUse> {
    if (!isHandle(id)) return { verdict: 'unknown' }
    await this.wait(id, { owner, timeoutMs: 0 })
    if (!(await isStillAllowed())) return { verdict: 'unknown' }
    return useApproval(this.#parts.ledger, id, owner, terms, this.#newHolder())
  }

  /** See {@link Delivery.claim}. */
  claim(transaction: CompleteTransaction): Promise<Claim | undefined> {
    return this.#delivery.claim(transaction, this.#newHolder())
  }

  /** See {@link Delivery.isUnconfirmed}. */
  isUnconfirmed(id: string, name: DeliveryName): boolean {
    return this.#delivery.isUnconfirmed(id, name)
  }

  /** See {@link Delivery.confirm}. */
  confirm(id: string, name: DeliveryName, endOther: (session: string) => Promise<unknown>): Promise<void> {
    return this.#jobs.run(() => this.#delivery.confirm(id, name, endOther))
  }

  /** See {@link Delivery.untilSettled}; ends with `close()` too. */
  untilSettled(id: string, since: number, ...signals: StopSignal[]): Promise<Transaction | undefined> {
    return this.#delivery.untilSettled(id, since, ...signals, this.#closing.signal)
  }

  /** Lets everybody who waits go, follows the requests in flight to their end, and sends no new ones. */
  async close(): Promise<void> {
    this.#closing.abort()
    await this.#jobs.ended()
  }

  /** The time that instants in transactions are in. */
  now(): number {
    return this.#parts.clock.now()
  }

  /** Whether `close()` has been called. */
  get closing(): boolean {
    return this.#closing.signal.aborted
  }

  async #start(request: CheckedRequest, options: StartOptions): Promise<Transaction> {
    const id = randomBytes(16).toString('base64url')
    const { clock, deliveryMode } = this.#parts
    const purpose = options.approval ? ('approval' as const) : ('login' as const)
    const about = { transaction: shortId(id), purpose, deliveryMode }
    const from = clock.now()
    let hasStarted = false
    const announce = (event: StartEvent) => {
      hasStarted = event.event === 'started'
      publish('express-ciba:transaction', () => ({ ...about, ...event, durationMs: clock.now() - from }))
    }
    try {
      return await this.#ask(id, request, options, announce)
    } catch (error) {
      const code = error instanceof CibaError ? error.error : 'server_error'
      if (!hasStarted) announce({ event: 'notStarted', error: code })
      throw error
    }
  }

  async #ask(
    id: string,
    request: CheckedRequest,
    { owner, hideUnknownUser, returnTo, approval }: StartOptions,
    announce: (event: StartEvent) => void,
  ): Promise<Transaction> {
    const { op, ledger, clock, deliveryMode, notificationTokens } = this.#parts
    const { dpopKey } = await op.prepare(request)
    const sentAt = clock.now()
    const expectations = { ...request.expectations, requestedAt: clock.here() }
    const { bindingMessage } = request
    const created = await ledger.create(
      newTransaction(
        { id, owner, deliveryMode, expectations, bindingMessage, returnTo, approval, dpopKey },
        sentAt,
      ),
    )
    const token = deliveryMode === 'poll' ? undefined : notificationTokens.issue(id)
    let event: TransactionEvent
    try {
      event = await this.#authenticate(request, token, sentAt, hideUnknownUser === true)
    } catch (error) {
      await this.#giveUp(created, error)
      throw error
    }
    debug('%s started', shortId(id))
    announce({ event: 'started', ...(event.type === 'hidden' && { unknownUser: true }) })
    const entry = await ledger.insist(id, event, recordPatienceMs, created)
    if (!entry) throw new CibaError('ERR_CIBA_STORE_FAILED', 'the transaction store lost the new transaction')
    if (entry.transaction.state === 'ready') this.#pursuePing(id, this.#newHolder())
    return entry.transaction
  }

  /** Sends the authentication request, and says in an event what came of it. */
  async #authenticate(
    request: CheckedRequest,
    token: string | undefined,
    sentAt: number,
    hideUnknownUser: boolean,
  ): Promise<TransactionEvent> {
    const { op, clock } = this.#parts
    const requestedExpiry = request.parameters['requested_expiry'] as string | undefined
    try {
      const acknowledgement = await op.authenticate(request, token)
      const { expiresIn, interval } = acknowledgement
      this.#decoys.remember({ expiresIn, interval, tookMs: clock.now() - sentAt }, requestedExpiry)
      return { type: 'acknowledged', sentAt, ...acknowledgement }
    } catch (error) {
      const isUnknown = error instanceof RequestRefusedError && error.error === 'unknown_user_id'
      if (!hideUnknownUser || !isUnknown) throw error
      const { expiresIn, interval, tookMs } = this.#decoys.make(requestedExpiry)
      await new Doorbell().sleepUntil(sentAt + tookMs, clock)
      return { type: 'hidden', sentAt, expiresIn, interval }
    }
  }

  /** Nobody will ever ask for this transaction; why it did not start matters more than a store that fails too. */
  async #giveUp(created: Entry, reason: unknown): Promise<void> {
    const error = reason instanceof CibaError ? reason.error : 'server_error'
    const { ledger } = this.#parts
    await ledger
      .apply(created.transaction.id, { type: 'notStarted', error }, created)
      .catch((fault: Error) => debug('not recorded: %s', fault.message))
  }

  /** The ping is in the record: whoever waits, here or elsewhere, takes over from a process that is closing. */
  #pursuePing(id: string, holder: string): void {
    if (!this.closing) this.#jobs.leave(() => this.#requester.pursuePing(id, holder))
  }

  #newHolder(): string {
    this.#holders += 1
    return `${this.#name}.${this.#holders}`
  }
}

/** What strangers name must not reach a store: each has characters and lengths of its own that it does not take. */
function isHandle(id: unknown): id is string {
  return typeof id === 'string' && /^[\w-]{1,64}$/.test(id)
}
