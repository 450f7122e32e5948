/** The contract of transaction stores finds stores that break it: each defect fails the case that is about it. */
import { expect } from 'chai'
import { MemoryTransactionStore, type StoredRecord, type TransactionStore } from '../../lib/index.ts'
import { transactionStoreContract } from '../../lib/testing/index.ts'

type Case = readonly [title: string, run: () => Promise<void>]

/** The titles of the cases that `make` fails, among those that `choose` wants. */
async function failures(
  make: () => TransactionStore,
  choose = (_title: string): boolean => true,
): Promise<string[]> {
  const cases: Case[] = []
  let store = make()
  transactionStoreContract(
    (title, run) => cases.push([title, run]),
    () => ({ one: store, other: store }),
  )
  expect(cases).to.have.length.of.at.least(25)
  const failed: string[] = []
  // One after the other: they have one store at a time.
  for (const [title, run] of cases.filter(([title]) => choose(title))) {
    store = make()
    await run().catch(() => failed.push(title))
    await store.close?.()
  }
  return failed
}

/** A good store, but for what is replaced. */
function broken(defect: (good: MemoryTransactionStore) => Partial<TransactionStore>): () => TransactionStore {
  return () => {
    const good = new MemoryTransactionStore()
    return {
      read: (id) => good.read(id),
      write: (record, expected) => good.write(record, expected),
      watch: (id, listener) => good.watch(id, listener),
      close: () => good.close(),
      ...defect(good),
    }
  }
}

/** Records that anybody may overwrite. */
function lastWriteWins(): Partial<TransactionStore> {
  const records = new Map<string, StoredRecord>()
  return {
    read: async (id) => records.get(id),
    async write(record) {
      records.set(record.id, record)
      return true
    },
  }
}

describe('transactionStoreContract()', function () {
  this.timeout(10_000)

  it('finds nothing wrong with a good store', async () => {
    expect(await failures(broken(() => ({})))).to.deep.equal([])
  })

  for (const [what, defect, title] of [
    [
      'that lets the last write win',
      lastWriteWins,
      'lets exactly one of many concurrent writes win (SEC-10)',
    ],
    [
      'that never forgets',
      (good) => ({
        write: (record, expected) => good.write({ ...record, purgeAt: Date.now() + 60_000 }, expected),
      }),
      'forgets a record when its time has come, and the id is free again (PING-17)',
    ],
    [
      'that trims its data',
      (good) => ({
        async read(id) {
          const record = await good.read(id)
          return record && { ...record, data: record.data.trim().replaceAll('\r\n', '\n') }
        },
      }),
      'returns the data exactly as it was: every script, quotes and line ends',
    ],
    [
      'that ignores case',
      (good) => ({
        read: (id) => good.read(id.toLowerCase()),
        write: (record, expected) => good.write({ ...record, id: record.id.toLowerCase() }, expected),
      }),
      'takes ids that differ in case and punctuation only for different ones',
    ],
    [
      'that wakes nobody',
      () => ({ watch: () => () => {} }),
      'finds the written record in place when it wakes',
    ],
    [
      'that wakes everybody for everything',
      (good) => {
        const listeners = new Set<() => void>()
        return {
          async write(record, expected) {
            const written = await good.write(record, expected)
            if (written) for (const listener of listeners) queueMicrotask(listener)
            return written
          },
          watch(_id, listener) {
            listeners.add(listener)
            return () => listeners.delete(listener)
          },
        }
      },
      'does not wake for the write of another id',
    ],
    [
      'that wakes those who have left',
      (good) => ({
        watch(id, listener) {
          good.watch(id, listener)
          return () => {}
        },
      }),
      'wakes nobody after the stop, and the others still',
    ],
  ] as [string, (good: MemoryTransactionStore) => Partial<TransactionStore>, string][]) {
    it(`fails a store ${what}`, async () => {
      expect(await failures(broken(defect), (one) => one === title)).to.deep.equal([title])
    })
  }
})
