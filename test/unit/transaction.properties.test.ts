import { expect } from 'chai'
import fc from 'fast-check'
import {
  isOpen,
  newTransaction,
  nextStep,
  type Transaction,
  type TransactionEvent,
} from '../../lib/transaction.ts'
import { transition } from '../../lib/transition.ts'
import { grant } from '../support/fake-op.ts'
import { deepFreeze } from '../support/transactions.ts'

const start = 1_800_000_000_000
const secrets = Object.values(grant.tokens).filter((token) => /^the-/.test(token))

/** One event, and how long after the one before it. */
interface Move {
  readonly pauseMs: number
  readonly event: (at: number, transaction: Transaction) => TransactionEvent
}

/** One move that had an effect, or had none. */
interface Step {
  readonly before: Transaction
  readonly event: TransactionEvent
  readonly at: number
  readonly after: Transaction | undefined
}

const holder = fc.constantFrom('a', 'b', 'c')
const authReqId = fc.constantFrom('A', 'A', 'A', 'B')
const ackParts = {
  sentAgoMs: fc.nat(3_000),
  expiresIn: fc.integer({ min: 1, max: 200 }),
  interval: fc.integer({ min: 1, max: 20 }),
}
/** Mostly of whoever holds the lease or the claim, so that most of it counts. */
const reporter = fc.tuple(holder, fc.nat(9)).map(([other, luck]) => (transaction: Transaction) => {
  const holds = isOpen(transaction)
    ? transaction.lease
    : transaction.state === 'complete' && transaction.claim
  return holds && luck > 1 ? holds.holder : other
})

const answerTypes = [
  'stillPending',
  'slowedDown',
  'busy',
  'unanswered',
  'denied',
  'expired',
  'failed',
] as const

const event: fc.Arbitrary<Move['event']> = fc.oneof(
  {
    weight: 2,
    arbitrary: fc.record({ authReqId, ...ackParts }).map(({ sentAgoMs, ...rest }) => (at: number) => ({
      type: 'acknowledged' as const,
      sentAt: at - sentAgoMs,
      ...rest,
    })),
  },
  {
    weight: 4,
    arbitrary: fc.record({ authReqId, holder }).map((ping) => () => ({ type: 'pinged' as const, ...ping })),
  },
  {
    weight: 1,
    arbitrary: holder.map((by) => () => ({ type: 'answeredPing' as const, holder: by })),
  },
  {
    weight: 8,
    arbitrary: fc
      .record({ holder, forMs: fc.integer({ min: 1, max: 40_000 }) })
      .map(({ holder, forMs }) => (at: number) => ({ type: 'leased' as const, holder, until: at + forMs })),
  },
  {
    weight: 6,
    arbitrary: fc
      .record({
        type: fc.constantFrom(...answerTypes.slice(0, 4), ...answerTypes.slice(0, 4), ...answerTypes),
        reporter,
        retryAfterMs: fc.nat(60_000),
        sent: fc.boolean(),
        error: fc.constantFrom('invalid_grant', 'invalid_client'),
      })
      .map(
        ({ reporter, ...rest }) =>
          (_: number, transaction: Transaction) =>
            ({ ...rest, holder: reporter(transaction) }) as TransactionEvent,
      ),
  },
  {
    weight: 1,
    arbitrary: reporter.map((by) => (_: number, transaction: Transaction) => ({
      type: 'granted' as const,
      holder: by(transaction),
      grant,
    })),
  },
  {
    weight: 3,
    arbitrary: fc
      .record({ type: fc.constantFrom('claimed', 'claimed', 'released', 'delivered', 'refused'), reporter })
      .map(
        ({ type, reporter }) =>
          (at: number, transaction: Transaction) =>
            ({ type, holder: reporter(transaction), until: at + 10_000 }) as TransactionEvent,
      ),
  },
  {
    weight: 1,
    arbitrary: fc.oneof(
      fc.constant(() => ({ type: 'timedOut' as const })),
      fc.constant(() => ({ type: 'cancelled' as const })),
      fc.constant(() => ({ type: 'notStarted' as const, error: 'invalid_scope' })),
      fc.constant((at: number) => ({ type: 'hidden' as const, sentAt: at, expiresIn: 20, interval: 5 })),
    ),
  },
)
/** Often an instant, sometimes about an interval, seldom past a deadline. */
const pauseMs = fc.oneof(
  { weight: 4, arbitrary: fc.nat(200) },
  { weight: 4, arbitrary: fc.nat(12_000) },
  { weight: 1, arbitrary: fc.nat(120_000) },
)
const moves = fc.array(fc.record({ pauseMs, event }), { minLength: 5, maxLength: 60 })

