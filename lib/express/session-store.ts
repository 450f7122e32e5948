/**
 * The session store of express-session, with promises. Knows nothing of what is in a session.
 */

import type { Request } from 'express'
import type { Session, SessionData, Store } from 'express-session'
import { CibaError } from '../errors.ts'

export function storeOf(req: Request): (Store & { generate?(req: Request): void }) | undefined {
  return req.sessionStore
}

export async function save(session: Session): Promise<void> {
  await done((callback) => session.save(callback))
}

export async function destroy(store: Store, id: string): Promise<void> {
  await done((callback) => store.destroy(id, callback))
}

export async function load(store: Store, id: string): Promise<Partial<SessionData> | undefined> {
  try {
    return (await done((callback) => store.get(id, callback))) as Partial<SessionData> | undefined
  } catch (error) {
    // How stores on files say that there is none; express-session knows it too.
    if (((error as Error).cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT') return undefined
    throw error
  }
}

export async function done(
  act: (callback: (error?: unknown, result?: unknown) => void) => void,
): Promise<unknown> {
  try {
    return await new Promise((resolve, reject) => {
      act((error, result) => (error ? reject(error) : resolve(result ?? undefined)))
    })
  } catch (cause) {
    throw new CibaError('ERR_CIBA_STORE_FAILED', 'the session store failed', { cause })
  }
}
