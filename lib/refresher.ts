/**
 * One refresh, from the first look at what is known to the last store that has the new tokens: with the newest refresh
 * token, and while no other process refreshes the same login. Knows nothing of who needs the tokens.
 */

import createDebug from 'debug'
import { type Clock, within } from './clock.ts'
import { Doorbell } from './doorbell.ts'
import { CibaError } from './errors.ts'
import type { Grant, HeldGrant, TokenSet } from './grant.ts'
import type { Jobs } from './jobs.ts'
import { type LoginMemory, newestOf } from './login-memory.ts'
import { type RefreshAnswer, refreshError } from './protocol/refresh.ts'
import type { RefreshFailure, RefreshLeases } from './refresh-leases.ts'
import { shortId } from './transaction.ts'

const debug = createDebug('express-ciba:tokens')

/** Where one login keeps its grant; others may use and replace it at the same time. */
export interface GrantHolder {
  /** Names the login in this process and in all others. */
  readonly id: string
  /** The newest that is stored; `undefined` if the login is over. */
  load(): Promise<HeldGrant | undefined>
  /** Nothing may be left of it once the login `hasEnded`, which is to be asked afterwards as well. */
  save(grant: HeldGrant, hasEnded: () => Promise<boolean>): Promise<void>
}

/** What a {@link Refresher} needs. */
export interface RefresherParts {
  readonly refresh: (grant: Grant, timeoutMs: number) => Promise<RefreshAnswer>
  /** Makes tokens worthless that nobody can use any more. Never rejects. */
  readonly revoke: (tokens: TokenSet) => Promise<void>
  readonly leases: RefreshLeases
  readonly logins: LoginMemory
  readonly clock: Clock
  readonly jobs: Jobs
  /** Nobody waits for other processes any more. */
  readonly closing: AbortSignal
  /** How long a refresh may take. */
  readonly tokenTimeoutMs: number
  /** How long the checks of what it brings may take after it. */
  readonly validationTimeoutMs: number
}

/** The right to refresh, and when the answer must be there. */
interface Turn {
  readonly holder: string
  readonly timeoutAt: number
}

/** The newest grant, and `turn` if it is on us to refresh it. */
interface Found {
  readonly newest: HeldGrant
  readonly turn?: Turn
}

interface Look extends Found {
  /** The login has ended. */
  readonly isOver?: boolean
  /** Another process refreshes, until then at most. */
  readonly heldUntil?: number
}

/** Tokens are refreshed this long before they expire; those that live shorter than twice that, at half their life. */
const refreshMarginMs = 60_000
/** How long an OP that has failed is left alone at least, and how long a store is waited for that takes new tokens. */
const patienceMs = 5_000
/** How much longer a lease lives than all that it covers: clocks differ. */
const leaseMarginMs = 5_000
/** Who waits for another process looks again at least this often: a lost wake-up costs this much time. */
const rereadMs = 5_000

export class Refresher {
  readonly #parts: RefresherParts

  constructor(parts: RefresherParts) {
    this.#parts = parts
  }

  /** See `TokenKeeper.isFresh`. */
  isFresh({ tokens: { expiresAt, refreshToken }, since }: HeldGrant): boolean {
    if (expiresAt === undefined) return true
    const marginMs = refreshToken === undefined ? 0 : Math.min(refreshMarginMs, (expiresAt - since) / 2)
    return expiresAt - this.#parts.clock.here() > marginMs
  }

  isValid({ tokens: { expiresAt } }: HeldGrant): boolean {
    return expiresAt === undefined || expiresAt > this.#parts.clock.here()
  }

  /** See `TokenKeeper.fresh`; not to be called twice at once for one login. */
  async refreshed(holder: GrantHolder, current: HeldGrant): Promise<HeldGrant> {
    const { leases, closing } = this.#parts
    const bell = new Doorbell()
    const unwatch = leases.watch(holder.id, bell.ring)
    const unlisten = bell.ringOnAbort(closing)
    let found: Found
    try {
      found = await this.#find(holder, current, bell)
    } finally {
      unwatch()
      unlisten()
    }
    return found.turn ? this.#ask(holder, found.newest, found.turn) : found.newest
  }

