/**
 * Time as the parts see it, so that tests can hold it in their hands. Knows nothing of what is timed.
 */
export interface Clock {
  /** Epoch milliseconds: instants in records are read by other hosts too. */
  now(): number
  /** Epoch milliseconds as this host sees them, which is what the OP's times are compared with. */
  here(): number
  /**
   * Calls `callback` once, `ms` from now; a millisecond early at worst [POLL-15].
   *
   * @returns calls it off.
   */
  after(ms: number, callback: () => void): () => void
}

/** As much of an `AbortSignal` as a wait needs. */
export type StopSignal = Pick<AbortSignal, 'aborted'> & {
  addEventListener(type: 'abort', listener: () => void): void
  removeEventListener(type: 'abort', listener: () => void): void
}

/** Longer delays than this make Node's timers fire at once [POLL-15]. */
const longestDelayMs = 2 ** 31 - 1

export const systemClock: Clock = {
  now: () => Date.now(),
  here: () => Date.now(),
  after(ms, callback) {
    const timer = setTimeout(callback, Math.min(Math.max(0, ms), longestDelayMs))
    return () => clearTimeout(timer)
  },
}

/** What `work` comes to, or `instead` after `ms`; the work goes on, and what it fails with then is lost. */
export async function within<Result, Instead>(
  clock: Clock,
  ms: number,
  work: Promise<Result>,
  instead: Instead,
): Promise<Result | Instead> {
  let callOff = () => {}
  const patience = new Promise<Instead>((resolve) => {
    callOff = clock.after(ms, () => resolve(instead))
  })
  try {
    return await Promise.race([work, patience])
  } finally {
    callOff()
  }
}
