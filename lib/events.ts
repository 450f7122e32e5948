/**
 * What happens, for whoever wants to count, measure or audit it: messages on Node's `diagnostics_channel`. Knows nothing of
 * who listens. A message never holds a token, a hint, a user code, an `auth_req_id` or a handle that could be used
 * [SEC-11].
 */

import { type Channel, channel } from 'node:diagnostics_channel'

/** What a transaction is for. */
export type TransactionPurpose = 'login' | 'approval'

/** What the messages about a transaction have in common. */
interface AboutTransaction {
  /** The beginning of its handle: enough to follow it through a log, too little to use it. */
  readonly transaction: string
}

/**
 * A transaction has started, or is over. Each is said once, by the instance that brought it about; one that nobody asks about
 * any more ends unsaid.
 */
export type TransactionMessage = AboutTransaction & {
  readonly purpose: TransactionPurpose
  readonly deliveryMode: 'poll' | 'ping' | 'push'
} & (
    | {
        readonly event: 'started'
        /** How long the OP took to answer the authentication request. */
        readonly durationMs: number
        /** The OP does not know the person, which is hidden from the browser. */
        readonly unknownUser?: true
      }
    | {
        /** The OP refused the authentication request, or could not answer it. */
        readonly event: 'notStarted'
        readonly durationMs: number
        /** The OP's code, or `temporarily_unavailable`, `bad_gateway` … as the start route answers. */
        readonly error: string
      }
    | {
        readonly event: 'ended'
        readonly status: 'complete' | 'denied' | 'expired' | 'failed' | 'cancelled'
        /** Since the authentication request was sent. */
        readonly durationMs: number
        /** For every status but `complete`: as the poll route answers. */
        readonly error?: string
      }
  )

/** A token request to the OP has been answered, or not. */
export type TokenRequestMessage = AboutTransaction & {
  readonly outcome:
    | 'stillPending'
    | 'slowedDown'
    | 'busy'
    | 'unanswered'
    | 'granted'
    | 'denied'
    | 'expired'
    | 'failed'
  /** With the checks of what it brought. */
  readonly durationMs: number
  /** For `denied`, `expired` and `failed`. */
  readonly error?: string
}

/** The notification route was called, by the OP or by somebody else. */
export interface NotificationMessage {
  /** Absent where the notification token is not genuine. */
  readonly transaction?: string
  readonly kind: 'ping' | 'push'
  /** `invalid`: pushed tokens that did not pass the checks. `unavailable`: the store, or the OP's keys, could not be had. */
  readonly verdict: 'accepted' | 'malformed' | 'invalid' | 'unauthorized' | 'unavailable'
  /** Whether it changed anything: a repeated one does not. */
  readonly effect: boolean
  readonly durationMs: number
}

/** Somebody was signed in, was refused by `afterAuthentication`, or was signed out. */
export type LoginMessage = AboutTransaction & {
  /** `subject`: the `sub` of the person. Personal data: fit for an audit log, not for a metric's label. */
  readonly subject: string
} & (
    | {
        readonly event: 'signedIn' | 'refused'
        readonly acr?: string
        readonly amr?: readonly string[]
        /** Since the tokens were granted: how long they waited for the browser. */
        readonly durationMs: number
      }
    | {
        readonly event: 'signedOut'
        /** `person`: here; `op`: by back-channel logout. */
        readonly by: 'person' | 'op'
      }
  )

/** An approval was asked for, used or refused. What became of the request itself is an `express-ciba:transaction`. */
export type ApprovalMessage = AboutTransaction & {
  /** The digest of the action: see {@link actionDigest}. */
  readonly action: string
  /** The `sub` of who was signed in. Personal data, as below. */
  readonly requester?: string
} & (
    | { readonly event: 'requested' }
    | {
        readonly event: 'used'
        /** The `sub` of who approved. */
        readonly subject: string
        /** Since the authentication request was sent. */
        readonly durationMs: number
      }
    | {
        readonly event: 'refused'
        /**
         * As the route answers: `wrong_action`, `approval_pending`, `approval_refused`, `approval_used`; `unknown_transaction` is
         * the attempt of another session or person.
         */
        readonly error: string
      }
  )

/** The channels of `node:diagnostics_channel`, with what is published on each. */
export interface CibaEvents {
  readonly 'express-ciba:transaction': TransactionMessage
  readonly 'express-ciba:token-request': TokenRequestMessage
  readonly 'express-ciba:notification': NotificationMessage
  readonly 'express-ciba:login': LoginMessage
  readonly 'express-ciba:approval': ApprovalMessage
}

const channels: Readonly<Record<keyof CibaEvents, Channel>> = {
  'express-ciba:transaction': channel('express-ciba:transaction'),
  'express-ciba:token-request': channel('express-ciba:token-request'),
  'express-ciba:notification': channel('express-ciba:notification'),
  'express-ciba:login': channel('express-ciba:login'),
  'express-ciba:approval': channel('express-ciba:approval'),
}

/** Publishes what `message` returns; without listeners it is not even called. */
export function publish<Name extends keyof CibaEvents>(name: Name, message: () => CibaEvents[Name]): void {
  const to = channels[name]
  // A copy: `amr` is part of a session, which is nobody's to change or to freeze.
  if (to.hasSubscribers) to.publish(frozen(structuredClone(message())))
}

function frozen<Value>(value: Value): Value {
  if (typeof value !== 'object' || value === null) return value
  for (const part of Object.values(value)) frozen(part)
  return Object.freeze(value)
}
