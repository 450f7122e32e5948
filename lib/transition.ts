/**
 * The moves of the state machine in `transaction.ts`: one pure function of a transaction, an event and the time.
 */

import {
  type Base,
  type CompleteTransaction,
  type EndedTransaction,
  isHeld,
  isOpen,
  nextStep,
  type PendingTransaction,
  type PushOutcome,
  type ReadyTransaction,
  type Transaction,
  type TransactionEvent,
} from './transaction.ts'

/** Timers fired up to 0.9 ms early in measurements, and two hosts' clocks differ a little [POLL-15]. */
export const timerMarginMs = 100
/** In ping mode the ping is given this long before the first token request without one [PING-12]. */
export const pingGraceMs = 30_000
/** A token request that would come after the deadline comes this long before it, if the interval allows. */
export const lastChanceMs = 1_000
/** How long the receiver of a ping keeps the token request to itself while its 204 leaves. */
export const pingHoldMs = 1_000
/** Failed connections double the wait up to this much, or to the interval if that is longer [POLL-10]. */
export const backOffCapMs = 60_000
/** CIBA Core §11: each `slow_down` adds at least 5 seconds [POLL-3]. */
const slowDownSeconds = 5

/**
 * Applies one event and returns the next transaction, or `undefined` when the event changes nothing: it came
 * too late, from somebody whose lease is over, or twice.
 */
export function transition(
  transaction: Transaction,
  event: TransactionEvent,
  now: number,
): Transaction | undefined {
  if (transaction.state === 'complete') return deliver(transaction, event, now)
  if (!isOpen(transaction)) return undefined
  switch (event.type) {
    case 'acknowledged':
    case 'hidden':
    case 'notStarted':
      return start(transaction, event, now)
    case 'pinged':
      return ping(transaction, event, now)
    case 'pushed':
      return push(transaction, event)
    case 'answeredPing': {
      if (transaction.state !== 'ready' || transaction.hold?.holder !== event.holder) return undefined
      const { hold: _, ...rest } = transaction
      return rest
    }
    case 'leased': {
      if (nextStep(transaction, now, event.holder).do !== 'requestTokens') return undefined
      // A lease that ran out was never answered: its holder died, and the OP may have answered it.
      const answerLost = transaction.answerLost || transaction.lease !== undefined
      return { ...pending(transaction), answerLost, lease: { holder: event.holder, until: event.until } }
    }
    case 'granted':
      // Believed from anyone: tokens that were granted are kept, even from an overdue request.
      return concluded(transaction, event)
    case 'timedOut':
      if (nextStep(transaction, now).do !== 'expire') return undefined
      // A request that nobody has heard of again may have redeemed the auth_req_id [POLL-13].
      return transaction.answerLost || transaction.lease
        ? ended(transaction, 'failed', 'outcome_unknown')
        : ended(transaction, 'expired', 'expired_token')
    case 'cancelled':
      return ended(transaction, 'cancelled', 'cancelled')
    case 'stillPending':
    case 'slowedDown':
    case 'busy':
    case 'unanswered':
    case 'denied':
    case 'expired':
    case 'failed':
      return event.holder === transaction.lease?.holder ? answer(transaction, event, now) : undefined
    case 'claimed':
    case 'released':
    case 'delivered':
    case 'refused':
    case 'used':
    case 'sent':
      return undefined
  }
}

type EventOf<Type extends TransactionEvent['type']> = Extract<TransactionEvent, { type: Type }>

