import { expect } from 'chai'
import type { Response } from 'supertest'
import { MemoryTransactionStore, type StoredRecord } from '../../lib/index.ts'
import { type Browser, cookiesOf, expressVersions, type Web, webs } from '../support/web.ts'

/** Forgets what it is told to, as if the time had come. */
class ForgetfulStore extends MemoryTransactionStore {
  readonly forgotten = new Set<string>()

  override async read(id: string): Promise<StoredRecord | undefined> {
    return this.forgotten.has(id) ? undefined : super.read(id)
  }
}

/** All of an answer that somebody could compare. */
const seen = ({ status, text, headers }: Response) => ({
  status,
  text,
  headers: Object.fromEntries(Object.entries(headers).filter(([name]) => name !== 'date')),
})

interface Scene {
  readonly web: Web
  readonly owner: Browser
  readonly handle: string
  readonly store: ForgetfulStore
}

/** How a handle can be wrong, and the browser that comes with it. */
const strangers: Record<string, (scene: Scene) => Promise<[Browser, string]>> = {
  'an unknown handle': async ({ owner }) => [owner, 'AAAAAAAAAAAAAAAAAAAAAA'],
  'a malformed handle': async ({ owner }) => [owner, '../../etc/passwd'],
  'a handle of 10,000 characters': async ({ owner }) => [owner, 'A'.repeat(10_000)],
  'the name of a built-in property': async ({ owner }) => [owner, '__proto__'],
  'a handle that its store has purged': async ({ owner, handle, store }) => {
    store.forgotten.add(handle)
    return [owner, handle]
  },
  'the handle of another session': async ({ web, handle }) => {
    const other = web.browser()
    await other.begin('mallory')
    return [other, handle]
  },
  'a session that has started nothing': async ({ web, handle }) => {
    const other = web.browser()
    await other.post('/data', { language: 'de' })
    return [other, handle]
  },
  'no cookie at all': async ({ web, handle }) => [web.browser(), handle],
  'a forged cookie': async ({ web, owner, handle }) => {
    const other = web.browser()
    other.cookie = `connect.sid=${encodeURIComponent(`s:${owner.sessionId}.bm90IGEgc2lnbmF0dXJl`)}`
    return [other, handle]
  },
}

