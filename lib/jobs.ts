/**
 * Work that goes on to its end although whoever set it off has gone. Knows nothing of what the work is.
 */

import createDebug from 'debug'

const debug = createDebug('express-ciba:jobs')

export class Jobs {
  readonly #underWay = new Set<Promise<void>>()

  /** Starts `work` and gives its result, or its error, to whoever still listens. */
  async run<Result>(work: () => Promise<Result>): Promise<Result> {
    const result = work()
    const job: Promise<void> = result
      .then(
        () => {},
        (error: Error) => debug('failed: %s', error.message),
      )
      .finally(() => this.#underWay.delete(job))
    this.#underWay.add(job)
    return result
  }

  /** Starts `work` that nobody listens to; a failure is only logged. */
  leave(work: () => Promise<unknown>): void {
    this.run(work).catch(() => {})
  }

  /** Resolves when all work has ended, and what that started in turn. */
  async ended(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay)
  }
}
