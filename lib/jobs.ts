/**
 * Work that goes on to its end although whoever set it off has gone. Knows nothing of what the work is.
 */

import createDebug from 'debug'

const debug = createDebug('express-ciba:jobs')

export class Jobs {
  readonly #underWay = new Set<Promise<void>>()

  /** Starts `work`; resolves when it has ended, well or badly. */
  run(work: () => Promise<unknown>): Promise<void> {
    const job = work()
      .then(
        () => {},
        (error: Error) => debug('failed: %s', error.message),
      )
      .finally(() => this.#underWay.delete(job))
    this.#underWay.add(job)
    return job
  }

  /** Resolves when all work has ended, and what that started in turn. */
  async ended(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay)
  }
}
