/**
 * Tells an ID token that is bad from one that could not be verified, since the OP's keys could not be had. Knows nothing
 * of what is verified.
 */

import type { CustomFetch } from './transport.ts'

/** A way to the OP's keys, and what kept us from them. */
export interface KeysWatch {
  readonly fetch: CustomFetch
  /** `undefined` if the keys came, or nobody asked for them. */
  readonly trouble: () => unknown
}

/** Whether it is a JWK set. A proxy may answer 200 in the OP's place, and the answer may break off: then it rejects. */
export async function hasKeys(answer: Response): Promise<boolean> {
  const json: unknown = answer.status === 200 ? await answer.clone().json() : undefined
  return Array.isArray((json as { keys?: unknown } | null | undefined)?.keys)
}

export function watchKeys(fetch: CustomFetch): KeysWatch {
  let trouble: unknown
  return {
    async fetch(url, init) {
      try {
        const answer = await fetch(url, init)
        if (!(await hasKeys(answer))) trouble = new Error(`the OP answered ${answer.status} without its keys`)
        return answer
      } catch (reason) {
        trouble = reason
        throw reason
      }
    },
    trouble: () => trouble,
  }
}
