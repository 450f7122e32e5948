/**
 * The life of one authentication request, as plain data: its states, the events that move it (`transition.ts`), and
 * what to do next. Knows no clock, store, protocol message or session.
 *
 *   pending ──ping──▶ ready        `ready`: the OP pinged, ask at once. It does not mean approved.
 *      ▲                │
 *      └──lease taken───┘          A lease is the right to have the one token request in flight [POLL-2].
 *
 *   pending, ready ──▶ complete | denied | expired | failed | cancelled      and there it stays [POLL-12]
 *
 * A `complete` login keeps its grant until the browser has shown up with the session that has its tokens: an answer may be
 * lost after it has left. One answer to one browser at a time claims it:
 *   undelivered ──▶ delivered | refused
 * A `complete` approval keeps it until it is used, which happens once:
 *   undelivered ──▶ delivered
 */

import type { Expectations, Grant, PrivateJwk } from './grant.ts'

/** How the OP delivers the result, as registered for this client (CIBA Core §5). */
export type DeliveryMode = 'poll' | 'ping' | 'push'

/** The exclusive right to do something until an instant; a crashed holder delays, but never blocks. */
export interface Lease {
  readonly holder: string
  readonly until: number
}

/** One action, to be done once. */
export interface ApprovalTerms {
  /** The digest of the action. */
  readonly action: string
  /** Who was signed in when it was asked for, if anybody was: it may be used as long as that is so. */
  readonly requester?: { readonly iss: string; readonly sub: string }
}

/** What all states have in common. */
export interface Base {
  /** The unguessable handle that the browser holds [SEC-6]. */
  readonly id: string
  /** Names the session or agent that started it. */
  readonly owner: string
  readonly deliveryMode: DeliveryMode
  readonly expectations: Expectations
  readonly bindingMessage?: string
  /** Where the browser goes once it is signed in: a path of this app. */
  readonly returnTo?: string
  /** What shall be approved; absent: a login. */
  readonly approval?: ApprovalTerms
  /** Absent until the acknowledgement arrives; a ping may overtake it [PING-11]. */
  readonly authReqId?: string
  /** Nothing is requested from this instant on [POLL-5]. Provisional until the acknowledgement arrives. */
  readonly expiresAt: number
}

/** What the open states have in common. */
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
  /** The private key that the tokens will be bound to [AUTH-7]. */
  readonly dpopKey?: PrivateJwk
  /** The OP knows no such person: everything goes on as if it did, but the OP is never asked [ERR-5]. */
  readonly hidden?: true
}

/** The OP has not answered yet, or has answered and wants to be asked later. */
export interface PendingTransaction extends Open {
  readonly state: 'pending'
  /** The `auth_req_id` of a ping that came before the acknowledgement. */
  readonly earlyPing?: string
  /** A push that came before the acknowledgement [PUSH-2]. */
  readonly earlyPush?: { readonly authReqId: string; readonly outcome: PushOutcome }
}

/** A ping came: the OP may be asked at once, whatever the interval says (CIBA Core §10.1). */
export interface ReadyTransaction extends Open {
  readonly state: 'ready'
  /** Keeps everybody but the receiver of the ping away until its 204 has left [PING-7]. */
  readonly hold?: Lease
}

/** A login that is on its way to the browser: until it shows up with the new session, the old one can ask again. */
export interface Arrival {
  /** Who brought it. */
  readonly holder: string
  /** The new session. */
  readonly to: string
  /** When the answer left; absent: it broke off. */
  readonly at?: number
}

/** Approved, and the tokens passed every check. */
export interface CompleteTransaction extends Base {
  readonly state: 'complete'
  /** Gone once delivered or refused. */
  readonly grant?: Grant
  readonly delivery: 'undelivered' | 'delivered' | 'refused'
  /** The one answer that is bringing the grant into a session. */
  readonly claim?: Lease
  /** The session that the latest answer brought the grant into. */
  readonly arrival?: Arrival
  /** Those of earlier answers that may have been lost: the first that the browser shows up with is the one. */
  readonly earlier?: readonly Arrival[]
  /** Who used the approval. */
  readonly usedBy?: string
}

