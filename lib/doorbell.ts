/**
 * A sleep that ends at an instant or at a ring, whichever comes first. Knows nothing of who rings.
 */

import type { Clock, StopSignal } from './clock.ts'

/** One sleeper's bell. A ring while nobody sleeps is remembered until {@link quiet}. */
export class Doorbell {
  #rung = false
  #wake: (() => void) | undefined

  /** Ends the sleep; bound, so that it can be handed out as a listener. */
  readonly ring = (): void => {
    this.#rung = true
    this.#wake?.()
  }

  /**
   * Rings when any of the signals aborts.
   *
   * @returns takes the listeners off again.
   */
  ringOnAbort(...signals: readonly (StopSignal | undefined)[]): () => void {
    for (const signal of signals) {
      if (signal?.aborted) this.ring()
      signal?.addEventListener('abort', this.ring)
    }
    return () => {
      for (const signal of signals) signal?.removeEventListener('abort', this.ring)
    }
  }

  /** Forgets earlier rings: call it before looking at what they were about. */
  quiet(): void {
    this.#rung = false
  }

  /** Sleeps until `instant` (epoch milliseconds), unless it rings or has rung. No async function: thousands sleep at a time. */
  sleepUntil(instant: number, clock: Clock): Promise<void> {
    if (this.#rung) return Promise.resolve()
    return new Promise((resolve) => {
      const callOff = clock.after(instant - clock.now(), () => {
        this.#wake = undefined
        resolve()
      })
      this.#wake = () => {
        this.#wake = undefined
        callOff()
        resolve()
      }
    })
  }
}
