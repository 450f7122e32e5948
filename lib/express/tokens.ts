/**
 * The tokens of the session that a request belongs to: fresh when they are used, worthless when the login ends. Knows
 * nothing of routes.
 */

import type { Request } from 'express'
import { systemClock, within } from '../clock.ts'
import type { Core } from '../core.ts'
import { CibaError } from '../errors.ts'
import { publish } from '../events.ts'
import type { Grant, HeldGrant } from '../grant.ts'
import type { GrantHolder } from '../token-keeper.ts'
import { shortId } from '../transaction.ts'
import { adoptLogin, type Login, loginOf, signOut, storedLoginOf, storeLogin } from './session.ts'

type TokenParts = Pick<Core, 'keeper' | 'tokens' | 'dpopKeys' | 'revoke'>

/** How long a logout waits for the OP; the revocation goes on without it. */
const revocationPatienceMs = 3_000

/** The access token, refreshed if need be; see {@link TokenKeeper.fresh}. `signal` ends the wait, not the refresh. */
export async function freshGrant(
  core: TokenParts,
  req: Request,
  signal?: AbortSignal | null,
): Promise<Grant> {
  return signal ? unlessAborted(signal, grantOf(core, req)) : grantOf(core, req)
}

async function grantOf(core: TokenParts, req: Request): Promise<Grant> {
  const login = loginOf(req)
  if (!login) throw new CibaError('ERR_CIBA_UNAUTHENTICATED', 'nobody is signed in')
  const current = await heldBy(core, login)
  if (core.keeper.isFresh(current)) return current
  const stored = (newer: HeldGrant) => withGrant(login, newer)
  const holder: GrantHolder = {
    id: login.transaction,
    async load() {
      const newest = await storedLoginOf(req)
      return newest && heldBy(core, newest)
    },
    save: (newer, hasEnded) => storeLogin(req, stored(newer), hasEnded),
  }
  const wasStored = (await storedLoginOf(req).catch(() => undefined)) !== undefined
  let newest = login
  try {
    const fresh = await core.keeper.fresh(holder, current)
    newest = stored(fresh)
    return fresh
  } finally {
    await adoptLogin(req, newest, wasStored, () => core.keeper.isOver(login.transaction))
  }
}

/** The login with the newest tokens that this process knows; `undefined` if it has them already. */
export function newestLogin({ keeper }: Pick<TokenParts, 'keeper'>, login: Login): Login | undefined {
  const newest = keeper.newest(login.transaction)
  return newest && newest.refreshes > (login.refreshes ?? 0) ? withGrant(login, newest) : undefined
}

function withGrant(login: Login, { claims, tokens, refreshes, since }: HeldGrant): Login {
  return { ...login, user: claims, tokens, refreshes, refreshedAt: since }
}

/** Ends the session, and makes its tokens worthless. Resolves to where the browser may end its session at the OP. */
export async function logout(
  core: TokenParts,
  req: Request,
  atTheOp: { readonly postLogoutRedirect: string | undefined } | undefined,
): Promise<string | undefined> {
  const login = loginOf(req)
  // Before the session ends: a refresh that is under way, at whichever instance, must not bring it back.
  const ended = login && (await core.keeper.end(login.transaction, login.tokens))
  // Whatever the OP does.
  await signOut(req)
  if (!login) return undefined
  publish('express-ciba:login', () => ({
    transaction: shortId(login.transaction),
    event: 'signedOut',
    by: 'person',
    subject: login.user.sub,
  }))
  const { tokens, refreshes = 0 } = login
  const revoked = core.revoke(async () => {
    const latest = await ended?.newest()
    // They may have been stored when nobody could be told.
    return latest && latest.refreshes > refreshes ? latest.tokens : tokens
  })
  const url = atTheOp && core.tokens.endSessionURL(tokens, atTheOp.postLogoutRedirect)
  const [endSessionURL] = await Promise.all([
    within(systemClock, revocationPatienceMs, url ?? Promise.resolve(undefined), undefined),
    within(systemClock, revocationPatienceMs, revoked, undefined),
  ])
  return endSessionURL
}

async function heldBy({ dpopKeys }: TokenParts, login: Login): Promise<HeldGrant> {
  const { user: claims, tokens, dpopKey, refreshes = 0, at, refreshedAt = at, authorizationTypes } = login
  const types = authorizationTypes && { authorizationTypes }
  const held = { claims, tokens, refreshes, since: refreshedAt, ...types }
  return dpopKey === undefined ? held : { ...held, dpopKey: await dpopKeys.open(dpopKey) }
}

async function unlessAborted<Result>(signal: AbortSignal, work: Promise<Result>): Promise<Result> {
  let abort = () => {}
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason)
  })
  signal.addEventListener('abort', abort)
  if (signal.aborted) abort()
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', abort)
    work.catch(() => {}) // it may fail later
  }
}
