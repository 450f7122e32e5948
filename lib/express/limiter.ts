/**
 * How often anyone may be asked, and may ask (RFC 10027 §6.1.11). Knows nothing of transactions.
 */

import { createHmac, createSecretKey } from 'node:crypto'
import { CibaError } from '../errors.ts'
import { MemoryLimiter } from './memory-limiter.ts'
import type { StartLimiter, StartLimiters } from './options.ts'

/** Counts a start for this person by this session; rejects when there were too many [SEC-3]. */
export type CountStart = (hint: string, owner: string) => Promise<void>

const windowMs = 300_000
const startsPerHint = 5
const startsPerSession = 20

/** A limiter's store sees pseudonyms under `pseudonymKey`, never a hint. */
export function startCounter(limiters: StartLimiters | false, pseudonymKey: Uint8Array): CountStart {
  if (limiters === false) return async () => {}
  const perHint = limiters.hint ?? new MemoryLimiter(startsPerHint, windowMs)
  const perSession = limiters.session ?? new MemoryLimiter(startsPerSession, windowMs)
  const key = createSecretKey(pseudonymKey)
  const pseudonym = (text: string) => createHmac('sha256', key).update(text).digest('base64url')

  return async (hint, owner) => {
    // The session first: who has used up his own starts must not use up other people's.
    await consume(perSession, `session:${pseudonym(owner)}`)
    await consume(perHint, `hint:${pseudonym(normalised(hint))}`)
  }
}

async function consume(limiter: StartLimiter, key: string): Promise<void> {
  try {
    await limiter.consume(key)
  } catch (refusal) {
    const wait = msBeforeNext(refusal)
    if (wait !== undefined) {
      throw new CibaError('ERR_CIBA_TOO_MANY_STARTS', 'too many requests, try again later', {
        retryAfter: Math.max(1, Math.ceil(wait / 1000)),
      })
    }
    // Open when broken would be a way around the limit.
    throw new CibaError('ERR_CIBA_STORE_FAILED', 'the start limiter failed', { cause: refusal })
  }
}

/** How long a limiter wants to be left alone; a union of limiters says it for each of them. */
function msBeforeNext(refusal: unknown): number | undefined {
  if (typeof refusal !== 'object' || refusal === null) return undefined
  const waits = [refusal, ...Object.values(refusal)]
    .map((one: { msBeforeNext?: unknown } | null | undefined) => one?.msBeforeNext)
    .filter((wait) => typeof wait === 'number')
  return waits.length > 0 ? Math.max(...waits) : undefined
}

/** One person, also where a hint is spelled as phone numbers and addresses often are. */
function normalised(hint: string): string {
  const plain = hint.normalize('NFKC').toLowerCase()
  return plain.replace(/[^\p{L}\p{N}@+]/gu, '').replace(/^00/, '+')
}
