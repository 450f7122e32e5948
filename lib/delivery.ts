/**
 * Hands a grant to one taker at a time, until one has it safely. Knows nothing of sessions.
 */

import type { Clock } from './clock.ts'
import { Doorbell } from './doorbell.ts'
import type { Grant } from './grant.ts'
import type { Jobs } from './jobs.ts'
import type { Ledger } from './ledger.ts'
import type { CompleteTransaction, Transaction } from './transaction.ts'

/** The exclusive right to bring a grant into a session. */
export interface Claim {
  readonly grant: Grant
  /** Makes the claim last, after something slow; `false` if it ran out and somebody else took over. */
  renew(): Promise<boolean>
  /**
   * `delivered` and `refused` drop the tokens for good, `released` leaves them for another try. A failing store is
   * tried again for a while; after that the claim runs out by itself.
   */
  settle(outcome: 'delivered' | 'refused' | 'released'): Promise<void>
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

export class Delivery {
  readonly #parts: DeliveryParts

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
    const take = async () => {
      const next = clock.now() + claimMs
      const taken = await ledger.apply(id, { type: 'claimed', holder, until: next })
      if (taken?.changed) until = next
      return taken
    }
    const taken = await take()
    if (!taken?.changed || taken.transaction.state !== 'complete' || !taken.transaction.grant)
      return undefined
    return {
      grant: taken.transaction.grant,
      renew: async () => until - clock.now() > claimMs / 2 || (await take())?.changed === true,
      async settle(type) {
        const settled = jobs.run(() => ledger.insist(id, { type, holder }, recordPatienceMs))
        await settled.catch(() => {}) // the job has logged it
      },
    }
  }

  /**
   * Waits for another answer's claim to be settled or to run out, or for a signal, and returns the transaction as it
   * is then.
   */
  async untilSettled(id: string, ...signals: readonly AbortSignal[]): Promise<Transaction | undefined> {
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
        // A clock that was set back must not make it longer.
        await bell.sleepUntil(Math.min(claim.until, clock.now() + claimMs), clock)
      }
    } finally {
      unwatch()
      unlisten()
    }
  }
}
