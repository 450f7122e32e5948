/**
 * Remembers whom the OP has logged out (OpenID Connect Back-Channel Logout), for all instances that share the store.
 * Knows nothing of sessions.
 */

import { createHmac } from 'node:crypto'
import type { Clock } from './clock.ts'
import { asStoreFailure } from './errors.ts'
import type { KeyRing } from './keys.ts'
import type { LogoutToken } from './protocol/logout.ts'
import type { StoredRecord, TransactionStore } from './store.ts'

/** A login, as far as a logout token can speak of it. */
export interface MarkedLogin {
  readonly iss: string
  readonly sub: string
  readonly sid?: string | undefined
  /** When the OP granted its tokens, epoch milliseconds. */
  readonly at: number
}

/** A session that was idle for longer than this is as good as gone. */
const memoryMs = 30 * 24 * 3_600_000

export class LogoutMarks {
  readonly #store: TransactionStore
  readonly #keys: KeyRing
  readonly #clock: Clock

  constructor(store: TransactionStore, keys: KeyRing, clock: Clock) {
    this.#store = store
    this.#keys = keys
    this.#clock = clock
  }

  /**
   * Ends the logins that `token` is about, as far as they were signed in by now. The same token counts once.
   *
   * Rejects with `ERR_CIBA_STORE_FAILED`.
   */
  async add({ iss, jti, sid, sub, validUntil }: LogoutToken): Promise<void> {
    await asStoreFailure(async () => {
      // A token that was caught on its way must not end what begins later.
      const token: StoredRecord = {
        id: this.#nameOf(iss, 'jti', jti),
        version: 1,
        purgeAt: this.#clock.now() + validUntil - this.#clock.here(),
        data: '{}',
      }
      if (await this.#store.read(token.id)) return
      // The narrower one: other sessions of the person go on.
      const [kind, value] = sid === undefined ? (['sub', sub as string] as const) : (['sid', sid] as const)
      await this.#write(this.#nameOf(iss, kind, value))
      await this.#store.write(token, 0)
    })
  }

  /** Whether the OP has ended this login. Rejects with `ERR_CIBA_STORE_FAILED`. */
  async has({ iss, sub, sid, at }: MarkedLogin): Promise<boolean> {
    return asStoreFailure(async () => {
      const isMarked = async (kind: 'sub' | 'sid', value: string, since: number) => {
        const names = this.#keys.map(({ pseudonym }) => this.#nameOf(iss, kind, value, pseudonym))
        const records = await Promise.all(names.map((name) => this.#store.read(name)))
        return records.some((record) => record !== undefined && since <= Number(record.data))
      }
      // A session at the OP that is over does not come back; the person does.
      return (await isMarked('sub', sub, at)) || (sid !== undefined && (await isMarked('sid', sid, 0)))
    })
  }

  async #write(id: string): Promise<void> {
    for (;;) {
      const known = await this.#store.read(id)
      const version = known?.version ?? 0
      const record = {
        id,
        version: version + 1,
        purgeAt: this.#clock.now() + memoryMs,
        data: String(this.#clock.here()),
      }
      if (await this.#store.write(record, version)) return
    }
  }

  /** Says nothing about the person to whoever sees the store. */
  #nameOf(
    iss: string,
    kind: 'sub' | 'sid' | 'jti',
    value: string,
    key: Uint8Array = this.#keys[0].pseudonym,
  ): string {
    const text = JSON.stringify(['logout', iss, kind, value])
    return `logout-${createHmac('sha256', key).update(text).digest('base64url')}`
  }
}
