/**
 * Asks the OP for tokens when a transaction says so: one request at a time over all processes, each followed to its
 * end. Knows nothing of who waits for the result.
 */

import createDebug from 'debug'
import type { Clock } from './clock.ts'
import type { Decoys } from './decoy.ts'
import { Doorbell } from './doorbell.ts'
import { publish } from './events.ts'
import type { Entry, Ledger } from './ledger.ts'
import type { Op } from './protocol/op.ts'
import { isOpen, nextStep, shortId, type TransactionEvent } from './transaction.ts'

const debug = createDebug('express-ciba:flow')

/** What a {@link TokenRequester} needs. */
export interface TokenRequesterParts {
  readonly op: Op
  readonly ledger: Ledger
  readonly clock: Clock
  readonly decoys: Decoys
  /** How long a token request may take [POLL-6]. */
  readonly tokenTimeoutMs: number
  /** How long the checks of what it brings may take after it: fetching the OP's keys, and the application's own. */
  readonly validationTimeoutMs: number
}

/** How much longer a lease lives than the token request and the validation that it covers. */
const leaseMarginMs = 5_000
/** How long a failing store is tried again, so that what the OP said is not lost. */
const recordPatienceMs = 60_000

export class TokenRequester {
  readonly #parts: TokenRequesterParts

  constructor(parts: TokenRequesterParts) {
    this.#parts = parts
  }

  /**
   * Asks because of a ping, after its 204 has left; `holder` is the name under which the ping was taken. Where another
   * request is just in flight, whoever sent that asks again.
   */
  async pursuePing(id: string, holder: string): Promise<void> {
    const { ledger, clock } = this.#parts
    const entry = await ledger.read(id)
    if (!entry) return
    const isInFlight = nextStep(entry.transaction, clock.now(), holder).do === 'wait'
    const free = isInFlight ? await ledger.apply(id, { type: 'answeredPing', holder }, entry) : entry
    if (free?.transaction.state === 'ready') await this.request(free, holder)
  }

  /**
   * Takes the lease, sends the token request and records its answer; does nothing if that is not due or somebody
   * else is faster. Asks again at once when a ping came while the request was in flight.
   */
  async request(from: Entry, holder: string): Promise<void> {
    const { ledger, clock, tokenTimeoutMs, validationTimeoutMs } = this.#parts
    const { id } = from.transaction
    let entry: Entry | undefined = from
    while (entry && nextStep(entry.transaction, clock.now(), holder).do === 'requestTokens') {
      const timeoutAt = clock.now() + tokenTimeoutMs
      const until = timeoutAt + validationTimeoutMs + leaseMarginMs
      const leased = await ledger.apply(id, { type: 'leased', holder, until }, entry)
      if (!leased?.changed) return
      // Counted from before the lease, however long the store took to grant it [POLL-2].
      const event = await this.#ask(leased, holder, timeoutAt - clock.now())
      entry = await ledger.insist(id, event, recordPatienceMs, leased)
      debug('%s is %s', shortId(id), entry?.transaction.state)
      if (entry?.transaction.state !== 'ready') return
    }
  }

  async #ask({ transaction }: Entry, holder: string, timeoutMs: number): Promise<TransactionEvent> {
    const { op, clock, decoys } = this.#parts
    const { authReqId, expectations } = transaction
    const dpopKey = isOpen(transaction) ? transaction.dpopKey : undefined
    const askedAt = clock.now()
    if (isOpen(transaction) && transaction.hidden) {
      await new Doorbell().sleepUntil(askedAt + decoys.tokenRequestMs(), clock)
      return { type: 'stillPending', holder }
    }
    if (authReqId === undefined || timeoutMs <= 0) return { type: 'unanswered', sent: false, holder }
    const answer = await op.requestTokens({ authReqId, expectations, dpopKey }, timeoutMs)
    const durationMs = clock.now() - askedAt
    publish('express-ciba:token-request', () => ({
      transaction: shortId(transaction.id),
      outcome: answer.type,
      durationMs,
      ...('error' in answer && { error: answer.error }),
    }))
    if (answer.type === 'stillPending') decoys.rememberTokenRequest(durationMs)
    return { ...answer, holder }
  }
}
