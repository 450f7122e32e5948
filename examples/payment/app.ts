/**
 * A bank: whoever is signed in approves each payment by itself, and the phone shows the amount and the payee.
 * Everything that CIBA needs is in `createApp()`.
 */
import { randomBytes } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import express, { type Request, type Response } from 'express'
import session from 'express-session'
import { type CibaOptions, ciba, requireApproval, requireCiba } from '../../lib/index.ts'
import { assets } from '../support/assets.ts'
import type { ExampleApp } from '../support/web-example.ts'
import { paymentsPage } from './pages.ts'
import { checkPayment, type Payment } from './payment.ts'

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
    loginPage: { title: 'Example bank', texts: { lead: 'alice and bob bank here. We ask your phone.' } },
  })
  app.use(auth, requireCiba())

  /** Paid so far, by `sub`. */
  const paid = new Map<string, Payment[]>()

  app.get('/', (req, res) => {
    const user = req.ciba.user!
    res.send(paymentsPage(user, paid.get(user.sub) ?? []))
  })

  // The first request asks the phone, and is answered 202. The same request with the approval pays, once.
  app.post('/payments', express.json(), checkPayment, paymentApproval, (req: Request, res: Response) => {
    const payment = req.body as Payment
    const { user, authorizationDetails = [] } = req.ciba.approval!
    // The action was ours to remember. This is what the person was shown, and what the OP granted: nothing less, nothing
    // else. (Where an OP adds members of its own, compare those that matter.)
    if (!isDeepStrictEqual(authorizationDetails, [detailOf(payment)])) {
      res.status(403).json({ error: 'not_granted', error_description: 'something else was granted' })
      return
    }
    paid.set(user.sub, [...(paid.get(user.sub) ?? []), payment])
    res.json({ paid: payment, granted: authorizationDetails })
  })

  return { app, close: () => auth.close() }
}

/** The approval is about this amount and this payee: with any other the guard refuses it. */
const paymentApproval = requireApproval(
  ({ body: { amount, to } }) => ({ pay: amount, currency: 'EUR', to }),
  {
    request: ({ body }) => ({
      bindingMessage: 'auto',
      authorizationDetails: [detailOf(body)],
      requestedExpiry: 120,
    }),
  },
)

/** For the phone and for us: the same words from the same values. */
function detailOf({ amount, to }: Payment) {
  return { type: 'payment', amount: `${amount} EUR`, creditor: to }
}
