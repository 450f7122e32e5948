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
import { sameSecret } from './constant-time.ts'
import { Decoys } from './decoy.ts'
import { type Claim, Delivery } from './delivery.ts'
import { Doorbell } from './doorbell.ts'
import { CibaError, RequestRefusedError } from './errors.ts'
import { Jobs } from './jobs.ts'
import type { Entry } from './ledger.ts'
import type { CheckedRequest } from './protocol/authentication-request.ts'
import { type NotificationTokens, parsePing } from './protocol/notification.ts'
import { parsePush } from './protocol/push.ts'
import { TokenRequester, type TokenRequesterParts } from './token-requester.ts'
import {
  type CompleteTransaction,
  type DeliveryMode,
  isOpen,
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
}

/** What a ping or a push came to. */
export type Notified =
  /** Answer 204, then call `proceed`: the token request waits for it [PING-7]. */
  | { readonly verdict: 'accepted'; readonly proceed: () => unknown }
  /** The token is genuine, the body is not a ping, or in push mode not a push. */
  | { readonly verdict: 'malformed' }
  /** The pushed tokens did not pass the checks, and nothing of them was kept [PUSH-9]. */
  | { readonly verdict: 'invalid' }
  /** The token does not belong to this `auth_req_id`, or the transaction is no more. */
  | { readonly verdict: 'unauthorized' }

/** How long a failing store is tried again after the OP has asked the person. */
const recordPatienceMs = 5_000

export class Flow {
  readonly #parts: FlowParts
  readonly #requester: TokenRequester
  readonly #waiter: Waiter
  readonly #delivery: Delivery
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
  }

  /**
   * Asks the OP to ask the person. The record exists before the request is sent, since a ping can overtake the
   * acknowledgement [PING-11]; once sent, the request is followed to its end.
   *
   * Rejects with a {@link CibaError}; see {@link Op} for those of the protocol.
   */
  async start(request: CheckedRequest, options: StartOptions): Promise<Transaction> {
    if (this.closing) throw new CibaError('ERR_CIBA_CLOSED', 'the client has been closed')
    return this.#jobs.run(() => this.#start(request, options))
  }

  /** See {@link Waiter.wait}; ends with `close()` too. */
  wait(id: string, options: WaitOptions): Promise<Transaction | undefined> {
    return this.#waiter.wait(id, options)
  }

  /** Gives up waiting; CIBA has no way to tell the OP [POLL-14]. `false`: it does not exist for this caller. */
  async cancel(id: string, owner?: string): Promise<boolean> {
    const entry = await this.#parts.ledger.find(id, owner)
    if (!entry) return false
    await this.#parts.ledger.apply(id, { type: 'cancelled' }, entry)
    return true
  }

  /** The transaction whose genuine notification token this header carries; looks nothing up. */
  verifyNotification(authorization: string | undefined): string | undefined {
    return this.#parts.notificationTokens.verify(authorization)
  }

  /**
   * Takes a ping, or in push mode a push, whose token {@link verifyNotification} found genuine. Rejects when the store
   * fails [PING-16], or when the OP's keys for a push cannot be had.
   */
  async notify(id: string, body: unknown): Promise<Notified> {
    if (this.#parts.deliveryMode === 'push') return this.#jobs.run(() => this.#takePush(id, body))
    const { ledger } = this.#parts
    const authReqId = parsePing(body)
    if (authReqId === undefined) return { verdict: 'malformed' }
    const entry = await ledger.read(id)
    if (!entry || isForAnother(entry.transaction, authReqId)) return { verdict: 'unauthorized' }
    const holder = this.#newHolder()
    const applied = await ledger.apply(id, { type: 'pinged', authReqId, holder }, entry)
    // The acknowledgement may have overtaken us in turn, and it may have brought another id [PING-11].
    if (!applied || isForAnother(applied.transaction, authReqId)) return { verdict: 'unauthorized' }
    debug('%s pinged%s', shortId(id), applied.changed ? '' : ', to no effect')
    const ready = applied.changed && applied.transaction.state === 'ready'
    return { verdict: 'accepted', proceed: () => ready && this.#pursuePing(id, holder) }
  }

  async #takePush(id: string, body: unknown): Promise<Notified> {
    const { ledger, op } = this.#parts
    const push = parsePush(body)
    if (push === undefined) return { verdict: 'malformed' }
    const { authReqId } = push
    const accepted: Notified = { verdict: 'accepted', proceed: () => {} }
    const entry = await ledger.read(id)
    if (!entry || isForAnother(entry.transaction, authReqId)) return { verdict: 'unauthorized' }
    // The first one won, or nobody waits any more [PUSH-9].
    if (!isOpen(entry.transaction)) return accepted
    const outcome = await op.processPush(push, entry.transaction.expectations)
    if (outcome.type === 'invalid') return { verdict: 'invalid' }
    if (outcome.type === 'unavailable') {
      const { cause } = outcome
      throw new CibaError('ERR_CIBA_OP_UNREACHABLE', "the OP's keys cannot be had", { cause })
    }
    const applied = await ledger.insist(id, { type: 'pushed', authReqId, outcome }, recordPatienceMs, entry)
    if (!applied || isForAnother(applied.transaction, authReqId)) return { verdict: 'unauthorized' }
    debug('%s pushed: %s%s', shortId(id), outcome.type, applied.changed ? '' : ', to no effect')
    return accepted
  }

  /** See {@link Delivery.claim}. */
  claim(transaction: CompleteTransaction): Promise<Claim | undefined> {
    return this.#delivery.claim(transaction, this.#newHolder())
  }

  /** See {@link Delivery.untilSettled}; ends with `close()` too. */
  untilSettled(id: string, signal: AbortSignal): Promise<Transaction | undefined> {
    return this.#delivery.untilSettled(id, signal, this.#closing.signal)
  }

  /** Lets everybody who waits go, follows the requests in flight to their end, and sends no new ones. */
  async close(): Promise<void> {
    this.#closing.abort()
    await this.#jobs.ended()
  }

  /** Whether `close()` has been called. */
  get closing(): boolean {
    return this.#closing.signal.aborted
  }

  async #start(request: CheckedRequest, { owner, hideUnknownUser }: StartOptions): Promise<Transaction> {
    const { op, ledger, clock, deliveryMode, notificationTokens } = this.#parts
    const { dpopKey } = await op.prepare(request)
    const id = randomBytes(16).toString('base64url')
    const sentAt = clock.now()
    const expectations = { ...request.expectations, requestedAt: sentAt }
    const { bindingMessage } = request
    const created = await ledger.create(
      newTransaction({ id, owner, deliveryMode, expectations, bindingMessage, dpopKey }, sentAt),
    )
    const token = deliveryMode === 'poll' ? undefined : notificationTokens.issue(id)
    let event: TransactionEvent
    try {
      event = await this.#authenticate(request, token, sentAt, hideUnknownUser === true)
    } catch (error) {
      await this.#giveUp(created, error)
      throw error
    }
    const entry = await ledger.insist(id, event, recordPatienceMs, created)
    if (!entry) throw new CibaError('ERR_CIBA_STORE_FAILED', 'the transaction store lost the new transaction')
    debug('%s started', shortId(id))
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

/** Before the acknowledgement any `auth_req_id` may be the one [PING-3, PING-11]. */
function isForAnother({ authReqId: known }: Transaction, authReqId: string): boolean {
  return known !== undefined && !sameSecret(known, authReqId)
}
