/// <reference types="express-session" preserve="true" />
/**
 * The only file that touches `req.session`: who owns transactions, who is signed in, and how a login moves into a
 * new session. Knows nothing of the OP.
 */

import { createHash, randomBytes } from 'node:crypto'
import createDebug from 'debug'
import type { Request } from 'express'
import type { Session, SessionData, Store } from 'express-session'
import type { DeliveryName } from '../delivery.ts'
import { CibaError } from '../errors.ts'
import type { IdTokenClaims, TokenSet } from '../grant.ts'
import { destroy, done, load, save, storeOf } from './session-store.ts'

const debug = createDebug('express-ciba:session')

/** The person who is signed in. */
export interface Login {
  /** The transaction that brought it about. */
  readonly transaction: string
  readonly user: IdTokenClaims
  readonly tokens: TokenSet
  /** When the OP granted its tokens, epoch milliseconds. */
  readonly at: number
  /** The sealed key that the tokens are bound to, where this login has one of its own [AUTH-7]. */
  readonly dpopKey?: string
  /** The types of `authorizationDetails` that were asked for. */
  readonly authorizationTypes?: readonly string[]
  /** How often the tokens were refreshed; absent: never. */
  readonly refreshes?: number
  /** When they were last refreshed, epoch milliseconds. */
  readonly refreshedAt?: number
}

/** What this package keeps in a session. */
export interface CibaSession {
  /** Binds transactions to this session, also after its id has changed [SEC-6]. */
  readonly owner: string
  readonly login?: Login
  readonly origin?: Origin
}

/** Where the login of a session came from. */
interface Origin extends DeliveryName {
  /** The session that the browser had before. */
  readonly from: string
}

declare module 'express-session' {
  interface SessionData {
    /** Belongs to express-ciba: use `req.ciba` to read it. */
    ciba?: CibaSession
  }
}

