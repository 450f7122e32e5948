/**
 * What time it is at Redis, for instances whose own clocks disagree. Knows nothing of what happens when.
 */

/** The difference to Redis's clock is measured this often: clocks drift apart slowly. */
const measureEveryMs = 60_000
/** An answer that took longer says less, and another is asked for soon. */
const slowMs = 50
const againMs = 1_000

/** Rather than the bare command: with a key, all instances ask the same node of a cluster. */
export const timeScript = "return redis.call('TIME')"

/**
 * This process's clock, set to Redis's. Until Redis has answered, and where it does not, it is that of this process.
 */
export class RedisClock {
  readonly #ask: () => Promise<unknown>
  #aheadMs = 0
  #isKnown = false
  /** By a clock that nobody sets. */
  #measureAt = Number.NEGATIVE_INFINITY

  /** @param ask - resolves to Redis's answer to TIME: seconds, and the microseconds of the current one */
  constructor(ask: () => Promise<unknown>) {
    this.#ask = ask
    this.now()
  }

  /** Epoch milliseconds. */
  now(): number {
    if (performance.now() >= this.#measureAt) this.#measure()
    return Date.now() + this.#aheadMs
  }

  #measure(): void {
    const from = performance.now()
    this.#measureAt = from + measureEveryMs
    const sentAt = Date.now()
    this.#ask().then(
      (answer) => {
        const tookMs = performance.now() - from
        const [seconds, microseconds] = (Array.isArray(answer) ? answer : []).map(Number)
        const there = Number(seconds) * 1000 + Number(microseconds) / 1000
        if (!Number.isFinite(there)) return
        const aheadMs = Math.round(there - (sentAt + tookMs / 2))
        const isSlow = tookMs > slowMs
        if (isSlow) this.#askAgainSoon()
        // It is that far off at worst.
        const isNoNews = this.#isKnown && Math.abs(aheadMs - this.#aheadMs) <= tookMs / 2
        if (isSlow && isNoNews) return
        this.#aheadMs = aheadMs
        this.#isKnown = true
      },
      // Whatever is wrong with Redis, those who read and write hear of it.
      () => {
        if (!this.#isKnown) this.#askAgainSoon()
      },
    )
  }

  #askAgainSoon(): void {
    this.#measureAt = performance.now() + againMs
  }
}
