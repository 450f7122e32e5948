/**
 * What a transaction store has to do, in types and prose. Knows nothing of what the records mean.
 */

/** One transaction as a store sees it: opaque, sealed text with the little that storing needs. */
export interface StoredRecord {
  /** Unguessable, unique, up to 64 characters of `[A-Za-z0-9_-]`. */
  readonly id: string
  /** 1 for a new record, one more with each write. */
  readonly version: number
  /** Epoch milliseconds, on the clock of {@link TransactionStore.now}, after which the record may vanish, and `read` must no longer return it. */
  readonly purgeAt: number
  /** Sealed text, about 0.5 to 10 kB. */
  readonly data: string
}

/** Keeps records and says when one has changed. Safe to share between processes. */
export interface TransactionStore {
  /** The newest record, or `undefined` if there is none or its `purgeAt` has passed. */
  read(id: string): Promise<StoredRecord | undefined>

  /**
   * Stores `record` if the stored version is `expectedVersion`; 0 means that it must not exist yet. One atomic
   * step for all processes: this is what keeps several instances from doing the same thing twice [SEC-10].
   *
   * @returns `false` if somebody else was first. Rejects when it refuses the record (a full store) or when the
   *   outcome is unknown (a lost connection); the caller then reads again before it writes again.
   */
  write(record: StoredRecord, expectedVersion: number): Promise<boolean>

  /**
   * Calls `listener` some time after a record was written by anyone. A hint: it may come twice, late, or for
   * nothing, so the listener reads again. Losing it must cost time, never truth.
   *
   * @returns stops the calls.
   */
  watch(id: string, listener: () => void): () => void

  /**
   * Epoch milliseconds on a clock that all processes at this store have in common, to a few milliseconds. Cheap: it is asked
   * at every step. Absent: `Date.now()`, and it is up to the operator that the hosts' clocks agree. A store around another one
   * passes that one's on.
   */
  now?(): number

  /** Lets go of connections and timers that the store itself opened. */
  close?(): void | Promise<void>
}
