/**
 * How pings reach clients: on time, late, again, or never. Knows nothing of what they are about.
 */

import type { Pings, TestCounts } from './types.ts'

/** As long as oidc-provider waits for an answer. */
const patienceMs = 2_500

/** Sends pings as its `mode` says, and counts those it sends. */
export class PingSender {
  mode: Pings
  readonly #counts: TestCounts
  readonly #closing = new AbortController()
  readonly #timers = new Set<NodeJS.Timeout>()
  #held: (() => Promise<void>)[] = []

  constructor(mode: Pings, counts: TestCounts) {
    this.mode = mode
    this.#counts = counts
  }

  /** Resolves when what is due now was delivered, or has failed. Never rejects. */
  async send(url: URL, init: RequestInit): Promise<void> {
    const { mode } = this
    const post = () => this.#post(url, init)
    if (mode === 'never') return
    if (mode === 'held') this.#held.push(post)
    else if (typeof mode === 'object') this.#postLater(post, mode.afterMs)
    else {
      await post()
      if (mode === 'twice') await post()
    }
  }

  /** Sends what was held, oldest first. */
  async release(): Promise<void> {
    const held = this.#held
    this.#held = []
    for (const post of held) await post()
  }

  /** Ends pings under way; none are sent any more. */
  close(): void {
    this.#closing.abort()
    this.#held = []
    for (const timer of this.#timers) clearTimeout(timer)
    this.#timers.clear()
  }

  #postLater(post: () => Promise<void>, afterMs: number): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      void post()
    }, afterMs)
    this.#timers.add(timer)
  }

  async #post(url: URL, init: RequestInit): Promise<void> {
    if (this.#closing.signal.aborted) return
    this.#counts.ping++
    // The signal of `init` has run out by the time a late ping is sent.
    const signal = AbortSignal.any([this.#closing.signal, AbortSignal.timeout(patienceMs)])
    try {
      const response = await fetch(url, { ...init, signal })
      await response.body?.cancel()
    } catch {
      // A client that is away loses its ping, as it would at any OP.
    }
  }
}
