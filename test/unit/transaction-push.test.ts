/** What the state machine does where the OP pushes: nothing by itself, and the first push decides. */
import { expect } from 'chai'
import {
  newTransaction,
  nextStep,
  type PendingTransaction,
  type PushOutcome,
  pushGraceMs,
  type Transaction,
  type TransactionEvent,
} from '../../lib/transaction.ts'
import { transition } from '../../lib/transition.ts'
import { grant } from '../support/fake-op.ts'
import {
  acknowledged,
  acknowledgedPush,
  after,
  approval,
  base,
  complete,
  denial,
  due,
  ended,
  holder,
  lease,
  now,
  pushed,
  unacknowledgedPush,
} from '../support/transactions.ts'

const { expiresAt } = base
const acknowledgement = {
  type: 'acknowledged',
  authReqId: 'A',
  sentAt: now - 1_000,
  expiresIn: 120,
  interval: 5,
} as const
const early = (outcome: PushOutcome, authReqId = 'A'): PendingTransaction => ({
  ...unacknowledgedPush,
  earlyPush: { authReqId, outcome },
})
const secretsIn = (transaction: Transaction) =>
  Object.values(grant.tokens).filter(
    (token) => token.startsWith('the-') && JSON.stringify(transaction).includes(token),
  )

describe('nextStep() in push mode', () => {
  const until = expiresAt + pushGraceMs

  it('waits for ten seconds more than the OP gives the person, and asks nothing (PUSH-8)', () => {
    expect(pushGraceMs).to.equal(10_000)
    for (const at of [now, expiresAt - 1, expiresAt, until - 1]) {
      expect(nextStep(acknowledgedPush, at), `${at - expiresAt}`).to.deep.equal({ do: 'wait', until })
    }
    expect(nextStep(acknowledgedPush, until)).to.deep.equal({ do: 'expire' })
  })

  const situations: [string, Transaction][] = [
    ['long due', { ...acknowledgedPush, nextTokenRequestAt: now - 60_000 }],
    ['leased all the same', { ...acknowledgedPush, nextTokenRequestAt: now, lease }],
    ['pinged all the same', { ...acknowledgedPush, state: 'ready' }],
    ['hidden', { ...unacknowledgedPush, nextTokenRequestAt: now, hidden: true }],
    ['unacknowledged', unacknowledgedPush],
    ['unacknowledged, with an early push', early(approval)],
  ]
  for (const [what, transaction] of situations) {
    it(`does the same when the transaction is ${what} (PUSH-8)`, () => {
      expect(nextStep(transaction, now, holder)).to.deep.equal({ do: 'wait', until })
      expect(nextStep(transaction, until, holder)).to.deep.equal({ do: 'expire' })
      const leased: TransactionEvent = { type: 'leased', holder, until: now + 65_000 }
      expect(transition(transaction, leased, now)).to.equal(undefined)
    })
  }

  it('stops when the transaction is over', () => {
    expect(nextStep({ ...complete, deliveryMode: 'push' }, now)).to.deep.equal({ do: 'stop' })
    expect(nextStep({ ...ended, deliveryMode: 'push' }, until)).to.deep.equal({ do: 'stop' })
  })

  it('waits no longer than before where the OP does not push (POLL-5)', () => {
    for (const deliveryMode of ['poll', 'ping'] as const) {
      expect(nextStep({ ...due, deliveryMode }, expiresAt)).to.deep.equal({ do: 'expire' })
    }
  })
})

describe('transition() when the OP pushes', () => {
  it('keeps the grant, and nothing of the waiting (PUSH-9)', () => {
    expect(after(acknowledgedPush, pushed('A'))).to.deep.equal({ ...complete, deliveryMode: 'push' })
  })

  for (const [type, error] of [
    ['denied', 'access_denied'],
    ['expired', 'expired_token'],
    ['failed', 'transaction_failed'],
  ] as const) {
    it(`is ${type}, with the code of the OP and nothing else (PUSH-7)`, () => {
      const over = { ...base, deliveryMode: 'push', authReqId: 'A', state: type, error }
      expect(after(acknowledgedPush, pushed('A', { type, error }))).to.deep.equal(over)
      const { expiresAt } = after(unacknowledgedPush, acknowledgement)
      expect(after(early({ type, error }), acknowledgement), 'early').to.deep.equal({ ...over, expiresAt })
    })
  }

  it('ignores another auth_req_id (PUSH-4)', () => {
    for (const outcome of [approval, denial]) {
      for (const other of ['B', 'A1', 'a', '']) {
        expect(transition(acknowledgedPush, pushed(other, outcome), now)).to.equal(undefined)
      }
    }
  })

  it('lets the first push win, tokens or an error (PUSH-9)', () => {
    expect(transition(after(acknowledgedPush, pushed('A')), pushed('A', denial), now)).to.equal(undefined)
    expect(transition(after(acknowledgedPush, pushed('A', denial)), pushed('A'), now)).to.equal(undefined)
  })

  it('comes in time until the expiry is noticed: nothing granted is lost', () => {
    for (const at of [expiresAt, expiresAt + pushGraceMs - 1, expiresAt + 60_000]) {
      expect(after<Transaction>(acknowledgedPush, [pushed('A'), at]).state).to.equal('complete')
    }
    const expired = after(acknowledgedPush, [{ type: 'timedOut' }, expiresAt + pushGraceMs])
    expect(expired).to.include({ state: 'expired', error: 'expired_token' })
    expect(transition(expired, pushed('A'), expiresAt + pushGraceMs)).to.equal(undefined)
  })

  it('does not time out while a push may be on its way', () => {
    for (const at of [now, expiresAt, expiresAt + pushGraceMs - 1]) {
      expect(transition(acknowledgedPush, { type: 'timedOut' }, at)).to.equal(undefined)
    }
  })
})