function start(
  transaction: PendingTransaction | ReadyTransaction,
  event: EventOf<'acknowledged' | 'hidden' | 'notStarted'>,
  now: number,
): Transaction | undefined {
  if (transaction.state === 'ready' || transaction.authReqId !== undefined || transaction.hidden)
    return undefined
  const { earlyPing, earlyPush, ...rest } = transaction
  if (event.type === 'notStarted') return { ...ended(transaction, 'failed', event.error), expiresAt: now }
  const { interval } = event
  // Counted from the sending, so that it never overshoots the OP's own deadline [ACK-7].
  const expiresAt = event.sentAt + event.expiresIn * 1000
  const graceMs = transaction.deliveryMode === 'ping' ? pingGraceMs : 0
  // C1 does not bind the first request to the interval [POLL-16].
  const nextTokenRequestAt = inTime(now, 0, Math.max(interval * 1000 + timerMarginMs, graceMs), expiresAt)
  const open = { ...rest, interval, expiresAt, nextTokenRequestAt }
  if (event.type === 'hidden') return { ...open, hidden: true }
  const { authReqId } = event
  // An early ping or push for another auth_req_id was not for this request [PING-11].
  if (earlyPush?.authReqId === authReqId) return concluded({ ...open, authReqId }, earlyPush.outcome)
  if (earlyPing === authReqId) return { ...open, authReqId, state: 'ready', lastPingAt: now }
  return { ...open, authReqId }
}

function ping(
  transaction: PendingTransaction | ReadyTransaction,
  event: EventOf<'pinged'>,
  now: number,
): Transaction | undefined {
  if (transaction.state === 'ready') return undefined
  if (transaction.authReqId === undefined) {
    if (transaction.earlyPing === event.authReqId) return undefined
    return { ...transaction, earlyPing: event.authReqId }
  }
  if (transaction.authReqId !== event.authReqId || now >= transaction.expiresAt) return undefined
  const { lastPingAt, interval } = transaction
  // FAPI-CIBA §7.8: repeated pings must not become repeated token requests [PING-10].
  if (lastPingAt !== undefined && now - lastPingAt < interval * 1000) return undefined
  const hold = { holder: event.holder, until: now + pingHoldMs }
  return { ...transaction, state: 'ready', lastPingAt: now, hold }
}

function push(
  transaction: PendingTransaction | ReadyTransaction,
  { authReqId, outcome }: EventOf<'pushed'>,
): Transaction | undefined {
  if (transaction.state === 'pending' && transaction.authReqId === undefined) {
    if (transaction.hidden || transaction.earlyPush?.authReqId === authReqId) return undefined
    return { ...transaction, earlyPush: { authReqId, outcome } }
  }
  return transaction.authReqId === authReqId ? concluded(transaction, outcome) : undefined
}

function concluded(transaction: Base, outcome: PushOutcome): Transaction {
  if (outcome.type !== 'granted') return ended(transaction, outcome.type, outcome.error)
  return { ...base(transaction), state: 'complete', delivery: 'undelivered', grant: outcome.grant }
}

function answer(
  transaction: PendingTransaction | ReadyTransaction,
  event: EventOf<'stillPending' | 'slowedDown' | 'busy' | 'unanswered' | 'denied' | 'expired' | 'failed'>,
  now: number,
): Transaction {
  const { lease: _, ...free } = pending(transaction)
  const intervalMs = transaction.interval * 1000
  const leastMs = intervalMs + timerMarginMs
  switch (event.type) {
    case 'stillPending': {
      const asked = { ...free, failures: 0, answerLost: false, nextTokenRequestAt: now + leastMs }
      // A ping that came while the request was in flight is newer than its answer: ask again at once.
      if (transaction.state !== 'ready') return asked
      return { ...asked, state: 'ready', ...(transaction.hold && { hold: transaction.hold }) }
    }
    case 'slowedDown': {
      const interval = transaction.interval + slowDownSeconds
      const waitMs = Math.max(interval * 1000, event.retryAfterMs ?? 0) + timerMarginMs
      return { ...free, failures: 0, answerLost: false, interval, nextTokenRequestAt: now + waitMs }
    }
    case 'busy': {
      const answerLost = transaction.answerLost || event.sent === true
      const waitMs = Math.max(intervalMs, event.retryAfterMs) + timerMarginMs
      const nextTokenRequestAt = inTime(now, leastMs, waitMs, transaction.expiresAt)
      return { ...free, failures: 0, answerLost, nextTokenRequestAt }
    }
    case 'unanswered': {
      const failures = transaction.failures + 1
      const answerLost = transaction.answerLost || event.sent
      const doubledMs = Math.min(intervalMs * 2 ** Math.min(failures, 16), backOffCapMs) + timerMarginMs
      const nextTokenRequestAt = inTime(now, leastMs, doubledMs, transaction.expiresAt)
      return { ...free, failures, answerLost, nextTokenRequestAt }
    }
    case 'denied':
    case 'expired':
      return ended(transaction, event.type, event.error)
    case 'failed': {
      // The OP may have redeemed the auth_req_id in an answer that never reached us [POLL-13].
      const lost = event.error === 'invalid_grant' && transaction.answerLost
      return ended(transaction, 'failed', lost ? 'outcome_unknown' : event.error)
    }
  }
}

