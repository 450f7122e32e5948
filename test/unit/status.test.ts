import { expect } from 'chai'
import { endedStatus, pendingStatus, unknownTransaction } from '../../lib/status.ts'
import { acknowledged, ended, now, ready, settled, unacknowledged } from '../support/transactions.ts'

describe('pendingStatus()', () => {
  it('shows what its owner may know, and nothing else', () => {
    const seen = { transaction: 'the-id', status: 'pending', expiresIn: 100, interval: 5 }
    for (const transaction of [acknowledged, ready, unacknowledged]) {
      expect(pendingStatus(transaction, now)).to.deep.equal({ ...seen, bindingMessage: 'KXM-4F7' })
      const { bindingMessage: _, ...without } = transaction
      expect(pendingStatus(without, now)).to.deep.equal(seen)
    }
  })

  for (const [ms, expiresIn] of [
    [1, 1],
    [999, 1],
    [1_000, 1],
    [1_001, 2],
    [0, 0],
    [-1, 0],
    [-60_000, 0],
  ] as const) {
    it(`says ${expiresIn} s with ${ms} ms to go: never less than nothing`, () => {
      expect(pendingStatus({ ...acknowledged, expiresAt: now + ms }, now)).to.include({ expiresIn })
    })
  }

  it('says so of what is complete but not here yet: come again soon', () => {
    expect(pendingStatus({ ...settled, delivery: 'undelivered' }, now)).to.include({
      status: 'pending',
      interval: 1,
    })
  })
})

describe('endedStatus()', () => {
  for (const state of ['denied', 'expired', 'failed', 'cancelled'] as const) {
    it(`shows how it ended, and nothing else: ${state}`, () => {
      expect(endedStatus({ ...ended, state })).to.deep.equal({
        transaction: 'the-id',
        status: state,
        error: 'access_denied',
      })
    })
  }
})

describe('unknownTransaction()', () => {
  it('does not tell unknown from foreign', () => {
    expect(unknownTransaction()).to.include({
      code: 'ERR_CIBA_UNKNOWN_TRANSACTION',
      status: 404,
      error: 'unknown_transaction',
      message: 'there is no such transaction',
    })
  })
})
