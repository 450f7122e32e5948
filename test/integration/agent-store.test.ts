/** The store that the agents of the tests share, so that their tests prove something. */
import { transactionStoreContract } from '../../lib/testing/store-contract.ts'
import { RemoteStore, type StoreServer, startStoreServer } from '../support/store-server.ts'

describe('a store that processes share over a socket, as every TransactionStore', () => {
  let server: StoreServer
  let one: RemoteStore
  let other: RemoteStore

  beforeEach(async () => {
    server = await startStoreServer()
    one = await RemoteStore.connect(server.port)
    other = await RemoteStore.connect(server.port)
  })

  afterEach(async () => {
    await Promise.all([one.close(), other.close()])
    await server.close()
  })

  transactionStoreContract(it, () => ({ one, other }))
})
