/**
 * A memory store that lets a ping in, and holds up whatever follows it until the round is over: the token request belongs to
 * another figure. Counts how often it is asked. Knows nothing of what is in the records.
 */
import { MemoryTransactionStore, type StoredRecord, type TransactionStore } from '../../lib/index.ts'

export class ParkingStore implements TransactionStore {
  readonly #memory = new MemoryTransactionStore({ maxTransactions: 1_000_000 })
  readonly #isParking: boolean
  #pinged: Set<string> | undefined
  #parked: (() => void)[] = []
  /** Reads and writes. */
  accesses = 0

  /** @param isParking - `false`: only counts */
  constructor(isParking: boolean) {
    this.#isParking = isParking
  }

  /** From now on the first write of a record is the last one. */
  arm(): void {
    this.#pinged = new Set()
  }

  /** Says that whatever was held up has come too late, and forgets everything. */
  clear(): void {
    this.#pinged = undefined
    this.#memory.close()
    for (const release of this.#parked.splice(0)) release()
  }

  async read(id: string): Promise<StoredRecord | undefined> {
    this.accesses++
    if (this.#isHeldUp(id)) await this.#park()
    return this.#memory.read(id)
  }

  async write(record: StoredRecord, expectedVersion: number): Promise<boolean> {
    this.accesses++
    if (this.#isHeldUp(record.id)) await this.#park()
    else if (this.#isParking) this.#pinged?.add(record.id)
    return this.#memory.write(record, expectedVersion)
  }

  watch(id: string, listener: () => void): () => void {
    return this.#memory.watch(id, listener)
  }

  #isHeldUp(id: string): boolean {
    return this.#pinged?.has(id) === true
  }

  #park(): Promise<void> {
    return new Promise((resolve) => {
      this.#parked.push(resolve)
    })
  }
}
