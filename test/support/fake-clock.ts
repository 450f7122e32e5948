/** A clock that moves when a test says so, and lets everything that wakes up settle before it moves on. */
import { setImmediate } from 'node:timers/promises'
import type { Clock } from '../../lib/clock.ts'

/** Runs all work that waits for nothing but other work: promises, and those of the parts under test. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await setImmediate()
}

export class FakeClock implements Clock {
  #now: number
  readonly #timers = new Set<{ at: number; callback: () => void }>()

  /** Starts at the real time by default, so that parts with the real clock agree with it. */
  constructor(now = Date.now()) {
    this.#now = now
  }

  now(): number {
    return this.#now
  }

  here(): number {
    return this.#now
  }

  after(ms: number, callback: () => void): () => void {
    const timer = { at: this.#now + Math.max(0, ms), callback }
    this.#timers.add(timer)
    return () => void this.#timers.delete(timer)
  }

  /** How many timers are set: none may be left behind. */
  get timers(): number {
    return this.#timers.size
  }

  /** Lets `ms` pass; each timer fires at its own instant. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms
    await settle()
    for (let next = this.#first(); next && next.at <= end; next = this.#first()) {
      this.#now = next.at
      this.#timers.delete(next)
      next.callback()
      await settle()
    }
    this.#now = end
    await settle()
  }

  #first(): { at: number; callback: () => void } | undefined {
    return [...this.#timers].sort((a, b) => a.at - b.at)[0]
  }
}
