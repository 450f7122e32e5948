/**
 * The right to refresh the tokens of a login, for one process at a time of all that share the store, and what came of it.
 * Knows nothing of sessions, nor of how tokens are refreshed.
 */

import { createHash, randomUUID } from 'node:crypto'
import createDebug from 'debug'
import type { Clock } from './clock.ts'
import { Doorbell } from './doorbell.ts'
import { asStoreFailure, CibaError } from './errors.ts'
import type { HeldGrant } from './grant.ts'
import type { RefreshAnswer } from './protocol/refresh.ts'
import type { Sealer } from './seal.ts'
import type { StoredRecord, TransactionStore } from './store.ts'

const debug = createDebug('express-ciba:tokens')

/** A refresh that brought nothing. */
export interface RefreshFailure {
  readonly answer: Exclude<RefreshAnswer, { readonly type: 'granted' }>
  /** Who has a valid token leaves the OP alone until then, epoch milliseconds. */
  readonly until: number
}

/** What all processes know of the refreshes of one login. */
export interface SharedRefresh {
  /** The newest that any of them has; without its DPoP key, which stays where it is. */
  readonly grant?: HeldGrant
  /** Somebody is refreshing, or was and has died. */
  readonly lease?: { readonly holder: string; readonly until: number }
  /** What the last refresh came to. */
  readonly failure?: RefreshFailure
  /** The login is over: nothing of it may be stored any more. */
  readonly ended?: true
}

/** A {@link SharedRefresh} with the version of the record that it was read from. */
export interface SharedEntry extends SharedRefresh {
  readonly version: number
}

/** What {@link RefreshLeases} need. */
export interface RefreshLeasesParts {
  readonly store: TransactionStore
  readonly sealer: Sealer
  /** Names the OP and our client there, which may share store and secret with others. */
  readonly registration: string
  /** Whether the store is in the memory of this process, where nobody else refreshes. */
  readonly recordsStayHere: boolean
  readonly clock: Clock
}

/**
 * Longer than a slow request may take to save an old copy of its session back, and that session to be used again: who holds
 * old tokens finds the newest here. Not the session's life: a memory store has to hold them all.
 */
const memoryMs = 3_600_000
/** How long a failing store is tried again: as long as this process remembers by itself what the OP has granted. */
const recordPatienceMs = 300_000

interface Sealed {
  readonly login: string
  readonly refresh: SharedRefresh
}

/** The refreshes of the logins in this store. What rejects does so with a {@link CibaError}, mostly `ERR_CIBA_STORE_FAILED`. */
export class RefreshLeases {
  readonly #parts: RefreshLeasesParts
  /** Names this process: what it has left behind by a lost connection it may take up again. */
  readonly #process: string = randomUUID()
  #taken = 0

  constructor(parts: RefreshLeasesParts) {
    this.#parts = parts
  }

  /** How it stands with the login `id`. */
  async read(id: string): Promise<SharedEntry> {
    return asStoreFailure(async () => {
      const record = await this.#parts.store.read(this.#nameOf(id))
      return record ? { ...this.#open(id, record), version: record.version } : { version: 0 }
    })
  }

  /** Until when another process has the right, epoch milliseconds; `undefined` if it is free. */
  heldUntil({ lease }: SharedRefresh): number | undefined {
    if (!lease || lease.holder.startsWith(this.#process)) return undefined
    return lease.until > this.#parts.clock.now() ? lease.until : undefined
  }

  /**
   * Takes the right to refresh `newest`, where it stands as in `version`, and resolves to its holder's name; to `undefined` if
   * somebody else was faster.
   */
  async take(id: string, version: number, newest: HeldGrant, until: number): Promise<string | undefined> {
    const holder = `${this.#process} ${++this.#taken}`
    const lease = { holder, until }
    // Who ends the login meanwhile shall find them; those that the login began with are in its session.
    const known = newest.refreshes > 0 ? { grant: withoutKey(newest) } : {}
    try {
      return (await this.#write(id, { ...known, lease }, version)) ? holder : undefined
    } catch (fault) {
      if (this.#isFullHere(fault)) return holder
      throw fault
    }
  }

  /**
   * Gives the right back with what it has brought, and resolves to how it stands then: another grant, as new, where this one
   * came so late that somebody else has taken over. Tries again while the store fails, until `signal`.
   */
  async granted(id: string, holder: string, grant: HeldGrant, signal: AbortSignal): Promise<SharedRefresh> {
    return this.#insist(id, signal, ({ version: _, ...now }) => {
      const isOurs = now.lease?.holder === holder
      if (now.ended) return undefined
      const { lease, ...free } = now
      if (now.grant && now.grant.refreshes >= grant.refreshes) return isOurs ? free : undefined
      return { grant: withoutKey(grant), ...(lease && !isOurs && { lease }) }
    })
  }

  /** Gives the right back, with nothing. Otherwise as {@link granted}. */
  async failed(
    id: string,
    holder: string,
    { answer, until }: RefreshFailure,
    signal: AbortSignal,
  ): Promise<SharedRefresh> {
    // An error's cause does not leave the process.
    const told = answer.type === 'unavailable' ? { ...answer, cause: undefined } : answer
    return this.#insist(id, signal, ({ ended, grant, lease }) => {
      if (ended || lease?.holder !== holder) return undefined
      return { ...(grant && { grant }), failure: { answer: told, until } }
    })
  }

  /** The login is over, for all processes. Resolves to its newest tokens. Tries again while the store fails, until `signal`. */
  async end(id: string, signal: AbortSignal): Promise<HeldGrant | undefined> {
    // They stay: who has to end the login once more, because a try failed or a session was written back, needs them too.
    const { grant: newest } = await this.#insist(id, signal, ({ ended, grant }) =>
      ended ? undefined : { ended: true, ...(grant && { grant }) },
    )
    return newest
  }

