import { MemoryTransactionStore } from '../../lib/stores/memory.ts'
import { transactionStoreContract } from '../../lib/testing/index.ts'

describe('MemoryTransactionStore, as every TransactionStore', () => {
  let store: MemoryTransactionStore

  beforeEach(() => {
    store = new MemoryTransactionStore()
  })
  afterEach(() => store.close())

  transactionStoreContract(it, () => ({ one: store, other: store }))
})
