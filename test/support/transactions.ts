/** Transactions in every kind of situation, seen from one instant; plain data, as the state machine has it. */
import { expect } from 'chai'
import type {
  ApprovalTerms,
  CompleteTransaction,
  EndedTransaction,
  PendingTransaction,
  PushOutcome,
  ReadyTransaction,
  Transaction,
  TransactionEvent,
} from '../../lib/transaction.ts'
import { transition } from '../../lib/transition.ts'
import { grant } from './fake-op.ts'

export type OpenTransaction = PendingTransaction | ReadyTransaction

export const now = 1_800_000_000_000
export const holder = 'me'

export const base = {
  id: 'the-id',
  owner: 'the-owner',
  deliveryMode: 'ping',
  expectations: { requestedAt: now - 5_000, scope: 'openid' },
  bindingMessage: 'KXM-4F7',
  expiresAt: now + 100_000,
} as const
const open = { interval: 5, nextTokenRequestAt: now + 2_000, failures: 0, answerLost: false } as const
/** A lease, claim or hold that lasts. */
export const lease = { holder, until: now + 10_000 }
/** One that has just run out. */
export const over = { holder, until: now }

export const unacknowledged: PendingTransaction = { ...base, ...open, state: 'pending' }
export const acknowledged: PendingTransaction = { ...unacknowledged, authReqId: 'A' }
export const due: PendingTransaction = { ...acknowledged, nextTokenRequestAt: now }
export const leased: PendingTransaction = { ...due, lease }
/** In push mode, before and after the acknowledgement. */
export const unacknowledgedPush: PendingTransaction = { ...unacknowledged, deliveryMode: 'push' }
export const acknowledgedPush: PendingTransaction = { ...acknowledged, deliveryMode: 'push' }
export const ready: ReadyTransaction = { ...acknowledged, state: 'ready', lastPingAt: now - 100 }
export const complete: CompleteTransaction = {
  ...base,
  authReqId: 'A',
  state: 'complete',
  delivery: 'undelivered',
  grant,
}
const { grant: _, ...withoutGrant } = complete
/** A complete transaction whose tokens are gone. */
export const settled: Omit<CompleteTransaction, 'grant'> = withoutGrant
export const ended: EndedTransaction = { ...base, authReqId: 'A', state: 'denied', error: 'access_denied' }

/** What makes a transaction an approval. */
export const terms: ApprovalTerms = {
  action: 'the-digest',
  requester: { iss: 'https://op.example.com', sub: 'alice' },
}
/** An approval that nobody has used. */
export const approved: CompleteTransaction = { ...complete, approval: terms }
/** One that has been used. */
export const used: Omit<CompleteTransaction, 'grant'> = {
  ...settled,
  approval: terms,
  delivery: 'delivered',
  usedBy: holder,
}

export const approval: PushOutcome = { type: 'granted', grant }
export const denial: PushOutcome = { type: 'denied', error: 'access_denied' }

/** A push of tokens, unless told otherwise. */
export const pushed = (authReqId: string, outcome: PushOutcome = approval) =>
  ({ type: 'pushed', authReqId, outcome }) as const

/** A pure function that writes to its arguments throws. */
export function deepFreeze<Value extends object>(value: Value): Value {
  for (const part of Object.values(value)) if (typeof part === 'object' && part !== null) deepFreeze(part)
  return Object.freeze(value)
}

/** Applies the events in turn, each at its own instant or `now`; each must have an effect. */
export function after<Result extends Transaction = OpenTransaction>(
  from: Transaction,
  ...steps: (TransactionEvent | [event: TransactionEvent, at: number])[]
): Result {
  let transaction = from
  for (const step of steps) {
    const [event, at] = Array.isArray(step) ? step : [step, now]
    const next = transition(deepFreeze(transaction), deepFreeze(event), at)
    if (!next) expect.fail(`${event.type} changed nothing`)
    transaction = next
  }
  return transaction as Result
}
