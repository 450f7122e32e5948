/**
 * One login whose tokens several processes refresh, in a test's hands: an OP that ends the login when an old refresh token
 * comes back, a session, a store that fails when told to. Asserts nothing.
 */
import type { Clock } from '../../lib/clock.ts'
import type { Grant, HeldGrant, TokenSet } from '../../lib/grant.ts'
import type { RefreshAnswer } from '../../lib/protocol/refresh.ts'
import { RefreshLeases, type SharedRefresh } from '../../lib/refresh-leases.ts'
import type { Sealer } from '../../lib/seal.ts'
import type { StoredRecord } from '../../lib/store.ts'
import { MemoryTransactionStore } from '../../lib/stores/memory.ts'
import { type GrantHolder, TokenKeeper } from '../../lib/token-keeper.ts'
import { FakeClock } from './fake-clock.ts'

const claims = { iss: 'https://op.test', sub: 'alice', aud: 'client', exp: 0, iat: 0 }

const tokenTimeoutMs = 60_000
const validationTimeoutMs = 10_000
/** How long a lease lives: all that a refresh may take, and 5 seconds for clocks that differ. */
export const leaseMs = tokenTimeoutMs + validationTimeoutMs + 5_000 + 5_000

export const login = 'the transaction'

/** Fails, or answers late, when told to. */
class FickleStore extends MemoryTransactionStore {
  /** `after`: a write takes effect although it fails. */
  fails: 'never' | 'before' | 'after' = 'never'
  losesWakeUps = false
  reads = 0
  readonly written: StoredRecord[] = []

  override async read(id: string): Promise<StoredRecord | undefined> {
    this.reads++
    if (this.fails !== 'never') throw new Error('the store is away')
    return super.read(id)
  }

  override async write(record: StoredRecord, expectedVersion: number): Promise<boolean> {
    if (this.fails === 'before') throw new Error('the store is away')
    const isWritten = await super.write(record, expectedVersion)
    if (isWritten) this.written.push(record)
    if (this.fails === 'after') throw new Error('the connection was lost')
    return isWritten
  }

  override watch(id: string, listener: () => void): () => void {
    return super.watch(id, () => {
      if (!this.losesWakeUps) listener()
    })
  }

  /** What the last record says, where it is not sealed. */
  get last(): SharedRefresh {
    return JSON.parse(this.written.at(-1)?.data ?? '{}').refresh
  }
}

/** A process on the same store. */
export interface Instance {
  readonly keeper: TokenKeeper
  readonly holder: GrantHolder
  readonly revoked: TokenSet[]
  /** The access token that a request here gets which has this copy of the session. */
  token(copy?: HeldGrant): Promise<string>
  /** From now on nothing that it does has any effect, nor an end. */
  die(): void
}

interface InstanceParts {
  readonly clock?: Clock
  readonly sealer?: Sealer
  readonly recordsStayHere?: boolean
}

const unsealed: Sealer = { seal: (text) => text, open: (text) => text }

export class Refreshing {
  readonly clock = new FakeClock()
  readonly store = new FickleStore()
  /** The refresh tokens that the OP was sent. */
  readonly used: (string | undefined)[] = []
  /** What comes instead of the OP's own answers, in order. */
  readonly answers: (RefreshAnswer | Promise<RefreshAnswer>)[] = []
  /** How many seconds the tokens live that the OP grants. */
  lifetime = 300
  /** An old refresh token came back: the OP has ended the login. */
  isBurnt = false
  session: HeldGrant | undefined = this.grant(0, 0)
  /** Awaited before the session is written. */
  beforeSave: () => Promise<void> = async () => {}
  #newest = 0

  /** The tokens after `refreshes` refreshes, an hour old, with `seconds` left. */
  grant(refreshes: number, seconds: number): HeldGrant {
    const now = this.clock.now()
    const tokens: TokenSet = {
      accessToken: `access-${refreshes}`,
      refreshToken: `refresh-${refreshes}`,
      idToken: 'a.b.c',
      tokenType: 'bearer',
      scope: 'openid',
      expiresAt: now + seconds * 1000,
    }
    return { claims, tokens, refreshes, since: now - 3_600_000 }
  }

  /** What the OP answers by itself: each refresh token is good once. */
  answer({ tokens: { refreshToken } }: Pick<Grant, 'tokens'>): RefreshAnswer {
    if (refreshToken !== `refresh-${this.#newest}`) this.isBurnt = true
    if (this.isBurnt) return { type: 'refused', error: 'invalid_grant' }
    const { claims, tokens } = this.grant(++this.#newest, this.lifetime)
    return { type: 'granted', grant: { claims, tokens } }
  }

  /** `sealer` and `clock` may be its own; `recordsStayHere`: it knows of no other process. */
  instance({ clock = this.clock, sealer = unsealed, recordsStayHere = false }: InstanceParts = {}): Instance {
    const { store } = this
    let isDead = false
    const alive = async <Result>(act: () => Promise<Result> | Result): Promise<Result> => {
      if (isDead) return new Promise(() => {})
      const result = await act()
      return isDead ? new Promise(() => {}) : result
    }
    const revoked: TokenSet[] = []
    const keeper = new TokenKeeper({
      clock,
      leases: new RefreshLeases({
        store: {
          read: (id) => alive(() => store.read(id)),
          write: (record, version) => alive(() => store.write(record, version)),
          watch: (id, listener) => store.watch(id, listener),
        },
        sealer,
        registration: 'client https://op.test',
        recordsStayHere,
        clock,
      }),
      refresh: (grant) =>
        alive(() => {
          this.used.push(grant.tokens.refreshToken)
          return this.answers.shift() ?? this.answer(grant)
        }),
      revoke: async (tokens) => void revoked.push(tokens),
      tokenTimeoutMs,
      validationTimeoutMs,
    })
    const holder: GrantHolder = {
      id: login,
      load: () => alive(() => this.session),
      save: (grant, hasEnded) =>
        alive(async () => {
          if (!this.session) return
          await this.beforeSave()
          if (!(await hasEnded())) this.session = grant
          if (await hasEnded()) this.session = undefined
        }),
    }
    return {
      keeper,
      holder,
      revoked,
      token: async (copy = this.session ?? this.grant(0, 0)) =>
        (await keeper.fresh(holder, copy)).tokens.accessToken,
      die: () => {
        isDead = true
      },
    }
  }
}
