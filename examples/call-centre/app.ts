/**
 * A call centre: the agent stays signed in, and callers approve on their own phones that the agent may see their
 * record. Everything that CIBA needs is in `createApp()`.
 */
import { randomBytes } from 'node:crypto'
import express, { type NextFunction, type Request, type Response } from 'express'
import session from 'express-session'
import { type CibaOptions, ciba, requireApproval, requireCiba } from '../../lib/index.ts'
import { assets } from '../support/assets.ts'
import type { ExampleApp } from '../support/web-example.ts'
import { customers } from './customers.ts'
import { callsPage } from './pages.ts'

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

  const auth = ciba({
    ...options,
    authorizationParams: { scope: 'openid', bindingMessage: 'auto' },
    loginPage: {
      title: 'Call centre',
      texts: {
        lead: 'For agents only. In this example the agent is called agent.',
        failedText: 'Only agents can sign in here.',
      },
    },
    // Customers have accounts at the same OP: they may approve, and must not get in.
    afterAuthentication(_req, { user }) {
      if (user['role'] !== 'agent') throw Object.assign(new Error('not an agent'), { status: 403 })
    },
  })
  app.use(auth, requireCiba())

  app.get('/', (req, res) => {
    res.send(callsPage(req.ciba.user, customers))
  })

  // The first request asks the customer, and is answered 202. The same request with the approval gets the record.
  app.post('/customers/:customer/record', onlyKnownCustomers, recordApproval, (req, res) => {
    const { user } = req.ciba.approval!
    const customer = customers.get(String(req.params['customer']))
    res.json({ verified: user.sub, record: customer?.record })
  })

  return { app, close: () => auth.close() }
}

function onlyKnownCustomers(req: Request, res: Response, next: NextFunction): void {
  if (customers.has(String(req.params['customer']))) next()
  else res.status(404).json({ error: 'unknown_customer' })
}

/** An approval opens the record of one customer once; for another record, or again, the agent has to ask again. */
const recordApproval = requireApproval(
  (req) => ({ open: 'record', customer: String(req.params['customer']) }),
  {
    request(req) {
      const customer = customers.get(String(req.params['customer']))!
      return {
        loginHint: customer.email,
        anotherPerson: true, // not the agent
        expectedSubject: customer.sub, // whoever else answers the phone
        bindingMessage: 'auto', // the agent reads it out
        requestedExpiry: 120,
      }
    },
  },
)