/** Over without a login. */
export interface EndedTransaction extends Base {
  readonly state: 'denied' | 'expired' | 'failed' | 'cancelled'
  /** The OP's error code, or one of ours: `cancelled`, `invalid_token_response`, `outcome_unknown`. */
  readonly error: string
}

export type Transaction = PendingTransaction | ReadyTransaction | CompleteTransaction | EndedTransaction

/** How a push ends a transaction. */
export type PushOutcome =
  | { readonly type: 'granted'; readonly grant: Grant }
  | { readonly type: 'denied' | 'expired' | 'failed'; readonly error: string }

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
  /** The OP pushed tokens that passed every check, or an error; the first push wins [PUSH-9]. */
  | { readonly type: 'pushed'; readonly authReqId: string; readonly outcome: PushOutcome }
  /** The answer to the ping has left. */
  | { readonly type: 'answeredPing'; readonly holder: string }
  | { readonly type: 'leased'; readonly holder: string; readonly until: number }
  | { readonly type: 'stillPending'; readonly holder: string }
  | { readonly type: 'slowedDown'; readonly holder: string; readonly retryAfterMs?: number }
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
  /** The answer has left, with the cookie of a session that has the tokens. */
  | {
      readonly type: 'sent'
      readonly holder: string
      readonly to: string
      /** When; absent: it broke off. */
      readonly at?: number
      readonly until: number
    }
  | { readonly type: 'delivered'; readonly holder: string }
  | { readonly type: 'refused'; readonly holder: string }
  /** The approved action is about to be done. */
  | { readonly type: 'used'; readonly holder: string }

/** What to do next about a transaction. */
export type NextStep =
  | { readonly do: 'wait'; readonly until: number }
  | { readonly do: 'requestTokens' }
  | { readonly do: 'expire' }
  | { readonly do: 'stop' }

/** A push that the OP sends in the last moment is on its way for a while. */
export const pushGraceMs = 10_000
/** Records stay a while after the deadline, so that late pings and late browsers meet an answer [PING-17]. */
export const retentionMs = 300_000
/** Until the acknowledgement says how long the request lives. */
const provisionalLifeMs = 300_000

/** The record that exists before the authentication request is sent: a ping can overtake the answer [ACK-8]. */
export function newTransaction(
  from: Pick<Base, 'id' | 'owner' | 'deliveryMode' | 'expectations'> & {
    bindingMessage?: string | undefined
    returnTo?: string | undefined
    approval?: ApprovalTerms | undefined
    dpopKey?: PrivateJwk | undefined
  },
  now: number,
): PendingTransaction {
  const { id, owner, deliveryMode, expectations, bindingMessage, returnTo, approval, dpopKey } = from
  return {
    state: 'pending',
    id,
    owner,
    deliveryMode,
    expectations,
    ...(bindingMessage === undefined ? {} : { bindingMessage }),
    ...(returnTo === undefined ? {} : { returnTo }),
    ...(approval === undefined ? {} : { approval }),
    ...(dpopKey === undefined ? {} : { dpopKey }),
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
  if (transaction.deliveryMode === 'push') {
    // The token endpoint is never asked [PUSH-8].
    const until = expiresAt + pushGraceMs
    return now >= until ? { do: 'expire' } : { do: 'wait', until }
  }
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

/** Whether an answer that left after `since` brings the login to the browser, as far as anybody knows. */
export function isArriving({ claim, arrival }: CompleteTransaction, since: number): boolean {
  return arrival?.at !== undefined && arrival.holder === claim?.holder && arrival.at > since
}

/** Whether somebody has it at `now`. */
export function isHeld(lease: Lease | undefined, now: number): lease is Lease {
  return lease !== undefined && now < lease.until
}
