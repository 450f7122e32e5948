/**
 * Polls on behalf of a browser, and signs its session in when the person has approved: once, in the session that
 * asked, and not before the tokens are saved there. Knows nothing of how the answer looks on the wire.
 */

import createDebug from 'debug'
import type { Request, Response } from 'express'
import type { CibaClient } from '../client.ts'
import type { Claim } from '../delivery.ts'
import { CibaError } from '../errors.ts'
import type { Flow } from '../flow.ts'
import type { Transaction } from '../transaction.ts'
import { clientErrorStatus } from './answers.ts'
import type { AuthenticationResult, ResolvedOptions } from './options.ts'
import { freezeSession, type Login, loginOf, type Move, moveLogin, ownerOf } from './session.ts'

const debug = createDebug('express-ciba:login')

/** How a transaction stands, as far as the session that started it may know. */
export type Standing =
  | { readonly status: 'pending'; readonly transaction: Transaction }
  | { readonly status: 'complete' }
  | { readonly status: 'denied' | 'expired' | 'failed' | 'cancelled'; readonly error: string }

/** What {@link pollForLogin} needs. */
export interface LoginParts {
  readonly client: Pick<CibaClient, 'keySealer' | 'keeper'>
  readonly flow: Flow
  readonly afterAuthentication: ResolvedOptions['afterAuthentication']
}

/** How often another answer's delivery is waited for, before the browser has to come again. */
const deliveriesToWaitFor = 3

/**
 * How the transaction stands, after waiting up to `waitMs`; `undefined` if it does not exist for this session.
 * When it is complete and nobody has delivered it yet, the session of `req` is signed in: the tokens are in it when
 * this resolves, and leave the record when `res` has been sent.
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
  const gone = new AbortController()
  if (res.closed) gone.abort()
  const onClose = () => gone.abort()
  res.once('close', onClose)
  try {
    let transaction = await flow.wait(id, { owner, timeoutMs: waitMs, signal: gone.signal })
    for (let round = 0; transaction?.state === 'complete' && round < deliveriesToWaitFor; round++) {
      if (transaction.delivery !== 'undelivered' || loginOf(req)?.transaction === id) break
      // Nobody is there to receive it: whoever comes back gets it.
      if (gone.signal.aborted) return { status: 'pending', transaction }
      const claim = await flow.claim(transaction)
      if (claim) return await deliver(parts, req, res, id, claim, waitMs > 0)
      transaction = await flow.untilSettled(id, gone.signal)
    }
    return transaction && standing(req, transaction)
  } finally {
    res.off('close', onClose)
  }
}

function standing(req: Request, transaction: Transaction): Standing {
  switch (transaction.state) {
    case 'pending':
    case 'ready':
      return { status: 'pending', transaction }
    case 'complete':
      if (transaction.delivery === 'refused') return loginRefused
      if (loginOf(req)?.transaction === transaction.id) return { status: 'complete' }
      // Somebody else keeps the claim longer than anyone should wait.
      if (transaction.delivery === 'undelivered') return { status: 'pending', transaction }
      // Another answer brought the new session to this browser; this one must not bring the old one back.
      freezeSession(req)
      return { status: 'complete' }
    case 'denied':
    case 'expired':
    case 'failed':
    case 'cancelled':
      return { status: transaction.state, error: transaction.error }
  }
}

const loginRefused: Standing = { status: 'failed', error: 'login_refused' }

async function deliver(
  { client, afterAuthentication }: LoginParts,
  req: Request,
  res: Response,
  id: string,
  claim: Claim,
  hasWaited: boolean,
): Promise<Standing | undefined> {
  const { claims: user, tokens, dpopKey, authorizationTypes, grantedAt = Date.now() } = claim.grant
  const result: AuthenticationResult = { transaction: id, user, tokens }
  const sealed = dpopKey && { dpopKey: await client.keySealer.seal(JSON.stringify(dpopKey)) }
  const login: Login = {
    ...result,
    at: grantedAt,
    ...sealed,
    ...(authorizationTypes && { authorizationTypes }),
  }
  const before = loginOf(req)
  let move: Move | undefined
  try {
    move = await moveLogin(req, login, hasWaited, async () => {
      await afterAuthentication?.(req, result)
      if (await claim.renew()) return
      throw new CibaError('ERR_CIBA_STORE_FAILED', 'signing in took too long, another answer has taken over')
    })
  } catch (error) {
    const isRefusal = clientErrorStatus(error) !== undefined
    await claim.settle(isRefusal ? 'refused' : 'released')
    if (!isRefusal) throw error
    debug('login refused by afterAuthentication')
    return loginRefused
  }
  if (move === undefined) {
    // The session ended while this answer waited: signed out, or signed in by another one.
    await claim.settle('released')
    return undefined
  }
  settleWithAnswer(res, claim, move, () => {
    // A refresh of the login before must not bring its session back.
    if (before) client.keeper.end(before.transaction).catch(() => {})
  })
  return { status: 'complete' }
}

/** The tokens leave the record, and the old session ends, when the answer has left this process. */
function settleWithAnswer(res: Response, claim: Claim, move: Move, endLoginBefore: () => void): void {
  const settle = (...parting: Promise<void>[]) => {
    Promise.all(parting).catch((fault: Error) => debug('after the answer: %s', fault.message))
  }
  if (res.closed) {
    settle(claim.settle('released'), move.leaveNew())
    return
  }
  res.once('close', () => {
    if (res.writableFinished) {
      endLoginBefore()
      settle(claim.settle('delivered'), move.leaveOld())
    }
    // The browser may have got the new cookie or not: it must find its login with either.
    else settle(claim.settle('released'))
  })
}