for (const { name, express } of expressVersions) {
  for (const route of ['poll', 'cancel']) {
    describe(`POST /ciba/${route}: handles (${name})`, () => {
      const start = webs()

      for (const [title, prepare] of Object.entries(strangers)) {
        it(`answers ${title} exactly as a transaction that never existed [SEC-6]`, async () => {
          const store = new ForgetfulStore()
          const web = await start({ express, ciba: { store } })
          const owner = web.browser()
          const handle = await owner.begin()
          const reference = await owner.post(`/ciba/${route}`, { transaction: 'BBBBBBBBBBBBBBBBBBBBBB' })
          const [browser, transaction] = await prepare({ web, owner, handle, store })
          const answer = await browser.post(`/ciba/${route}`, { transaction })
          expect(seen(answer)).to.deep.equal(seen(reference))
          expect(answer.status).to.equal(404)
          expect(answer.body.error).to.equal('unknown_transaction')
          expect(answer.headers['cache-control']).to.equal('no-store')
          expect(cookiesOf(answer)).to.be.empty
          expect(web.op.callsTo('token')).to.be.empty
        })
      }

      for (const [what, transaction] of [
        ['missing', undefined],
        ['empty', ''],
        ['a number', 5],
        ['an array', ['AAAAAAAAAAAAAAAAAAAAAA']],
        ['an object', { id: 'A' }],
        ['null', null],
      ] as const) {
        it(`answers 400 when the transaction is ${what}`, async () => {
          const web = await start({ express })
          const answer = await web.browser().post(`/ciba/${route}`, { transaction })
          expect(answer.status).to.equal(400)
          expect(answer.body).to.deep.equal({
            error: 'invalid_request',
            error_description: '"transaction" must be a non-empty string',
          })
          expect(answer.headers['cache-control']).to.equal('no-store')
        })
      }
    })
  }

  describe(`POST /ciba/poll: wait (${name})`, () => {
    const start = webs()

    /** How long it took, too. */
    async function timed(poll: Promise<Response>): Promise<{ answer: Response; ms: number }> {
      const from = performance.now()
      return { answer: await poll, ms: performance.now() - from }
    }

    for (const wait of [undefined, 0, '0']) {
      it(`answers at once with wait ${JSON.stringify(wait)}`, async () => {
        const web = await start({ express })
        const browser = web.browser()
        const transaction = await browser.begin()
        const { answer, ms } = await timed(browser.poll(transaction, wait))
        expect(answer.body.status).to.equal('pending')
        // Far below the interval, and far above what a busy machine needs.
        expect(ms).to.be.below(900)
      })
    }

    for (const wait of [0.3, '0.3']) {
      it(`holds the browser with wait ${JSON.stringify(wait)}`, async () => {
        const web = await start({ express })
        const browser = web.browser()
        const transaction = await browser.begin()
        const { answer, ms } = await timed(browser.poll(transaction, wait))
        expect(answer.body.status).to.equal('pending')
        expect(ms).to.be.within(295, 2_000)
      })
    }

    it('takes "wait" from a form', async () => {
      const web = await start({ express })
      const browser = web.browser()
      const transaction = await browser.begin()
      const form = { 'content-type': 'application/x-www-form-urlencoded' }
      const { answer, ms } = await timed(
        browser.post('/ciba/poll', `transaction=${transaction}&wait=0.3`, form),
      )
      expect(answer.body.status).to.equal('pending')
      expect(ms).to.be.within(295, 2_000)
    })

    it('answers as soon as the person has decided', async () => {
      const web = await start({ express })
      const browser = web.browser()
      const transaction = await browser.begin()
      const { answer } = await browser.hold(transaction, web, '5' as unknown as number)
      const [{ ms, answer: last }] = await Promise.all([timed(answer), web.approve()])
      expect(last.body.status).to.equal('complete')
      expect(ms).to.be.below(2_000)
    })

    for (const wait of [3_600, '3600', 1e308, 'Infinity']) {
      it(`holds nobody longer than longPollTimeout, with wait ${JSON.stringify(wait)}`, async () => {
        const web = await start({ express, ciba: { longPollTimeout: 0.2 } })
        const browser = web.browser()
        const transaction = await browser.begin()
        const { answer, ms } = await timed(browser.poll(transaction, wait))
        expect(answer.body.status).to.equal('pending')
        expect(ms).to.be.within(195, 2_000)
      })
    }

    for (const wait of [-1, '-1', 'soon', 'NaN', '', ' ', '5s', null, true, {}, [], [5]]) {
      it(`answers 400 with wait ${JSON.stringify(wait)}`, async () => {
        const web = await start({ express })
        const browser = web.browser()
        const transaction = await browser.begin()
        const answer = await browser.poll(transaction, wait)
        expect(answer.status).to.equal(400)
        expect(answer.body).to.deep.equal({
          error: 'invalid_request',
          error_description: '"wait" must be a number of seconds',
        })
      })
    }

    it('answers a browser that polls too often from the record [POLL-1]', async () => {
      const web = await start({ express, ciba: { deliveryMode: 'poll' } })
      const browser = web.browser()
      const transaction = await browser.begin()
      let polls = 0
      const hasAskedTwice = () => web.op.callsTo('token').length >= 2
      // Over two intervals, as fast as it goes.
      for (; !hasAskedTwice(); polls++) {
        expect((await browser.poll(transaction)).body.status).to.equal('pending')
      }
      expect(polls).to.be.above(20)
      expect(web.op.violations()).to.deep.equal([])
    })
  })

  describe(`POST /ciba/cancel (${name})`, () => {
    const start = webs()

    it('answers 204 without a body, as often as it is asked [POLL-14]', async () => {
      const web = await start({ express })
      const browser = web.browser()
      const transaction = await browser.begin()
      for (let n = 0; n < 3; n++) {
        const answer = await browser.post('/ciba/cancel', { transaction })
        expect(answer.status).to.equal(204)
        expect(answer.text).to.equal('')
        expect(answer.headers['cache-control']).to.equal('no-store')
        expect(answer.headers).to.not.have.property('content-type')
      }
      const { body } = await browser.poll(transaction)
      expect(body).to.deep.equal({ transaction, status: 'cancelled', error: 'cancelled' })
    })

    it('makes later pings no-ops: nobody is signed in [POLL-14, PING-17]', async () => {
      const web = await start({ express })
      const browser = web.browser()
      const transaction = await browser.begin()
      await browser.post('/ciba/cancel', { transaction })
      await web.approve()
      expect((await browser.poll(transaction, 0.2)).body.status).to.equal('cancelled')
      expect(web.op.callsTo('token')).to.be.empty
    })

    it('lets the browser go that waits', async () => {
      const web = await start({ express })
      const browser = web.browser()
      const transaction = await browser.begin()
      const { answer } = await browser.hold(transaction, web)
      await browser.copy().post('/ciba/cancel', { transaction })
      expect((await answer).body.status).to.equal('cancelled')
    })

    it('answers 204 after completion too, and changes nothing', async () => {
      const web = await start({ express })
      const browser = web.browser()
      const transaction = await browser.begin()
      await web.approve()
      await browser.poll(transaction, 5)
      expect((await browser.post('/ciba/cancel', { transaction })).status).to.equal(204)
      expect((await browser.poll(transaction)).body.status).to.equal('complete')
      expect((await browser.get('/me')).body.signedIn).to.equal(true)
    })

    it('leaves other transactions of the session alone', async () => {
      const web = await start({ express })
      const browser = web.browser()
      const first = await browser.begin()
      const second = await browser.begin()
      await browser.post('/ciba/cancel', { transaction: first })
      expect((await browser.poll(second)).body.status).to.equal('pending')
    })
  })

  describe(`POST /ciba/logout (${name})`, () => {
    const start = webs()

    it('ends the session with all that is in it, and answers 204', async () => {
      const web = await start({ express })
      const browser = web.browser()
      await browser.post('/data', { language: 'de' })
      const transaction = await browser.begin()
      await web.approve()
      await browser.poll(transaction, 5)
      const signedIn = browser.copy()
      const answer = await browser.post('/ciba/logout')
      expect(answer.status).to.equal(204)
      expect(answer.text).to.equal('')
      expect(answer.headers['cache-control']).to.equal('no-store')
      expect(browser.sessionId).to.not.equal(signedIn.sessionId)
      expect(await web.sessions.read(signedIn.sessionId as string)).to.equal(undefined)
      for (const window of [browser, signedIn]) {
        expect((await window.get('/me')).body.signedIn).to.equal(false)
        expect((await window.get('/data')).body).to.not.have.property('language')
        expect((await window.poll(transaction)).status).to.equal(404)
      }
    })

    it('answers 204 to somebody who is not signed in', async () => {
      const web = await start({ express })
      expect((await web.browser().post('/ciba/logout')).status).to.equal(204)
    })

    it('takes the empty body of a form without fields', async () => {
      const web = await start({ express })
      const form = { 'content-type': 'application/x-www-form-urlencoded' }
      expect((await web.browser().post('/ciba/logout', '', form)).status).to.equal(204)
    })

    it('answers 503 when the session store fails, and says nothing of success', async () => {
      const web = await start({ express })
      const browser = web.browser()
      const transaction = await browser.begin()
      await web.approve()
      await browser.poll(transaction, 5)
      await browser.get('/me')
      web.sessions.destroy = (_id, done) => void setImmediate(() => done?.(new Error('down')))
      const answer = await browser.post('/ciba/logout')
      expect(answer.status).to.equal(503)
      expect(answer.body.error).to.equal('temporarily_unavailable')
    })
  })
}
