/** Sessions as an app has them, whose writes are counted: polls must not cause any. */
import { RedisStore } from 'connect-redis'
import type { RequestHandler } from 'express'
import session, { type SessionData } from 'express-session'
import type { Redis } from './login-terms.ts'

export interface WatchedSessions {
  readonly middleware: RequestHandler
  /** How often a session was written since this was last asked. */
  writes(): number
}

/** @param redis - where they are kept; absent: in memory */
export function watchedSessions(redis: Redis | undefined): WatchedSessions {
  let written = 0
  const store = redis ? new RedisStore({ client: redis }) : new session.MemoryStore()
  const set = store.set.bind(store) as (id: string, data: SessionData, done?: () => void) => unknown
  store.set = (id: string, data: SessionData, done?: () => void) => {
    written++
    return set(id, data, done) as never
  }
  const middleware = session({ secret: 'of the cookies', resave: false, saveUninitialized: false, store })
  return {
    middleware,
    writes() {
      const count = written
      written = 0
      return count
    },
  }
}
