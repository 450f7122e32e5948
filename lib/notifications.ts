/**
 * Takes what the OP tells us by itself: pings and pushes. Knows nothing of how they arrive, or of who waits for them.
 */

import createDebug from 'debug'
import type { Clock } from './clock.ts'
import { sameSecret } from './constant-time.ts'
import { CibaError } from './errors.ts'
import { type NotificationMessage, publish } from './events.ts'
import type { Jobs } from './jobs.ts'
import type { Ledger } from './ledger.ts'
import { type NotificationTokens, parsePing } from './protocol/notification.ts'
import type { Op } from './protocol/op.ts'
import { parsePush } from './protocol/push.ts'
import { type DeliveryMode, isOpen, shortId, type Transaction } from './transaction.ts'

const debug = createDebug('express-ciba:flow')

/** What a ping or a push came to. */
export type Notified =
  /** Answer 204, then call `proceed`: the token request waits for it [PING-7]. */
  | { readonly verdict: 'accepted'; readonly proceed: () => unknown }
  /** The token is genuine, the body is not a ping, or in push mode not a push. */
  | { readonly verdict: 'malformed' }
  /** The pushed tokens did not pass the checks, and nothing of them was kept [PUSH-9]. */
  | { readonly verdict: 'invalid' }
  /** The token does not belong to this `auth_req_id`, or the transaction is no more. */
  | { readonly verdict: 'unauthorized' }

/** What {@link Notifications} need. */
export interface NotificationParts {
  readonly op: Op
  readonly ledger: Ledger
  readonly clock: Clock
  readonly jobs: Jobs
  readonly notificationTokens: NotificationTokens
  readonly deliveryMode: DeliveryMode
  /** A new name for who takes a ping. */
  readonly newHolder: () => string
  /** Asks for the tokens in that name. */
  readonly pursuePing: (id: string, holder: string) => void
}

/** `effect`: whether it changed the transaction. */
type Taken = Notified & { readonly effect?: boolean }

/** How long a failing store is tried again: the OP does not push twice. */
const recordPatienceMs = 5_000

export class Notifications {
  readonly #parts: NotificationParts

  constructor(parts: NotificationParts) {
    this.#parts = parts
  }

  /** The transaction whose genuine notification token this header carries; looks nothing up. */
  verify(authorization: string | undefined): string | undefined {
    const id = this.#parts.notificationTokens.verify(authorization)
    if (id === undefined) this.#announce(undefined, 'unauthorized', this.#parts.clock.now())
    return id
  }

  /**
   * Takes a ping, or in push mode a push, whose token {@link verify} found genuine. Rejects when the store
   * fails [PING-16], or when the OP's keys for a push cannot be had.
   */
  async take(id: string, body: unknown): Promise<Notified> {
    const { deliveryMode, clock } = this.#parts
    const from = clock.now()
    try {
      const isPush = deliveryMode === 'push'
      const taken = await (isPush
        ? this.#parts.jobs.run(() => this.#takePush(id, body))
        : this.#takePing(id, body))
      this.#announce(id, taken.verdict, from, taken.effect)
      return taken
    } catch (error) {
      this.#announce(id, 'unavailable', from)
      throw error
    }
  }

  async #takePing(id: string, body: unknown): Promise<Taken> {
    const { ledger } = this.#parts
    const authReqId = parsePing(body)
    if (authReqId === undefined) return { verdict: 'malformed' }
    const entry = await ledger.read(id)
    if (!entry || isForAnother(entry.transaction, authReqId)) return { verdict: 'unauthorized' }
    const holder = this.#parts.newHolder()
    const applied = await ledger.apply(id, { type: 'pinged', authReqId, holder }, entry)
    // The acknowledgement may have overtaken us in turn, and it may have brought another id [PING-11].
    if (!applied || isForAnother(applied.transaction, authReqId)) return { verdict: 'unauthorized' }
    debug('%s pinged%s', shortId(id), applied.changed ? '' : ', to no effect')
    const ready = applied.changed && applied.transaction.state === 'ready'
    const proceed = () => ready && this.#parts.pursuePing(id, holder)
    return { verdict: 'accepted', proceed, effect: applied.changed }
  }

  async #takePush(id: string, body: unknown): Promise<Taken> {
    const { ledger, op } = this.#parts
    const push = parsePush(body)
    if (push === undefined) return { verdict: 'malformed' }
    const { authReqId } = push
    const accepted = { verdict: 'accepted', proceed: () => {} } as const
    const entry = await ledger.read(id)
    if (!entry || isForAnother(entry.transaction, authReqId)) return { verdict: 'unauthorized' }
    // The first one won, or nobody waits any more [PUSH-9].
    if (!isOpen(entry.transaction)) return accepted
    const outcome = await op.processPush(push, entry.transaction.expectations)
    if (outcome.type === 'invalid') return { verdict: 'invalid' }
    if (outcome.type === 'unavailable') {
      const { cause } = outcome
      throw new CibaError('ERR_CIBA_OP_UNREACHABLE', "the OP's keys cannot be had", { cause })
    }
    const applied = await ledger.insist(id, { type: 'pushed', authReqId, outcome }, recordPatienceMs, entry)
    if (!applied || isForAnother(applied.transaction, authReqId)) return { verdict: 'unauthorized' }
    debug('%s pushed: %s%s', shortId(id), outcome.type, applied.changed ? '' : ', to no effect')
    return { ...accepted, effect: applied.changed }
  }

  /** Says that a notification was refused before it came here: `id` if its token was genuine. */
  refuse(id: string | undefined): void {
    this.#announce(id, id === undefined ? 'unauthorized' : 'malformed', this.#parts.clock.now())
  }

  #announce(
    id: string | undefined,
    verdict: NotificationMessage['verdict'],
    from: number,
    effect = false,
  ): void {
    const { deliveryMode, clock } = this.#parts
    publish('express-ciba:notification', () => ({
      ...(id !== undefined && { transaction: shortId(id) }),
      kind: deliveryMode === 'push' ? 'push' : 'ping',
      verdict,
      effect,
      durationMs: clock.now() - from,
    }))
  }
}

/** Before the acknowledgement any `auth_req_id` may be the one [PING-3, PING-11]. */
function isForAnother({ authReqId: known }: Transaction, authReqId: string): boolean {
  return known !== undefined && !sameSecret(known, authReqId)
}
