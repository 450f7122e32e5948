import { expect } from 'chai'
import {
  isOpen,
  newTransaction,
  nextStep,
  type PendingTransaction,
  shortId,
  type Transaction,
  type TransactionEvent,
} from '../../lib/transaction.ts'
import {
  backOffCapMs,
  lastChanceMs,
  pingGraceMs,
  pingHoldMs,
  timerMarginMs,
  transition,
} from '../../lib/transition.ts'
import { grant } from '../support/fake-op.ts'
import {
  acknowledged,
  after,
  base,
  complete,
  due,
  ended,
  holder,
  lease,
  leased,
  now,
  type OpenTransaction,
  over,
  ready,
  unacknowledged,
} from '../support/transactions.ts'

const pinged = (authReqId: string, by = holder) => ({ type: 'pinged', authReqId, holder: by }) as const
const stillPending = { type: 'stillPending', holder } as const

describe('newTransaction()', () => {
  const from = {
    id: 'the-id',
    owner: 'the-owner',
    deliveryMode: 'poll',
    expectations: base.expectations,
  } as const

  it('makes a record that waits for its acknowledgement (ACK-8)', () => {
    const created = newTransaction(from, now)
    expect(created).to.include({ ...from, state: 'pending', failures: 0, answerLost: false })
    expect(created).to.not.have.any.keys('authReqId', 'lease', 'earlyPing', 'bindingMessage')
    expect(nextStep(created, now)).to.deep.equal({ do: 'wait', until: created.expiresAt })
    expect(created.expiresAt).to.be.within(now + 60_000, now + 600_000)
  })

  it('keeps the binding message (SEC-5)', () => {
    expect(newTransaction({ ...from, bindingMessage: 'KXM-4F7' }, now).bindingMessage).to.equal('KXM-4F7')
    expect(newTransaction({ ...from, bindingMessage: undefined }, now)).to.not.have.property('bindingMessage')
  })

  it('expires if it is never acknowledged', () => {
    const created = newTransaction(from, now)
    expect(after(created, [{ type: 'timedOut' }, created.expiresAt])).to.include({ error: 'expired_token' })
    expect(transition(created, { type: 'timedOut' }, created.expiresAt - 1)).to.equal(undefined)
  })
})

describe('shortId()', () => {
  it('shows six characters of an id (SEC-11)', () => expect(shortId('abcdefghijkl')).to.equal('abcdef…'))
})

describe('isOpen()', () => {
  it('is true while the word of the OP is awaited', () => {
    expect([unacknowledged, leased, ready].every(isOpen)).to.equal(true)
    expect([complete, ended].some(isOpen)).to.equal(false)
  })
})

describe('nextStep()', () => {
  const hold = { holder, until: now + pingHoldMs }
  const { expiresAt } = base
  const step = (transaction: Transaction, at = now, by?: string) => {
    const { do: what, ...rest } = nextStep(transaction, at, by)
    return 'until' in rest ? rest.until - now : what
  }

  it('stops when the transaction is over', () => {
    expect(step(complete)).to.equal('stop')
    expect(step({ ...ended, expiresAt: now - 1 })).to.equal('stop')
  })

  it('asks when the interval has passed, and not a millisecond earlier (POLL-1, POLL-15)', () => {
    expect(step(acknowledged)).to.equal(2_000)
    expect(step(acknowledged, now + 1_999)).to.equal(2_000)
    expect(step(acknowledged, now + 2_000)).to.equal('requestTokens')
  })

  it('asks no more from the deadline on (POLL-5)', () => {
    expect(step(due, expiresAt - 1)).to.equal('requestTokens')
    expect(step(due, expiresAt)).to.equal('expire')
    expect(step(ready, expiresAt)).to.equal('expire')
    expect(step(unacknowledged, expiresAt)).to.equal('expire')
    expect(step({ ...due, nextTokenRequestAt: expiresAt + 1 })).to.equal(100_000)
  })

  it('waits for the lease to end, be it after the deadline (POLL-2)', () => {
    expect(step(leased)).to.equal(10_000)
    expect(step({ ...leased, expiresAt: now })).to.equal(10_000)
    expect(step({ ...ready, lease }, now, holder)).to.equal(10_000)
    expect(step({ ...leased, lease: over })).to.equal('requestTokens')
  })

  it('asks at once after a ping, the receiver before all others (PING-7, PING-8)', () => {
    const held = { ...ready, hold }
    expect(step(ready)).to.equal('requestTokens')
    expect(step(held)).to.equal(pingHoldMs)
    expect(step(held, now, 'somebody else')).to.equal(pingHoldMs)
    expect(step(held, now, holder)).to.equal('requestTokens')
    expect(step(held, hold.until)).to.equal('requestTokens')
    expect(step({ ...held, expiresAt: now + 400 })).to.equal(400)
  })

  it('asks nothing without an auth_req_id, be it due (PING-11)', () => {
    expect(step({ ...unacknowledged, nextTokenRequestAt: now })).to.equal(100_000)
  })
})

