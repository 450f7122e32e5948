/**
 * What all sides of the login benchmark agree on: what is asked of the OP, the sessions, how a process is told about both.
 * Knows nothing of how a login is done.
 */
import { RedisStore } from 'connect-redis'
import type { RequestHandler } from 'express'
import session from 'express-session'
import { createClient } from 'redis'

/** What a process that serves logins is told. */
export interface LoginConfig {
  readonly issuer: string
  readonly mode: 'poll' | 'ping'
  /** The socket of a Redis for the sessions, and the transactions where there are any; absent: all in memory. */
  readonly redis?: string
  /** openid-client sends through `fetch`, as it does unless told otherwise, or through undici's `request()`, as we do. */
  readonly transport?: 'fetch' | 'request'
}

/** Asked for by all, and checked by whoever has a session to protect. */
export const acrValues = ['urn:example:phone']
export const maxAge = 600
/** Where the OP pings. */
export const notificationPath = '/ciba/notification'

export type Redis = ReturnType<typeof createClient>

export async function connectRedis(path: string | undefined): Promise<Redis | undefined> {
  if (path === undefined) return undefined
  const client = createClient({ socket: { path, tls: false } })
  client.on('error', (error: Error) => process.stderr.write(`${error.stack}\n`))
  await client.connect()
  return client as Redis
}

/** The session middleware as its README recommends it. */
export function sessions(redis: Redis | undefined): RequestHandler {
  return session({
    secret: 'a secret of the session cookies',
    resave: false,
    saveUninitialized: false,
    store: redis ? new RedisStore({ client: redis }) : new session.MemoryStore(),
  })
}
