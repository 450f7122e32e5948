/**
 * Transaction to stored record: what a store gets to see of it. Knows nothing of how records are kept.
 */

import type { KeyRing } from './keys.ts'
import { sealer } from './seal.ts'
import type { StoredRecord } from './store.ts'
import { retentionMs, type Transaction } from './transaction.ts'

/** Seals transactions into records, and opens them. */
export interface RecordSealer {
  /** The transaction as the given version of its record. */
  seal(transaction: Transaction, version: number): Promise<StoredRecord>
  /**
   * `undefined` for a transaction at another OP, or of another client there: its `auth_req_id` must not get about. Rejects when
   * the record was not sealed with one of the keys, or belongs to another id.
   */
  open(record: StoredRecord): Promise<Transaction | undefined>
}

interface Sealed {
  readonly registration?: string
  readonly transaction: Transaction
}

/**
 * Tokens and `auth_req_id` never rest in the clear [SEC-9]. `registration` names the OP and our client there, which may share
 * store and secret with others; absent: it opens the records of all.
 */
export function recordSealer(keys: KeyRing, registration?: string): RecordSealer {
  // A store that hands back the object it was given, as the memory store does, saves the decryption.
  const opened = new WeakMap<StoredRecord, Transaction>()
  const { seal, open } = sealer(keys, 'transaction')

  return {
    async seal(transaction, version) {
      const data = await seal(JSON.stringify({ registration, transaction }))
      const purgeAt = transaction.expiresAt + retentionMs
      const record = Object.freeze({ id: transaction.id, version, purgeAt, data })
      opened.set(record, transaction)
      return record
    },

    async open(record) {
      const known = opened.get(record)
      if (known) return known
      const { registration: by, transaction } = JSON.parse(await open(record.data)) as Sealed
      // Whoever can write to the store must not be able to pass one person's record off as another's.
      if (transaction.id !== record.id) throw new Error('the record belongs to another transaction')
      if (registration !== undefined && by !== registration) return undefined
      opened.set(record, transaction)
      return transaction
    },
  }
}
