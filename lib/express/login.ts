/**
 * Polls on behalf of a browser, and signs its session in when the person has approved: once, in the session that
 * asked, and not before the tokens are saved there. Knows nothing of how the answer looks on the wire.
 */

import createDebug from 'debug'
import type { Request, Response } from 'express'
import { type StopSignal, systemClock, within } from '../clock.ts'
import type { Core } from '../core.ts'
import type { Claim } from '../delivery.ts'
import { CibaError } from '../errors.ts'
import { publish } from '../events.ts'
import type { Flow } from '../flow.ts'
import { isArriving, shortId, type Transaction } from '../transaction.ts'
import { clientErrorStatus } from './answers.ts'
import type { AuthenticationResult, ResolvedOptions } from './options.ts'
import {
  endSession,
  freezeSession,
  type Login,
  loginOf,
  type Move,
  moveLogin,
  originOf,
  ownerOf,
} from './session.ts'

const debug = createDebug('express-ciba:login')

/** How a transaction stands, as far as the session that started it may know. */
export type Standing =
  | { readonly status: 'pending'; readonly transaction: Transaction }
  | { readonly status: 'complete'; readonly returnTo?: string }
  | { readonly status: 'denied' | 'expired' | 'failed' | 'cancelled'; readonly error: string }

/** What {@link pollForLogin} needs. */
export interface LoginParts {
  readonly core: Pick<Core, 'dpopKeys' | 'keeper'>
  readonly flow: Flow
  readonly afterAuthentication: ResolvedOptions['afterAuthentication']
}

/** How often another answer's delivery is waited for, before the browser has to come again. */
const deliveriesToWaitFor = 3
/** How long a look waits for one, and who has waited already waits on. */
const deliveryPatienceMs = 2_000
/** How long a request is kept waiting for {@link confirmLogin}. */
const confirmPatienceMs = 1_000

/**
 * How the transaction stands, after waiting up to `waitMs`; `undefined` if it does not exist for this session.
 * When it is complete and nobody has delivered it yet, the session of `req` is signed in: the tokens are in it when
 * this resolves, and leave the record when the browser shows up with it; see {@link confirmLogin}.
 *
 * Rejects when the stores fail, or with the error of `afterAuthentication`; the login can be polled for again.
 */
export async function pollForLogin(
  parts: LoginParts,
  req: Request,
  res: Response,
  id: string,
  waitMs: number,
): Promise<Standing | undefined> {
  const { flow } = parts
  const owner = ownerOf(req)
  if (owner === undefined) return undefined
  const since = flow.now()
  const gone = goneSignal(res)
  let late: AbortController | undefined
  let timer: NodeJS.Timeout | undefined
  try {
    let transaction = await flow.wait(id, { owner, timeoutMs: waitMs, signal: gone })
    for (let round = 0; transaction?.state === 'complete' && round < deliveriesToWaitFor; round++) {
      if (transaction.approval) break
      if (transaction.delivery !== 'undelivered' || loginOf(req)?.transaction === id) break
      if (isArriving(transaction, since)) break
      // Nobody is there to receive it: whoever comes back gets it.
      if (gone.aborted) return { status: 'pending', transaction }
      const claim = await flow.claim(transaction)
      if (claim) return await deliver(parts, req, res, transaction, claim, waitMs > 0 || round > 0)
      const patience = late ?? new AbortController()
      const patienceMs = Math.max(since + waitMs - flow.now(), deliveryPatienceMs)
      timer ??= setTimeout(() => patience.abort(), patienceMs)
      late = patience
      transaction = await flow.untilSettled(id, since, gone, patience.signal)
    }
    if (transaction) return standing(req, transaction)
    // Its record is gone, or it was started by who was signed in here before.
    const login = loginOf(req)
    return login && login.transaction === id ? { status: 'complete' } : undefined
  } finally {
    clearTimeout(timer)
  }
}

/** Aborts when the answer can no longer be sent. Thousands wait at a time: an AbortController for each would weigh more. */
function goneSignal(res: Response): StopSignal {
  return {
    get aborted() {
      return res.closed
    },
    addEventListener: (_type, listener) => res.on('close', listener),
    removeEventListener: (_type, listener) => res.off('close', listener),
  }
}

function standing(req: Request, transaction: Transaction): Standing {
  switch (transaction.state) {
    case 'pending':
    case 'ready':
      return { status: 'pending', transaction }
    case 'complete':
      if (transaction.approval) return { status: 'complete' }
      if (transaction.delivery === 'refused') return loginRefused
      if (loginOf(req)?.transaction === transaction.id) return complete(transaction)
      // Another answer brings the new session to this browser; this one must not bring the old one back.
      freezeSession(req)
      // An answer that is on its way may be lost: who has its cookie is told by the next poll.
      if (transaction.delivery === 'undelivered') return { status: 'pending', transaction }
      return complete(transaction)
    case 'denied':
    case 'expired':
    case 'failed':
    case 'cancelled':
      return { status: transaction.state, error: transaction.error }
  }
}