/** The session that a login moved into. */
export interface Move {
  /** Its id. */
  readonly to: string
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

let hasWarned = false

/** express-session leaves a secure cookie out of an insecure answer. */
function reachesBrowser(req: Request): boolean {
  if (req.secure || req.session.cookie.secure !== true) return true
  if (!/^https\b/i.test(req.get('x-forwarded-proto') ?? '')) return false
  // Only session({ proxy: true }) would believe the header, and that cannot be seen from here.
  if (!hasWarned) {
    hasWarned = true
    process.emitWarning(
      'a proxy says that it was asked by https, but Express does not trust it: unless session() has the option "proxy", the secure session cookie will not be set and logins will be lost. Set app.set("trust proxy", …)',
      { code: 'EXPRESS_CIBA_TRUST_PROXY' },
    )
  }
  return true
}

export function loginOf(req: Request): Login | undefined {
  return req.session?.ciba?.login
}

export function originOf(req: Request): Origin | undefined {
  return req.session?.ciba?.origin
}

/** Sessions that a login is moving into, and that no store has yet. */
const arriving = new WeakSet<Session>()

/** The login in the store now: another request of the session may have refreshed its tokens, or ended it. */
export async function storedLoginOf(req: Request): Promise<Login | undefined> {
  if (arriving.has(req.session)) return loginOf(req)
  const stored = await load(storeOf(req) as Store, req.sessionID)
  const login = stored?.ciba?.login
  return login?.transaction === loginOf(req)?.transaction ? login : undefined
}

/**
 * Stores newer tokens at once and alone: what else this request has changed is saved when it ends. Nothing is left of
 * them when the login `hasEnded` meanwhile.
 */
export async function storeLogin(
  req: Request,
  login: Login,
  hasEnded: () => Promise<boolean>,
): Promise<void> {
  const { session, sessionID } = req
  if (arriving.has(session)) {
    session.ciba = { ...(session.ciba as CibaSession), login }
    return
  }
  const store = storeOf(req) as Store
  const stored = await load(store, sessionID)
  if (stored?.ciba?.login?.transaction !== login.transaction) return
  if (!(await hasEnded())) {
    const data = { ...stored, ciba: { ...stored.ciba, login } } as SessionData
    // Stores take the time to live from the cookie, and the stored one is of the last save, not of the last request.
    if (session) data.cookie = session.touch().cookie
    await done((callback) => store.set(sessionID, data, callback))
  }
  if (await hasEnded()) await destroy(store, sessionID)
}

/**
 * Gives this request the newer tokens after a wait, if they are newer. Because of them alone it must save nothing: it
 * would write over what others have stored meanwhile. A session that `wasStored` and has ended stays so. Never rejects.
 */
export async function adoptLogin(
  req: Request,
  login: Login,
  wasStored: boolean,
  hasEnded: () => Promise<boolean>,
): Promise<void> {
  const { session } = req
  const before = session?.ciba
  if (before?.login?.transaction !== login.transaction) return
  const isNewerThan = ({ refreshes = 0 }: Login) => (login.refreshes ?? 0) > refreshes
  const stored = await storedLoginOf(req).catch(() => login) // in doubt it is there
  if (!stored && wasStored) freezeSession(req)
  // They could not be stored, or somebody has written older ones over them.
  if (stored && isNewerThan(stored)) {
    await storeLogin(req, login, hasEnded).catch((fault: Error) =>
      debug('tokens not stored: %s', fault.message),
    )
  }
  if (!isNewerThan(before.login)) return
  const ciba = { ...before, login }
  // What express-session compares stays as it was.
  session.ciba = Object.defineProperty({ ...ciba }, 'toJSON', { value: () => before })
  beforeSaving(session, () => {
    session.ciba = ciba
    return true
  })
}

/**
 * Keeps an old copy of a session from being written over newer tokens: whatever this request saves, it saves with the
 * newest that `newestOf` knows; and nothing of a login that `hasEnded` meanwhile, by a logout for example.
 */
export function saveNewest(
  req: Request,
  newestOf: (login: Login) => Login | undefined,
  hasEnded: (login: Login) => boolean,
): void {
  const { session } = req
  beforeSaving(session, () => {
    const { ciba } = session
    if (ciba?.login && hasEnded(ciba.login)) return false
    const newest = ciba?.login && newestOf(ciba.login)
    if (newest) session.ciba = { ...ciba, login: newest }
    return true
  })
}

/** Runs `prepare` whenever the session is about to be saved, by us, by the app or by express-session; `false` skips it. */
function beforeSaving(session: Session, prepare: () => boolean): void {
  const reallySave = session.save
  const value = function (this: Session, callback?: (error?: unknown) => void): Session {
    if (prepare()) return reallySave.call(this, callback)
    callback?.()
    return this
  }
  Object.defineProperty(session, 'save', { value, configurable: true, writable: true })
}

/** What a session holds, and how long its cookie lasts, in a form that can be compared. */
function contentOf(session: Partial<SessionData>): string {
  return JSON.stringify({ ...session, cookie: session.cookie?.originalMaxAge })
}

/**
 * Moves everything in the session, and `login`, into a new session with a new id [SEC-7], and saves it.
 * `beforeSave` and `afterSave` run in the new session. When they or the saving fail, the request has its old session back. What
 * a session held for one person does not pass to another. `name` is that of the answer: see {@link originOf}.
 *
 * `undefined`: the old session has ended meanwhile, by a logout or by another login. With `hasWaited` its data is
 * read again too, since others may have written to it; otherwise what this request wrote to it counts.
 *
 * The old session outlives the move on purpose: an answer that gets lost must leave the browser a session that can ask
 * again. (`session.regenerate()` would destroy it first.)
 */
export async function moveLogin(
  req: Request,
  login: Login,
  name: DeliveryName,
  hasWaited: boolean,
  { beforeSave, afterSave }: Record<'beforeSave' | 'afterSave', () => Promise<void>>,
): Promise<Move | undefined> {
  const store = storeOf(req) as Store & { generate(req: Request): void }
  const { session: old, sessionID } = req
  const oldID = old.id // also that of a frozen session
  const owner = old.ciba?.owner
  const stored = await load(store, oldID)
  if (owner === undefined || stored?.ciba?.owner !== owner) return undefined
  const back = () => Object.assign(req, { session: old, sessionID })
  store.generate(req)
  const newID = req.sessionID
  arriving.add(req.session)
  const from = hasWaited ? stored : old
  const isSomebodyElse = isAnother(from.ciba?.login?.user, login.user)
  // Nor do the transactions of one person pass to another.
  const ciba: CibaSession = {
    owner: isSomebodyElse ? randomBytes(32).toString('base64url') : owner,
    login,
    origin: { ...name, from: oldID },
  }
  Object.assign(req.session, isSomebodyElse ? {} : copyOf(from), { ciba })
  try {
    await beforeSave()
    if (req.sessionID !== newID || loginOf(req)?.transaction !== login.transaction) {
      throw new TypeError(
        'afterAuthentication must not end or replace the session; throw a 4xx error to refuse',
      )
    }
    if ((await load(store, oldID))?.ciba?.owner !== owner) {
      back()
      return undefined
    }
    await save(req.session)
    await afterSave()
    arriving.delete(req.session)
    saveOnlyChanges(req.session)
  } catch (error) {
    back()
    // The save may have happened although it failed: nobody shall find a signed-in session there.
    await destroy(store, newID).catch(() => {})
    throw error
  }
  return { to: newID, leaveNew: () => destroy(store, newID) }
}

function isAnother(before: IdTokenClaims | undefined, user: IdTokenClaims): boolean {
  return before !== undefined && (before.sub !== user.sub || before.iss !== user.iss)
}

/** A copy as any store would make it, so that what is changed inside does not reach the old session. */
function copyOf(from: Partial<SessionData>): Partial<SessionData> {
  const { cookie: _, ...data } = JSON.parse(JSON.stringify(from)) as Partial<SessionData>
  return data
}

/**
 * express-session would save a new session once more behind the answer, where a failure can no longer be told. It
 * compares known sessions with what it saved; a new one it does not know.
 */
function saveOnlyChanges(session: Session): void {
  const saved = contentOf(session)
  beforeSaving(session, () => contentOf(session) !== saved)
}

/** Ends another session of the same store; tells before which login is in it. */
export async function endSession(
  req: Request,
  id: string,
  onLogin?: (login: Login) => Promise<unknown>,
): Promise<void> {
  const store = storeOf(req) as Store
  const data = await load(store, id)
  if (!data) return
  if (data.ciba?.login) await onLogin?.(data.ciba.login)
  await destroy(store, id)
}

/** Ends the session with all that is in it, and starts an empty one with a new id. */
export async function signOut(req: Request): Promise<void> {
  if (!hasSession(req)) throw noSession()
  // A new session would be stored for everybody who only asks.
  if (Object.keys(req.session).every((name) => name === 'cookie')) return
  const { session, sessionID } = req
  try {
    await done((callback) => session.regenerate(callback))
  } catch (error) {
    // It makes a new session also when the old one could not be ended; the next try must find that.
    Object.assign(req, { session, sessionID })
    throw error
  }
}

/**
 * Keeps express-session out of this answer: nothing is saved, touched or destroyed, no cookie is set. What is in
 * `req.session` can still be read.
 */
export function freezeSession(req: Request): void {
  // express-session does nothing about a session without an id.
  Object.assign(req, { sessionID: undefined })
}

/**
 * Reads the session again after a wait: others may have written to it, and what express-session does at the end of
 * this answer must not undo that. A session that has ended stays so.
 */
export async function refreshSession(req: Request): Promise<void> {
  try {
    await done((callback) => req.session.reload(callback))
  } catch (error) {
    debug('session not read again: %s', (error as Error).message)
    freezeSession(req)
  }
}
