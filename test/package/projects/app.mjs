// A whole app whose OP nobody can reach: it has to start, answer, and stop when it is told to.
import { once } from 'node:events'
import { createServer } from 'node:net'
import express from 'express'
import { ciba, requireCiba } from 'express-ciba'
import session from 'express-session'

// A port that was free a moment ago: connections to it are refused at once.
const nobody = createServer().listen(0, '127.0.0.1')
await once(nobody, 'listening')
const { port: deadPort } = nobody.address()
nobody.close()
await once(nobody, 'close')

const login = ciba({
  issuerBaseURL: `http://127.0.0.1:${deadPort}`,
  allowInsecureRequests: true,
  clientID: 'my-app',
  clientSecret: 'a-client-secret-for-tests',
  secret: 'a-sealing-secret-that-is-long-enough-for-tests',
})

const app = express()
app.use(session({ secret: 'a-session-secret-for-tests', resave: false, saveUninitialized: false }))
app.use(login)
app.get('/account', requireCiba(), (req, res) => {
  res.json(req.ciba.user)
})

const server = app.listen(0, '127.0.0.1', () => {
  process.stdout.write(`${server.address().port}\n`)
})

// Nothing here ends the process: it ends by itself when nothing is left running.
process.once('SIGTERM', async () => {
  server.close()
  server.closeIdleConnections()
  await login.close()
})
