/**
 * Counts starts in the memory of this process, in bounded room. Knows nothing of who or what is counted.
 */

import type { StartLimiter } from './options.ts'

interface Window {
  readonly endsAt: number
  points: number
}

/**
 * How many keys are counted at most: a flood of made-up names takes some 20 MB, until the first start after it. Who wants
 * to push somebody's count out of here has to start as often within that person's window.
 */
const mostKeys = 100_000

/** As RateLimiterMemory of rate-limiter-flexible, which keeps a timer for each key and as many keys as anybody names. */
export class MemoryLimiter implements StartLimiter {
  readonly #points: number
  readonly #windowMs: number
  readonly #mostKeys: number
  /** All windows are equally long, so the first is the next to end. */
  readonly #windows = new Map<string, Window>()

  constructor(points: number, windowMs: number, most: number = mostKeys) {
    this.#points = points
    this.#windowMs = windowMs
    this.#mostKeys = most
  }

  async consume(key: string): Promise<void> {
    // Not the wall clock: one that is set back must not keep anybody waiting.
    const now = performance.now()
    const known = this.#windows.get(key)
    const window = known && known.endsAt > now ? known : this.#open(key, now)
    window.points += 1
    if (window.points > this.#points) throw new TooMany(window.endsAt - now)
  }

  #open(key: string, now: number): Window {
    this.#windows.delete(key)
    for (const [other, { endsAt }] of this.#windows) {
      if (endsAt > now && this.#windows.size < this.#mostKeys) break
      this.#windows.delete(other)
    }
    const window = { endsAt: now + this.#windowMs, points: 0 }
    this.#windows.set(key, window)
    return window
  }
}

/** Says how long to wait as limiters of rate-limiter-flexible do. */
class TooMany extends Error {
  readonly msBeforeNext: number

  constructor(msBeforeNext: number) {
    super('too many')
    this.msBeforeNext = msBeforeNext
  }
}
