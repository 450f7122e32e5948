/**
 * How many polls of one session are held at a time, so that no single visitor makes much work of every change. Knows
 * nothing of what they wait for.
 */

/** More than a browser opens: six connections, or a hundred streams of all its tabs together. */
const mostPerSession = 50

export class Holds {
  readonly #held = new Map<string, number>()
  readonly #most: number

  constructor(most: number = mostPerSession) {
    this.#most = most
  }

  /** Runs a `poll` of `owner` with the time it may wait: none when that many wait already, so that it only looks. */
  run<Result>(
    owner: string | undefined,
    waitMs: number,
    poll: (waitMs: number) => Promise<Result>,
  ): Promise<Result> {
    if (owner === undefined || waitMs <= 0) return poll(waitMs)
    // The newcomer, not one that waits: that would come again at once, and push out the next.
    if ((this.#held.get(owner) ?? 0) >= this.#most) return poll(0)
    this.#count(owner, 1)
    return poll(waitMs).finally(() => this.#count(owner, -1))
  }

  #count(owner: string, change: 1 | -1): void {
    const held = (this.#held.get(owner) ?? 0) + change
    if (held > 0) this.#held.set(owner, held)
    else this.#held.delete(owner)
  }
}
