import { expect } from 'chai'
import {
  type CompleteTransaction,
  isArriving,
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
  approved,
  base,
  complete,
  deepFreeze,
  denial,
  due,
  ended,
  holder,
  lease,
  leased,
  now,
  over,
  pushed,
  ready,
  settled,
  terms,
  unacknowledged,
  unacknowledgedPush,
  used,
} from '../support/transactions.ts'

type EventType = TransactionEvent['type']
type EventOf<Type extends EventType> = Extract<TransactionEvent, { type: Type }>

const error = 'some_error'

/** An answer that has left. */
const arrival = { holder, to: 'new', at: now - 1_000 }

/** Every situation that a transaction can be in; the compiler misses a state that is left out. */
const situations = {
  pending: {
    'pending, unacknowledged': unacknowledged,
    'pending, hidden': { ...unacknowledged, hidden: true },
    'pending, early ping': { ...unacknowledged, earlyPing: 'A' },
    'pending, acknowledged': acknowledged,
    'pending, due': due,
    'pending, leased': leased,
    'pending, lease ran out': { ...due, lease: over },
    'pending, deadline passed': { ...due, expiresAt: now },
    'pending, leased, deadline passed': { ...leased, expiresAt: now },
    'pending, leased, bound to a key': { ...leased, dpopKey: { kty: 'EC' } },
    'pending, approval, unacknowledged': { ...unacknowledged, approval: terms },
    'pending, approval, leased': { ...leased, approval: terms },
    'pending, push, unacknowledged': unacknowledgedPush,
    'pending, push, hidden': { ...unacknowledgedPush, hidden: true },
    'pending, push, early tokens': {
      ...unacknowledgedPush,
      earlyPush: { authReqId: 'A', outcome: approval },
    },
    'pending, push, early error': { ...unacknowledgedPush, earlyPush: { authReqId: 'A', outcome: denial } },
    'pending, push, early for another': {
      ...unacknowledgedPush,
      earlyPush: { authReqId: 'B', outcome: approval },
    },
    'pending, push, approval, early tokens': {
      ...unacknowledgedPush,
      approval: terms,
      earlyPush: { authReqId: 'A', outcome: approval },
    },
    'pending, push, acknowledged': acknowledgedPush,
    'pending, push, for another': { ...acknowledgedPush, authReqId: 'B' },
    'pending, push, due': { ...acknowledgedPush, nextTokenRequestAt: now },
    'pending, push, deadline passed': { ...acknowledgedPush, expiresAt: now - pushGraceMs + 1 },
    'pending, push, grace passed': { ...acknowledgedPush, expiresAt: now - pushGraceMs },
  },
  ready: {
    ready,
    'ready, held': { ...ready, hold: { holder, until: now + 1_000 } },
    'ready, leased': { ...ready, hold: { holder, until: now + 1_000 }, lease },
    'ready, approval': { ...ready, approval: terms },
    'ready, deadline passed': { ...ready, expiresAt: now },
  },
  complete: {
    'complete, undelivered': complete,
    'complete, claimed': { ...complete, claim: lease },
    'complete, claim ran out': { ...complete, claim: over },
    'complete, sent': { ...complete, claim: lease, arrival },
    'complete, sent and not heard of': { ...complete, claim: over, arrival },
    'complete, sent and overtaken': { ...complete, claim: { ...lease, holder: 'another' }, arrival },
    'complete, delivered': { ...settled, delivery: 'delivered' },
    'complete, refused': { ...settled, delivery: 'refused' },
    'complete, approval': approved,
    'complete, approval, used': used,
  },
  denied: {
    denied: { ...ended, state: 'denied' },
    'denied, approval': { ...ended, state: 'denied', approval: terms },
  },
  expired: { expired: { ...ended, state: 'expired', error: 'expired_token' } },
  failed: { failed: { ...ended, state: 'failed', error: 'invalid_request' } },
  cancelled: { cancelled: { ...ended, state: 'cancelled', error: 'cancelled' } },
} satisfies { [State in Transaction['state']]: Record<string, Transaction & { state: State }> }