function complete({ returnTo }: Transaction): Standing {
  return { status: 'complete', ...(returnTo !== undefined && { returnTo }) }
}

const loginRefused: Standing = { status: 'failed', error: 'login_refused' }

async function deliver(
  { core, afterAuthentication }: LoginParts,
  req: Request,
  res: Response,
  transaction: Transaction,
  claim: Claim,
  hasWaited: boolean,
): Promise<Standing | undefined> {
  const { id } = transaction
  const { claims: user, tokens, dpopKey, authorizationTypes, grantedAt = Date.now() } = claim.grant
  const result: AuthenticationResult = { transaction: id, user, tokens }
  const sealed = dpopKey && { dpopKey: core.dpopKeys.seal(dpopKey) }
  const login: Login = {
    ...result,
    at: grantedAt,
    ...sealed,
    ...(authorizationTypes && { authorizationTypes }),
  }
  const keepClaim = async () => {
    if (await claim.renew()) return
    throw new CibaError('ERR_CIBA_STORE_FAILED', 'signing in took too long, another answer has taken over')
  }
  let move: Move | undefined
  try {
    move = await moveLogin(req, login, claim.name, hasWaited, {
      async beforeSave() {
        await afterAuthentication?.(req, result)
        await keepClaim()
      },
      // The store may have taken its time, or this process stood still.
      afterSave: keepClaim,
    })
  } catch (error) {
    const isRefusal = clientErrorStatus(error) !== undefined
    await claim.settle(isRefusal ? 'refused' : 'released')
    if (!isRefusal) throw error
    debug('login refused by afterAuthentication')
    await Promise.all(claim.lost.map((session) => endSession(req, session)))
    announce(login, 'refused')
    return loginRefused
  }
  if (move === undefined) {
    // The session ended while this answer waited: signed out, or signed in by another one.
    await claim.settle('released')
    return undefined
  }
  settleWithAnswer(res, claim, move, () => announce(login, 'signedIn'))
  return complete(transaction)
}

function announce({ transaction, user, at }: Login, event: 'signedIn' | 'refused'): void {
  const { sub: subject, acr, amr } = user
  publish('express-ciba:login', () => ({
    transaction: shortId(transaction),
    event,
    subject,
    ...(acr !== undefined && { acr }),
    ...(amr !== undefined && { amr }),
    durationMs: Date.now() - at,
  }))
}

/**
 * The answer carries the new session, and may get lost: the old one ends, and the tokens leave the record, when the browser
 * shows up with the new one; see {@link confirmLogin}.
 */
function settleWithAnswer(res: Response, claim: Claim, move: Move, onSent: () => void): void {
  const settle = (...parting: Promise<unknown>[]) => {
    Promise.all(parting).catch((fault: Error) => debug('after the answer: %s', fault.message))
  }
  if (res.closed) {
    settle(claim.settle('released'), move.leaveNew())
    return
  }
  res.once('close', () => {
    const isBroken = !res.writableFinished
    const { lost } = claim
    settle(claim.sent(move.to, isBroken))
    if (lost.length === 0) onSent()
  })
}

/** Whether this request may be the first one of a new session. */
export function isUnconfirmed({ flow }: Pick<LoginParts, 'flow'>, req: Request): boolean {
  const login = loginOf(req)
  const origin = originOf(req)
  return login !== undefined && origin !== undefined && flow.isUnconfirmed(login.transaction, origin)
}

/**
 * The browser has shown up with its new session: ends what the login has left behind, the session before [SEC-7] and the
 * tokens in the record. When the stores fail, or take their time, the request goes on, and the next one tries again.
 */
export async function confirmLogin(
  { core, flow }: Pick<LoginParts, 'core' | 'flow'>,
  req: Request,
): Promise<void> {
  const login = loginOf(req)
  const origin = originOf(req)
  if (!login || !origin) return
  const confirm = async () => {
    // This first: without it nobody can ask for the login again, whatever the record says.
    // A refresh of the login before must not bring its session back.
    await endSession(req, origin.from, ({ transaction, tokens }) => core.keeper.end(transaction, tokens))
    // Answers that were taken for lost have left sessions behind.
    await flow.confirm(login.transaction, origin, (session) => endSession(req, session))
  }
  const confirmed = confirm().catch((fault: Error) => debug('not confirmed: %s', fault.message))
  await within(systemClock, confirmPatienceMs, confirmed, undefined)
}