  /** The newest grant, if it has to do or it is on us to refresh it; waits as long as another process refreshes. */
  async #find(holder: GrantHolder, current: HeldGrant, bell: Doorbell): Promise<Found> {
    const { clock, logins, closing } = this.#parts
    const { id } = holder
    for (let hasWaited = false; ; hasWaited = true) {
      bell.quiet()
      const known = newestOf(current, logins.newest(id))
      const look = await this.#unlessValid(id, known, () => this.#look(holder, current, known, hasWaited))
      if (look.isOver) {
        // Another process has written it back, perhaps.
        if (logins.hasEnded(id)) await this.#endSession(holder, look.newest)
        throw over()
      }
      if (look.heldUntil === undefined) return look
      if (closing.aborted) return { newest: this.#orClosed(look.newest) }
      await bell.sleepUntil(Math.min(look.heldUntil, clock.now() + rereadMs), clock)
    }
  }

  /** The session first: what a lease has brought is there before the lease ends. */
  async #look(holder: GrantHolder, current: HeldGrant, known: HeldGrant, hasWaited: boolean): Promise<Look> {
    const stored = await holder.load()
    // Ended just now, or not stored yet: in neither case is there anything to refresh.
    if (!stored) return { newest: current, isOver: !this.isValid(current) }
    const newest = newestOf(stored, known)
    if (this.isFresh(newest) || this.#hasToDo(holder.id, newest)) return { newest }
    return this.#lookAround(holder.id, newest, hasWaited)
  }

  /** What other processes do, and the turn if it is nobody's. */
  async #lookAround(id: string, known: HeldGrant, hasWaited: boolean): Promise<Look> {
    const { clock, leases, logins } = this.#parts
    for (;;) {
      const shared = await leases.read(id)
      if (shared.ended) {
        logins.setEnded(id)
        return { newest: known, isOver: true }
      }
      const newest = this.#adopted(id, known, shared.grant)
      if (this.isFresh(newest)) return { newest }
      const { failure } = shared
      const now = clock.now()
      // What another process was told while this one waited is an answer to this one too.
      if (failure && (hasWaited || (this.isValid(newest) && now < failure.until))) {
        return { newest: this.#instead(id, newest, failure) }
      }
      const heldUntil = leases.heldUntil(shared)
      if (heldUntil !== undefined) return { newest, heldUntil }
      const turn = await this.#take(id, shared.version, newest, now)
      if (turn) return { newest, turn }
    }
  }

