/**
 * The life of one authentication request, as a pure state machine over plain data. Knows no clock, store,
 * protocol message or session.
 *
 *   pending ──ping──▶ ready        `ready`: the OP pinged, ask at once. It does not mean approved.
 *      ▲                │
 *      └──lease taken───┘          A lease is the right to have the one token request in flight [POLL-2].
 *
 *   pending, ready ──▶ complete | denied | expired | failed | cancelled      and there it stays [POLL-12]
 *
 * A `complete` transaction keeps its grant until the session that started it has saved the tokens. One answer to one
 * browser at a time claims it:
 *   undelivered ──▶ delivered | refused
 */

import type { Expectations, Grant } from './grant.ts'

/** How the OP delivers the result, as registered for this client (CIBA Core §5). */
export type DeliveryMode = 'poll' | 'ping'

/** The exclusive right to do something until an instant; a crashed holder delays, but never blocks. */
export interface Lease {
  readonly holder: string
  readonly until: number
}

interface Base {
  /** The unguessable handle that the browser holds [SEC-6]. */
  readonly id: string
  /** Names the session or agent that started it. */
  readonly owner: string
  readonly deliveryMode: DeliveryMode
  readonly expectations: Expectations
  readonly bindingMessage?: string
  /** Absent until the acknowledgement arrives; a ping may overtake it [PING-11]. */
  readonly authReqId?: string
  /** Nothing is requested from this instant on [POLL-5]. Provisional until the acknowledgement arrives. */
  readonly expiresAt: number
}

interface Open extends Base {
  /** Seconds between token requests; never shrinks [POLL-3]. */
  readonly interval: number
  readonly nextTokenRequestAt: number
  /** The token request in flight. */
  readonly lease?: Lease
  /** Token requests in a row that got no HTTP answer [POLL-10]. */
  readonly failures: number
  /** A token request may have been answered without the answer reaching us [POLL-13]. */
  readonly answerLost: boolean
  /** When a ping last skipped the interval: at most once per interval [PING-10]. */
  readonly lastPingAt?: number
  /** The OP knows no such person: everything goes on as if it did, but the OP is never asked [ERR-5]. */
  readonly hidden?: true
}

/** The OP has not answered yet, or has answered and wants to be asked later. */
export interface PendingTransaction extends Open {
  readonly state: 'pending'
  /** The `auth_req_id` of a ping that came before the acknowledgement. */
  readonly earlyPing?: string
}

/** A ping came: the OP may be asked at once, whatever the interval says (CIBA Core §10.1). */
export interface ReadyTransaction extends Open {
  readonly state: 'ready'
  /** Keeps everybody but the receiver of the ping away until its 204 has left [PING-7]. */
  readonly hold?: Lease
}

/** Approved, and the tokens passed every check. */
export interface CompleteTransaction extends Base {
  readonly state: 'complete'
  /** Gone once delivered or refused. */
  readonly grant?: Grant
  readonly delivery: 'undelivered' | 'delivered' | 'refused'
  /** The one answer that is bringing the grant into a session. */
  readonly claim?: Lease
}

/** Over without a login. */
export interface EndedTransaction extends Base {
  readonly state: 'denied' | 'expired' | 'failed' | 'cancelled'
  /** The OP's error code, or one of ours: `cancelled`, `invalid_token_response`, `outcome_unknown`. */
  readonly error: string
}

export type Transaction = PendingTransaction | ReadyTransaction | CompleteTransaction | EndedTransaction