/** Plays the moves on a new transaction, acknowledged or not. */
function play(script: readonly Move[], deliveryMode: 'poll' | 'ping'): Step[] {
  let at = start
  let transaction: Transaction = newTransaction(
    { id: 'the-id', owner: 'the-owner', deliveryMode, expectations: { requestedAt: start, scope: 'openid' } },
    at,
  )
  return script.map(({ pauseMs, event: make }) => {
    at += pauseMs
    const event = make(at, transaction)
    const step = { before: transaction, event, at, after: transition(deepFreeze(transaction), event, at) }
    transaction = step.after ?? transaction
    return step
  })
}

/** Holds the property against many plays, half of them acknowledged from the outset. */
function always(property: (steps: Step[]) => void): void {
  const opening = moves.chain((script) =>
    fc.boolean().map((acknowledged): Move[] =>
      acknowledged
        ? [
            {
              pauseMs: 100,
              event: (at) => ({
                type: 'acknowledged',
                authReqId: 'A',
                sentAt: at,
                expiresIn: 150,
                interval: 2,
              }),
            },
            ...script,
          ]
        : script,
    ),
  )
  fc.assert(
    fc.property(opening, fc.constantFrom('poll', 'ping'), (script, mode) => property(play(script, mode))),
    { numRuns: 1_000 },
  )
}

const leasesOf = (steps: Step[]) => steps.filter((step) => step.event.type === 'leased' && step.after)

