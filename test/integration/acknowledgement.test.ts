/** The OP's answer to an authentication request (CIBA Core §7.3): what is taken from it, and what may overtake it. */
import { expect } from 'chai'
import { MemoryTransactionStore, type StoredRecord } from '../../lib/index.ts'
import { deriveKeys } from '../../lib/keys.ts'
import { recordSealer } from '../../lib/record.ts'
import type { PendingTransaction } from '../../lib/transaction.ts'
import { type Browser, startApp, type TestApp } from '../support/app.ts'
import { type Answer, html, type ScriptedOp, startScriptedOp } from '../support/scripted-op.ts'

const secret = 'a secret of this test'

/** Shows the newest record as the client sees it. */
class GlassStore extends MemoryTransactionStore {
  #newest: StoredRecord | undefined

  override async write(record: StoredRecord, expectedVersion: number): Promise<boolean> {
    const written = await super.write(record, expectedVersion)
    if (written) this.#newest = record
    return written
  }

  async pending(): Promise<PendingTransaction> {
    if (!this.#newest) throw new Error('nothing was written')
    return recordSealer(deriveKeys([secret])).open(this.#newest) as PendingTransaction
  }
}

describe('POST /ciba/start', () => {
  let op: ScriptedOp
  let app: TestApp
  let store: GlassStore
  let browser: Browser

  async function open(deliveryMode: 'poll' | 'ping', httpTimeout?: number): Promise<void> {
    app = await startApp({
      options: { issuerBaseURL: op.issuer, deliveryMode, secret, store, httpTimeout },
    })
    browser = app.browser()
  }

  beforeEach(async () => {
    op = await startScriptedOp()
    store = new GlassStore()
  })

  afterEach(async () => {
    await app.close()
    store.close()
    await op.stop()
  })

  const acknowledge = (members: object, status = 200): Answer => ({
    status,
    json: { auth_req_id: 'id', expires_in: 120, interval: 1, ...members },
  })

  context('the acknowledgement is odd', () => {
    beforeEach(() => open('poll'))

    const intervals: [string, object, number][] = [
      ['no interval', { interval: undefined }, 5],
      ['interval null', { interval: null }, 5],
      ['interval 0', { interval: 0 }, 5],
      ['a negative interval', { interval: -1 }, 5],
      ['interval true', { interval: true }, 5],
      ['an interval that is no number', { interval: '5s' }, 5],
      ['interval "7"', { interval: '7' }, 7],
      ['interval 2.5', { interval: 2.5 }, 3],
      ['interval 31', { interval: 31 }, 31],
    ]
    for (const [what, members, interval] of intervals) {
      it(`takes ${what} for ${interval} s [ACK-4]`, async () => {
        op.onBackchannel(acknowledge(members))
        const { status, body } = await browser.start()
        expect(status).to.equal(202)
        expect(body).to.include({ status: 'pending', interval, expiresIn: 120 })
        const poll = await browser.poll(body.transaction)
        expect(poll.body).to.include({ status: 'pending', interval })
        expect(poll.headers).to.have.property('retry-after', String(interval))
        expect(op.callsTo('token')).to.have.length(0)
      })
    }

    const lives: [string, object, number][] = [
      ['expires_in "120"', { expires_in: '120' }, 120],
      ['expires_in 90.9', { expires_in: 90.9 }, 90],
      ['members that nobody knows', { expires_in: 60, x: { y: [1] }, error: 'none' }, 60],
      ['an expires_in of a century', { expires_in: 3e9 }, 30 * 24 * 3600],
    ]
    for (const [what, members, expiresIn] of lives) {
      it(`takes ${what} [ACK-3, ACK-5]`, async () => {
        op.onBackchannel(acknowledge(members))
        const { status, body } = await browser.start()
        expect(status).to.equal(202)
        expect(body.expiresIn).to.equal(expiresIn)
      })
    }

    const refused: [string, string, Answer][] = [
      ['no expires_in', 'ACK-3', acknowledge({ expires_in: undefined })],
      ['expires_in null', 'ACK-3', acknowledge({ expires_in: null })],
      ['expires_in 0', 'ACK-3', acknowledge({ expires_in: 0 })],
      ['expires_in -1', 'ACK-3', acknowledge({ expires_in: -1 })],
      ['expires_in 0.5', 'ACK-3', acknowledge({ expires_in: 0.5 })],
      ['expires_in "x"', 'ACK-3', acknowledge({ expires_in: 'x' })],
      ['expires_in "120x"', 'ACK-3', acknowledge({ expires_in: '120x' })],
      ['no auth_req_id', 'ACK-2', acknowledge({ auth_req_id: undefined })],
      ['auth_req_id null', 'ACK-2', acknowledge({ auth_req_id: null })],
      ['an auth_req_id that is a number', 'ACK-2', acknowledge({ auth_req_id: 5 })],
      ['an empty auth_req_id', 'ACK-2', acknowledge({ auth_req_id: '' })],
      ['an endless auth_req_id', 'ACK-6', acknowledge({ auth_req_id: 'x'.repeat(4097) })],
      ['status 201', 'ACK-1', acknowledge({}, 201)],
      ['status 204', 'ACK-1', { status: 204, body: '' }],
      ['HTML under 200', 'ACK-1', html(200)],
      ['an empty body', 'ACK-1', { status: 200, body: '' }],
      ['an array', 'ACK-1', { json: [acknowledge({})] }],
    ]
    for (const [what, id, answer] of refused) {
      it(`answers 502 to ${what}, and asks nobody again [${id}, REQ-16]`, async () => {
        op.onBackchannel(answer)
        const { status, body } = await browser.start()
        expect(status).to.equal(502)
        expect(body.error).to.equal('bad_gateway')
        expect(op.calls.map(({ endpoint }) => endpoint)).to.deep.equal(['discovery', 'backchannel'])
      })
    }

    it('counts the life of the request from its sending [ACK-7]', async () => {
      op.onBackchannel({ ...(acknowledge({ expires_in: 10 }) as object), delayMs: 1_100 })
      const { body } = await browser.start()
      expect(body.expiresIn).to.be.within(7, 9)
    })
  })

  context('the auth_req_id has odd characters', () => {
    const odd = [
      ' leading and trailing ',
      'a+b c&d=e%20f;g#h?i/j\\k',
      '"quoted" and \'quoted\'',
      'Grüße, 世界, 😀, e\u0301',
      'line\r\nbreak\ttab\u0000null',
      'x'.repeat(4096),
    ]
    for (const id of odd) {
      it(`sends back exactly ${JSON.stringify(id.slice(0, 30))} [ACK-6]`, async () => {
        await open('ping')
        op.onBackchannel(acknowledge({ auth_req_id: id }))
        op.onToken(() => op.tokens())
        const transaction = await browser.begin()
        expect((await op.ping(app.notificationUrl)).status).to.equal(204)
        expect(await browser.outcome(transaction)).to.have.property('status', 'complete')
        expect(op.callsTo('token').map(({ params }) => params.get('auth_req_id'))).to.deep.equal([id])
      })
    }
  })

  context('a ping overtakes the acknowledgement', () => {
    beforeEach(() => open('ping'))

    /** Pings with these ids, one after the other, then acknowledges with `id`. */
    const pingFirst = (id: string, pinged: readonly string[], statuses: number[]) => {
      op.onBackchannel(async () => {
        for (const authReqId of pinged) {
          statuses.push((await op.ping(app.notificationUrl, { authReqId })).status)
        }
        return acknowledge({ auth_req_id: id })
      })
    }

    for (const [what, pinged] of [
      ['for this request', ['mine']],
      ['for this request, three times', ['mine', 'mine', 'mine']],
      ['for another one, then for this', ['hers', 'mine']],
    ] as const) {
      it(`asks once the acknowledgement has come: ${what} [PING-11]`, async () => {
        const statuses: number[] = []
        pingFirst('mine', pinged, statuses)
        op.onToken(() => op.tokens())
        const transaction = await browser.begin()
        expect(statuses).to.deep.equal(pinged.map(() => 204))
        expect(await browser.outcome(transaction)).to.have.property('status', 'complete')
        const [call, ...others] = op.callsTo('token')
        expect(others).to.have.length(0)
        expect(call?.at).to.be.at.least(Number(op.callsTo('backchannel')[0]?.answeredAt))
      })
    }

    it('forgets a ping for another request, and takes the right one later [PING-11]', async () => {
      const statuses: number[] = []
      pingFirst('mine', ['hers'], statuses)
      const transaction = await browser.begin()
      expect(statuses).to.deep.equal([204])
      expect(await store.pending()).to.include({ state: 'pending', authReqId: 'mine' })
      expect((await browser.poll(transaction)).body).to.have.property('status', 'pending')
      expect(op.callsTo('token')).to.have.length(0)
      expect(await op.ping(app.notificationUrl, { authReqId: 'hers' })).to.have.property('status', 401)
      op.onToken(() => op.tokens())
      expect(await op.ping(app.notificationUrl, { authReqId: 'mine' })).to.have.property('status', 204)
      expect(await browser.outcome(transaction)).to.have.property('status', 'complete')
    })

    it('asks nothing where the acknowledgement is a refusal [PING-11]', async () => {
      op.onBackchannel(async () => {
        await op.ping(app.notificationUrl, { authReqId: 'mine' })
        return { status: 400, json: { error: 'invalid_scope' } }
      })
      expect((await browser.start()).status).to.equal(400)
      await op.ping(app.notificationUrl, { authReqId: 'mine' })
      await app.auth.close()
      expect(op.callsTo('token')).to.have.length(0)
    })
  })

  context('the acknowledgement never comes', () => {
    it('answers 502, and a ping does not revive it [PING-11, REQ-16]', async () => {
      await open('ping', 1)
      op.onBackchannel({ hang: true })
      const start = browser.start()
      await op.waitForCall('backchannel')
      expect(await op.ping(app.notificationUrl, { authReqId: 'mine' })).to.have.property('status', 204)
      expect((await start).status).to.equal(502)
      // Whether what never started is kept is nobody's business but ours [PING-17].
      const { status } = await op.ping(app.notificationUrl, { authReqId: 'mine' })
      expect(status).to.be.oneOf([204, 401])
      await app.auth.close()
      expect(op.callsTo('backchannel')).to.have.length(1)
      expect(op.callsTo('token')).to.have.length(0)
    })
  })

  context('the acknowledgement is in order', () => {
    // When the first token request is due; the record says it, so nobody needs to wait for it.
    const firstRequests: ['poll' | 'ping', number, number, string, number?][] = [
      ['poll', 1, 1_100, 'POLL-16'],
      ['poll', 40, 40_100, 'POLL-16'],
      ['ping', 1, 30_000, 'PING-12'],
      ['ping', 40, 40_100, 'PING-12'],
      // There is one request before the deadline, however long the interval.
      ['poll', 40, 19_000, 'POLL-16', 20],
      ['ping', 1, 19_000, 'PING-12', 20],
    ]
    for (const [mode, interval, dueMs, id, expiresIn = 120] of firstRequests) {
      const what = `${mode}, interval ${interval}, expires_in ${expiresIn}`
      it(`lets ${dueMs} ms pass before the first request: ${what} [${id}]`, async () => {
        await open(mode)
        op.onBackchannel(acknowledge({ interval, expires_in: expiresIn }))
        const before = Date.now()
        await browser.begin()
        const { nextTokenRequestAt } = await store.pending()
        expect(nextTokenRequestAt - dueMs).to.be.within(before, Date.now())
      })
    }

    it('sent a notification token in ping mode, each time another [REQ-4]', async () => {
      await open('ping')
      await browser.begin()
      await browser.begin()
      const sent = op.callsTo('backchannel').map((call) => call.params.get('client_notification_token'))
      expect(new Set(sent).size).to.equal(2)
      for (const token of sent) expect(token).to.match(/^[A-Za-z0-9\-._~+/]{43,1024}=*$/)
    })

    it('sent none in poll mode [REQ-4]', async () => {
      await open('poll')
      await browser.begin()
      const { params, headers } = op.callsTo('backchannel')[0] ?? {}
      expect([...(params?.keys() ?? [])]).to.have.members(['scope', 'login_hint', 'client_id'])
      expect(headers?.['content-type']).to.match(/^application\/x-www-form-urlencoded/)
    })
  })
})
