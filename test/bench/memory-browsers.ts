/**
 * Two apps in which browsers wait for an answer. Ours: the poll route with `wait`. The bare one: Express, the same session
 * middleware, and a route that parses JSON and holds its answer.
 */
import { createHash, randomBytes } from 'node:crypto'
import express, { type Express } from 'express'
import { ciba, MemoryTransactionStore } from '../../lib/index.ts'
import { sessions } from './login-terms.ts'
import { clientID, clientSecret } from './op.ts'
import { listen, runSubject } from './subject.ts'

/** Which app. */
export interface BrowsersConfig {
  readonly side: 'ours' | 'bare'
  readonly issuer: string
}

await runSubject(async ({ side, issuer }: BrowsersConfig) => {
  const app = express()
  app.use(sessions(undefined))
  if (side === 'ours') mountOurs(app, issuer)
  else mountBare(app)
  let held = 0
  const { origin } = await listen((req, res) => {
    held++
    res.once('close', () => {
      held--
    })
    app(req, res)
  })
  return { origin, answers: { held: () => held } }
})

function mountOurs(app: Express, issuer: string): void {
  app.use(
    ciba({
      issuerBaseURL: issuer,
      clientID,
      clientSecret,
      secret: 'a secret of more than 32 bytes, the same everywhere',
      store: new MemoryTransactionStore(),
      longPollTimeout: 300,
      loginPage: false,
      routes: { clientScript: false },
      allowInsecureRequests: true,
    }),
  )
}

function mountBare(app: Express): void {
  app.post('/ciba/start', (req, res) => {
    // As much as is in our sessions.
    req.session.ciba = { owner: createHash('sha256').update(req.sessionID).digest('base64url') }
    res.status(202).json({ transaction: randomBytes(16).toString('base64url') })
  })
  // Whoever has gone is forgotten: that much any held answer needs.
  const waiting = new Set<express.Response>()
  app.post('/ciba/poll', express.json(), (_req, res) => {
    waiting.add(res)
    res.once('close', () => waiting.delete(res))
  })
}
