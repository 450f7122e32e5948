/** The agent's store: two instances on one folder, as two processes would be. */
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { FileTransactionStore } from '../../examples/agent/file-store.ts'
import { transactionStoreContract } from '../../lib/testing/index.ts'

describe('FileTransactionStore, as every TransactionStore', () => {
  let folder: string
  let one: FileTransactionStore
  let other: FileTransactionStore

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'express-ciba-store-'))
    one = new FileTransactionStore(folder)
    other = new FileTransactionStore(folder)
  })
  afterEach(async () => {
    one.close()
    other.close()
    await rm(folder, { recursive: true, force: true })
  })

  transactionStoreContract(it, () => ({ one, other }))

  it('purges what has expired, and what a killed process left, when something else is written', async () => {
    await one.write({ id: 'old', version: 1, purgeAt: Date.now() - 1, data: '' }, 0)
    await writeFile(join(folder, '.gone-x'), '')
    const later = new FileTransactionStore(folder)
    await later.write({ id: 'new', version: 1, purgeAt: Date.now() + 60_000, data: '' }, 0)
    expect(await readdir(folder)).to.deep.equal([Buffer.from('new').toString('hex')])
  })

  it('is not misled by an id that looks like a path', async () => {
    expect(await one.read('../../etc/passwd')).to.equal(undefined)
  })
})
