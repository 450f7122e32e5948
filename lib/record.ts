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
  seal(transaction: Transaction, version: number): StoredRecord
  /**
   * `undefined` for a transaction at another OP, or of another client there: its `auth_req_id` must not get about. Throws when
   * the record was not sealed with one of the keys, or belongs to another id.
   */
  open(record: StoredRecord): Transaction | undefined
}

/** Whose records they are, and where they rest. */
export interface RecordOptions {
  /** Names the OP and our client there, which may share store and secret with others; absent: opens the records of all. */
  readonly registration?: string
  /**
   * The store hands back the very objects it was given, and nobody else sees them: they are sealed only if somebody asks for
   * their `data` after all.
   */
  readonly stayHere?: boolean
}

interface Sealed {
  readonly registration?: string
  readonly transaction: Transaction
}

/** Tokens and `auth_req_id` never rest in the clear outside of this process [SEC-9]. */
export function recordSealer(
  keys: KeyRing,
  { registration, stayHere = false }: RecordOptions = {},
): RecordSealer {
  const { seal, open } = sealer(keys, 'transaction')
  const sealed = (transaction: Transaction) => seal(JSON.stringify({ registration, transaction }))

  /** Half the size of sealed text, and no cryptography. */
  class HeldRecord implements StoredRecord {
    readonly id: string
    readonly version: number
    readonly purgeAt: number
    readonly #transaction: Transaction
    #sealed: string | undefined

    constructor(transaction: Transaction, version: number) {
      this.id = transaction.id
      this.version = version
      this.purgeAt = purgeAtOf(transaction)
      this.#transaction = transaction
      Object.freeze(this)
    }

    get data(): string {
      this.#sealed ??= sealed(this.#transaction)
      return this.#sealed
    }

    /** Of a record that this very sealer has made. */
    static transactionOf(record: StoredRecord): Transaction | undefined {
      return #transaction in record ? record.#transaction : undefined
    }
  }

  return {
    seal(transaction, version) {
      if (stayHere) return new HeldRecord(transaction, version)
      const purgeAt = purgeAtOf(transaction)
      return Object.freeze({ id: transaction.id, version, purgeAt, data: sealed(transaction) })
    },

    open(record) {
      const held = stayHere ? HeldRecord.transactionOf(record) : undefined
      if (held) return held
      const { registration: by, transaction } = JSON.parse(open(record.data)) as Sealed
      // Whoever can write to the store must not be able to pass one person's record off as another's.
      if (transaction.id !== record.id) throw new Error('the record belongs to another transaction')
      return registration === undefined || by === registration ? transaction : undefined
    },
  }
}

function purgeAtOf({ expiresAt }: Transaction): number {
  return expiresAt + retentionMs
}