function deliver(
  transaction: CompleteTransaction,
  event: TransactionEvent,
  now: number,
): CompleteTransaction | undefined {
  if (transaction.delivery !== 'undelivered') return undefined
  const { claim, grant, ...rest } = transaction
  if (transaction.approval) {
    return event.type === 'used' ? { ...rest, delivery: 'delivered', usedBy: event.holder } : undefined
  }
  switch (event.type) {
    case 'claimed':
      // Its holder may renew a claim; anybody else waits until it runs out.
      if (isHeld(claim, now) && claim.holder !== event.holder) return undefined
      return { ...transaction, claim: { holder: event.holder, until: event.until } }
    case 'released':
      if (claim?.holder !== event.holder || grant === undefined) return undefined
      return { ...rest, grant }
    case 'sent': {
      const { holder, until } = event
      if (claim?.holder !== holder || grant === undefined) return undefined
      return { ...withArrival(transaction, event), claim: { holder, until } }
    }
    case 'delivered':
    case 'refused': {
      const isOwn = claim?.holder === event.holder
      if (isOwn || (event.type === 'delivered' && mayHaveArrived(transaction, event.holder, now))) {
        return { ...rest, delivery: event.type }
      }
      return undefined
    }
    default:
      return undefined
  }
}

/** The answers before it may have been lost, or may not. */
function withArrival(
  transaction: CompleteTransaction,
  { holder, to, at }: EventOf<'sent'>,
): CompleteTransaction {
  const { arrival: before, earlier = [] } = transaction
  const others = before && before.holder !== holder ? { earlier: [...earlier, before] } : {}
  return { ...transaction, arrival: { holder, to, ...(at !== undefined && { at }) }, ...others }
}

/**
 * Whether a browser may have shown up with the session of an answer although another one has the claim. That its answer has
 * left may not have been recorded; then it is believed as soon as no other is on its way.
 */
function mayHaveArrived(
  { claim, arrival, earlier = [] }: CompleteTransaction,
  holder: string,
  now: number,
): boolean {
  return !isHeld(claim, now) || [arrival, ...earlier].some((one) => one?.holder === holder)
}

/** After `waitMs`; sooner where that would be too late, but never before `leastMs` [POLL-8]. */
function inTime(now: number, leastMs: number, waitMs: number, expiresAt: number): number {
  return Math.max(now + leastMs, Math.min(now + waitMs, expiresAt - lastChanceMs))
}

function pending(transaction: PendingTransaction | ReadyTransaction): PendingTransaction {
  if (transaction.state === 'pending') return transaction
  const { hold: _, ...rest } = transaction
  return { ...rest, state: 'pending' }
}

function base(transaction: Base): Base {
  const { id, owner, deliveryMode, expectations, expiresAt } = transaction
  const { bindingMessage, returnTo, approval, authReqId } = transaction
  const optional = {
    ...(bindingMessage === undefined ? {} : { bindingMessage }),
    ...(returnTo === undefined ? {} : { returnTo }),
    ...(approval === undefined ? {} : { approval }),
    ...(authReqId === undefined ? {} : { authReqId }),
  }
  return { id, owner, deliveryMode, expectations, ...optional, expiresAt }
}

function ended(transaction: Base, state: EndedTransaction['state'], error: string): EndedTransaction {
  return { ...base(transaction), state, error }
}