/** Every event; the compiler misses a type that is left out. In the order of the columns below. */
const eventsBy = (holder: string) =>
  ({
    acknowledged: { type: 'acknowledged', authReqId: 'A', sentAt: now - 1_000, expiresIn: 120, interval: 5 },
    hidden: { type: 'hidden', sentAt: now - 1_000, expiresIn: 120, interval: 5 },
    notStarted: { type: 'notStarted', error },
    pinged: { type: 'pinged', authReqId: 'A', holder },
    pushed: pushed('A'),
    answeredPing: { type: 'answeredPing', holder },
    leased: { type: 'leased', holder, until: now + 65_000 },
    stillPending: { type: 'stillPending', holder },
    slowedDown: { type: 'slowedDown', holder },
    busy: { type: 'busy', holder, retryAfterMs: 0 },
    unanswered: { type: 'unanswered', holder, sent: true },
    granted: { type: 'granted', holder, grant },
    denied: { type: 'denied', holder, error },
    expired: { type: 'expired', holder, error },
    failed: { type: 'failed', holder, error },
    timedOut: { type: 'timedOut' },
    cancelled: { type: 'cancelled' },
    claimed: { type: 'claimed', holder, until: now + 10_000 },
    released: { type: 'released', holder },
    sent: { type: 'sent', holder, to: 'new', at: now, until: now + 10_000 },
    delivered: { type: 'delivered', holder },
    refused: { type: 'refused', holder },
    used: { type: 'used', holder },
  }) satisfies { [Type in EventType]: EventOf<Type> }

const letters = {
  P: 'pending',
  R: 'ready',
  C: 'complete',
  D: 'denied',
  E: 'expired',
  F: 'failed',
  X: 'cancelled',
}

type Situation = {
  [State in keyof typeof situations]: keyof (typeof situations)[State]
}[keyof typeof situations]

/** The next state by its letter, `.` for no change, for the events of the holder. */
const ofTheHolder: Record<Situation, string> = {
  //                                        ack hid not pin pus ans lea  sti slo bus una gra den exp fai  tim can  cla rel sen del ref use
  'pending, unacknowledged': '              P P F P P . .  . . . . C . . .  . X  . . . . . .',
  'pending, hidden': '                      . . . P . . .  . . . . C . . .  . X  . . . . . .',
  'pending, early ping': '                  R P F . P . .  . . . . C . . .  . X  . . . . . .',
  'pending, acknowledged': '                . . . R C . .  . . . . C . . .  . X  . . . . . .',
  'pending, due': '                         . . . R C . P  . . . . C . . .  . X  . . . . . .',
  'pending, leased': '                      . . . R C . .  P P P P C D E F  . X  . . . . . .',
  'pending, lease ran out': '               . . . R C . P  P P P P C D E F  . X  . . . . . .',
  'pending, deadline passed': '             . . . . C . .  . . . . C . . .  E X  . . . . . .',
  'pending, leased, deadline passed': '     . . . . C . .  P P P P C D E F  . X  . . . . . .',
  'pending, leased, bound to a key': '      . . . R C . .  P P P P C D E F  . X  . . . . . .',
  'pending, approval, unacknowledged': '    P P F P P . .  . . . . C . . .  . X  . . . . . .',
  'pending, approval, leased': '            . . . R C . .  P P P P C D E F  . X  . . . . . .',
  'pending, push, unacknowledged': '        P P F P P . .  . . . . C . . .  . X  . . . . . .',
  'pending, push, hidden': '                . . . P . . .  . . . . C . . .  . X  . . . . . .',
  'pending, push, early tokens': '          C P F P . . .  . . . . C . . .  . X  . . . . . .',
  'pending, push, early error': '           D P F P . . .  . . . . C . . .  . X  . . . . . .',
  'pending, push, early for another': '     P P F P P . .  . . . . C . . .  . X  . . . . . .',
  'pending, push, approval, early tokens': 'C P F P . . .  . . . . C . . .  . X  . . . . . .',
  'pending, push, acknowledged': '          . . . R C . .  . . . . C . . .  . X  . . . . . .',
  'pending, push, for another': '           . . . . . . .  . . . . C . . .  . X  . . . . . .',
  'pending, push, due': '                   . . . R C . .  . . . . C . . .  . X  . . . . . .',
  'pending, push, deadline passed': '       . . . . C . .  . . . . C . . .  . X  . . . . . .',
  'pending, push, grace passed': '          . . . . C . .  . . . . C . . .  E X  . . . . . .',
  ready: '                                  . . . . C . P  . . . . C . . .  . X  . . . . . .',
  'ready, held': '                          . . . . C R P  . . . . C . . .  . X  . . . . . .',
  'ready, leased': '                        . . . . C R .  R P P P C D E F  . X  . . . . . .',
  'ready, approval': '                      . . . . C . P  . . . . C . . .  . X  . . . . . .',
  'ready, deadline passed': '               . . . . C . .  . . . . C . . .  E X  . . . . . .',
  'complete, undelivered': '                . . . . . . .  . . . . . . . .  . .  C . . C . .',
  'complete, claimed': '                    . . . . . . .  . . . . . . . .  . .  C C C C C .',
  'complete, claim ran out': '              . . . . . . .  . . . . . . . .  . .  C C C C C .',
  'complete, sent': '                       . . . . . . .  . . . . . . . .  . .  C C C C C .',
  'complete, sent and not heard of': '      . . . . . . .  . . . . . . . .  . .  C C C C C .',
  'complete, sent and overtaken': '         . . . . . . .  . . . . . . . .  . .  . . . C . .',
  'complete, delivered': '                  . . . . . . .  . . . . . . . .  . .  . . . . . .',
  'complete, refused': '                    . . . . . . .  . . . . . . . .  . .  . . . . . .',
  'complete, approval': '                   . . . . . . .  . . . . . . . .  . .  . . . . . C',
  'complete, approval, used': '             . . . . . . .  . . . . . . . .  . .  . . . . . .',
  denied: '                                 . . . . . . .  . . . . . . . .  . .  . . . . . .',
  'denied, approval': '                     . . . . . . .  . . . . . . . .  . .  . . . . . .',
  expired: '                                . . . . . . .  . . . . . . . .  . .  . . . . . .',
  failed: '                                 . . . . . . .  . . . . . . . .  . .  . . . . . .',
  cancelled: '                              . . . . . . .  . . . . . . . .  . .  . . . . . .',
}

