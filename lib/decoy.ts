/**
 * What a start for an unknown person looks like, so that it tells nothing: as the latest real ones did [ERR-5].
 * Knows nothing of the person or of the answer that is hidden.
 */

/** The visible side of an acknowledgement. */
export interface Appearance {
  /** Seconds. */
  readonly expiresIn: number
  /** Seconds. */
  readonly interval: number
  /** How long the OP took to answer. */
  readonly tookMs: number
}

const remembered = 16

/** Remembers how real acknowledgements looked, and makes one up. Until the first real one it has to guess. */
export class Decoys {
  readonly #seen: { appearance: Appearance; requestedExpiry: string | undefined }[] = []

  /** Takes note of a real acknowledgement to a request with this `requested_expiry`. */
  remember(appearance: Appearance, requestedExpiry: string | undefined): void {
    this.#seen.push({ appearance, requestedExpiry })
    if (this.#seen.length > remembered) this.#seen.shift()
  }

  /** An appearance that a real start with this `requested_expiry` might have had just now. */
  make(requestedExpiry: string | undefined): Appearance {
    const alike = this.#seen.filter((one) => one.requestedExpiry === requestedExpiry)
    const one = alike[Math.floor(Math.random() * alike.length)]
    if (one) return one.appearance
    return { expiresIn: Number(requestedExpiry ?? 120), interval: 5, tookMs: 0 }
  }
}
