/** A web app where people sign in by approving on their phone. Everything that CIBA needs is in `createApp()`. */
import { randomBytes } from 'node:crypto'
import express, { type Express } from 'express'
import session from 'express-session'
import { ciba, requireCiba } from '../../lib/index.ts'
import { homePage } from './page.ts'

export interface LoginAppOptions {
  issuerBaseURL: string
  clientID: string
  clientSecret: string
  baseURL: string
  deliveryMode: 'poll' | 'ping'
  /** Where the stand-in for the phone is, for a link. */
  devicePage: string
}

export function createApp(options: LoginAppOptions): { app: Express; close(): Promise<void> } {
  const { devicePage, ...registration } = options
  const app = express()

  app.use(session({ secret: randomBytes(32).toString('hex'), resave: false, saveUninitialized: false }))

  // Mounts POST /ciba/start, /ciba/poll, /ciba/cancel, /ciba/notification and /ciba/logout, and adds req.ciba.
  const auth = ciba({
    ...registration,
    authorizationParams: { scope: 'openid', bindingMessage: 'auto' },
    allowInsecureRequests: true, // the OP of this example speaks http; a real one speaks https
  })
  app.use(auth)

  // Only for people who are signed in.
  app.get('/account', requireCiba(), (req, res) => {
    res.json(req.ciba.user)
  })

  // For everybody. Its script, page.js, shows how a browser starts a login and waits for it.
  app.get('/', (req, res) => {
    res.type('html').send(homePage({ user: req.ciba.user, devicePage }))
  })

  return { app, close: () => auth.close() }
}
