/**
 * The one coordinator: brings the OP, the transactions and the people who wait together. Must never know HTTP
 * frameworks, sessions or protocol messages.
 *
 * Who asks the OP for tokens:
 *   - whoever waits or checks, when the interval has passed and no other token request is in flight. Nobody polls
 *     the OP for a transaction that nobody waits for;
 *   - whoever received the ping, once, after its 204 has left.
 *
 * Any instance may do any step. What keeps them apart is in the record: a lease for the token request, a hold for
 * the receiver of a ping, a claim for the answer that delivers the tokens. A token request, once sent, is followed
 * to its end even when everybody who waited has gone.
 */

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import createDebug from 'debug'
import { Decoys } from './decoy.ts'
import { type Claim, Delivery } from './delivery.ts'
import { Doorbell } from './doorbell.ts'
import { CibaError, RequestRefusedError } from './errors.ts'
import { Jobs } from './jobs.ts'
import type { Entry } from './ledger.ts'
import type { AuthenticationRequest, CheckedRequest } from './protocol/authentication-request.ts'
import { type NotificationTokens, parsePing } from './protocol/notification.ts'
import { TokenRequester, type TokenRequesterParts } from './token-requester.ts'
import {
  type CompleteTransaction,
  type DeliveryMode,
  newTransaction,
  nextStep,
  shortId,
  type Transaction,
  type TransactionEvent,
} from './transaction.ts'

const debug = createDebug('express-ciba:flow')

/** The parts that a {@link Flow} brings together. */
export interface FlowParts extends TokenRequesterParts {
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

/** Who waits, and how long. */
export interface WaitOptions {
  /** Anybody else's transactions do not exist for this caller. Absent: everything exists. */
  readonly owner?: string
  readonly timeoutMs: number
  /** Ends the wait; a token request in flight goes on. */
  readonly signal?: AbortSignal
}

/** What a ping came to. */
export type Notified =
  /** Answer 204, then call `proceed`: the token request waits for it [PING-7]. */
  | { readonly verdict: 'accepted'; readonly proceed: () => unknown }
  /** The token is genuine, the body is not a ping. */
  | { readonly verdict: 'malformed' }
  /** The token does not belong to this `auth_req_id`, or the transaction is no more. */
  | { readonly verdict: 'unauthorized' }

/** A waiter reads again at least this often: a lost wake-up costs this much time. */
const rereadMs = 5_000
/** How long a check waits for the token request that it has set off itself. */
const checkPatienceMs = 10_000
/** How long a failing store is tried again after the OP has asked the person. */
const recordPatienceMs = 5_000

export class Flow {
  readonly #parts: FlowParts
  readonly #requester: TokenRequester
  readonly #delivery: Delivery
  readonly #jobs = new Jobs()
  readonly #decoys = new Decoys()
  readonly #closing = new AbortController()
  /** Distinguishes this process from the others, and each of its jobs from the next. */
  readonly #name = randomBytes(9).toString('base64url')
  #holders = 0