/** Where it makes a difference that somebody else reports: somebody without this lease, hold or claim. */
const ofAStranger: Partial<Record<Situation, string>> = {
  'pending, leased': '                      . . . R C . .  . . . . C . . .  . X  . . . . . .',
  'pending, lease ran out': '               . . . R C . P  . . . . C . . .  . X  . . . . . .',
  'pending, leased, deadline passed': '     . . . . C . .  . . . . C . . .  . X  . . . . . .',
  'pending, leased, bound to a key': '      . . . R C . .  . . . . C . . .  . X  . . . . . .',
  'pending, approval, leased': '            . . . R C . .  . . . . C . . .  . X  . . . . . .',
  'ready, held': '                          . . . . C . .  . . . . C . . .  . X  . . . . . .',
  'ready, leased': '                        . . . . C . .  . . . . C . . .  . X  . . . . . .',
  'complete, claimed': '                    . . . . . . .  . . . . . . . .  . .  . . . . . .',
  'complete, claim ran out': '              . . . . . . .  . . . . . . . .  . .  C . . C . .',
  'complete, sent': '                       . . . . . . .  . . . . . . . .  . .  . . . . . .',
  'complete, sent and not heard of': '      . . . . . . .  . . . . . . . .  . .  C . . C . .',
  'complete, sent and overtaken': '         . . . . . . .  . . . . . . . .  . .  . . . . . .',
}

