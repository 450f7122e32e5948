/**
 * The app of the login example as one of several instances: whatever they have to agree on is in Redis, or in `secrets`.
 * Knows nothing of the other instances, nor of how many there are.
 */
import { RedisStore } from 'connect-redis'
import express from 'express'
import session from 'express-session'
import { RateLimiterRedis } from 'rate-limiter-flexible'
import { type CibaOptions, ciba, requireCiba } from '../../lib/index.ts'
import { type NodeRedisClient, RedisTransactionStore } from '../../lib/stores/redis.ts'
import { assets } from '../support/assets.ts'
import type { ExampleApp } from '../support/web-example.ts'
import { accountPage, homePage } from './pages.ts'

export interface Surroundings {
  /** Connected; stays the caller's to close. */
  readonly redis: NodeRedisClient
  /** Every instance has the same. */
  readonly secrets: { readonly transactions: string; readonly sessions: string }
  /** What this instance is called. */
  readonly name: string
}

/** @param options - issuerBaseURL, clientID, clientSecret and the like: what your OP told you. */
export function createApp(options: CibaOptions, { redis, secrets, name }: Surroundings): ExampleApp {
  const app = express()
  // The one in front of us, which says where a request came from.
  app.set('trust proxy', 'loopback')
  app.use((_req, res, next) => {
    res.set('X-Instance', name)
    next()
  })
  app.use(assets(import.meta.url))

  const prefix = 'express-ciba-example:'
  // In production: cookie.secure.
  app.use(
    session({
      secret: secrets.sessions,
      store: new RedisStore({ client: redis, prefix: `${prefix}session:` }),
      resave: false,
      saveUninitialized: false,
      cookie: { sameSite: 'lax' },
    }),
  )

  const store = new RedisTransactionStore({ client: redis, prefix: `${prefix}transaction:` })
  // Counted over all instances; with the default every instance would count for itself.
  const limiter = (points: number, keyPrefix: string) =>
    new RateLimiterRedis({ storeClient: redis, useRedisPackage: true, points, duration: 300, keyPrefix })
  const auth = ciba({
    ...options,
    secret: secrets.transactions,
    store,
    startLimiter: { hint: limiter(5, `${prefix}hint`), session: limiter(20, `${prefix}browser`) },
    authorizationParams: { scope: 'openid', bindingMessage: 'auto' },
    loginPage: {
      title: 'Sign in by phone',
      texts: { lead: 'alice and bob have accounts here. We ask your phone.' },
    },
  })
  app.use(auth)

  app.get('/', (req, res) => {
    res.send(homePage(req.ciba.user, name))
  })

  app.get('/account', requireCiba(), (req, res) => {
    res.send(accountPage(req.ciba.user, name))
  })

  return {
    app,
    async close() {
      await auth.close()
      await store.close()
    },
  }
}
