// The test kit where oidc-provider is not installed: the store contract runs, the OP says what it needs.
import { MemoryTransactionStore } from 'express-ciba'
import { startTestProvider, transactionStoreContract } from 'express-ciba/testing'

const store = new MemoryTransactionStore()
const cases = []
transactionStoreContract(
  (title, run) => cases.push({ title, run }),
  () => ({ one: store, other: store }),
)
const failed = []
for (const { title, run } of cases) await run().catch(() => failed.push(title))
store.close()

const refusal = await startTestProvider().catch((error) => error.message)
process.stdout.write(JSON.stringify({ cases: cases.length, failed, refusal }))
