// What a user of the package compiles: as strict as it goes, with the declaration files checked as well.
import express from 'express'
import {
  type CibaOptions,
  ciba,
  processBackchannelAuthenticationGrantResponse,
  requireCiba,
} from 'express-ciba'
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
