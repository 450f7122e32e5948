/// <reference types="express-session" preserve="true" />
/**
 * The only file that touches `req.session`: who owns transactions, who is signed in, and how a login moves into a
 * new session. Knows nothing of the OP.
 */

import { createHash } from 'node:crypto'
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
  /** No answer can leave any more: the browser has the old session, and may try again. */
  leaveNew(): Promise<void>
}

/** Whether express-session gave this request a session. */
export function hasSession(req: Request): boolean {
  return req.session != null && typeof storeOf(req)?.generate === 'function'
}

/** What `hasSession() === false` means, and what to do about it. */
export function noSession(): CibaError {
  return new CibaError(
    'ERR_CIBA_NO_SESSION',
    'req.session is missing: app.use(session(…)) of express-session must come before app.use(ciba(…)), for the same paths, and its store must be connected',
  )
}

/** Whose transactions this session may see; `undefined` if it never started one. */
export function ownerOf(req: Request): string | undefined {
  if (!hasSession(req)) throw noSession()
  return req.session.ciba?.owner
}

/**
 * The name under which this session owns transactions, or would. It comes from the session id, so that two first
 * starts at once do not fall out; once saved, it stays when the id changes.
 */
export function ownerToBe(req: Request): string {
  const known = ownerOf(req)
  return known ?? createHash('sha256').update(`express-ciba owner ${req.sessionID}`).digest('base64url')
}

/** Makes this session an owner. Saved before anybody is asked: without the session the answer would reach nobody. */
export async function becomeOwner(req: Request, owner: string): Promise<void> {
  if (ownerOf(req) !== undefined) return
  if (!reachesBrowser(req)) {
    throw new CibaError(
      'ERR_CIBA_NO_SESSION',
      'the session cookie is "secure", but this request came by plain http: behind a proxy that ends TLS, set app.set("trust proxy", …)',
    )
  }
  req.session.ciba = { owner }
  await save(req.session)
}

/** express-session leaves a secure cookie out of an insecure answer; its own "proxy" option may trust the header. */
function reachesBrowser(req: Request): boolean {
  const isSecure = req.secure || /^https\b/i.test(req.get('x-forwarded-proto') ?? '')
  return isSecure || req.session.cookie.secure !== true
}

export function loginOf(req: Request): Login | undefined {
  return req.session?.ciba?.login
}

/**
 * Moves everything in the session, and `login`, into a new session with a new id [SEC-7], and saves it.
 * `beforeSave` runs in the new session. When that or the saving fails, the request has its old session back. What a
 * session held for one person does not pass to another.
 *
 * With `isStale` the old session is read again first: others may have written to it, or ended it, while this request
 * waited. `undefined`: it has ended.
 *
 * The old session outlives the move on purpose: a process that dies before its answer arrives must leave the
 * browser a session that can ask again. (`session.regenerate()` would destroy it first.)
 */
export async function moveLogin(
  req: Request,
  login: Login,
  isStale: boolean,
  beforeSave: () => Promise<void>,
): Promise<Move | undefined> {
  const store = storeOf(req) as Store & { generate(req: Request): void }
  const { session: old, sessionID: oldID } = req
  const current: Partial<SessionData> | undefined = isStale ? await load(store, oldID) : old
  if (current?.ciba === undefined || current.ciba.owner !== old.ciba?.owner) return undefined
  store.generate(req)
  // A copy as any store would make it: what `beforeSave` changes inside must not reach the old session.
  const { cookie: _, ...data } = JSON.parse(JSON.stringify(current)) as Partial<SessionData>
  const before = current.ciba.login?.user
  const isAnother = before && (before.sub !== login.user.sub || before.iss !== login.user.iss)
  Object.assign(req.session, isAnother ? {} : data, { ciba: { owner: current.ciba.owner, login } })
  const newID = req.sessionID
  try {
    await beforeSave()
    await save(req.session)
    saveOnlyChanges(req.session)
  } catch (error) {
    req.session = old
    req.sessionID = oldID
    // The save may have happened although it failed: nobody shall find a signed-in session there.
    await destroy(store, newID).catch(() => {})
    throw error
  }
  return { leaveOld: () => destroy(store, oldID), leaveNew: () => destroy(store, newID) }
}

/**
 * express-session would save a new session once more behind the answer, where a failure can no longer be told. It
 * compares known sessions with what it saved; a new one it does not know.
 */
function saveOnlyChanges(session: Session): void {
  const content = () => JSON.stringify({ ...session, cookie: undefined })
  const saved = content()
  const reallySave = session.save
  const value = function (this: Session, callback?: (error?: unknown) => void): Session {
    if (content() !== saved) return reallySave.call(this, callback)
    callback?.()
    return this
  }
  Object.defineProperty(session, 'save', { value, configurable: true, writable: true })
}

/** Ends the session with all that is in it, and starts an empty one with a new id. */
export async function signOut(req: Request): Promise<void> {
  await done((callback) => req.session.regenerate(callback))
}

/**
 * Keeps express-session out of this answer: nothing is saved, no cookie is set, nothing is destroyed. For answers
 * that waited, whose copy of the session may be stale: another request may have written to it since, or signed in.
 */
export function detachSession(req: Request): void {
  // Without the id, express-session's `unset: 'destroy'` would take the missing session for a wish to end it.
  Object.assign(req, { session: undefined, sessionID: undefined })
}

/** As {@link detachSession}, but the session lives on for another while, as it does after any other answer. */
export async function touchAndDetachSession(req: Request): Promise<void> {
  const store = storeOf(req)
  const { session, sessionID } = req
  detachSession(req)
  session.touch()
  // Only its expiry is written; a session that has ended meanwhile does not come back.
  if (store?.touch) await done((callback) => store.touch?.(sessionID, session, callback as () => void))
}

function storeOf(req: Request): (Store & { generate?(req: Request): void }) | undefined {
  return req.sessionStore
}

async function save(session: Session): Promise<void> {
  await done((callback) => session.save(callback))
}

async function destroy(store: Store, id: string): Promise<void> {
  await done((callback) => store.destroy(id, callback))
}

function load(store: Store, id: string): Promise<Partial<SessionData> | undefined> {
  return done((callback) => store.get(id, callback)) as Promise<Partial<SessionData> | undefined>
}

async function done(act: (callback: (error?: unknown, result?: unknown) => void) => void): Promise<unknown> {
  try {
    return await new Promise((resolve, reject) => {
      act((error, result) => (error ? reject(error) : resolve(result ?? undefined)))
    })
  } catch (cause) {
    throw new CibaError('ERR_CIBA_STORE_FAILED', 'the session store failed', { cause })
  }
}
