/**
 * How a transaction stands, as its owner sees it: without `auth_req_id`, tokens or leases. Knows nothing of who asks.
 */

import { CibaError } from './errors.ts'
import { type EndedTransaction, isOpen, type Transaction } from './transaction.ts'

/** A transaction that waits for the person. */
export interface PendingStatus {
  /** The handle: worthless without the session that started it; to be kept secret where a `CibaClient` started it. */
  readonly transaction: string
  readonly status: 'pending'
  /** Seconds until the OP gives up. */
  readonly expiresIn: number
  /** Seconds between polls that do not wait. */
  readonly interval: number
  /** What the person should see on both devices, if there is a binding message. */
  readonly bindingMessage?: string
}

/** A transaction that is over without an approval. */
export interface EndedStatus {
  readonly transaction: string
  readonly status: 'denied' | 'expired' | 'failed' | 'cancelled'
  /** The OP's error code, or `cancelled`, `invalid_token_response`, `login_refused`, `outcome_unknown`. */
  readonly error: string
}

/** @param now - on the clock of the transaction's instants */
export function pendingStatus(transaction: Transaction, now: number): PendingStatus {
  const { id, expiresAt, bindingMessage } = transaction
  return {
    transaction: id,
    status: 'pending',
    expiresIn: Math.max(0, Math.ceil((expiresAt - now) / 1000)),
    interval: isOpen(transaction) ? transaction.interval : 1,
    ...(bindingMessage === undefined ? {} : { bindingMessage }),
  }
}

export function endedStatus({ id, state, error }: EndedTransaction): EndedStatus {
  return { transaction: id, status: state, error }
}

/** For what does not exist, is no more, or belongs to somebody else: on purpose, nobody can tell which. */
export function unknownTransaction(): CibaError {
  return new CibaError('ERR_CIBA_UNKNOWN_TRANSACTION', 'there is no such transaction')
}
