/**
 * Keeps granted tokens fresh: one refresh at a time for each login, always with the newest refresh token. Knows nothing
 * of sessions or of what the tokens are used for.
 */

import createDebug from 'debug'
import type { Clock } from './clock.ts'
import { CibaError } from './errors.ts'
import type { Grant } from './grant.ts'
import { Jobs } from './jobs.ts'
import { Memory } from './memory.ts'
import type { RefreshAnswer } from './protocol/refresh.ts'
import { shortId } from './transaction.ts'

const debug = createDebug('express-ciba:tokens')

/** A grant that is in use. */
export interface HeldGrant extends Grant {
  /** How often it was refreshed: the higher, the newer. */
  readonly refreshes: number
  /** When its tokens came, epoch milliseconds. */
  readonly since: number
}

/** Where one login keeps its grant; others may use and replace it at the same time. */
export interface GrantHolder {
  /** Names the login in this process and in all others. */
  readonly id: string
  /** The newest that is stored; `undefined` if the login is over. */
  load(): Promise<HeldGrant | undefined>
  /** Nothing may be left of it once the login `hasEnded`. */
  save(grant: HeldGrant, hasEnded: () => boolean): Promise<void>
}

/** What a {@link TokenKeeper} needs. */
export interface TokenKeeperParts {
  readonly refresh: (grant: Grant) => Promise<RefreshAnswer>
  readonly clock: Clock
}

/** Tokens are refreshed this long before they expire; those that live shorter than twice that, at half their life. */
const refreshMarginMs = 60_000
/** Who has a token that is still valid waits this long for a newer one. */
const patienceMs = 5_000
/** How long a result is remembered here, in case somebody writes an older one over it. */
const memoryMs = 300_000
const mostRemembered = 1_000

export class TokenKeeper {
  readonly #parts: TokenKeeperParts
  readonly #jobs = new Jobs()
  readonly #underWay = new Map<string, { readonly grant: Promise<HeldGrant>; readonly since: number }>()
  readonly #remembered = new Memory<HeldGrant>(mostRemembered)
  /** Logins that are over: nothing of them may be stored any more. */
  readonly #ended = new Memory<true>(mostRemembered)
  /** Logins whose last refresh failed: who has a valid token does not try again so soon. */
  readonly #paused = new Memory<true>(mostRemembered)

  constructor(parts: TokenKeeperParts) {
    this.#parts = parts
  }

  /** Whether the access token lasts for another minute, or half its life, or nobody knows how long it does. */
  isFresh({ tokens: { expiresAt }, since }: HeldGrant): boolean {
    if (expiresAt === undefined) return true
    const marginMs = Math.min(refreshMarginMs, (expiresAt - since) / 2)
    return expiresAt - this.#parts.clock.now() > marginMs
  }

