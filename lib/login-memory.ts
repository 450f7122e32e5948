/**
 * What this process knows of logins whose tokens it has refreshed, or that it has seen end. Knows nothing of how either
 * happens, and of other processes only what it was told.
 */

import type { Clock } from './clock.ts'
import type { HeldGrant } from './grant.ts'
import { Memory } from './memory.ts'

/** How long anything is remembered, in case somebody writes what is older over it. */
const memoryMs = 300_000
const mostRemembered = 1_000

export class LoginMemory {
  readonly #clock: Clock
  readonly #newest = new Memory<HeldGrant>(mostRemembered)
  readonly #ended = new Memory<true>(mostRemembered)
  readonly #paused = new Memory<true>(mostRemembered)

  constructor(clock: Clock) {
    this.#clock = clock
  }

  newest(id: string): HeldGrant | undefined {
    return this.#newest.get(id, this.#clock.now())
  }

  setNewest(id: string, grant: HeldGrant): void {
    const now = this.#clock.now()
    this.#newest.set(id, grant, now + memoryMs, now)
  }

  forgetNewest(id: string): void {
    this.#newest.delete(id)
  }

  /** Logins that are over: nothing of them may be stored any more. */
  hasEnded(id: string): boolean {
    return this.#ended.get(id, this.#clock.now()) === true
  }

  setEnded(id: string): void {
    const now = this.#clock.now()
    this.#ended.set(id, true, now + memoryMs, now)
  }

  /** Logins whose last refresh failed: who has a valid token does not try again so soon. */
  isPaused(id: string): boolean {
    return this.#paused.get(id, this.#clock.now()) === true
  }

  pause(id: string, until: number): void {
    this.#paused.set(id, true, until, this.#clock.now())
  }
}

/** The one that was refreshed most often; the first of equals. */
export function newestOf(first: HeldGrant, ...others: readonly (HeldGrant | undefined)[]): HeldGrant {
  let newest = first
  for (const other of others) if (other && other.refreshes > newest.refreshes) newest = other
  return newest
}
