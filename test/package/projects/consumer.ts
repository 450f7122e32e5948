// What a user of the package compiles: as strict as it goes, with the declaration files checked as well.
import express from 'express'
import {
  type CibaOptions,
  ciba,
  MemoryTransactionStore,
  processBackchannelAuthenticationGrantResponse,
  requireCiba,
} from 'express-ciba'
import { RedisTransactionStore } from 'express-ciba/redis'
import {
  signIn,
  startTestProvider,
  type TestProvider,
  type TestProviderOptions,
  transactionStoreContract,
} from 'express-ciba/testing'
import session from 'express-session'

const options: CibaOptions = {
  issuerBaseURL: 'https://op.example.com',
  clientID: 'my-app',
  clientSecret: 'a-client-secret',
  baseURL: 'https://my-app.example.com',
  secret: ['the-new-secret', 'the-old-secret'],
  deliveryMode: 'ping',
}

// @ts-expect-error: refused, so the options have not decayed to `any`.
ciba({ ...options, deliveryMode: 'pign' })

const app = express()
app.use(session({ secret: 'a-session-secret', resave: false, saveUninitialized: false }))
app.use(ciba(options))

app.get('/account', requireCiba(), (req, res) => {
  const subject: string | undefined = req.ciba.user?.sub
  // @ts-expect-error: nobody may be signed in.
  const certain: string = req.ciba.user.sub
  res.json({ subject, certain })
})

export async function accessToken(response: Response): Promise<string> {
  const op = { issuer: 'https://op.example.com' }
  const client = { client_id: 'my-app' }
  const result = await processBackchannelAuthenticationGrantResponse(op, client, response)
  return result.access_token
}

const provider: TestProviderOptions = {
  accounts: ['alice', { sub: 'bob', roles: ['admin'] }],
  pings: 'twice',
}

export async function signedIn(baseURL: string): Promise<string> {
  const op: TestProvider = await startTestProvider({ ...provider, baseURL })
  app.use(ciba({ ...op.clientOptions, startLimiter: false }))
  op.autoApprove = ({ accountId }) => (accountId === 'bob' ? 'deny' : 'approve')
  // @ts-expect-error: refused, so the types do not hang on those of oidc-provider.
  op.pings = 'pign'
  return signIn(baseURL, op, { loginHint: 'alice', approval: { acr: 'gold' } })
}

const store = new MemoryTransactionStore()
transactionStoreContract(
  (title, run) => run().catch(() => title),
  () => ({ one: store, other: store }),
)

ciba({
  ...options,
  store: new RedisTransactionStore({
    sendCommand: async ([command]) => command,
    subscribe: async (channel, listener) => {
      listener()
      return () => channel
    },
  }),
})
// @ts-expect-error: refused, a client has to be there or both functions.
new RedisTransactionStore({ prefix: 'app:' })
