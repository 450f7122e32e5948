/** How both sides of the waiting benchmark begin to wait, and stop. Knows nothing of who waits. */
import { setTimeout as sleep } from 'node:timers/promises'
import { inParallel } from './in-parallel.ts'

/** What each side is told. */
export interface WaitingConfig {
  readonly issuer: string
  /** The OP's, in seconds. */
  readonly interval: number
}

/** Answers for the process of one side: `wait` begins for all, `stop` ends it for all. */
export function waits<One>(
  started: readonly One[],
  interval: number,
  wait: (one: One, signal: AbortSignal) => Promise<unknown>,
): { wait(): Promise<void>; stop(): Promise<void> } {
  let waiting: { readonly signals: AbortController[]; readonly ends: Promise<unknown>[] } | undefined
  return {
    /** Spread over an interval, as people come. */
    async wait() {
      waiting = { signals: [], ends: [] }
      const { signals, ends } = waiting
      const from = performance.now()
      const eachMs = (interval * 1000) / started.length
      await inParallel(started.entries(), 1, async ([number, one]) => {
        const dueMs = from + number * eachMs - performance.now()
        if (dueMs > 1) await sleep(dueMs)
        const signal = new AbortController()
        signals.push(signal)
        ends.push(
          wait(one, signal.signal).then(
            () => Promise.reject(new Error('nobody has approved')),
            (error: unknown) => {
              if (!signal.signal.aborted) throw error
            },
          ),
        )
      })
    },
    async stop() {
      for (const signal of waiting?.signals ?? []) signal.abort()
      await Promise.all(waiting?.ends ?? [])
      waiting = undefined
    },
  }
}
