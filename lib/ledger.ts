/**
 * Events in, transactions out: the compare-and-set loop over sealed records. Knows nothing of why an event
 * happened.
 */

import type { Clock } from './clock.ts'
import { sameSecret } from './constant-time.ts'
import { Doorbell } from './doorbell.ts'
import { asStoreFailure, CibaError, storeFailure } from './errors.ts'
import { publish } from './events.ts'
import type { RecordSealer } from './record.ts'
import type { StoredRecord, TransactionStore } from './store.ts'
import { isOpen, shortId, type Transaction, type TransactionEvent } from './transaction.ts'
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
    const record = this.#sealer.seal(transaction, 1)
    if (!(await asStoreFailure(() => this.#store.write(record, 0)))) {
      throw new CibaError('ERR_CIBA_STORE_FAILED', 'the store already has a record with this new id')
    }
    return { transaction, version: 1 }
  }

  /** The transaction as it is now; `undefined` if there is none, or none any more. */
  async read(id: string): Promise<Entry | undefined> {
    const record = await asStoreFailure(() => this.#store.read(id))
    if (!record) return undefined
    const transaction = this.#open(record)
    return transaction && { transaction, version: record.version }
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
    return this.#apply(id, event, from, {})
  }

  /** Applies an event that must not be lost: tries again for `patienceMs` while the store fails. */
  async insist(
    id: string,
    event: TransactionEvent,
    patienceMs: number,
    from?: Entry,
  ): Promise<Applied | undefined> {
    const deadline = this.#clock.now() + patienceMs
    const memo: Memo = {}
    for (let pauseMs = 50; ; pauseMs = Math.min(pauseMs * 2, 2_000)) {
      try {
        return await this.#apply(id, event, from, memo)
      } catch (error) {
        if (this.#clock.now() + pauseMs > deadline) throw error
        await new Doorbell().sleepUntil(this.#clock.now() + pauseMs, this.#clock)
      }
    }
  }

  async #apply(
    id: string,
    event: TransactionEvent,
    from: Entry | undefined,
    memo: Memo,
  ): Promise<Applied | undefined> {
    // A write that failed may have taken effect all the same.
    if (memo.attempt && (await this.#isStored(memo.attempt))) return applied(memo.attempt, this.#clock.here())
    let entry = from ?? (await this.read(id))
    while (entry) {
      const { transaction, version } = entry
      const next = transition(transaction, event, this.#clock.now())
      if (!next) return { ...entry, changed: false }
      const record = this.#sealer.seal(next, version + 1)
      const attempt = { from: transaction, next, record }
      memo.attempt = attempt
      if (await asStoreFailure(() => this.#store.write(record, version))) {
        return applied(attempt, this.#clock.here())
      }
      delete memo.attempt
      entry = await this.read(id)
    }
    return undefined
  }

  async #isStored({ record }: Attempt): Promise<boolean> {
    return (await asStoreFailure(() => this.#store.read(record.id)))?.data === record.data
  }

  /** See {@link TransactionStore.watch}. */
  watch(id: string, listener: () => void): () => void {
    return this.#store.watch(id, listener)
  }

  #open(record: StoredRecord): Transaction | undefined {
    try {
      return this.#sealer.open(record)
    } catch (cause) {
      throw storeFailure(cause)
    }
  }
}

/** A write whose outcome may be unknown. */
interface Attempt {
  readonly from: Transaction
  readonly next: Transaction
  readonly record: StoredRecord
}

/** What is remembered from one try to the next. */
interface Memo {
  attempt?: Attempt
}

function applied({ from, next, record }: Attempt, now: number): Applied {
  if (isOpen(from) && !isOpen(next)) announceEnd(next, now)
  return { transaction: next, version: record.version, changed: true }
}

/** Whoever's event ended it says so: one message over all instances. That one has not even started says the flow. */
function announceEnd(transaction: Exclude<Transaction, { state: 'pending' | 'ready' }>, now: number): void {
  const { id, deliveryMode, approval, authReqId, expectations, state } = transaction
  if (authReqId === undefined && state === 'failed') return
  publish('express-ciba:transaction', () => ({
    transaction: shortId(id),
    purpose: approval ? 'approval' : 'login',
    deliveryMode,
    event: 'ended',
    status: state,
    durationMs: now - expectations.requestedAt,
    ...(state !== 'complete' && { error: transaction.error }),
  }))
}
