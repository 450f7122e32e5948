/**
 * Plays arbitrary events on transactions of every delivery mode, for properties that hold whatever happens. Knows nothing
 * of the properties.
 */
import fc from 'fast-check'
import {
  type DeliveryMode,
  isOpen,
  newTransaction,
  type PushOutcome,
  type Transaction,
  type TransactionEvent,
} from '../../lib/transaction.ts'
import { transition } from '../../lib/transition.ts'
import { grant } from './fake-op.ts'
import { deepFreeze, terms } from './transactions.ts'

const start = 1_800_000_000_000

/** One event, and how long after the one before it. */
interface Move {
  readonly pauseMs: number
  readonly event: (at: number, transaction: Transaction) => TransactionEvent
}

/** One move that had an effect, or had none. */
export interface Step {
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

/** What only the holder of the lease can report. */
export const answerTypes = [
  'stillPending',
  'slowedDown',
  'busy',
  'unanswered',
  'denied',
  'expired',
  'failed',
] as const

/** What is said of a complete transaction. */
const deliveryTypes = ['claimed', 'released', 'sent', 'delivered', 'refused', 'used'] as const
const sessions = fc.constant({ to: 'the new session' })

/** What is pushed says for which `auth_req_id` it is. */
function outcomeFor(authReqId: string, type: PushOutcome['type']): PushOutcome {
  const sub = `pushed for ${authReqId}`
  if (type !== 'granted') return { type, error: sub }
  return { type, grant: { ...grant, claims: { ...grant.claims, sub } } }
}

/** By whichever way the OP takes. */
const notification: fc.Arbitrary<Move['event']> = fc
  .record({ authReqId, holder, type: fc.constantFrom('granted', 'denied', 'expired', 'failed') })
  .map(({ authReqId, holder, type }) => (_: number, { deliveryMode }: Transaction) => {
    if (deliveryMode !== 'push') return { type: 'pinged', authReqId, holder }
    return { type: 'pushed', authReqId, outcome: outcomeFor(authReqId, type) }
  })

const event: fc.Arbitrary<Move['event']> = fc.oneof(
  {
    weight: 2,
    arbitrary: fc.record({ authReqId, ...ackParts }).map(({ sentAgoMs, ...rest }) => (at: number) => ({
      type: 'acknowledged' as const,
      sentAt: at - sentAgoMs,
      ...rest,
    })),
  },
  { weight: 4, arbitrary: notification },
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
      .record({ type: fc.constantFrom('claimed', 'claimed', ...deliveryTypes), reporter, sessions })
      .map(
        ({ type, reporter, sessions }) =>
          (at: number, transaction: Transaction) =>
            ({ type, holder: reporter(transaction), until: at + 10_000, ...sessions }) as TransactionEvent,
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
function play(script: readonly Move[], deliveryMode: DeliveryMode, isApproval: boolean): Step[] {
  let at = start
  const expectations = { requestedAt: start, scope: 'openid' }
  const approval = isApproval ? terms : undefined
  let transaction: Transaction = newTransaction(
    { id: 'the-id', owner: 'the-owner', deliveryMode, expectations, approval },
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

/** Beginnings: none, an acknowledgement, one that a notification overtakes. */
const opening = fc.constantFrom(0, 1, 1, 2).chain((moves) =>
  notification.map((early): Move[] => {
    const acknowledged: Move['event'] = (at) => {
      return { type: 'acknowledged', authReqId: 'A', sentAt: at, expiresIn: 150, interval: 2 }
    }
    const both = [early, acknowledged].map((event) => ({ pauseMs: 100, event }))
    return both.slice(both.length - moves)
  }),
)

/** Holds the property against many plays, of logins and approvals, in all delivery modes. */
export function always(property: (steps: Step[]) => void): void {
  const modes = fc.constantFrom('poll', 'ping', 'push')
  fc.assert(
    fc.property(opening, moves, modes, fc.boolean(), (begin, rest, mode, isApproval) =>
      property(play([...begin, ...rest], mode, isApproval)),
    ),
    { numRuns: 1_500 },
  )
}
