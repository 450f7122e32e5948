/** What a ping sets off (CIBA Core §10.1, §10.2): one token request, after its answer, and no more than that. */
import { once } from 'node:events'
import { Agent, type IncomingMessage, request } from 'node:http'
import type { Socket } from 'node:net'
import { expect } from 'chai'
import type { Express } from 'express'
import { MemoryTransactionStore } from '../../lib/index.ts'
import { type Browser, startApp, type TestApp } from '../support/app.ts'
import {
  type Answer,
  type PingOptions,
  pending,
  type ScriptedOp,
  slowDown,
  startScriptedOp,
  tokenError,
} from '../support/scripted-op.ts'

describe('after a ping', () => {
  let op: ScriptedOp
  let app: TestApp
  let browser: Browser
  let transaction: string
  let answerLeavesAfterMs: number

  beforeEach(async () => {
    op = await startScriptedOp()
    // Its own, since ciba() clears the one that it makes itself when it is closed.
    const store = new MemoryTransactionStore()
    const options = { issuerBaseURL: op.issuer, deliveryMode: 'ping', store } as const
    answerLeavesAfterMs = 0
    app = await startApp({ options, before: holdAnswersBack })
    browser = app.browser()
    transaction = await browser.begin()
  })

  afterEach(async () => {
    await app.close()
    await op.stop()
  })

  /** As a middleware may do that compresses, or a connection that is slow. */
  function holdAnswersBack(express: Express): void {
    express.use('/ciba/notification', (_req, res, next) => {
      const end = res.end.bind(res) as () => typeof res
      res.end = () => {
        setTimeout(end, answerLeavesAfterMs)
        return res
      }
      next()
    })
  }

  const ping = (options?: PingOptions) => op.ping(app.notificationUrl, options)
  const idOf = (index: number) => String(op.callsTo('backchannel')[index]?.answer?.['auth_req_id'])
  const requestsFor = (id: string) =>
    op.callsTo('token').filter((call) => call.params.get('auth_req_id') === id).length

  /** Whatever an earlier ping has set off has arrived when this is over: it goes the same way, only later. */
  async function anotherLogin(): Promise<void> {
    const other = await app.browser().begin()
    const { length } = op.callsTo('token')
    const authReqId = idOf(op.callsTo('backchannel').length - 1)
    op.onToken(() => op.tokens({ authReqId }))
    await ping({ authReqId })
    await op.waitForCall('token', length + 1)
    expect(other).to.be.a('string')
  }

  it('fetches the tokens while nobody waits, for whoever polls later [PING-8]', async () => {
    op.onToken(() => op.tokens())
    await ping()
    const call = await op.waitForCall('token')
    expect(call.params.get('auth_req_id')).to.equal(idOf(0))
    await app.auth.close() // follows the request to its end, and asks the OP for nothing any more
    expect((await browser.poll(transaction)).body).to.have.property('status', 'complete')
    expect(await browser.user()).to.equal('alice')
    expect(requestsFor(idOf(0))).to.equal(1)
  })

  it('waits for its 204 to leave before it asks for tokens, whoever else waits [PING-7]', async () => {
    const events: string[] = []
    op.onToken(() => {
      events.push('token request')
      return op.tokens()
    })
    const outcome = browser.outcome(transaction)
    answerLeavesAfterMs = 300
    await ping().then(({ status }) => events.push(`${status}`))
    expect(await outcome).to.have.property('status', 'complete')
    expect(events).to.deep.equal(['204', 'token request'])
  })

  it('asks although the OP keeps the connection of its ping open [PING-7]', async () => {
    const agent = new Agent({ keepAlive: true })
    try {
      const token = String(op.callsTo('backchannel')[0]?.params.get('client_notification_token'))
      const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
      const sent = request(app.notificationUrl, { method: 'POST', agent, headers })
      sent.end(JSON.stringify({ auth_req_id: idOf(0) }))
      const answered = once(sent, 'response')
      const [socket] = (await once(sent, 'socket')) as [Socket]
      const [answer] = (await answered) as [IncomingMessage]
      answer.resume()
      await op.waitForCall('token')
      expect(answer.statusCode).to.equal(204)
      expect(socket.destroyed).to.equal(false)
    } finally {
      agent.destroy()
    }
  })

  it('goes on polling when the answer is pending [PING-9]', async () => {
    op.onToken(pending(), () => op.tokens())
    const outcome = browser.outcome(transaction)
    await ping()
    expect(await outcome).to.have.property('status', 'complete')
    expect(op.callsTo('token')).to.have.length(2)
    expect(op.violations()).to.deep.equal([])
  })

  it('slows down when the answer is slow_down [PING-9, POLL-3]', async () => {
    op.onToken(slowDown())
    await ping()
    await op.waitForCall('token')
    await anotherLogin()
    expect((await browser.poll(transaction)).body).to.include({ status: 'pending', interval: 6 })
  })

  it('makes at most two token requests of fifty pings [PING-10]', async () => {
    // An interval that is not over before the fifty are, also on a slow machine.
    op.onBackchannel({ json: { auth_req_id: 'of fifty pings', expires_in: 120, interval: 10 } })
    const waiting = browser.poll(await browser.begin(), 0.5)
    const pongs = await Promise.all(Array.from({ length: 50 }, () => ping()))
    expect(pongs.map(({ status }) => status)).to.deep.equal(Array.from({ length: 50 }, () => 204))
    await waiting
    await anotherLogin()
    expect(requestsFor('of fifty pings')).to.be.within(1, 2)
    expect(op.violations()).to.deep.equal([])
  })

  it('asks again at once where a ping came while it was asking [POLL-2, PING-8]', async () => {
    op.onToken(
      async () => {
        await new Promise((resolve) => {
          setTimeout(resolve, 1_100) // a second ping counts when the interval of one second is over
        })
        await ping()
        return pending()
      },
      () => op.tokens(),
    )
    await ping()
    const [first, second] = [await op.waitForCall('token', 1), await op.waitForCall('token', 2)]
    expect(second.at - Number(first.answeredAt)).to.be.within(0, 900)
    expect(op.violations()).to.deep.equal([])
    expect(await browser.outcome(transaction)).to.have.property('status', 'complete')
  })

  it('ends where the person has denied [PING-13]', async () => {
    op.onToken(tokenError('access_denied'))
    const outcome = browser.outcome(transaction)
    await ping()
    expect(await outcome).to.deep.equal({ transaction, status: 'denied', error: 'access_denied' })
  })

  async function pingAnd(answer: Answer): Promise<void> {
    op.onToken(answer)
    await ping()
    await browser.outcome(transaction)
  }
  const ends: [string, () => Promise<unknown>, number][] = [
    ['complete', () => pingAnd(() => op.tokens()), 1],
    ['denied', () => pingAnd(tokenError('access_denied')), 1],
    ['cancelled', () => browser.cancel(transaction), 0],
  ]
  for (const [state, end, requests] of ends) {
    it(`answers 204 and asks nothing once the transaction is ${state} [PING-17, POLL-12, POLL-14]`, async () => {
      await end()
      expect((await browser.poll(transaction)).body).to.have.property('status', state)
      for (let index = 0; index < 3; index++)
        expect((await ping({ authReqId: idOf(0) })).status).to.equal(204)
      await anotherLogin()
      expect(requestsFor(idOf(0))).to.equal(requests)
    })
  }
})
