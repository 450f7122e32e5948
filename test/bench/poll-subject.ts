/**
 * The two sides of the poll benchmark. Ours: `ciba()` as the README mounts it. The bare one: Express, express-session and a
 * route that parses JSON and answers what our route answers, headers included; it looks up nothing, and knows the answer as it
 * is. Both keep one session for each transaction.
 */
import { createHash, randomBytes } from 'node:crypto'
import express, { type Express } from 'express'
import { ciba, MemoryTransactionStore } from '../../lib/index.ts'
import { RedisTransactionStore } from '../../lib/stores/redis.ts'
import { connectRedis } from './login-terms.ts'
import { clientID, clientSecret } from './op.ts'
import { type PollConfig, terms } from './poll-terms.ts'
import { listen, runSubject } from './subject.ts'
import { watchedSessions } from './watched-sessions.ts'

await runSubject(async (config: PollConfig) => {
  const { middleware, writes } = watchedSessions(await connectRedis(config.sessions))
  const app = express()
  app.use(middleware)
  if (config.side === 'ours') await mountOurs(app, config)
  else mountBare(app)
  const { origin } = await listen(app)
  return { origin, answers: { writes } }
})

async function mountOurs(app: Express, { issuer, transactions }: PollConfig): Promise<void> {
  const redis = await connectRedis(transactions)
  app.use(
    ciba({
      issuerBaseURL: issuer,
      clientID,
      clientSecret,
      secret: 'a secret of more than 32 bytes, the same everywhere',
      store: redis ? new RedisTransactionStore({ client: redis }) : new MemoryTransactionStore(),
      allowInsecureRequests: true,
    }),
  )
}

function mountBare(app: Express): void {
  const expiresAt = Date.now() + terms.expiresIn * 1000
  app.post('/ciba/start', (req, res) => {
    // As much as is in our sessions.
    req.session.ciba = { owner: createHash('sha256').update(req.sessionID).digest('base64url') }
    res.status(202).json({ transaction: randomBytes(16).toString('base64url') })
  })
  app.post('/ciba/poll', express.json(), (req, res) => {
    res.set('Cache-Control', 'no-store').set('Retry-After', String(terms.interval))
    res.json({
      transaction: req.body.transaction,
      status: 'pending',
      expiresIn: Math.ceil((expiresAt - Date.now()) / 1000),
      interval: terms.interval,
    })
  })
}