  /** See {@link TransactionStore.watch}. Where the store cannot, nobody rings. */
  watch(id: string, listener: () => void): () => void {
    try {
      return this.#parts.store.watch(this.#nameOf(id), listener)
    } catch (error) {
      debug('refresh not watched: %s', (error as Error).message)
      return () => {}
    }
  }

  async #insist(
    id: string,
    signal: AbortSignal,
    change: (from: SharedEntry) => SharedRefresh | undefined,
  ): Promise<SharedRefresh> {
    const { clock } = this.#parts
    const deadline = clock.now() + recordPatienceMs
    for (let pauseMs = 50; ; pauseMs = Math.min(pauseMs * 2, 2_000)) {
      try {
        return await this.#change(id, change)
      } catch (fault) {
        if (this.#isFullHere(fault) || signal.aborted || clock.now() + pauseMs > deadline) throw fault
        await pause(pauseMs, signal, clock)
      }
    }
  }

  /** Trying again as long as others are faster; `undefined` leaves it as it is. */
  async #change(
    id: string,
    change: (from: SharedEntry) => SharedRefresh | undefined,
  ): Promise<SharedRefresh> {
    for (;;) {
      const from = await this.read(id)
      const to = change(from)
      if (!to) return from
      if (await this.#write(id, to, from.version)) return to
    }
  }

  async #write(id: string, refresh: SharedRefresh, version: number): Promise<boolean> {
    const { store, sealer, clock } = this.#parts
    const sealed: Sealed = { login: id, refresh }
    const record = {
      id: this.#nameOf(id),
      version: version + 1,
      purgeAt: clock.now() + memoryMs,
      data: sealer.seal(JSON.stringify(sealed)),
    }
    return asStoreFailure(() => store.write(record, version))
  }

  #open(id: string, { data }: StoredRecord): SharedRefresh {
    try {
      const { login, refresh } = JSON.parse(this.#parts.sealer.open(data)) as Sealed
      // Whoever can write to the store must not be able to pass one login's tokens off as another's.
      if (login !== id) throw new Error('the record belongs to another login')
      return refresh
    } catch (error) {
      // Not as if it were lost: who seals with a secret that is not known here yet may be refreshing.
      debug('record of a refresh not opened: %s', (error as Error).message)
      throw error
    }
  }

  /** Says nothing about the login, whose id nobody can guess; the same while instances differ in their newest secret. */
  #nameOf(id: string): string {
    const text = JSON.stringify(['refresh', this.#parts.registration, id])
    return `refresh-${createHash('sha256').update(text).digest('base64url')}`
  }

  /** Whether there is no room for a record that only this process would read. */
  #isFullHere(fault: unknown): boolean {
    const isFull = fault instanceof CibaError && fault.code === 'ERR_CIBA_STORE_FULL'
    return isFull && this.#parts.recordsStayHere
  }
}

function withoutKey({ dpopKey: _, ...grant }: HeldGrant): HeldGrant {
  return grant
}

async function pause(ms: number, signal: AbortSignal, clock: Clock): Promise<void> {
  const bell = new Doorbell()
  const unlisten = bell.ringOnAbort(signal)
  try {
    await bell.sleepUntil(clock.now() + ms, clock)
  } finally {
    unlisten()
  }
}
