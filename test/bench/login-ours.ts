/**
 * An app that signs people in with this package, as its README shows: with the defaults, the limits of starts included. Its store holds
 * transactions as long as it would anywhere.
 */
import express, { type Express } from 'express'
import { ciba, MemoryTransactionStore } from '../../lib/index.ts'
import { RedisTransactionStore } from '../../lib/stores/redis.ts'
import { acrValues, connectRedis, type LoginConfig, maxAge, sessions } from './login-terms.ts'
import { clientID, clientSecret } from './op.ts'
import { listen, runSubject } from './subject.ts'

await runSubject(async ({ issuer, mode, redis: path }: LoginConfig) => {
  let app: Express | undefined
  const { origin } = await listen((req, res) => app?.(req, res))
  const redis = await connectRedis(path)
  const auth = ciba({
    issuerBaseURL: issuer,
    clientID,
    clientSecret,
    baseURL: origin,
    deliveryMode: mode,
    secret: 'a secret of more than 32 bytes, the same everywhere',
    authorizationParams: { scope: 'openid', acrValues, maxAge },
    store: redis ? new RedisTransactionStore({ client: redis }) : new MemoryTransactionStore(),
    allowInsecureRequests: true,
    // Of the build, which is not what is measured.
    loginPage: false,
    routes: { clientScript: false },
  })
  app = express()
  app.use('/ciba/notification', auth.notification)
  app.use(sessions(redis))
  app.use(auth)
  app.get('/me', (req, res) => {
    res.json({ sub: req.ciba.user?.sub })
  })
  return { origin }
})
