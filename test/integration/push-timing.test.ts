/** Pushes that come early, late, twice, together or while something is down: one login or none, never half of one. */
import { expect } from 'chai'
import { MemoryTransactionStore, type StoredRecord } from '../../lib/index.ts'
import { type Browser, startApp, type TestApp } from '../support/app.ts'
import type { ResponseOverrides } from '../support/id-tokens.ts'
import {
  type Answer,
  html,
  type Pong,
  type ScriptedOp,
  startScriptedOp,
  unavailable,
} from '../support/scripted-op.ts'
import { until } from '../support/web.ts'

/** Forgets and fails on command. */
class MoodyStore extends MemoryTransactionStore {
  purged = new Set<string>()
  failsRead = false
  /** How many of the next writes fail. */
  failures = 0

  override async read(id: string): Promise<StoredRecord | undefined> {
    if (this.failsRead) throw new Error('the store is down')
    return this.purged.has(id) ? undefined : super.read(id)
  }

  override async write(record: StoredRecord, expectedVersion: number): Promise<boolean> {
    if (this.failures-- > 0) throw new Error('the store is down')
    return super.write(record, expectedVersion)
  }
}

describe('a push', () => {
  let op: ScriptedOp
  let store: MoodyStore
  let app: TestApp
  let browser: Browser
  let logins: string[]
  const others: TestApp[] = []

  const startInstance = () =>
    startApp({
      options: {
        issuerBaseURL: op.issuer,
        deliveryMode: 'push',
        secret: 'of all instances',
        httpTimeout: 2,
        store,
        afterAuthentication(_req, { tokens }) {
          logins.push(tokens.accessToken)
        },
      },
    })

  beforeEach(async () => {
    op = await startScriptedOp()
    store = new MoodyStore()
    logins = []
    app = await startInstance()
    browser = app.browser()
  })

  afterEach('no test leads to a token request [PUSH-8]', async () => {
    for (const instance of [app, ...others.splice(0)]) await instance.close()
    store.close()
    await op.stop()
    expect(op.callsTo('token')).to.deep.equal([])
  })

  const push = (overrides: ResponseOverrides & { authReqId?: string } = {}): Promise<Pong> =>
    op.push(app.notificationUrl, overrides)
  const pushError = (error = 'access_denied') => op.pushError(app.notificationUrl, error)
  const statusOf = async (transaction: string) => (await browser.poll(transaction)).body.status as string

  context('before the acknowledgement [PUSH-2, PING-11]', () => {
    const acknowledged = { json: { auth_req_id: 'early', expires_in: 120 } }

    it('is kept, and applied when that names the same auth_req_id', async () => {
      op.onBackchannel(async () => {
        expect(await push({ authReqId: 'early' })).to.have.property('status', 204)
        return acknowledged
      })
      const { status, body } = await browser.start()
      expect([status, body.status]).to.deep.equal([202, 'pending'])
      expect((await browser.poll(body.transaction)).body.status).to.equal('complete')
      expect(await browser.user()).to.equal('alice')
    })

    it('is kept when it is an error', async () => {
      op.onBackchannel(async () => {
        await op.pushError(app.notificationUrl, 'access_denied', { authReqId: 'early' })
        return acknowledged
      })
      const transaction = await browser.begin()
      expect((await browser.poll(transaction)).body).to.include({ status: 'denied', error: 'access_denied' })
    })

    it('is discarded when that names another auth_req_id', async () => {
      op.onBackchannel(async () => {
        expect(await push({ authReqId: 'another' })).to.have.property('status', 204)
        return acknowledged
      })
      const transaction = await browser.begin()
      expect(await statusOf(transaction)).to.equal('pending')
      expect(await push({ authReqId: 'another' }), 'now that it is known').to.have.property('status', 401)
      expect(await push({ authReqId: 'early' })).to.have.property('status', 204)
      expect(await statusOf(transaction)).to.equal('complete')
    })

    it('signs nobody in when the acknowledgement never comes', async () => {
      op.onBackchannel(async () => {
        expect(await push({ authReqId: 'early' })).to.have.property('status', 204)
        return { reset: 'before-answer' }
      })
      const { status } = await browser.start()
      expect(status).to.equal(502)
      expect(await push({ authReqId: 'early' }), 'once more').to.have.property('status', 204)
      expect(await browser.user()).to.equal(undefined)
      expect(logins).to.deep.equal([])
    })

    it('is refused when a check fails, and the right one is taken', async () => {
      op.onBackchannel(async () => {
        const bad = await push({ authReqId: 'early', claims: { sub: 5 } })
        expect(bad).to.have.property('status', 400)
        expect(await push({ authReqId: 'early' })).to.have.property('status', 204)
        return acknowledged
      })
      expect(await statusOf(await browser.begin())).to.equal('complete')
    })
  })

  context('more than once', () => {
    it('counts the first time only [PUSH-9]', async () => {
      const transaction = await browser.begin()
      expect(await push({ response: { access_token: 'first' } })).to.have.property('status', 204)
      for (const again of [push({ response: { access_token: 'second' } }), push(), pushError()]) {
        expect(await again).to.include({ status: 204, text: '' })
      }
      expect(await statusOf(transaction)).to.equal('complete')
      expect(await push({ response: { access_token: 'third' } })).to.have.property('status', 204)
      expect(await statusOf(transaction)).to.equal('complete')
      expect(logins).to.deep.equal(['first'])
    })

    it('does not turn a denial into a login [PUSH-9]', async () => {
      const transaction = await browser.begin()
      expect(await pushError()).to.have.property('status', 204)
      expect(await push()).to.have.property('status', 204)
      expect((await browser.poll(transaction)).body).to.include({ status: 'denied', error: 'access_denied' })
      expect(await browser.user()).to.equal(undefined)
    })

    it('counts once where ten come together, at two instances [PUSH-9, SEC-10]', async () => {
      const other = await startInstance()
      others.push(other)
      const transaction = await browser.begin()
      const outcome = browser.outcome(transaction)
      const pongs = await Promise.all(
        Array.from({ length: 10 }, (_, index) => {
          const { notificationUrl } = index % 2 ? app : other
          return op.push(notificationUrl, { response: { access_token: `number ${index}` } })
        }),
      )
      for (const { status } of pongs) expect(status).to.equal(204)
      expect(await outcome).to.have.property('status', 'complete')
      expect(logins).to.have.length(1)
      expect(await statusOf(transaction)).to.equal('complete')
      expect(logins).to.have.length(1)
    })
  })

  context('after the end', () => {
    const ends: [string, (transaction: string) => Promise<unknown>][] = [
      ['cancelled', (transaction) => browser.cancel(transaction)],
      ['failed', () => pushError('transaction_failed')],
    ]
    for (const [state, end] of ends) {
      it(`is answered 204, to no effect: ${state} [PING-17, POLL-12]`, async () => {
        const transaction = await browser.begin()
        await end(transaction)
        for (const late of [push(), push({ claims: { sub: 5 } }), pushError()]) {
          expect(await late).to.have.property('status', 204)
        }
        expect(await statusOf(transaction)).to.equal(state)
        expect(await browser.user()).to.equal(undefined)
        expect(op.callsTo('jwks'), 'not looked at').to.have.length(0)
      })
    }

    it('is answered 204, to no effect: complete and signed out again [PING-17]', async () => {
      const transaction = await browser.begin()
      await push()
      expect(await browser.outcome(transaction)).to.have.property('status', 'complete')
      await browser.agent.post('/ciba/logout')
      expect(await push()).to.have.property('status', 204)
      expect((await browser.poll(transaction)).status).to.equal(404)
      expect(await browser.user()).to.equal(undefined)
    })

    it('is answered 401 once the record is purged [PING-17]', async () => {
      const transaction = await browser.begin()
      store.purged.add(transaction)
      const pong = await push()
      expect(pong.status).to.equal(401)
      expect(pong.headers.get('www-authenticate')).to.equal('Bearer')
    })

    it('is taken in the seconds after the deadline, when it was on its way', async () => {
      op.onBackchannel({ json: { auth_req_id: 'brief', expires_in: 1 } })
      const transaction = await browser.begin()
      let { body } = await browser.poll(transaction)
      await until('the deadline', async () => {
        ;({ body } = await browser.poll(transaction))
        return body.expiresIn === 0
      })
      expect(body).to.include({ status: 'pending' })
      expect(await push()).to.have.property('status', 204)
      expect(await statusOf(transaction)).to.equal('complete')
    })
  })

  context('while something is down', () => {
    const expectAway = ({ status, headers, text }: Pong) => {
      expect(status).to.equal(503)
      expect(Number(headers.get('retry-after'))).to.be.greaterThan(0)
      expect(JSON.parse(text)).to.have.property('error', 'temporarily_unavailable')
      expect(text).to.not.include('down')
    }

    it('is answered 503 without the store, and taken when it comes again [PING-16]', async () => {
      const transaction = await browser.begin()
      store.failsRead = true
      expectAway(await push())
      expectAway(await pushError())
      expect(await op.push(app.notificationUrl, {}, { token: 'x.y' })).to.have.property('status', 401)
      store.failsRead = false
      expect(await push()).to.have.property('status', 204)
      expect(await statusOf(transaction)).to.equal('complete')
    })

    it('is taken when the store is away for a moment only', async () => {
      const transaction = await browser.begin()
      store.failures = 3
      expect(await push()).to.have.property('status', 204)
      expect(store.failures).to.be.below(1)
      expect(await statusOf(transaction)).to.equal('complete')
    })

    for (const [what, answers] of [
      ['are away', Array.from({ length: 4 }, () => unavailable())],
      ['break off', Array.from({ length: 4 }, () => ({ reset: 'mid-body' }))],
      ['are a page of a proxy', Array.from({ length: 4 }, () => html(200))],
    ] as [string, Answer[]][]) {
      it(`is answered 503 while the keys of the OP ${what}, and taken when it comes again [PUSH-9]`, async () => {
        const transaction = await browser.begin()
        op.onJwks(...answers)
        expectAway(await push())
        expect(await statusOf(transaction)).to.equal('pending')
        expect(await push()).to.have.property('status', 204)
        expect(await statusOf(transaction)).to.equal('complete')
      })
    }

    it('is an error that needs no keys: it is taken while they are away [PUSH-7]', async () => {
      const transaction = await browser.begin()
      op.onJwks(unavailable(), unavailable(), unavailable())
      expect(await pushError()).to.have.property('status', 204)
      expect(await statusOf(transaction)).to.equal('denied')
    })
  })
})
