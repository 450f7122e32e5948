/**
 * The memory store, which lets a ping in, and holds up whatever follows it until the round is over: the token request belongs
 * to another figure. Counts how often it is asked. Knows nothing of what is in the records.
 */
import { MemoryTransactionStore } from '../../lib/index.ts'

const { read, write } = MemoryTransactionStore.prototype

/** One for each process: it reaches into the class, since the package knows its own store from one around it. */
export class ParkingStore {
  readonly store: MemoryTransactionStore = new MemoryTransactionStore({ maxTransactions: 1_000_000 })
  readonly #isParking: boolean
  #pinged: Set<string> | undefined
  #parked: (() => void)[] = []
  /** Reads and writes. */
  accesses = 0

  /** @param isParking - `false`: only counts */
  constructor(isParking: boolean) {
    this.#isParking = isParking
    const access = async (id: string, isWrite: boolean) => {
      this.accesses++
      if (this.#pinged?.has(id)) await new Promise<void>((resolve) => this.#parked.push(resolve))
      else if (isWrite && this.#isParking) this.#pinged?.add(id)
    }
    MemoryTransactionStore.prototype.read = async function (id) {
      await access(id, false)
      return read.call(this, id)
    }
    MemoryTransactionStore.prototype.write = async function (record, expectedVersion) {
      await access(record.id, true)
      return write.call(this, record, expectedVersion)
    }
  }

  /** From now on the first write of a record is the last one. */
  arm(): void {
    this.#pinged = new Set()
  }

  /** Says that whatever was held up has come too late, and forgets everything. */
  clear(): void {
    this.#pinged = undefined
    this.store.close()
    for (const release of this.#parked.splice(0)) release()
  }
}
