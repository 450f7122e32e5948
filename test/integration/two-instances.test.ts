/** Two instances of an app that share the stores and the secret: any of them takes any request [SEC-10]. */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect } from 'chai'
import express from 'express'
import session from 'express-session'
import { type CibaMiddleware, ciba, MemoryTransactionStore, requireCiba } from '../../lib/index.ts'
import { type ScriptedOp, startScriptedOp } from '../support/scripted-op.ts'

interface Instance {
  readonly auth: CibaMiddleware
  readonly server: Server
  readonly origin: string
}

describe('two instances on one store', () => {
  let op: ScriptedOp
  let stores: { sessions: session.MemoryStore; store: MemoryTransactionStore }
  let a: Instance
  let b: Instance
  let cookie: string

  async function startInstance(): Promise<Instance> {
    const auth = ciba({
      issuerBaseURL: op.issuer,
      clientID: op.clientId,
      clientSecret: op.clientSecret,
      deliveryMode: 'ping',
      baseURL: 'http://app.test',
      secret: 'shared by both instances',
      store: stores.store,
      allowInsecureRequests: true,
    })
    const app = express()
    app.use(session({ secret: 's', resave: false, saveUninitialized: false, store: stores.sessions }))
    app.use(auth)
    app.get('/account', requireCiba(), (req, res) => void res.json(req.ciba.user))
    const server = createServer(app).listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    return { auth, server, origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
  }

  async function post({ origin }: Instance, path: string, body: object): Promise<Response> {
    const headers = { 'content-type': 'application/json', cookie }
    const answer = await fetch(origin + path, { method: 'POST', headers, body: JSON.stringify(body) })
    cookie = answer.headers.getSetCookie()[0]?.split(';')[0] ?? cookie
    return answer
  }

  async function begin(instance: Instance): Promise<string> {
    const started = (await (await post(instance, '/ciba/start', { loginHint: 'alice' })).json()) as {
      transaction: string
    }
    return started.transaction
  }

  beforeEach(async () => {
    op = await startScriptedOp()
    stores = { sessions: new session.MemoryStore(), store: new MemoryTransactionStore() }
    cookie = ''
    a = await startInstance()
    b = await startInstance()
  })

  afterEach(async () => {
    for (const { auth, server } of [a, b]) {
      server.close()
      server.closeAllConnections()
      await auth.close()
    }
    stores.store.close()
    await op.stop()
  })

  it('start at one, wait at both, ping at the other: one token request, one login [POLL-2, SEC-7]', async () => {
    op.onToken(() => op.tokens())
    const transaction = await begin(a)
    const polls = [a, b, a, b].map((one) => post(one, '/ciba/poll', { transaction, wait: 10 }))
    const pong = await op.ping(`${b.origin}/ciba/notification`)
    expect(pong.status).to.equal(204)
    const answers = await Promise.all(polls)
    const withCookie = answers.filter((answer) => answer.headers.getSetCookie().length > 0)
    expect(withCookie).to.have.length(1)
    for (const answer of answers) {
      const { status } = (await answer.json()) as { status: string }
      expect(status).to.equal(answer === withCookie[0] ? 'complete' : 'pending')
    }
    expect(op.callsTo('token')).to.have.length(1)
    const account = await fetch(`${b.origin}/account`, { headers: { cookie } })
    expect(account.status).to.equal(200)
  })

  it('many pings at both come to one token request [PING-10, POLL-2]', async () => {
    await begin(a)
    const pings = Array.from({ length: 20 }, (_, index) =>
      op.ping(`${(index % 2 ? a : b).origin}/ciba/notification`),
    )
    expect((await Promise.all(pings)).map(({ status }) => status)).to.deep.equal(Array(20).fill(204))
    await op.waitForCall('token')
    await Promise.all([a.auth.close(), b.auth.close()])
    expect(op.callsTo('token').length).to.be.at.most(2)
    expect(op.violations()).to.deep.equal([])
  })

  it('go on with a login when the one that started it has gone', async () => {
    op.onToken(() => op.tokens())
    const transaction = await begin(a)
    a.server.close()
    await a.auth.close()
    await op.ping(`${b.origin}/ciba/notification`)
    const answer = await post(b, '/ciba/poll', { transaction, wait: 10 })
    expect(await answer.json()).to.deep.equal({ transaction, status: 'complete' })
  })
})