  constructor(parts: FlowParts) {
    this.#parts = parts
    this.#requester = new TokenRequester(parts)
    this.#delivery = new Delivery({ ...parts, jobs: this.#jobs })
    setMaxListeners(0, this.#closing.signal) // one listener for each waiter
  }

  /**
   * Asks the OP to ask the person. The record exists before the request is sent, since a ping can overtake the
   * acknowledgement [PING-11].
   *
   * Rejects with a {@link CibaError}; see {@link Op} for those of the protocol.
   */
  async start(
    request: AuthenticationRequest,
    { owner, hideUnknownUser }: StartOptions,
  ): Promise<Transaction> {
    if (this.closing) throw new CibaError('ERR_CIBA_CLOSED', 'the client has been closed')
    const { op, ledger, clock, deliveryMode, notificationTokens } = this.#parts
    const checked = await op.prepare(request)
    const id = randomBytes(16).toString('base64url')
    const sentAt = clock.now()
    const expectations = { ...checked.expectations, requestedAt: sentAt }
    const { bindingMessage } = checked
    const created = await ledger.create(
      newTransaction({ id, owner, deliveryMode, expectations, bindingMessage }, sentAt),
    )
    const token = deliveryMode === 'ping' ? notificationTokens.issue(id) : undefined
    let event: TransactionEvent
    try {
      event = await this.#authenticate(checked, token, sentAt, hideUnknownUser === true)
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

  /** How the transaction stands now; asks the OP if that is due. `undefined`: it does not exist for this caller. */
  check(id: string, owner?: string): Promise<Transaction | undefined> {
    return this.wait(id, { timeoutMs: 0, ...(owner === undefined ? {} : { owner }) })
  }

  /**
   * Waits until the transaction is over, `timeoutMs` has passed, `signal` aborts or `close()` is called, and
   * returns how it stands then. `undefined`: it does not exist for this caller.
   */
  async wait(id: string, { owner, timeoutMs, signal }: WaitOptions): Promise<Transaction | undefined> {
    const { ledger, clock } = this.#parts
    const bell = new Doorbell()
    const unwatch = ledger.watch(id, bell.ring)
    signal?.addEventListener('abort', bell.ring)
    this.#closing.signal.addEventListener('abort', bell.ring)
    const deadline = clock.now() + timeoutMs
    // A check sees the end of the token request that it has set off itself, unless the OP is slow.
    const patience = timeoutMs > 0 ? deadline : deadline + checkPatienceMs
    let asking = false
    let asked = false
    try {
      for (;;) {
        bell.quiet()
        const entry = await this.#find(id, owner)
        if (!entry) return undefined
        const step = nextStep(entry.transaction, clock.now())
        if (step.do === 'stop') return entry.transaction
        if (step.do === 'expire') {
          await ledger.apply(id, { type: 'timedOut' }, entry)
          continue
        }
        const until = asking ? patience : deadline
        const over = clock.now() >= until && (step.do === 'wait' || asked)
        if (over || signal?.aborted || this.closing) return entry.transaction
        if (step.do === 'requestTokens') {
          asking = asked = true
          this.#jobs
            .run(() => this.#requester.request(entry, this.#newHolder()))
            .finally(() => {
              asking = false
              bell.ring()
            })
          await bell.sleepUntil(patience, clock)
        } else await bell.sleepUntil(Math.min(until, step.until, clock.now() + rereadMs), clock)
      }
    } finally {
      unwatch()
      signal?.removeEventListener('abort', bell.ring)
      this.#closing.signal.removeEventListener('abort', bell.ring)
    }
  }

  /** Gives up waiting; CIBA has no way to tell the OP [POLL-14]. `false`: it does not exist for this caller. */
  async cancel(id: string, owner?: string): Promise<boolean> {
    const entry = await this.#find(id, owner)
    if (!entry) return false
    await this.#parts.ledger.apply(id, { type: 'cancelled' }, entry)
    return true
  }

  /** The transaction whose genuine notification token this header carries; looks nothing up. */
  verifyNotification(authorization: string | undefined): string | undefined {
    return this.#parts.notificationTokens.verify(authorization)
  }

  /** Takes a ping whose token {@link verifyNotification} found genuine. Rejects when the store fails [PING-16]. */
  async notify(id: string, body: unknown): Promise<Notified> {
    const { ledger } = this.#parts
    const authReqId = parsePing(body)
    if (authReqId === undefined) return { verdict: 'malformed' }
    const entry = await ledger.read(id)
    const known = entry?.transaction.authReqId
    if (!entry || (known !== undefined && !same(known, authReqId))) return { verdict: 'unauthorized' }
    const holder = this.#newHolder()
    const applied = await ledger.apply(id, { type: 'pinged', authReqId, holder }, entry)
    if (!applied) return { verdict: 'unauthorized' }
    // The acknowledgement may have overtaken us in turn, and it may have brought another id [PING-11].
    const { authReqId: settled } = applied.transaction
    if (settled !== undefined && !same(settled, authReqId)) return { verdict: 'unauthorized' }
    debug('%s pinged%s', shortId(id), applied.changed ? '' : ', to no effect')
    const ready = applied.changed && applied.transaction.state === 'ready'
    return { verdict: 'accepted', proceed: () => ready && this.#pursuePing(id, holder) }
  }

  /** See {@link Delivery.claim}. */
  claim(transaction: CompleteTransaction): Promise<Claim | undefined> {
    return this.#delivery.claim(transaction, this.#newHolder())
  }

  /** See {@link Delivery.untilSettled}. */
  untilSettled(id: string): Promise<Transaction | undefined> {
    return this.#delivery.untilSettled(id)
  }

  /** Lets everybody who waits go, follows the token requests in flight to their end, and starts nothing new. */
  async close(): Promise<void> {
    this.#closing.abort()
    await this.#jobs.ended()
  }

  /** Whether `close()` has been called. */
  get closing(): boolean {
    return this.#closing.signal.aborted
  }

  /** Sends the authentication request, and says in an event what came of it. */
  async #authenticate(
    checked: CheckedRequest,
    token: string | undefined,
    sentAt: number,
    hideUnknownUser: boolean,
  ): Promise<TransactionEvent> {
    const { op, clock } = this.#parts
    const requestedExpiry = checked.parameters['requested_expiry']
    try {
      const acknowledgement = await op.authenticate(checked, token)
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

  /** The newest entry, if it exists for this caller. */
  async #find(id: string, owner: string | undefined): Promise<Entry | undefined> {
    const entry = await this.#parts.ledger.read(id)
    return entry && (owner === undefined || same(owner, entry.transaction.owner)) ? entry : undefined
  }

  #pursuePing(id: string, holder: string): void {
    this.#jobs.run(() => this.#requester.pursuePing(id, holder))
  }

  #newHolder(): string {
    this.#holders += 1
    return `${this.#name}.${this.#holders}`
  }
}

/** Compares whole values in constant time, whatever their lengths [PING-3]. */
function same(a: string, b: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(a), digest(b))
}
