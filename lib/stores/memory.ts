/**
 * Transactions in the memory of this process: for development, and for apps that run as one process.
 */

import { CibaError, invalidOption } from '../errors.ts'
import type { StoredRecord, TransactionStore } from '../store.ts'

/** Options of {@link MemoryTransactionStore}. */
export interface MemoryTransactionStoreOptions {
  /**
   * How many transactions it holds at most; further starts are refused with 503 `ERR_CIBA_STORE_FULL`, those
   * under way go on.
   *
   * @default 100_000
   */
  readonly maxTransactions?: number
}

const sweepEveryMs = 30_000

/** The default store: bounded, lost on restart, not shared between processes. */
export class MemoryTransactionStore implements TransactionStore {
  readonly #records = new Map<string, StoredRecord>()
  readonly #listeners = new Map<string, Set<() => void>>()
  readonly #maxTransactions: number
  #sweeper: NodeJS.Timeout | undefined
  #sweptAt = 0

  constructor({ maxTransactions = 100_000 }: MemoryTransactionStoreOptions = {}) {
    if (!Number.isSafeInteger(maxTransactions) || maxTransactions < 1) {
      throw invalidOption(
        'maxTransactions',
        `must be a positive integer, received ${String(maxTransactions)}`,
      )
    }
    this.#maxTransactions = maxTransactions
  }

  async read(id: string): Promise<StoredRecord | undefined> {
    return this.#alive(id)
  }

  async write(record: StoredRecord, expectedVersion: number): Promise<boolean> {
    if ((this.#alive(record.id)?.version ?? 0) !== expectedVersion) return false
    if (expectedVersion === 0) this.#makeRoom()
    this.#records.set(record.id, record)
    this.#scheduleSweep()
    for (const listener of this.#listeners.get(record.id) ?? []) queueMicrotask(listener)
    return true
  }

  watch(id: string, listener: () => void): () => void {
    const listeners = this.#listeners.get(id) ?? new Set()
    this.#listeners.set(id, listeners.add(listener))
    return () => {
      listeners.delete(listener)
      if (listeners.size === 0 && this.#listeners.get(id) === listeners) this.#listeners.delete(id)
    }
  }

  close(): void {
    clearTimeout(this.#sweeper)
    this.#sweeper = undefined
    this.#records.clear()
    this.#listeners.clear()
  }

  #alive(id: string): StoredRecord | undefined {
    const record = this.#records.get(id)
    return record && Date.now() < record.purgeAt ? record : undefined
  }

  #makeRoom(): void {
    if (this.#records.size < this.#maxTransactions) return
    // At most once a second, so that a flood of starts against a full store stays cheap [SEC-13].
    if (Date.now() - this.#sweptAt >= 1_000) this.#sweep()
    if (this.#records.size < this.#maxTransactions) return
    throw new CibaError('ERR_CIBA_STORE_FULL', 'too many authentication requests are under way', {
      retryAfter: sweepEveryMs / 1000,
    })
  }

  #sweep(): void {
    const now = Date.now()
    this.#sweptAt = now
    for (const [id, { purgeAt }] of this.#records) if (purgeAt <= now) this.#records.delete(id)
  }

  /** One timer for all records, which does not keep the process alive and rests while the store is empty. */
  #scheduleSweep(): void {
    this.#sweeper ??= setTimeout(() => {
      this.#sweeper = undefined
      this.#sweep()
      if (this.#records.size > 0) this.#scheduleSweep()
    }, sweepEveryMs).unref()
  }
}
