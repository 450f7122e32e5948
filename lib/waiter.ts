/**
 * Waits for a transaction on behalf of one caller, and takes every step on the way that is due. Knows nothing of why
 * the caller waits.
 */

import { setMaxListeners } from 'node:events'
import type { Clock, StopSignal } from './clock.ts'
import { Doorbell } from './doorbell.ts'
import type { Jobs } from './jobs.ts'
import type { Entry, Ledger } from './ledger.ts'
import type { TokenRequester } from './token-requester.ts'
import { type NextStep, nextStep, type Transaction } from './transaction.ts'

/** Who waits, and how long. */
export interface WaitOptions {
  /** Anybody else's transactions do not exist for this caller. Absent: everything exists. */
  readonly owner?: string
  /** 0 only looks, and asks the OP if that is due. */
  readonly timeoutMs: number
  /** Ends the wait; a token request in flight goes on. */
  readonly signal?: StopSignal
}

/** What a {@link Waiter} needs. */
export interface WaiterParts {
  readonly ledger: Ledger
  readonly clock: Clock
  readonly requester: TokenRequester
  readonly jobs: Jobs
  /** Ends all waits. */
  readonly closing: AbortSignal
  /** A new name for who takes a lease. */
  readonly newHolder: () => string
}

/** A token request that this waiter has set off. */
interface Asking {
  isDone: boolean
  fault?: unknown
}

/** A waiter reads again at least this often: a lost wake-up costs this much time. */
const rereadMs = 5_000
/** How long a look waits for the token request that it has set off itself. */
const lookPatienceMs = 2_000

export class Waiter {
  readonly #parts: WaiterParts

  constructor(parts: WaiterParts) {
    this.#parts = parts
    setMaxListeners(0, parts.closing) // one for each wait
  }

  /**
   * Waits until the transaction is over, `timeoutMs` has passed or a signal aborts, and returns how it stands then.
   *
   * `undefined`: it does not exist for this caller. Rejects when the store fails.
   */
  async wait(id: string, { owner, timeoutMs, signal }: WaitOptions): Promise<Transaction | undefined> {
    const { ledger, clock, closing } = this.#parts
    const isLook = timeoutMs <= 0
    const first = isLook ? await ledger.find(id, owner) : undefined
    // Most looks come before anything is due, and need no bells: in a shared store each would be a subscription.
    if (isLook && !(first && isActionDue(nextStep(first.transaction, clock.now())))) return first?.transaction
    const bell = new Doorbell()
    const unwatch = ledger.watch(id, bell.ring)
    const unlisten = bell.ringOnAbort(signal, closing)
    let isTimeUp = false
    // A timer rather than an instant: a clock that is set back must not hold anybody longer [POLL-15].
    const callOff = clock.after(isLook ? lookPatienceMs : timeoutMs, () => {
      isTimeUp = true
      bell.ring()
    })
    try {
      return await this.#watchOver(id, owner, bell, first, (step, hasAsked) => {
        const hasLooked = isLook && (hasAsked ?? step.do === 'wait')
        return isTimeUp || signal?.aborted || closing.aborted || hasLooked
      })
    } finally {
      callOff()
      unwatch()
      unlisten()
    }
  }

  /** Takes every step that is due, until the transaction or the watch is over; a look ends with its first step. */
  async #watchOver(
    id: string,
    owner: string | undefined,
    bell: Doorbell,
    first: Entry | undefined,
    isOver: (step: NextStep, hasAsked: boolean | undefined) => boolean | undefined,
  ): Promise<Transaction | undefined> {
    const { ledger, clock } = this.#parts
    let asking: Asking | undefined
    let known = first
    for (;;) {
      bell.quiet()
      // What is read now may be older than what comes of a request that ends meanwhile.
      const wasDone = asking?.isDone
      const entry = known ?? (await ledger.find(id, owner))
      if (!entry) return undefined
      known = undefined
      const step = nextStep(entry.transaction, clock.now())
      if (step.do === 'stop') return entry.transaction
      if (asking?.fault !== undefined) throw asking.fault
      if (step.do === 'expire') {
        await ledger.apply(id, { type: 'timedOut' }, entry)
        continue
      }
      if (isOver(step, wasDone)) return entry.transaction
      if (step.do === 'requestTokens' && asking?.isDone !== false) asking = this.#ask(entry, bell)
      const until = step.do === 'wait' ? step.until : Number.POSITIVE_INFINITY
      await bell.sleepUntil(Math.min(until, clock.now() + rereadMs), clock)
    }
  }

  /** Sends a token request, and rings when it has ended. */
  #ask(entry: Entry, bell: Doorbell): Asking {
    const { jobs, requester, newHolder } = this.#parts
    const asking: Asking = { isDone: false }
    jobs
      .run(() => requester.request(entry, newHolder()))
      .catch((error: unknown) => {
        asking.fault = error
      })
      .finally(() => {
        asking.isDone = true
        bell.ring()
      })
    return asking
  }
}

function isActionDue(step: NextStep): boolean {
  return step.do === 'expire' || step.do === 'requestTokens'
}
