/**
 * Keeps granted tokens fresh, for all who ask at once, until their login ends. Knows nothing of sessions or of what the
 * tokens are used for.
 */

import { setMaxListeners } from 'node:events'
import { within } from './clock.ts'
import { CibaError } from './errors.ts'
import type { HeldGrant, TokenSet } from './grant.ts'
import { Jobs } from './jobs.ts'
import { LoginMemory, newestOf } from './login-memory.ts'
import { type GrantHolder, Refresher, type RefresherParts } from './refresher.ts'

export type { GrantHolder } from './refresher.ts'

/** What a {@link TokenKeeper} needs. */
export type TokenKeeperParts = Omit<RefresherParts, 'logins' | 'jobs' | 'closing'>

/** A login that has been ended. */
export interface EndedLogin {
  /** The newest tokens that are known, after a refresh that was under way here. */
  newest(): Promise<HeldGrant | undefined>
}

/** Who has a token that is still valid waits this long for a newer one. */
const patienceMs = 5_000
/** How long the end of a login is held up by a store that is away. */
const endPatienceMs = 1_000

export class TokenKeeper {
  readonly #parts: TokenKeeperParts
  readonly #jobs = new Jobs()
  readonly #closing = new AbortController()
  readonly #logins: LoginMemory
  readonly #refresher: Refresher
  readonly #underWay = new Map<string, { readonly grant: Promise<HeldGrant>; readonly since: number }>()

  constructor(parts: TokenKeeperParts) {
    this.#parts = parts
    this.#logins = new LoginMemory(parts.clock)
    const { signal: closing } = this.#closing
    setMaxListeners(0, closing) // one for each wait
    this.#refresher = new Refresher({ ...parts, logins: this.#logins, jobs: this.#jobs, closing })
  }

  /**
   * Whether the access token lasts for another minute, or half its life, or nobody knows how long it does. One that cannot be
   * refreshed is fresh to its end.
   */
  isFresh(grant: HeldGrant): boolean {
    return this.#refresher.isFresh(grant)
  }

  /**
   * The grant of `holder` with an access token that can be used, refreshed if need be: once for all callers in all processes
   * that share the store. As long as the old token is valid, nothing that goes wrong matters.
   *
   * Rejects with a {@link CibaError}: `ERR_CIBA_UNAUTHENTICATED` if the login is over, `ERR_CIBA_INVALID_TOKEN` if only a
   * new approval helps, `ERR_CIBA_OP_UNREACHABLE` or `ERR_CIBA_OP_FAILED`, `ERR_CIBA_STORE_FAILED` if nobody knows whether
   * another process is refreshing, `ERR_CIBA_CLOSED` if one is, and this one is closing.
   */
  async fresh(holder: GrantHolder, current: HeldGrant): Promise<HeldGrant> {
    const { clock } = this.#parts
    const { id } = holder
    let underWay = this.#underWay.get(id)
    if (!underWay) {
      const refreshed = this.#jobs.run(() => this.#refresher.refreshed(holder, current))
      const grant = refreshed.finally(() => this.#underWay.delete(id))
      underWay = { grant, since: clock.now() }
      this.#underWay.set(id, underWay)
    }
    const { grant, since } = underWay
    if (!this.#refresher.isValid(current)) return grant
    // Whatever hangs or fails holds up nobody who has a valid token; the refresh goes on.
    const orCurrent = grant.catch((fault: unknown) => {
      const isOver = fault instanceof CibaError && fault.code === 'ERR_CIBA_UNAUTHENTICATED'
      if (isOver || !this.#refresher.isValid(current)) throw fault
      return current
    })
    return within(clock, since + patienceMs - clock.now(), orCurrent, current)
  }

  /** The newest grant of a login that is known here; others may have written an older one over it. */
  newest(id: string): HeldGrant | undefined {
    return this.#logins.newest(id)
  }

  /** Whether {@link end} was called for this login, as far as this process knows. */
  hasEnded(id: string): boolean {
    return this.#logins.hasEnded(id)
  }

  /** Whether {@link end} was called for this login, in any process: asks the store. In doubt it was not. */
  async isOver(id: string): Promise<boolean> {
    return this.#refresher.isOver(id)
  }

  /**
   * The login is over: what comes of a refresh under way, here or elsewhere, is not stored any more. To be called before its
   * session ends. Resolves when all processes can know, or after a second if the store is away. Never rejects.
   */
  async end(id: string, { refreshToken }: Pick<TokenSet, 'refreshToken'>): Promise<EndedLogin> {
    const { clock, leases } = this.#parts
    this.#logins.setEnded(id)
    const known = this.newest(id)
    this.#logins.forgetNewest(id)
    const underWay = this.#underWay.get(id)?.grant
    let shared: HeldGrant | undefined
    // Without one there is nothing that anybody could be refreshing.
    if (refreshToken !== undefined) {
      const told = this.#jobs.run(async () => {
        shared = await leases.end(id, this.#closing.signal)
      })
      await within(
        clock,
        endPatienceMs,
        told.catch(() => {}), // the job has logged it
        undefined,
      )
    }
    return {
      newest: async () => {
        const latest = (await underWay?.catch(() => undefined)) ?? known
        return latest ? newestOf(latest, shared) : shared
      },
    }
  }

  /** Resolves when no refresh is under way here any more; those of other processes are not waited for. */
  async close(): Promise<void> {
    this.#closing.abort()
    await this.#jobs.ended()
  }
}
