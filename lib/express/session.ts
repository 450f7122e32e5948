/// <reference types="express-session" preserve="true" />
/**
 * The only file that touches `req.session`: who owns transactions, who is signed in, and how a login moves into a
 * new session. Knows nothing of the OP.
 */

import { randomBytes } from 'node:crypto'
import type { Request } from 'express'
import type { Session, SessionData, Store } from 'express-session'
import { CibaError } from '../errors.ts'
import type { IdTokenClaims, TokenSet } from '../grant.ts'

/** The person who is signed in. */
export interface Login {
  /** The transaction that brought it about. */
  readonly transaction: string
  readonly user: IdTokenClaims
  readonly tokens: TokenSet
}

/** What this package keeps in a session. */
export interface CibaSession {
  /** Binds transactions to this session, also after its id has changed [SEC-6]. */
  readonly owner: string
  readonly login?: Login
}

declare module 'express-session' {
  interface SessionData {
    /** Belongs to express-ciba: use `req.ciba` to read it. */
    ciba?: CibaSession
  }
}

/** The session that a login moved into. */
export interface Move {
  /** The answer has left: the session that the browser knew before is over [SEC-7]. */
  leaveOld(): Promise<void>
  /** The answer never arrived: the browser still has the old session, and may try again. */
  leaveNew(): Promise<void>
}

/** `true` if express-session ran for this request. */
export function hasSession(req: Request): boolean {
  return req.session !== undefined && typeof storeOf(req)?.generate === 'function'
}

/** What `hasSession() === false` means, and what to do about it. */
export function noSession(): CibaError {
  return new CibaError(
    'ERR_CIBA_NO_SESSION',
    'req.session is missing: app.use(session(…)) of express-session must come before app.use(ciba(…)), and its store must be connected',
  )
}

/** Whose transactions this session may see; `undefined` if it never started one. */
export function ownerOf(req: Request): string | undefined {
  return req.session.ciba?.owner
}

/**
 * Makes this session an owner. Saved before anybody is asked: without the session the answer would reach nobody.
 */
export async function becomeOwner(req: Request): Promise<string> {
  const known = ownerOf(req)
  if (known !== undefined) return known
  const owner = randomBytes(18).toString('base64url')
  req.session.ciba = { owner }
  await save(req.session)
  return owner
}

export function loginOf(req: Request): Login | undefined {
  return req.session?.ciba?.login
}

/**
 * Moves everything in the session, and `login`, into a new session with a new id [SEC-7], and saves it.
 * `beforeSave` runs in the new session. When that or the saving fails, the request has its old session back.
 *
 * The old session outlives the move on purpose: a process that dies before its answer arrives must leave the
 * browser a session that can ask again. (`session.regenerate()` would destroy it first.)
 */
export async function moveLogin(req: Request, login: Login, beforeSave: () => Promise<void>): Promise<Move> {
  const store = storeOf(req) as Store & { generate(req: Request): void }
  const { session: old, sessionID: oldID } = req
  store.generate(req)
  const { cookie: _, ...data } = old as Session & Partial<SessionData>
  Object.assign(req.session, data, { ciba: { ...old.ciba, login } })
  const newID = req.sessionID
  try {
    await beforeSave()
    await save(req.session)
  } catch (error) {
    req.session = old
    req.sessionID = oldID
    // The save may have happened although it failed: nobody shall find a signed-in session there.
    await destroy(store, newID).catch(() => {})
    throw error
  }
  return { leaveOld: () => destroy(store, oldID), leaveNew: () => destroy(store, newID) }
}

/** Ends the session with all that is in it, and starts an empty one with a new id. */
export async function signOut(req: Request): Promise<void> {
  await done((callback) => req.session.regenerate(callback))
}

/**
 * Keeps express-session from saving this request's copy of the session, which may have become stale while the
 * answer waited: another request may have written to it since, or signed in. It is still touched.
 */
export function leaveUnsaved({ session }: Request): void {
  const pretend = (callback?: (error?: unknown) => void) => {
    callback?.()
    return session
  }
  Object.defineProperty(session, 'save', { value: pretend, configurable: true, writable: true })
}

/** Keeps express-session out of this answer altogether: nothing saved, no cookie set. */
export function detachSession(req: Request): void {
  ;(req as { session?: Session }).session = undefined as never
}

function storeOf(req: Request): (Store & { generate?(req: Request): void }) | undefined {
  return req.sessionStore
}

function save(session: Session): Promise<void> {
  return done((callback) => session.save(callback))
}

function destroy(store: Store, id: string): Promise<void> {
  return done((callback) => store.destroy(id, callback))
}

async function done(act: (callback: (error?: unknown) => void) => void): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      act((error) => (error ? reject(error) : resolve()))
    })
  } catch (cause) {
    throw new CibaError('ERR_CIBA_STORE_FAILED', 'the session store failed', { cause })
  }
}