describe('transition() when a ping arrives', () => {
  it('goes to ready and keeps everybody but the receiver away for a second (PING-7)', () => {
    const next = after(acknowledged, pinged('A'))
    expect(next).to.deep.include({ state: 'ready', lastPingAt: now, hold: { holder, until: now + 1_000 } })
  })

  it('ignores another auth_req_id (PING-3)', () => {
    expect(transition(acknowledged, pinged('B'), now)).to.equal(undefined)
  })

  it('comes too late after the deadline', () => {
    expect(transition(acknowledged, pinged('A'), base.expiresAt)).to.equal(undefined)
    expect(transition(acknowledged, pinged('A'), base.expiresAt - 1)?.state).to.equal('ready')
  })

  it('skips the interval at most once per interval (PING-10)', () => {
    const asked = after(acknowledged, pinged('A'), { type: 'leased', holder, until: now + 65_000 })
    expect(asked).to.not.have.property('hold')
    const answered = after(asked, [stillPending, now + 100])
    expect(transition(answered, pinged('A'), now + 4_999)).to.equal(undefined)
    expect(transition(answered, pinged('A'), now + 5_000)?.state).to.equal('ready')
  })

  it('turns fifty pings within three intervals into three token requests (PING-10)', () => {
    let transaction: Transaction = acknowledged
    let requests = 0
    for (let at = now; at < now + 15_000 + 300; at += 306) {
      transaction = transition(transaction, pinged('A'), at) ?? transaction
      const taken = transition(transaction, { type: 'leased', holder, until: at + 65_000 }, at)
      if (!taken || transaction.state !== 'ready') continue
      requests += 1
      transaction = after(taken, [stillPending, at + 10])
    }
    expect(requests).to.equal(3)
  })

  it('asks again at once when it came while a token request was in flight (PING-8)', () => {
    const next = after(leased, pinged('A', 'other'), [stillPending, now + 3_000])
    expect(next).to.include({ state: 'ready', nextTokenRequestAt: now + 8_000 + timerMarginMs })
    expect(next).to.not.have.property('lease')
    expect(nextStep(next, now + 3_000)).to.deep.equal({ do: 'requestTokens' })
    expect(after(next, [{ type: 'leased', holder, until: now + 70_000 }, now + 3_000]).state).to.equal(
      'pending',
    )
  })

  it('lets others ask once its 204 has left, also if that is during a token request (PING-7)', () => {
    const inFlight = after(leased, pinged('A', 'receiver'))
    const unsent = after(inFlight, [stillPending, now + 100])
    expect(nextStep(unsent, now + 100, holder)).to.deep.equal({ do: 'wait', until: now + pingHoldMs })
    const left = after(inFlight, { type: 'answeredPing', holder: 'receiver' }, [stillPending, now + 100])
    expect(left).to.not.have.property('hold')
    expect(nextStep(left, now + 100, holder)).to.deep.equal({ do: 'requestTokens' })
  })

  it('does not come between the lease and its holder (POLL-2)', () => {
    const next = after(leased, pinged('A', 'other'))
    expect(next).to.deep.include({ lease })
    expect(transition(next, { type: 'leased', holder: 'other', until: now + 65_000 }, now)).to.equal(
      undefined,
    )
  })
})