/** What can happen to a transaction. `holder` says who reports: only the lease's holder is believed. */
export type TransactionEvent =
  | {
      readonly type: 'acknowledged'
      readonly authReqId: string
      readonly sentAt: number
      readonly expiresIn: number
      readonly interval: number
    }
  /** The OP knows no such person, and the browser shall not learn it [ERR-5]. */
  | {
      readonly type: 'hidden'
      readonly sentAt: number
      readonly expiresIn: number
      readonly interval: number
    }
  /** The OP refused the authentication request, or it failed: there is nothing to wait for. */
  | { readonly type: 'notStarted'; readonly error: string }
  | { readonly type: 'pinged'; readonly authReqId: string; readonly holder: string }
  /** The answer to the ping has left. */
  | { readonly type: 'answeredPing'; readonly holder: string }
  | { readonly type: 'leased'; readonly holder: string; readonly until: number }
  | { readonly type: 'stillPending'; readonly holder: string }
  | { readonly type: 'slowedDown'; readonly holder: string }
  /** The OP is there, but cannot answer now: 503, 429 or another 5xx; `sent` as below. */
  | { readonly type: 'busy'; readonly holder: string; readonly retryAfterMs: number; readonly sent?: boolean }
  /** No HTTP answer; `sent` if the OP may nevertheless have seen the request. */
  | { readonly type: 'unanswered'; readonly holder: string; readonly sent: boolean }
  | { readonly type: 'granted'; readonly holder: string; readonly grant: Grant }
  | { readonly type: 'denied'; readonly holder: string; readonly error: string }
  | { readonly type: 'expired'; readonly holder: string; readonly error: string }
  | { readonly type: 'failed'; readonly holder: string; readonly error: string }
  | { readonly type: 'timedOut' }
  | { readonly type: 'cancelled' }
  | { readonly type: 'claimed'; readonly holder: string; readonly until: number }
  | { readonly type: 'released'; readonly holder: string }
  | { readonly type: 'delivered'; readonly holder: string }
  | { readonly type: 'refused'; readonly holder: string }

/** What to do next about a transaction. */
export type NextStep =
  | { readonly do: 'wait'; readonly until: number }
  | { readonly do: 'requestTokens' }
  | { readonly do: 'expire' }
  | { readonly do: 'stop' }

/** Timers fired up to 0.9 ms early in measurements, and two hosts' clocks differ a little [POLL-15]. */
export const timerMarginMs = 100
/** In ping mode the ping is given this long before the first token request without one [PING-12]. */
export const pingGraceMs = 30_000
/** A first token request that would come after the deadline comes this long before it. */
export const lastChanceMs = 1_000
/** How long the receiver of a ping keeps the token request to itself while its 204 leaves. */
export const pingHoldMs = 1_000
/** Failed connections double the wait up to this much, or to the interval if that is longer [POLL-10]. */
export const backOffCapMs = 60_000
/** CIBA Core §11: each `slow_down` adds at least 5 seconds [POLL-3]. */
const slowDownSeconds = 5
/** Until the acknowledgement says how long the request lives. */
const provisionalLifeMs = 300_000

/** The record that exists before the authentication request is sent: a ping can overtake the answer [ACK-8]. */
export function newTransaction(
  from: Pick<Base, 'id' | 'owner' | 'deliveryMode' | 'expectations'> & {
    bindingMessage?: string | undefined
  },
  now: number,
): PendingTransaction {
  const { id, owner, deliveryMode, expectations, bindingMessage } = from
  return {
    state: 'pending',
    id,
    owner,
    deliveryMode,
    expectations,
    ...(bindingMessage === undefined ? {} : { bindingMessage }),
    expiresAt: now + provisionalLifeMs,
    interval: 1,
    nextTokenRequestAt: now + provisionalLifeMs,
    failures: 0,
    answerLost: false,
  }
}

/** Enough of an id to follow a transaction through a log, too little to use it [SEC-11]. */
export function shortId(id: string): string {
  return `${id.slice(0, 6)}…`
}

/** Whether the transaction still waits for the OP's word. */
export function isOpen(transaction: Transaction): transaction is PendingTransaction | ReadyTransaction {
  return transaction.state === 'pending' || transaction.state === 'ready'
}

/**
 * Says what to do about `transaction` at `now`; `holder` is who asks, since a hold keeps the others away.
 */
