/**
 * Hands a grant to one taker at a time, until one has it safely. Knows nothing of sessions.
 */

import type { Clock, StopSignal } from './clock.ts'
import { Doorbell } from './doorbell.ts'
import type { Grant } from './grant.ts'
import type { Jobs } from './jobs.ts'
import type { Ledger } from './ledger.ts'
import { Memory } from './memory.ts'
import {
  type Arrival,
  type CompleteTransaction,
  isArriving,
  retentionMs,
  type Transaction,
  type TransactionEvent,
} from './transaction.ts'

/** Which answer brought a login, and when its record goes, epoch milliseconds. */
export interface DeliveryName {
  readonly holder: string
  readonly until: number
}

/** The exclusive right to bring a grant into a session. */
export interface Claim {
  readonly grant: Grant
  /** Makes the claim last, after something slow; `false` if it ran out and somebody else took over. */
  renew(): Promise<boolean>
  /** Names this answer to {@link Delivery.confirm}, for as long as the record lives. */
  readonly name: DeliveryName
  /** The sessions that earlier answers brought it into, which have not arrived as far as anybody knows. */
  readonly lost: readonly string[]
  /**
   * The answer has left, with the session `to`; see {@link Delivery.confirm}. Another answer may bring another session a while
   * later, or at once if this one `isBroken`. A failing store is tried again, as below.
   */
  sent(to: string, isBroken: boolean): Promise<void>
  /**
   * `refused` drops the tokens for good, `released` leaves them for another try. A failing store is tried again for a while;
   * after that the claim runs out by itself.
   */
  settle(outcome: 'refused' | 'released'): Promise<void>
}

/** What a {@link Delivery} needs. */
export interface DeliveryParts {
  readonly ledger: Ledger
  readonly clock: Clock
  readonly jobs: Jobs
}

/** How long one answer may take to bring a grant into a session; a crash delays the next try by this much. */
const claimMs = 10_000
const recordPatienceMs = 5_000
/** How long the browser has to show up with its new session before another answer may bring it one. */
const arrivalMs = 5_000
const mostConfirmed = 10_000

export class Delivery {
  readonly #parts: DeliveryParts
  readonly #confirmed = new Memory<true>(mostConfirmed)

  constructor(parts: DeliveryParts) {
    this.#parts = parts
  }

  /**
   * Claims an undelivered grant under the name `holder`. `undefined` if there is none (any more), or if another
   * answer is just delivering it: see {@link untilSettled}.
   */
  async claim({ id }: CompleteTransaction, holder: string): Promise<Claim | undefined> {
    const { ledger, clock, jobs } = this.#parts
    let until = 0
    let lost: readonly string[] = []
    const take = async () => {
      const next = clock.now() + claimMs
      const taken = await ledger.apply(id, { type: 'claimed', holder, until: next })
      if (taken?.changed) until = next
      // Another answer may have been in between.
      if (taken?.changed && taken.transaction.state === 'complete')
        lost = arrivalsOf(taken.transaction).map(({ to }) => to)
      return taken
    }
    const taken = await take()
    if (!taken?.changed || taken.transaction.state !== 'complete' || !taken.transaction.grant)
      return undefined
    const { grant, expiresAt } = taken.transaction
    const insist = async (event: TransactionEvent) => {
      await jobs.run(() => ledger.insist(id, event, recordPatienceMs)).catch(() => {}) // the job has logged it
    }
    return {
      grant,
      name: { holder, until: expiresAt + retentionMs },
      get lost() {
        return lost
      },
      renew: async () => until - clock.now() > claimMs / 2 || (await take())?.changed === true,
      sent(to, isBroken) {
        const at = clock.now() // that of the answer, not of the record
        return insist({
          type: 'sent',
          holder,
          to,
          ...(isBroken ? { until: at } : { at, until: at + arrivalMs }),
        })
      },
      settle: (type) => insist({ type, holder }),
    }
  }

  /** Whether {@link confirm} may have something to do. */
  isUnconfirmed(id: string, { until }: DeliveryName): boolean {
    const now = this.#parts.clock.now()
    return now < until && this.#confirmed.get(id, now) === undefined
  }

  /**
   * The browser has shown up with the session that an answer brought: the tokens leave the record, also if this comes sooner
   * than {@link Claim.sent}, and the sessions of other answers end. Rejects when a store fails.
   */
  async confirm(
    id: string,
    { holder, until }: DeliveryName,
    endOther: (session: string) => Promise<unknown>,
  ): Promise<void> {
    const { ledger, clock } = this.#parts
    const transaction = (await ledger.apply(id, { type: 'delivered', holder }))?.transaction
    if (transaction?.state === 'complete') {
      // Another answer is about to bring another session.
      if (transaction.delivery === 'undelivered') return
      const others = arrivalsOf(transaction).filter((other) => other.holder !== holder)
      await Promise.all(others.map(({ to }) => endOther(to)))
    }
    this.#confirmed.set(id, true, until, clock.now())
  }

  /**
   * Waits for another answer's claim to be settled or to run out, for its answer to leave (after `since`), or for a signal, and
   * returns the transaction as it is then.
   */
  async untilSettled(
    id: string,
    since: number,
    ...signals: readonly StopSignal[]
  ): Promise<Transaction | undefined> {
    const { ledger, clock } = this.#parts
    const bell = new Doorbell()
    const unwatch = ledger.watch(id, bell.ring)
    const unlisten = bell.ringOnAbort(...signals)
    try {
      for (;;) {
        bell.quiet()
        const transaction = (await ledger.read(id))?.transaction
        const claim = transaction?.state === 'complete' ? transaction.claim : undefined
        const isOver = signals.some((signal) => signal.aborted)
        if (!claim || claim.until <= clock.now() || isOver) return transaction
        if (transaction?.state === 'complete' && isArriving(transaction, since)) return transaction
        // A clock that was set back must not make it longer.
        await bell.sleepUntil(Math.min(claim.until, clock.now() + claimMs), clock)
      }
    } finally {
      unwatch()
      unlisten()
    }
  }
}

/** The sessions that answers have brought so far. */
function arrivalsOf({ arrival, earlier = [] }: CompleteTransaction): readonly Arrival[] {
  return arrival ? [...earlier, arrival] : earlier
}