describe('transition() when a push overtakes the acknowledgement (PUSH-2, PING-11)', () => {
  it('keeps it, and stays pending', () => {
    expect(after(unacknowledgedPush, pushed('A'))).to.deep.equal(early(approval))
    expect(after(unacknowledgedPush, pushed('A', denial))).to.deep.equal(early(denial))
  })

  it('applies it when the acknowledgement brings the same auth_req_id', () => {
    const expected = { ...complete, deliveryMode: 'push', expiresAt: acknowledgement.sentAt + 120_000 }
    expect(after(early(approval), acknowledgement)).to.deep.equal(expected)
  })

  it('discards it, tokens and all, when the acknowledgement brings another', () => {
    for (const outcome of [approval, denial]) {
      const next = after(early(outcome, 'B'), acknowledgement)
      expect(next).to.deep.equal(after(unacknowledgedPush, acknowledgement))
      expect(after(next, pushed('A')).state, 'a later good one').to.equal('complete')
    }
  })

  it('lets the first one win (PUSH-9)', () => {
    expect(transition(early(denial), pushed('A'), now)).to.equal(undefined)
    expect(transition(early(approval), pushed('A', denial), now)).to.equal(undefined)
  })

  it('takes a good one behind one for another auth_req_id', () => {
    const both = after(early(denial, 'B'), pushed('A'))
    expect(after(both, acknowledgement).state).to.equal('complete')
  })

  const ends: [string, TransactionEvent, number][] = [
    ['the person at the browser gives up', { type: 'cancelled' }, now],
    ['the request did not start', { type: 'notStarted', error: 'invalid_scope' }, now],
    ['the acknowledgement never comes', { type: 'timedOut' }, expiresAt + pushGraceMs],
    ['the person is hidden', { type: 'hidden', sentAt: now, expiresIn: 120, interval: 5 }, now],
  ]
  for (const [what, event, at] of ends) {
    it(`keeps no tokens when ${what} (SEC-9)`, () => {
      const from = early(approval)
      expect(secretsIn(from), 'before').to.have.length(3)
      const next = after(from, [event, at])
      expect(secretsIn(next)).to.deep.equal([])
      expect(next).to.not.have.property('earlyPush')
      expect(next.state).to.not.equal('complete')
    })
  }

  it('has no effect on a hidden person (ERR-5)', () => {
    expect(transition({ ...unacknowledgedPush, hidden: true }, pushed('A'), now)).to.equal(undefined)
  })
})

describe('transition() when the acknowledgement arrives in push mode', () => {
  it('counts the deadline from the sending, and asks nothing (ACK-7, PUSH-8)', () => {
    const next = after(unacknowledgedPush, acknowledgement)
    const expiresAt = acknowledgement.sentAt + 120_000
    expect(next).to.include({ state: 'pending', authReqId: 'A', expiresAt })
    expect(nextStep(next, now)).to.deep.equal({ do: 'wait', until: expiresAt + pushGraceMs })
  })

  it('makes a hidden person look like any other until the very end (ERR-5)', () => {
    const { type: _, authReqId, ...timing } = acknowledgement
    const hidden = after(unacknowledgedPush, { type: 'hidden', ...timing })
    const { authReqId: real, ...genuine } = after(unacknowledgedPush, acknowledgement)
    expect(real).to.equal(authReqId)
    expect(hidden).to.deep.equal({ ...genuine, hidden: true })
    const until = genuine.expiresAt + pushGraceMs
    expect(nextStep(hidden, until - 1)).to.deep.equal({ do: 'wait', until })
    expect(after(hidden, [{ type: 'timedOut' }, until])).to.include({ error: 'expired_token' })
  })
})

describe('the key that tokens will be bound to', () => {
  const dpopKey = { kty: 'EC', d: 'private' }
  const from = { ...base, deliveryMode: 'poll' } as const

  it('is in the record from the start, where there is one (AUTH-7)', () => {
    expect(newTransaction({ ...from, dpopKey }, now).dpopKey).to.deep.equal(dpopKey)
    expect(newTransaction({ ...from, dpopKey: undefined }, now)).to.not.have.property('dpopKey')
  })

  it('stays there as long as the OP is asked, and is the only copy of itself afterwards (AUTH-7, SEC-9)', () => {
    const bound = newTransaction({ ...from, dpopKey }, now)
    const asked = after(
      bound,
      acknowledgement,
      [{ type: 'leased', holder, until: now + 70_000 }, now + 6_000],
      [{ type: 'slowedDown', holder }, now + 6_100],
    )
    expect(asked.dpopKey).to.deep.equal(dpopKey)
    const pinged = after({ ...acknowledged, dpopKey }, { type: 'pinged', authReqId: 'A', holder })
    expect(pinged.dpopKey, 'after a ping').to.deep.equal(dpopKey)
    const granted = after(asked, { type: 'granted', holder, grant: { ...grant, dpopKey } })
    expect(granted).to.not.have.property('dpopKey')
    expect(granted).to.have.deep.nested.property('grant.dpopKey', dpopKey)
    expect(JSON.stringify(after(asked, { type: 'cancelled' }))).to.not.include('private')
  })
})