  /**
   * The grant of `holder` with an access token that can be used, refreshed if need be: once for all callers in this
   * process. As long as the old token is valid, nothing that goes wrong matters.
   *
   * Rejects with a {@link CibaError}: `ERR_CIBA_UNAUTHENTICATED` if the login is over, `ERR_CIBA_INVALID_TOKEN` if only a
   * new approval helps, `ERR_CIBA_OP_UNREACHABLE` or `ERR_CIBA_OP_FAILED`.
   */
  async fresh(holder: GrantHolder, current: HeldGrant): Promise<HeldGrant> {
    const { id } = holder
    let underWay = this.#underWay.get(id)
    if (!underWay) {
      const refreshed = this.#jobs.run(() => this.#refreshed(holder, current))
      const grant = refreshed.finally(() => this.#underWay.delete(id))
      underWay = { grant, since: this.#parts.clock.now() }
      this.#underWay.set(id, underWay)
    }
    return this.#unlessSlow(underWay, current)
  }

  /** The newest grant of a login that is known here; others may have written an older one over it. */
  newest(id: string): HeldGrant | undefined {
    return this.#remembered.get(id, this.#parts.clock.now())
  }

  /** Whether {@link end} was called for this login. */
  hasEnded(id: string): boolean {
    return this.#ended.get(id, this.#parts.clock.now()) === true
  }

  /**
   * The login is over: gives the newest grant that is known here, after a refresh under way, and forgets it. What comes
   * of that refresh is not stored any more.
   */
  async end(id: string): Promise<HeldGrant | undefined> {
    const now = this.#parts.clock.now()
    this.#ended.set(id, true, now + memoryMs, now)
    const latest = await this.#underWay.get(id)?.grant.catch(() => undefined)
    const grant = latest ?? this.newest(id)
    this.#remembered.delete(id)
    return grant
  }

  /** Resolves when no refresh is under way any more. */
  async close(): Promise<void> {
    await this.#jobs.ended()
  }

  /** An OP that hangs holds up nobody who has a valid token; the refresh goes on. */
  async #unlessSlow(
    { grant, since }: { readonly grant: Promise<HeldGrant>; readonly since: number },
    current: HeldGrant,
  ): Promise<HeldGrant> {
    if (!this.#isValid(current)) return grant
    const { clock } = this.#parts
    let callOff = () => {}
    const patience = new Promise<HeldGrant>((resolve) => {
      callOff = clock.after(since + patienceMs - clock.now(), () => resolve(current))
    })
    try {
      return await Promise.race([grant, patience])
    } finally {
      callOff()
    }
  }

  async #refreshed(holder: GrantHolder, current: HeldGrant): Promise<HeldGrant> {
    const known = newestOf(current, this.newest(holder.id))
    let stored: HeldGrant | undefined
    try {
      stored = await holder.load()
    } catch (fault) {
      if (this.#isValid(known)) return known
      throw fault
    }
    if (!stored) {
      // Ended just now, or not stored yet: in neither case is there anything to refresh.
      if (this.#isValid(current)) return current
      throw new CibaError('ERR_CIBA_UNAUTHENTICATED', 'the session has ended')
    }
    const newest = newestOf(stored, known)
    if (this.isFresh(newest)) return newest
    if (newest.tokens.refreshToken === undefined) {
      if (this.#isValid(newest)) return newest
      throw new CibaError(
        'ERR_CIBA_INVALID_TOKEN',
        'the access token has expired, and there is no refresh token',
      )
    }
    const now = this.#parts.clock.now()
    if (this.#isValid(newest) && this.#paused.get(holder.id, now)) return newest
    const answer = await this.#parts.refresh(newest)
    if (answer.type === 'granted') {
      const since = this.#parts.clock.now()
      return this.#keep(holder, { ...answer.grant, refreshes: newest.refreshes + 1, since })
    }
    if (this.#isValid(newest)) {
      const pauseMs = Math.max(
        answer.type === 'unavailable' ? answer.retryAfterMs : refreshMarginMs,
        patienceMs,
      )
      this.#paused.set(holder.id, true, now + pauseMs, now)
      return newest
    }
    if (answer.type === 'unavailable') throw unavailable(answer)
    if (answer.type === 'failed') {
      throw new CibaError('ERR_CIBA_OP_FAILED', `the OP does not refresh the access token: ${answer.error}`)
    }
    // Another instance may have used the refresh token just before.
    const later = await holder.load()
    if (later && later.refreshes > newest.refreshes && this.isFresh(later)) return later
    throw new CibaError('ERR_CIBA_INVALID_TOKEN', `the OP does not refresh the access token: ${answer.error}`)
  }

  async #keep(holder: GrantHolder, grant: HeldGrant): Promise<HeldGrant> {
    const { id } = holder
    const now = this.#parts.clock.now()
    this.#remembered.set(id, grant, now + memoryMs, now)
    // The old refresh token is worthless by now: whoever asked gets the new one even if it cannot be stored.
    await holder
      .save(grant, () => this.hasEnded(id))
      .catch((fault: Error) => debug('%s not saved: %s', shortId(id), fault.message))
    debug('%s refreshed', shortId(id))
    return grant
  }

  #isValid({ tokens: { expiresAt } }: HeldGrant): boolean {
    return expiresAt === undefined || expiresAt > this.#parts.clock.now()
  }
}

function newestOf(first: HeldGrant, ...others: readonly (HeldGrant | undefined)[]): HeldGrant {
  let newest = first
  for (const other of others) if (other && other.refreshes > newest.refreshes) newest = other
  return newest
}

function unavailable({
  sent,
  retryAfterMs,
  cause,
}: Extract<RefreshAnswer, { type: 'unavailable' }>): CibaError {
  const details = { cause, ...(retryAfterMs > 0 && { retryAfter: Math.ceil(retryAfterMs / 1000) }) }
  if (cause instanceof CibaError) return cause
  return sent
    ? new CibaError('ERR_CIBA_OP_FAILED', 'the OP did not refresh the access token', details)
    : new CibaError('ERR_CIBA_OP_UNREACHABLE', 'the OP cannot be reached', details)
}
