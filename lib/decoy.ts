/**
 * What a login for an unknown person looks like, so that it tells nothing: as the latest real ones did [ERR-5].
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

/** A few of the latest values. */
function recent<Value>(): {
  add(value: Value): void
  any(fits?: (value: Value) => boolean): Value | undefined
} {
  const values: Value[] = []
  return {
    add(value) {
      values.push(value)
      if (values.length > remembered) values.shift()
    },
    any(fits = () => true) {
      const fitting = values.filter(fits)
      return fitting[Math.floor(Math.random() * fitting.length)]
    },
  }
}

/** Remembers how real starts and token requests looked, and makes one up. Until the first real one it has to guess. */
export class Decoys {
  readonly #starts = recent<{ appearance: Appearance; requestedExpiry: string | undefined }>()
  readonly #tokenRequests = recent<number>()

  /** Takes note of a real acknowledgement to a request with this `requested_expiry`. */
  remember(appearance: Appearance, requestedExpiry: string | undefined): void {
    this.#starts.add({ appearance, requestedExpiry })
  }

  /** An appearance that a real start with this `requested_expiry` might have had just now. */
  make(requestedExpiry: string | undefined): Appearance {
    const one = this.#starts.any((start) => start.requestedExpiry === requestedExpiry)
    return one?.appearance ?? { expiresIn: Number(requestedExpiry ?? 120), interval: 5, tookMs: 0 }
  }

  /** Takes note of how long the OP took to say that the person has not decided yet. */
  rememberTokenRequest(tookMs: number): void {
    this.#tokenRequests.add(tookMs)
  }

  /** How long it might have taken just now. */
  tokenRequestMs(): number {
    return this.#tokenRequests.any() ?? 0
  }
}