export function nextStep(transaction: Transaction, now: number, holder?: string): NextStep {
  if (!isOpen(transaction)) return { do: 'stop' }
  const { lease, expiresAt } = transaction
  // The request in flight may still bring the tokens after the deadline: nothing granted is lost.
  if (isHeld(lease, now)) return { do: 'wait', until: lease.until }
  if (now >= expiresAt) return { do: 'expire' }
  if (transaction.authReqId === undefined && !transaction.hidden) return { do: 'wait', until: expiresAt }
  if (transaction.state === 'ready') {
    const { hold } = transaction
    if (isHeld(hold, now) && hold.holder !== holder) {
      return { do: 'wait', until: Math.min(hold.until, expiresAt) }
    }
    return { do: 'requestTokens' }
  }
  if (now >= transaction.nextTokenRequestAt) return { do: 'requestTokens' }
  return { do: 'wait', until: Math.min(transaction.nextTokenRequestAt, expiresAt) }
}

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
      return { ...base(transaction), state: 'complete', delivery: 'undelivered', grant: event.grant }
    case 'timedOut':
      if (nextStep(transaction, now).do !== 'expire') return undefined
      return ended(transaction, 'expired', 'expired_token')
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
  const { earlyPing, ...rest } = transaction
  if (event.type === 'notStarted') return { ...ended(transaction, 'failed', event.error), expiresAt: now }
  const { interval } = event
  // Counted from the sending, so that it never overshoots the OP's own deadline [ACK-7].
  const expiresAt = event.sentAt + event.expiresIn * 1000
  const waitMs = Math.max(
    interval * 1000 + timerMarginMs,
    transaction.deliveryMode === 'ping' ? pingGraceMs : 0,
  )
  // However long the wait, there is one request before it is too late; C1 does not bind the first one [POLL-16].
  const nextTokenRequestAt = Math.max(now, Math.min(now + waitMs, expiresAt - lastChanceMs))
  const open = { ...rest, interval, expiresAt, nextTokenRequestAt }
  if (event.type === 'hidden') return { ...open, hidden: true }
  const { authReqId } = event
  // An early ping for another auth_req_id was not for this request [PING-11].
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
  const { earlyPing: _, ...rest } = transaction
  return { ...rest, state: 'ready', lastPingAt: now, hold: { holder: event.holder, until: now + pingHoldMs } }
}

function answer(
  transaction: PendingTransaction | ReadyTransaction,
  event: EventOf<'stillPending' | 'slowedDown' | 'busy' | 'unanswered' | 'denied' | 'expired' | 'failed'>,
  now: number,
): Transaction {
  const { lease: _, ...free } = pending(transaction)
  const waitFrom = (ms: number) => now + ms + timerMarginMs
  const intervalMs = transaction.interval * 1000
  switch (event.type) {
    case 'stillPending': {
      const asked = { ...free, failures: 0, answerLost: false, nextTokenRequestAt: waitFrom(intervalMs) }
      // A ping that came while the request was in flight is newer than its answer: ask again at once.
      if (transaction.state !== 'ready') return asked
      return { ...asked, state: 'ready', ...(transaction.hold && { hold: transaction.hold }) }
    }
    case 'slowedDown': {
      const interval = transaction.interval + slowDownSeconds
      const nextTokenRequestAt = waitFrom(interval * 1000)
      return { ...free, failures: 0, answerLost: false, interval, nextTokenRequestAt }
    }
    case 'busy': {
      const nextTokenRequestAt = waitFrom(Math.max(intervalMs, event.retryAfterMs))
      return {
        ...free,
        failures: 0,
        answerLost: transaction.answerLost || event.sent === true,
        nextTokenRequestAt,
      }
    }
    case 'unanswered': {
      const failures = transaction.failures + 1
      const doubled = Math.min(intervalMs * 2 ** Math.min(failures, 16), backOffCapMs)
      const nextTokenRequestAt = waitFrom(Math.max(intervalMs, doubled))
      return { ...free, failures, answerLost: transaction.answerLost || event.sent, nextTokenRequestAt }
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
  switch (event.type) {
    case 'claimed':
      // Its holder may renew a claim; anybody else waits until it runs out.
      if (isHeld(claim, now) && claim.holder !== event.holder) return undefined
      return { ...transaction, claim: { holder: event.holder, until: event.until } }
    case 'released':
      if (claim?.holder !== event.holder || grant === undefined) return undefined
      return { ...rest, grant }
    case 'delivered':
    case 'refused':
      return claim?.holder === event.holder ? { ...rest, delivery: event.type } : undefined
    default:
      return undefined
  }
}

function isHeld(lease: Lease | undefined, now: number): lease is Lease {
  return lease !== undefined && now < lease.until
}

function pending(transaction: PendingTransaction | ReadyTransaction): PendingTransaction {
  if (transaction.state === 'pending') return transaction
  const { hold: _, ...rest } = transaction
  return { ...rest, state: 'pending' }
}

function base({ id, owner, deliveryMode, expectations, bindingMessage, authReqId, expiresAt }: Base): Base {
  const optional = {
    ...(bindingMessage === undefined ? {} : { bindingMessage }),
    ...(authReqId === undefined ? {} : { authReqId }),
  }
  return { id, owner, deliveryMode, expectations, ...optional, expiresAt }
}

function ended(transaction: Base, state: EndedTransaction['state'], error: string): EndedTransaction {
  return { ...base(transaction), state, error }
}
