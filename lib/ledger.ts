/**
 * Events in, transactions out: the compare-and-set loop over sealed records. Knows nothing of why an event
 * happened.
 */

import type { Clock } from './clock.ts'
import { sameSecret } from './constant-time.ts'
import { Doorbell } from './doorbell.ts'
import { asStoreFailure, CibaError } from './errors.ts'
import type { RecordSealer } from './record.ts'
import type { StoredRecord, TransactionStore } from './store.ts'
import type { Transaction, TransactionEvent } from './transaction.ts'
import { transition } from './transition.ts'

/** A transaction together with the version of the record that it was read from. */
export interface Entry {
  readonly transaction: Transaction
  readonly version: number
}

/** What became of an event. */
export interface Applied extends Entry {
  /** Whether this very event changed the transaction; `false` when it came too late or twice. */
  readonly changed: boolean
}

/** The transactions of this store. Every method rejects with `ERR_CIBA_STORE_FAILED` when the store fails. */
export class Ledger {
  readonly #store: TransactionStore
  readonly #sealer: RecordSealer
  readonly #clock: Clock

  constructor(store: TransactionStore, sealer: RecordSealer, clock: Clock) {
    this.#store = store
    this.#sealer = sealer
    this.#clock = clock
  }

  /** Stores a new transaction. */
  async create(transaction: Transaction): Promise<Entry> {
    const record = await this.#sealer.seal(transaction, 1)
    if (!(await asStoreFailure(() => this.#store.write(record, 0)))) {
      throw new CibaError('ERR_CIBA_STORE_FAILED', 'the store already has a record with this new id')
    }
    return { transaction, version: 1 }
  }

  /** The transaction as it is now; `undefined` if there is none, or none any more. */
  async read(id: string): Promise<Entry | undefined> {
    const record = await asStoreFailure(() => this.#store.read(id))
    return record && { transaction: await this.#open(record), version: record.version }
  }

  /** As {@link read}, but anybody else's transactions do not exist for `owner`; for `undefined` they all do. */
  async find(id: string, owner: string | undefined): Promise<Entry | undefined> {
    const entry = await this.read(id)
    return entry && (owner === undefined || sameSecret(owner, entry.transaction.owner)) ? entry : undefined
  }

  /**
   * Applies `event` to the newest version, trying again as long as others are faster. `from` saves the first
   * read when the caller has an entry at hand.
   */
  async apply(id: string, event: TransactionEvent, from?: Entry): Promise<Applied | undefined> {
    let entry = from ?? (await this.read(id))
    while (entry) {
      const next = transition(entry.transaction, event, this.#clock.now())
      if (!next) return { ...entry, changed: false }
      const { version } = entry
      const record = await this.#sealer.seal(next, version + 1)
      if (await asStoreFailure(() => this.#store.write(record, version))) {
        return { transaction: next, version: version + 1, changed: true }
      }
      entry = await this.read(id)
    }
    return undefined
  }

  /** Applies an event that must not be lost: tries again for `patienceMs` while the store fails. */
  async insist(
    id: string,
    event: TransactionEvent,
    patienceMs: number,
    from?: Entry,
  ): Promise<Applied | undefined> {
    const deadline = this.#clock.now() + patienceMs
    for (let pauseMs = 50; ; pauseMs = Math.min(pauseMs * 2, 2_000)) {
      try {
        return await this.apply(id, event, from)
      } catch (error) {
        if (this.#clock.now() + pauseMs > deadline) throw error
        await new Doorbell().sleepUntil(this.#clock.now() + pauseMs, this.#clock)
      }
    }
  }

  /** See {@link TransactionStore.watch}. */
  watch(id: string, listener: () => void): () => void {
    return this.#store.watch(id, listener)
  }

  async #open(record: StoredRecord): Promise<Transaction> {
    return asStoreFailure(() => this.#sealer.open(record))
  }
}
