/** Approvals of an app in several instances, and of an app with two OPs [SEC-10]. */
import { expect } from 'chai'
import { MemoryStore } from 'express-session'
import { type CibaMiddleware, ciba, MemoryTransactionStore, type StoredRecord } from '../../lib/index.ts'
import { startApp, type TestApp } from '../support/app.ts'
import {
  approvalRoutes,
  approved,
  ask,
  approvalRoutes as own,
  payment,
  signedIn,
  use,
} from '../support/approvals.ts'
import { type ScriptedOp, startScriptedOp } from '../support/scripted-op.ts'
import { cibaOptions, until, webs } from '../support/web.ts'

describe('an approval, at two instances on one store', () => {
  /** Loses the answer to some writes. */
  class LossyStore extends MemoryTransactionStore {
    losses = 0

    override async write(record: StoredRecord, expectedVersion: number): Promise<boolean> {
      const written = await super.write(record, expectedVersion)
      if (this.losses-- > 0) throw new Error('the connection was lost')
      return written
    }
  }

  let op: ScriptedOp
  let store: LossyStore
  let apps: [TestApp, TestApp]
  let cookie: string

  beforeEach(async () => {
    op = await startScriptedOp()
    store = new LossyStore()
    const sessions = new MemoryStore()
    const start = () =>
      startApp({
        options: { issuerBaseURL: op.issuer, deliveryMode: 'ping', secret: 'of both instances', store },
        session: { store: sessions },
        after: (app) => approvalRoutes(app, undefined as never),
      })
    apps = [await start(), await start()]
    cookie = ''
  })
  afterEach(async () => {
    for (const app of apps) await app.close()
    store.close()
    await op.stop()
  })

  async function post(at: 0 | 1, path: string, body: object) {
    const headers = { 'content-type': 'application/json', cookie }
    const answer = await fetch(`${apps[at].origin}${path}`, {
      method: 'POST',
      headers,
      body: JSON.stringify(body),
    })
    cookie = answer.headers.getSetCookie()[0]?.split(';')[0] ?? cookie
    return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
  }

  /** Asked at one, pinged at the other. */
  async function approvedSomewhere(): Promise<string> {
    const request = { ...payment, anotherPerson: true, loginHint: 'alice' }
    const { transaction } = (await post(0, '/approval', request)).body
    op.onToken(await op.tokens())
    await op.ping(apps[1].notificationUrl)
    await until(
      'it is given',
      async () => (await post(0, '/ciba/poll', { transaction })).body['status'] === 'complete',
    )
    return String(transaction)
  }

  it('is given to one of twenty that use it at both at once', async () => {
    const transaction = await approvedSomewhere()
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, n) => post(n % 2 ? 1 : 0, '/use', { transaction, ...payment })),
    )
    expect(answers.map(({ status }) => status).sort()).to.deep.equal([200, ...Array(19).fill(409)])
    expect(op.callsTo('token')).to.have.length(1)
  })

  it('is used once, and given to who used it, when the store loses the answer to the write', async () => {
    const transaction = await approvedSomewhere()
    store.losses = 1
    expect((await post(0, '/use', { transaction, ...payment })).status).to.equal(200)
    expect(store.losses).to.be.below(1)
    expect((await post(1, '/use', { transaction, ...payment })).body['code']).to.equal(
      'ERR_CIBA_APPROVAL_USED',
    )
  })

  it('outlives the instance that asked', async () => {
    const transaction = await approvedSomewhere()
    await apps[0].close()
    expect((await post(1, '/use', { transaction, ...payment })).status).to.equal(200)
  })
})

describe('an approval, in an app with two OPs', () => {
  const start = webs()
  let other: ScriptedOp
  let second: CibaMiddleware

  beforeEach(async () => {
    other = await startScriptedOp()
  })
  afterEach(async () => {
    await second.close()
    await other.stop()
  })

  const startBoth = () =>
    start({
      own(app, web) {
        const off = { start: false, poll: false, cancel: false, logout: false, notification: false } as const
        second = ciba({ ...cibaOptions(other, web.origin), deliveryMode: 'poll', routes: { ...off } })
        app.use('/second', second)
        own(app, web)
        app.use('/second', (req, res, next) => {
          req.ciba.requestApproval(req.body).then((status) => res.json(status), next)
        })
      },
    })

  it('is asked of nobody who is signed in at the other: neither the ID token nor the name goes there', async () => {
    const web = await startBoth()
    const alice = await signedIn(web)
    for (const hint of [{}, { loginHint: 'alice' }]) {
      const { status, text } = await alice.post('/second', { ...payment, ...hint })
      expect([status, text]).to.deep.equal([
        401,
        'the app\'s own error page: nobody is signed in: sign in first, or ask with "anotherPerson"',
      ])
    }
    expect(other.callsTo('backchannel')).to.have.length(0)
    expect(
      (await alice.post('/second', { ...payment, anotherPerson: true, loginHint: 'alice' })).status,
    ).to.equal(200)
    expect(other.callsTo('backchannel')).to.have.length(1)
  })

  it('does not exist at the other', async () => {
    const web = await startBoth()
    const alice = await signedIn(web)
    const { body } = await alice.post('/second', { ...payment, anotherPerson: true, loginHint: 'alice' })
    expect((await use(alice, body.transaction)).status).to.equal(404)
    expect((await use(alice, await approved(web, alice))).status).to.equal(200)
    expect(await ask(alice)).to.be.a('string')
  })
})
