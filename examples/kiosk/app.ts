/**
 * A ticket machine in a theatre: a screen that many people share. It has a page of its own instead of the login page,
 * and forgets who was there. Everything that CIBA needs is in `createApp()`.
 */
import { randomBytes } from 'node:crypto'
import express from 'express'
import session from 'express-session'
import { type CibaOptions, ciba, requireCiba } from '../../lib/index.ts'
import { assets } from '../support/assets.ts'
import type { ExampleApp } from '../support/web-example.ts'
import { ticketsPage, welcomePage } from './pages.ts'

/** Seconds without a touch, after which nobody is there any more. */
const IDLE_SECONDS = Number(process.env['IDLE_SECONDS'] ?? 30)

/** @param options - issuerBaseURL, clientID, clientSecret and the like: what your OP told you. */
export function createApp(options: CibaOptions): ExampleApp {
  const app = express()
  app.use(assets(import.meta.url))

  app.use(
    session({
      secret: randomBytes(32).toString('hex'),
      resave: false,
      saveUninitialized: false,
      rolling: true, // each request starts the time of the session anew
      cookie: { sameSite: 'strict' },
    }),
  )

  const auth = ciba({
    ...options,
    loginPage: false,
    startParams: (req) => ({
      loginHint: String(req.body.member).trim().toLowerCase(),
      scope: 'openid',
      bindingMessage: 'auto', // somebody else's request must not be approved by mistake
      requestedExpiry: 60, // nobody stands in front of a screen for longer
    }),
    // The page signs out by itself. Should it be gone, the session ends a moment later all the same.
    afterAuthentication(req) {
      req.session.cookie.maxAge = (IDLE_SECONDS + 2) * 1000
    },
  })
  app.use(auth)

  // One address for both: with the back button the browser asks again, and the next person sees the form.
  app.get('/', (req, res) => {
    res.send(req.ciba.user ? ticketsPage(req.ciba.user, IDLE_SECONDS) : welcomePage())
  })

  // Somebody touches the screen.
  app.post('/touch', requireCiba(), (_req, res) => {
    res.sendStatus(204)
  })

  return { app, close: () => auth.close() }
}
