/**
 * Time as the parts see it, so that tests can hold it in their hands. Knows nothing of what is timed.
 */
export interface Clock {
  /** Epoch milliseconds. The wall clock on purpose: instants in records are read by other hosts too. */
  now(): number
  /**
   * Calls `callback` once, `ms` from now; a millisecond early at worst [POLL-15].
   *
   * @returns calls it off.
   */
  after(ms: number, callback: () => void): () => void
}

/** Longer delays than this make Node's timers fire at once [POLL-15]. */
const longestDelayMs = 2 ** 31 - 1

export const systemClock: Clock = {
  now: () => Date.now(),
  after(ms, callback) {
    const timer = setTimeout(callback, Math.min(Math.max(0, ms), longestDelayMs))
    return () => clearTimeout(timer)
  },
}