describe('transition()', () => {
  const flat: Record<string, Transaction> = Object.assign({}, ...Object.values(situations))

  for (const [who, name, table] of [
    ['holder', holder, ofTheHolder],
    ['stranger', 'somebody else', { ...ofTheHolder, ...ofAStranger }],
  ] as const) {
    const events = Object.values<TransactionEvent>(eventsBy(name))
    for (const [situation, from] of Object.entries(flat)) {
      context(`of a transaction that is ${situation}, by the ${who}`, () => {
        const row = table[situation as Situation].trim().split(/\s+/)

        it('has an expectation for every event', () => expect(row).to.have.length(events.length))

        for (const [column, event] of events.entries()) {
          const letter = row[column] ?? '?'
          const expected = letter === '.' ? undefined : letters[letter as keyof typeof letters]
          it(`${event.type}: ${expected ?? 'no change'}`, () => {
            const next = transition(deepFreeze(from), deepFreeze(event), now)
            expect(next?.state).to.equal(expected)
            if (!next) return
            expect(next).to.include({
              id: from.id,
              owner: from.owner,
              deliveryMode: from.deliveryMode,
              bindingMessage: 'KXM-4F7',
            })
            expect(next.expectations).to.deep.equal(from.expectations)
            expect(next.approval).to.deep.equal(from.approval)
          })
        }
      })
    }
  }

  it('leaves nothing but the error behind when it ends', () => {
    const next = after(leased, { type: 'failed', holder, error: 'invalid_request' })
    expect(next).to.deep.equal({ ...base, authReqId: 'A', state: 'failed', error: 'invalid_request' })
    expect(after(ready, { type: 'cancelled' })).to.include({ error: 'cancelled' })
    expect(after(leased, { type: 'denied', holder, error: 'access_denied' })).to.include({
      error: 'access_denied',
    })
    expect(after({ ...due, expiresAt: now }, { type: 'timedOut' })).to.include({ error: 'expired_token' })
  })

  it('keeps the grant, and nothing of the asking, when it is granted (POLL-12)', () => {
    expect(after({ ...leased, failures: 2 }, { type: 'granted', holder, grant })).to.deep.equal(complete)
  })

  it('drops the grant and the claim once delivered or refused (SEC-9)', () => {
    const claimed = { ...complete, claim: lease }
    for (const type of ['delivered', 'refused'] as const) {
      expect(after(claimed, { type, holder })).to.deep.equal({ ...settled, delivery: type })
    }
    expect(after(claimed, { type: 'released', holder })).to.deep.equal(complete)
  })

  it('lets the holder renew a claim and another take it over once it ran out', () => {
    const until = now + 20_000
    expect(after(complete, { type: 'claimed', holder, until })).to.deep.equal({
      ...complete,
      claim: { holder, until },
    })
    expect(after({ ...complete, claim: lease }, { type: 'claimed', holder, until })).to.deep.include({
      claim: { holder, until },
    })
    const taken = after({ ...complete, claim: over }, { type: 'claimed', holder: 'other', until })
    expect(taken).to.deep.include({ claim: { holder: 'other', until } })
    expect(transition(taken, { type: 'delivered', holder }, now)).to.equal(undefined)
  })

  it('remembers the sessions in which answers left (SEC-7)', () => {
    const until = now + 60_000
    const claimed = { ...complete, claim: lease }
    const sent = after(claimed, { type: 'sent', ...arrival, until })
    expect(sent).to.deep.equal({ ...complete, claim: { holder, until }, arrival })
    expect(after(sent, { type: 'released', holder })).to.deep.equal({ ...complete, arrival })
    for (const type of ['delivered', 'refused'] as const) {
      expect(after(sent, { type, holder })).to.deep.equal({ ...settled, arrival, delivery: type })
    }
    const next = { ...arrival, holder: 'other', to: 'newer' }
    const again = after(
      { ...complete, arrival, claim: { holder: 'other', until } },
      { type: 'sent', ...next, until },
    )
    expect(again).to.deep.include({ arrival: next, earlier: [arrival] })
    expect(after(again, { type: 'sent', ...next, until }), 'said twice').to.deep.include({
      earlier: [arrival],
    })
    const broken = after(claimed, { type: 'sent', holder, to: 'new', until })
    expect(broken).to.have.property('arrival').that.deep.equals({ holder, to: 'new' })
  })

  context('an approval', () => {
    it('loses its grant when it is used, and remembers who used it (SEC-9)', () => {
      expect(after(approved, { type: 'used', holder })).to.deep.equal(used)
      expect(transition(deepFreeze(used), { type: 'used', holder: 'other' }, now)).to.equal(undefined)
    })

    it('keeps what it is for, whichever way it goes', () => {
      const [granted, denied, cancelled] = [
        { type: 'granted', holder, grant },
        { type: 'denied', holder, error: 'access_denied' },
        { type: 'cancelled' },
      ] as const
      const asked = { ...leased, approval: terms }
      expect(after(asked, granted)).to.deep.equal(approved)
      expect(after(asked, denied).approval).to.deep.equal(terms)
      expect(after(asked, cancelled).approval).to.deep.equal(terms)
    })

    it('knows no claim, even if there is one', () => {
      const claimed = { ...approved, claim: lease }
      for (const event of [
        { type: 'claimed', holder, until: now + 20_000 },
        { type: 'released', holder },
        { type: 'sent', holder, to: 'new', until: now + 20_000 },
        { type: 'delivered', holder },
        { type: 'refused', holder },
      ] as const) {
        expect(transition(deepFreeze(claimed), event, now), event.type).to.equal(undefined)
      }
      expect(after(claimed, { type: 'used', holder })).to.deep.equal(used)
    })
  })
})

describe('isArriving()', () => {
  const sent: CompleteTransaction = { ...complete, claim: lease, arrival }

  it('is true for who has waited since before the answer left, not for who came later', () => {
    expect(isArriving(sent, arrival.at - 1)).to.equal(true)
    expect(isArriving(sent, arrival.at)).to.equal(false)
  })

  it('is false for an answer that broke off, that another one has overtaken, or that there was none', () => {
    const others: CompleteTransaction[] = [
      { ...sent, arrival: { holder, to: 'new' } },
      { ...sent, claim: { ...lease, holder: 'another' } },
      { ...complete, arrival },
      { ...complete, claim: lease },
      complete,
    ]
    for (const other of others) expect(isArriving(other, 0)).to.equal(false)
  })
})