describe('transition() when the acknowledgement arrives', () => {
  const answer = { sentAt: now - 1_000, expiresIn: 120, interval: 5 } as const
  const acknowledgement = { type: 'acknowledged', authReqId: 'A', ...answer } as const
  const poll: PendingTransaction = { ...unacknowledged, deliveryMode: 'poll' }

  it('counts the deadline from the sending (ACK-7)', () => {
    const expected = { authReqId: 'A', interval: 5, expiresAt: acknowledgement.sentAt + 120_000 }
    expect(after(poll, acknowledgement)).to.include(expected)
  })

  it('waits one interval and the margin before the first token request (POLL-16)', () => {
    expect(after(poll, acknowledgement).nextTokenRequestAt).to.equal(now + 5_000 + timerMarginMs)
  })

  it('gives the ping its grace in ping mode, or the interval if that is longer (PING-12)', () => {
    const at = (interval: number) =>
      after(unacknowledged, { ...acknowledgement, interval }).nextTokenRequestAt
    expect(at(5)).to.equal(now + pingGraceMs)
    expect(at(31)).to.equal(now + 31_000 + timerMarginMs)
  })

  it('asks at once after an early ping with the same id (PING-11)', () => {
    const pinged = after(unacknowledged, { type: 'pinged', authReqId: 'A', holder })
    const next = after(pinged, acknowledgement)
    expect(next)
      .to.include({ state: 'ready', authReqId: 'A', lastPingAt: now })
      .and.not.have.property('earlyPing')
    expect(nextStep(next, now), 'by anybody').to.deep.equal({ do: 'requestTokens' })
  })

  it('discards an early ping with another id, and takes only the last one (PING-11)', () => {
    const pinged = after(unacknowledged, { type: 'pinged', authReqId: 'B', holder })
    expect(after(pinged, acknowledgement)).to.include({ state: 'pending' }).and.not.have.property('earlyPing')
    const again = after(pinged, { type: 'pinged', authReqId: 'A', holder })
    expect(after(again, acknowledgement).state).to.equal('ready')
  })

  it('goes on like any other when the person is hidden, but for the auth_req_id (ERR-5)', () => {
    for (const from of [poll, unacknowledged, { ...unacknowledged, earlyPing: 'A' }]) {
      const hidden = after(from, { type: 'hidden', ...answer })
      const { authReqId, ...real } = after({ ...from, earlyPing: 'other' }, acknowledgement)
      expect(hidden).to.deep.equal({ ...real, hidden: true })
      const dueAt = hidden.nextTokenRequestAt
      expect(nextStep(hidden, dueAt - 1)).to.deep.equal({ do: 'wait', until: dueAt })
      expect(nextStep(hidden, dueAt)).to.deep.equal({ do: 'requestTokens' })
      expect(transition(hidden, acknowledgement, now)).to.equal(undefined)
    }
  })

  it('leaves room for one token request before the deadline, however long the wait (POLL-16)', () => {
    const brief = after(unacknowledged, { ...acknowledgement, expiresIn: 20 })
    expect(brief.nextTokenRequestAt).to.equal(brief.expiresAt - lastChanceMs)
    expect(after(unacknowledged, { ...acknowledgement, expiresIn: 1 }).nextTokenRequestAt).to.equal(now)
  })

  it('is over at once when the request did not start', () => {
    const next = after(unacknowledged, { type: 'notStarted', error: 'invalid_scope' })
    expect(next).to.include({ state: 'failed', error: 'invalid_scope', expiresAt: now })
  })
})