describe('any sequence of events', function () {
  this.timeout(60_000)

  it('reaches every state (so that the properties below mean something)', () => {
    const reached = new Set<string>()
    let pingsInFlight = 0
    let takenOver = 0
    always((steps) => {
      for (const { before, after, event } of steps) {
        if (!after) continue
        reached.add(after.state === 'complete' ? after.delivery : after.state)
        if (after.state === 'ready' && after.lease) pingsInFlight += 1
        if (event.type === 'leased' && isOpen(before) && before.lease) takenOver += 1
      }
    })
    expect([...reached]).to.have.members(
      'pending ready undelivered delivered refused denied expired failed cancelled'.split(' '),
    )
    expect(Math.min(pingsInFlight, takenOver)).to.be.greaterThan(20)
  })

  it('never has two leases held at once (POLL-2)', () => {
    always((steps) => {
      let held: { holder: string; until: number } | undefined
      for (const { event, at, after } of steps) {
        if (!after) continue
        if (event.type === 'leased') {
          expect(held === undefined || at >= held.until, 'a second token request in flight').to.equal(true)
          held = event
        } else if (answerTypes.some((type) => type === event.type)) held = undefined
      }
    })
  })

  it('never lets anybody but the holder of the lease answer (POLL-2)', () => {
    always((steps) => {
      for (const { before, event, after } of steps) {
        if (!after || !answerTypes.some((type) => type === event.type)) continue
        expect(isOpen(before) && before.lease?.holder).to.equal('holder' in event && event.holder)
      }
    })
  })

  it('never asks before the interval has passed, unless after a ping (POLL-1)', () => {
    always((steps) => {
      for (const { before, at } of leasesOf(steps)) {
        if (!isOpen(before)) throw new Error('leased when over')
        if (before.state === 'pending') expect(at).to.be.at.least(before.nextTokenRequestAt)
      }
    })
  })

  it('never asks twice within an interval because of pings (PING-10)', () => {
    always((steps) => {
      let last = Number.NEGATIVE_INFINITY
      for (const { before, event, at, after } of steps) {
        if (event.type !== 'pinged' || after?.state !== 'ready' || !isOpen(before)) continue
        expect(at - last).to.be.at.least(before.interval * 1000)
        last = at
      }
    })
  })

  it('never asks without an auth_req_id, or from the deadline on (POLL-5)', () => {
    always((steps) => {
      for (const { before, at } of leasesOf(steps)) {
        const isHidden = isOpen(before) && before.hidden === true
        expect(before.authReqId === undefined).to.equal(isHidden)
        expect(at).to.be.below(before.expiresAt)
      }
    })
  })

  it('never shrinks the interval, or moves the deadline, once acknowledged (POLL-3)', () => {
    always((steps) => {
      for (const { before, after } of steps) {
        if (!after || !isOpen(before) || before.authReqId === undefined) continue
        expect(after).to.include({ authReqId: before.authReqId, expiresAt: before.expiresAt })
        if (isOpen(after)) expect(after.interval).to.be.at.least(before.interval)
      }
    })
  })

  it('never leaves a terminal state (POLL-12)', () => {
    always((steps) => {
      for (const { before, after } of steps) {
        if (isOpen(before)) continue
        if (before.state === 'complete') expect(after?.state ?? 'complete').to.equal('complete')
        else expect(after).to.equal(undefined)
      }
    })
  })

  it('has the tokens from the approval to the delivery, and never else (SEC-9)', () => {
    always((steps) => {
      for (const { after } of steps) {
        if (!after) continue
        const kept = secrets.filter((secret) => JSON.stringify(after).includes(secret))
        const due = after.state === 'complete' && after.delivery === 'undelivered'
        expect(kept).to.have.length(due ? secrets.length : 0)
      }
    })
  })

  it('never has two claims held at once, nor a word from anybody but the claimant (SEC-7)', () => {
    always((steps) => {
      for (const { before, event, at, after } of steps) {
        if (before.state !== 'complete' || !after) continue
        const { claim } = before
        const own = 'holder' in event && claim?.holder === event.holder
        expect(own || (event.type === 'claimed' && (!claim || at >= claim.until))).to.equal(true)
      }
    })
  })

  it('survives JSON unchanged (POLL-17)', () => {
    always((steps) => {
      for (const { after } of steps) if (after) expect(JSON.parse(JSON.stringify(after))).to.deep.equal(after)
    })
  })

  it('waits for instants to come, and never beyond the lease or the deadline (POLL-15)', () => {
    always((steps) => {
      for (const { after, at } of steps) {
        if (!after) continue
        const step = nextStep(after, at, 'a')
        if (step.do !== 'wait') continue
        if (!isOpen(after)) throw new Error('waits for nothing')
        const leased = after.lease && at < after.lease.until
        expect(step.until).to.be.greaterThan(at)
        expect(step.until).to.be.at.most(leased ? Number(after.lease?.until) : after.expiresAt)
      }
    })
  })

  it('grants a lease exactly when the next step is to ask, and times out exactly when it is to expire', () => {
    always((steps) => {
      for (const { before, after, at } of steps) {
        const transaction = after ?? before
        const step = nextStep(transaction, at, 'a').do
        const leased = transition(transaction, { type: 'leased', holder: 'a', until: at + 1 }, at)
        expect(leased !== undefined).to.equal(step === 'requestTokens')
        expect(transition(transaction, { type: 'timedOut' }, at) !== undefined).to.equal(step === 'expire')
      }
    })
  })

  it('comes to an end for whoever waits as told, though the OP never says anything else (POLL-5)', () => {
    always((steps) => {
      const last = steps.at(-1)
      if (!last) return
      let transaction: Transaction = last.after ?? last.before
      let at = last.at
      for (let turn = 0; isOpen(transaction); turn++) {
        expect(turn, 'turns').to.be.below(1_000)
        const step = nextStep(transaction, at, 'w')
        if (step.do === 'wait') at = step.until
        const leased: TransactionEvent = { type: 'leased', holder: 'w', until: at + 65_000 }
        const asked: Transaction | false | undefined =
          step.do === 'requestTokens' && transition(transaction, leased, at)
        const next: Transaction | undefined = asked
          ? transition(asked, { type: 'stillPending', holder: 'w' }, at)
          : transition(transaction, { type: 'timedOut' }, at)
        transaction = next ?? transaction
      }
    })
  })
})