  async #take(id: string, version: number, newest: HeldGrant, now: number): Promise<Turn | undefined> {
    const { leases, tokenTimeoutMs, validationTimeoutMs } = this.#parts
    // Counted from before the lease, however long the store takes to grant it.
    const timeoutAt = now + tokenTimeoutMs
    const until = timeoutAt + validationTimeoutMs + patienceMs + leaseMarginMs
    const holder = await leases.take(id, version, newest, until)
    return holder === undefined ? undefined : { holder, timeoutAt }
  }

  async #ask(holder: GrantHolder, newest: HeldGrant, turn: Turn): Promise<HeldGrant> {
    const { clock, leases, jobs, refresh, closing } = this.#parts
    const { id } = holder
    const askedAt = clock.now()
    const answer = askedAt < turn.timeoutAt ? await refresh(newest, turn.timeoutAt - askedAt) : neverSent
    if (answer.type === 'granted') {
      const { refreshes } = newest
      return this.#keep(holder, { ...answer.grant, refreshes: refreshes + 1, since: clock.here() }, turn)
    }
    const wishedMs = answer.type === 'unavailable' ? answer.retryAfterMs : refreshMarginMs
    const failure = { answer, until: askedAt + Math.max(wishedMs, patienceMs) }
    const told = jobs.run(() => leases.failed(id, turn.holder, failure, closing)).catch(() => undefined)
    const shared = await within(clock, patienceMs, told, undefined)
    if (shared?.ended) {
      await this.#endSession(holder, newest)
      throw over()
    }
    // Another process may have taken this one for dead; one that is dead itself may have stored what it got.
    const isUsedUp = answer.type === 'refused' && !this.isValid(newest)
    const stored = isUsedUp ? await holder.load() : undefined
    const later = this.#adopted(id, newestOf(newest, stored), shared?.grant)
    if (later.refreshes > newest.refreshes && this.isFresh(later)) return later
    return this.#instead(id, newest, failure)
  }

  /**
   * The session first: others shall find the tokens there when the lease ends. The old refresh token is worthless by now, so
   * whoever asked gets the new ones although they cannot be stored.
   */
  async #keep(holder: GrantHolder, grant: HeldGrant, turn: Turn): Promise<HeldGrant> {
    const { clock, leases, logins, jobs, closing } = this.#parts
    const { id } = holder
    if (!logins.hasEnded(id)) logins.setNewest(id, grant)
    let isLate = false
    const saving = holder
      .save(grant, async () => (isLate ? this.isOver(id) : logins.hasEnded(id)))
      .catch((fault: Error) => debug('%s not saved: %s', shortId(id), fault.message))
    await within(clock, patienceMs, saving, undefined)
    isLate = true
    let discarded: Promise<undefined> | undefined
    const discard = () => (discarded ??= this.#discard(holder, grant))
    const told = jobs.run(async () => {
      const { ended, grant: shared } = await leases.granted(id, turn.holder, grant, closing)
      if (ended) return discard()
      if (!shared || shared.tokens.accessToken === grant.tokens.accessToken) return grant
      // This process was away for longer than its lease: all go on with what came first.
      return this.#replace(holder, withKeyOf(grant, shared))
    })
    const kept = await within(
      clock,
      patienceMs,
      told.catch(() => grant), // the job has logged it
      grant,
    )
    if (kept && !logins.hasEnded(id)) {
      debug('%s refreshed', shortId(id))
      return kept
    }
    jobs.leave(discard) // in this process, before the store was told anything
    throw over()
  }

  /** The login has ended meanwhile, and whoever ended it does not know these tokens. */
  async #discard(holder: GrantHolder, grant: HeldGrant): Promise<undefined> {
    await Promise.all([this.#endSession(holder, grant), this.#parts.revoke(grant.tokens)])
  }

  /** The login has ended: nothing may be left of it here, nor in its session. Never rejects. */
  async #endSession(holder: GrantHolder, grant: HeldGrant): Promise<void> {
    const { clock, logins } = this.#parts
    const { id } = holder
    logins.setEnded(id)
    logins.forgetNewest(id)
    const ending = holder
      .save(grant, async () => true)
      .catch((fault: Error) => debug('%s has ended, its session has not: %s', shortId(id), fault.message))
    await within(clock, patienceMs, ending, undefined)
  }

  async #replace(holder: GrantHolder, grant: HeldGrant): Promise<HeldGrant> {
    this.#parts.logins.setNewest(holder.id, grant)
    await holder.save(grant, () => this.isOver(holder.id)).catch(() => {})
    return grant
  }

  /** Whether the login has ended, in any process. In doubt it has not. */
  async isOver(id: string): Promise<boolean> {
    const { leases, logins } = this.#parts
    if (logins.hasEnded(id)) return true
    const { ended = false } = await leases.read(id).catch(() => ({ ended: false }))
    if (ended) logins.setEnded(id)
    return ended
  }

  /** What other processes know, if it is newer. */
  #adopted(id: string, known: HeldGrant, shared: HeldGrant | undefined): HeldGrant {
    if (!shared || shared.refreshes <= known.refreshes) return known
    const newest = withKeyOf(known, shared)
    this.#parts.logins.setNewest(id, newest)
    return newest
  }

  /** Whether there is nothing to try, since the OP is left alone for a while. For who is not fresh. */
  #hasToDo(id: string, grant: HeldGrant): boolean {
    if (grant.tokens.refreshToken !== undefined) return this.isValid(grant) && this.#parts.logins.isPaused(id)
    throw new CibaError(
      'ERR_CIBA_INVALID_TOKEN',
      'the access token has expired, and there is no refresh token',
    )
  }

  /** There is no newer one: this has to do, or the failure counts. */
  #instead(id: string, grant: HeldGrant, { answer, until }: RefreshFailure): HeldGrant {
    if (!this.isValid(grant)) throw refreshError(answer)
    this.#parts.logins.pause(id, until)
    return grant
  }

  #orClosed(grant: HeldGrant): HeldGrant {
    if (this.isValid(grant)) return grant
    throw new CibaError('ERR_CIBA_CLOSED', 'another instance is refreshing the access token')
  }

  /** As long as a token is valid, a store that fails does not matter. */
  async #unlessValid(id: string, known: HeldGrant, act: () => Promise<Look>): Promise<Look> {
    try {
      return await act()
    } catch (fault) {
      const newest = newestOf(known, this.#parts.logins.newest(id))
      if (this.isValid(newest)) return { newest }
      throw fault
    }
  }
}

const neverSent: RefreshAnswer = { type: 'unavailable', sent: false, retryAfterMs: 0 }

function over(): CibaError {
  return new CibaError('ERR_CIBA_UNAUTHENTICATED', 'the session has ended')
}

function withKeyOf({ dpopKey }: HeldGrant, grant: HeldGrant): HeldGrant {
  return dpopKey ? { ...grant, dpopKey } : grant
}
