/**
 * Hands out what an approval brought: once, to the session and the person that asked for it, for the action that was
 * approved. Knows nothing of what the action is.
 */

import { sameSecret } from './constant-time.ts'
import { publish } from './events.ts'
import type { Grant } from './grant.ts'
import type { Ledger } from './ledger.ts'
import {
  type ApprovalTerms,
  type EndedTransaction,
  isOpen,
  shortId,
  type Transaction,
} from './transaction.ts'

/** What came of the attempt to use an approval. */
export type ApprovalUse =
  | { readonly verdict: 'used'; readonly grant: Grant }
  /** It does not exist for this session and this person. */
  | { readonly verdict: 'unknown' }
  /** It stays usable for the right action. */
  | { readonly verdict: 'wrongAction' }
  /** `interval`: seconds after which asking again makes sense. */
  | { readonly verdict: 'pending'; readonly interval: number }
  | { readonly verdict: 'refused'; readonly state: EndedTransaction['state'] }
  | { readonly verdict: 'alreadyUsed' }

/** How long a failing store is tried again: whether the approval is used up must not stay open. */
const recordPatienceMs = 5_000

/**
 * Uses the approval under the name `holder`: of all who try at once, on any instance, one gets the grant. A process that
 * dies between this and the action has used it up all the same: an action is done at most once.
 *
 * Rejects when the store fails; whether the approval was used up is then not known, and a later try tells.
 */
export async function useApproval(
  ledger: Ledger,
  id: string,
  owner: string,
  terms: ApprovalTerms,
  holder: string,
): Promise<ApprovalUse> {
  const entry = await ledger.read(id)
  const about = entry?.transaction
  if (!about?.approval) return { verdict: 'unknown' }
  if (!sameSecret(owner, about.owner) || !isBySameRequester(about.approval, terms)) {
    return refused(about, terms, { verdict: 'unknown' })
  }
  const refusal = refusalOf(about, terms)
  if (refusal) return refused(about, terms, refusal)
  const applied = await ledger.insist(id, { type: 'used', holder }, recordPatienceMs, entry)
  if (!applied) return { verdict: 'unknown' }
  const grant = about.state === 'complete' && about.grant
  const isOurs = applied.transaction.state === 'complete' && applied.transaction.usedBy === holder
  if (!grant || !isOurs) return refused(about, terms, { verdict: 'alreadyUsed' })
  publish('express-ciba:approval', () => ({
    ...message(about, terms),
    event: 'used',
    subject: grant.claims.sub,
    durationMs: Date.now() - about.expectations.requestedAt,
  }))
  return { verdict: 'used', grant }
}

function isBySameRequester({ requester }: ApprovalTerms, { requester: now }: ApprovalTerms): boolean {
  return requester?.iss === now?.iss && requester?.sub === now?.sub
}

function refusalOf(transaction: Transaction, { action }: ApprovalTerms): Refusal | undefined {
  if (!sameSecret(transaction.approval?.action ?? '', action)) return { verdict: 'wrongAction' }
  if (isOpen(transaction)) return { verdict: 'pending', interval: transaction.interval }
  if (transaction.state !== 'complete') return { verdict: 'refused', state: transaction.state }
  return transaction.grant ? undefined : { verdict: 'alreadyUsed' }
}

type Refusal = Exclude<ApprovalUse, { verdict: 'used' }>

const errors = {
  unknown: 'unknown_transaction',
  wrongAction: 'wrong_action',
  pending: 'approval_pending',
  refused: 'approval_refused',
  alreadyUsed: 'approval_used',
} as const

function refused(transaction: Transaction, terms: ApprovalTerms, refusal: Refusal): Refusal {
  const error = errors[refusal.verdict]
  publish('express-ciba:approval', () => ({ ...message(transaction, terms), event: 'refused', error }))
  return refusal
}

/** `action`: the one that was tried. */
function message({ id }: Transaction, { action, requester }: ApprovalTerms) {
  return { transaction: shortId(id), action, ...(requester && { requester: requester.sub }) }
}
