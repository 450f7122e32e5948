/** A web app where people sign in by approving on their phone. Everything that CIBA needs is in `createApp()`. */
import { randomBytes } from 'node:crypto'
import express from 'express'
import session from 'express-session'
import { type CibaOptions, ciba, requireCiba } from '../../lib/index.ts'
import { assets } from '../support/assets.ts'
import type { ExampleApp } from '../support/web-example.ts'
import { accountPage, homePage } from './pages.ts'

/** @param options - issuerBaseURL, clientID, clientSecret and the like: what your OP told you. */
export function createApp(options: CibaOptions): ExampleApp {
  const app = express()
  app.use(assets(import.meta.url))

  // In production: a secret of your own, a store that outlives the process, and cookie.secure.
  app.use(
    session({
      secret: randomBytes(32).toString('hex'),
      resave: false,
      saveUninitialized: false,
      cookie: { sameSite: 'lax' },
    }),
  )

  // Mounts the login page and all that it needs under /ciba, and adds req.ciba.
  const auth = ciba({
    ...options,
    authorizationParams: { scope: 'openid', bindingMessage: 'auto' },
    loginPage: {
      title: 'Sign in by phone',
      texts: { lead: 'alice and bob have accounts here. We ask your phone.' },
    },
  })
  app.use(auth)

  // For everybody.
  app.get('/', (req, res) => {
    res.send(homePage(req.ciba.user))
  })

  // Only for people who are signed in; browsers of others go to the login page first, and come back.
  app.get('/account', requireCiba(), (req, res) => {
    res.send(accountPage(req.ciba.user))
  })

  return { app, close: () => auth.close() }
}