describe('transition() when the OP answers a token request', () => {
  const answeredAt = now + 3_000
  const invalidGrant = { type: 'failed', holder, error: 'invalid_grant' } as const
  const lost = { type: 'unanswered', holder, sent: true } as const
  const unsent = { ...lost, sent: false } as const
  const busy = { type: 'busy', holder, retryAfterMs: 0 } as const

  const leasedAgain = (open: OpenTransaction) => ({ ...open, lease })

  /** Leases the transaction and answers its token request, again and again. */
  const answer = (from: OpenTransaction, ...events: TransactionEvent[]): OpenTransaction =>
    events.reduce((open, event) => after(leasedAgain(open), [event, answeredAt]), from)
  const waitAfter = (from: OpenTransaction, ...events: TransactionEvent[]) =>
    answer(from, ...events).nextTokenRequestAt - answeredAt - timerMarginMs

  it('frees the lease and waits the interval from the answer, plus the margin (POLL-1, POLL-4)', () => {
    const next = answer({ ...due, failures: 3, answerLost: true }, stillPending)
    const nextTokenRequestAt = answeredAt + 5_000 + timerMarginMs
    expect(next).to.include({ nextTokenRequestAt, failures: 0, answerLost: false })
    expect(next).to.not.have.property('lease')
  })

  it('adds 5 seconds for each slow_down, for good (POLL-3)', () => {
    const slowDown = { type: 'slowedDown', holder } as const
    expect(answer(due, slowDown).interval).to.equal(10)
    expect(waitAfter(due, slowDown)).to.equal(10_000)
    expect(answer(due, slowDown, slowDown).interval).to.equal(15)
    expect(waitAfter(due, slowDown, slowDown)).to.equal(15_000)
    expect(waitAfter(due, slowDown, slowDown, stillPending, stillPending)).to.equal(15_000)
    expect(waitAfter(due, slowDown, unsent)).to.equal(20_000)
  })

  it('forgets lost connections, lost answers and the lease at a slow_down', () => {
    const next = answer({ ...due, failures: 3, answerLost: true }, { type: 'slowedDown', holder })
    expect(next).to.include({ failures: 0, answerLost: false }).and.not.have.property('lease')
  })

  it('slows down also when a ping came meanwhile (PING-9)', () => {
    expect(answer(ready, { type: 'slowedDown', holder })).to.include({ state: 'pending', interval: 10 })
  })

  it('waits as long as a busy OP asks for, but never less than the interval (POLL-8)', () => {
    expect(waitAfter(due, { ...busy, retryAfterMs: 30_000 })).to.equal(30_000)
    expect(waitAfter(due, { ...busy, retryAfterMs: 1_000 })).to.equal(5_000)
    expect(waitAfter(due, unsent, unsent, busy, unsent), 'an answer ends the doubling').to.equal(10_000)
  })

  it('asks one last time before the deadline when the OP asks for longer than that (POLL-5, POLL-8)', () => {
    const next = answer(due, { ...busy, retryAfterMs: 999_999_999_000 })
    expect(nextStep(next, answeredAt)).to.deep.equal({ do: 'wait', until: base.expiresAt - lastChanceMs })
  })

  it('does not break the interval for that (POLL-1)', () => {
    const late = { ...due, interval: 3_600 }
    const next = answer(late, { ...busy, retryAfterMs: 999_999_999_000 })
    expect(nextStep(next, answeredAt)).to.deep.equal({ do: 'wait', until: base.expiresAt })
  })

  it('heeds the Retry-After of a slow_down where it is longer (POLL-3, POLL-8)', () => {
    expect(waitAfter(due, { type: 'slowedDown', holder, retryAfterMs: 60_000 })).to.equal(60_000)
  })

  it('doubles the wait with each lost connection, up to the cap, and starts anew after an answer (POLL-10)', () => {
    const waits = Array.from({ length: 40 }, (_, index) => waitAfter(due, ...Array(index + 1).fill(unsent)))
    expect(waits.slice(0, 5)).to.deep.equal([10_000, 20_000, 40_000, backOffCapMs, backOffCapMs])
    expect(waits.at(-1)).to.equal(backOffCapMs)
    expect(waitAfter(due, unsent, unsent, unsent, stillPending, unsent)).to.equal(10_000)
  })

  it('never waits less than the interval, however long that is (POLL-10)', () => {
    expect(waitAfter({ ...due, interval: 90 }, unsent)).to.equal(90_000)
  })

  it('ends as outcome_unknown when invalid_grant follows a lost answer (POLL-13)', () => {
    const errorAfter = (...events: TransactionEvent[]) =>
      (answer(due, ...events) as unknown as { error: string }).error
    expect(errorAfter(lost, invalidGrant)).to.equal('outcome_unknown')
    expect(errorAfter(lost, unsent, invalidGrant), 'lost before that').to.equal('outcome_unknown')
    expect(errorAfter(lost, busy, invalidGrant), 'a 503 tells nothing').to.equal('outcome_unknown')
    expect(errorAfter({ ...busy, sent: true }, invalidGrant), 'a proxy gave up').to.equal('outcome_unknown')
    expect(errorAfter({ ...busy, sent: false }, invalidGrant)).to.equal('invalid_grant')
    expect(errorAfter(unsent, invalidGrant), 'never sent').to.equal('invalid_grant')
    expect(errorAfter(lost, stillPending, invalidGrant), 'answered since').to.equal('invalid_grant')
    expect(errorAfter(lost, { ...invalidGrant, error: 'invalid_client' })).to.equal('invalid_client')
  })

  it('suspects a lost answer when a lease is taken over from a crashed holder (POLL-13)', () => {
    const until = now + 65_000
    const lease = { holder, until }
    expect(after(due, { type: 'leased', ...lease })).to.deep.include({ answerLost: false, lease })
    const taken = after({ ...due, lease: over }, { type: 'leased', holder: 'other', until })
    expect(taken).to.deep.include({ answerLost: true, lease: { holder: 'other', until } })
    const late = { type: 'denied', holder, error: 'access_denied' } as const
    expect(transition(taken, late, now), 'the late word of the first').to.equal(undefined)
    const again = after({ ...due, answerLost: true }, { type: 'leased', holder, until })
    expect(again, 'lost before that').to.include({ answerLost: true })
  })

  it('is believed after its lease ran out, as long as nobody took it over', () => {
    expect(after({ ...due, lease: over }, [stillPending, now + 1]).nextTokenRequestAt).to.equal(now + 5_101)
  })

  it('keeps what is granted after the deadline, and does not time out before (POLL-5)', () => {
    const late = base.expiresAt + 1
    const overdue = { ...due, lease: { holder, until: late + 1_000 } }
    expect(transition(overdue, { type: 'timedOut' }, late)).to.equal(undefined)
    expect(after(overdue, [{ type: 'granted', holder, grant }, late]).state).to.equal('complete')
    expect(after(overdue, [{ type: 'timedOut' }, late + 1_000]).state).to.not.equal('pending')
  })

  it('says of a deadline that passes after a request without an answer that nobody knows (POLL-13)', () => {
    const { expiresAt } = base
    const timedOut = (from: Partial<typeof due>) =>
      after({ ...due, ...from }, [{ type: 'timedOut' }, expiresAt])
    expect(timedOut({ lease: over })).to.include({ state: 'failed', error: 'outcome_unknown' })
    expect(timedOut({ answerLost: true })).to.include({ state: 'failed', error: 'outcome_unknown' })
    expect(timedOut({})).to.include({ state: 'expired', error: 'expired_token' })
  })
})
