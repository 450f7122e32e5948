/** Logins whose answer has left and was lost: the browser still has its old cookie, and comes back with it. */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'chai'
import type { Request } from 'express'
import { publishedEvents } from '../support/events.ts'
import { timeTravel } from '../support/real-op.ts'
import {
  type Browser,
  cookiesOf,
  expressVersions,
  until,
  type Web,
  type WebOptions,
  webs,
} from '../support/web.ts'

/** Longer than an answer has to arrive, in seconds. */
const longEnough = 6

for (const { name, express } of expressVersions) {
  describe(`POST /ciba/poll: an answer that is lost (${name})`, () => {
    const launch = webs()
    const pass = timeTravel()
    const published = publishedEvents()
    let left = 0

    beforeEach(() => {
      left = 0
    })

    /** Counts the answers that have left. */
    const start = (options: WebOptions = {}) =>
      launch({
        express,
        ...options,
        before: (app) => {
          app.use((_req, res, next) => {
            res.once('close', () => left++)
            next()
          })
        },
      })

    /** The answer leaves, and only the test knows that it arrives: gives the browser that it would have made. */
    async function lose(browser: Browser, ask: () => Promise<unknown>): Promise<Browser> {
      const before = browser.cookie
      const count = left
      await ask()
      await until('the answer has left', () => left > count)
      const arrived = browser.copy()
      expect(arrived.cookie, 'a new cookie').to.not.equal(before)
      browser.cookie = before
      return arrived
    }

    const losePoll = (browser: Browser, transaction: string, wait = 5) =>
      lose(browser, async () => {
        expect((await browser.poll(transaction, wait)).body.status).to.equal('complete')
      })

    async function onlySignedIn(web: Web, browser: Browser): Promise<void> {
      expect((await browser.get('/me')).body.user?.sub).to.equal('alice')
      expect(await web.sessions.ids()).to.deep.equal([browser.sessionId])
    }

    it('tells a poll that waits beside it no "complete": that one comes again, and gets the login', async () => {
      const web = await start()
      const browser = web.browser()
      const transaction = await browser.begin()
      const { cookie } = browser
      const held = [await browser.hold(transaction, web), await browser.copy().hold(transaction, web)]
      await web.approve()
      const answers = await Promise.all(held.map(({ answer }) => answer))
      expect(answers.map(({ body }) => body.status)).to.have.members(['complete', 'pending'])
      browser.cookie = cookie // the answer that had the new one went into a dead connection
      pass(longEnough)
      expect((await browser.poll(transaction, 5)).body.status).to.equal('complete')
      await onlySignedIn(web, browser)
    })

    for (const wait of [5, 0]) {
      it(`brings the login again to a poll with wait ${wait}: one session, one token request [SEC-7, POLL-2]`, async () => {
        const ids: string[] = []
        const web = await start({ ciba: { afterAuthentication: (req) => void ids.push(req.sessionID) } })
        const browser = web.browser()
        const transaction = await browser.begin()
        await web.approve()
        const lost = await losePoll(browser, transaction)
        pass(longEnough)
        const again = await browser.poll(transaction, wait)
        expect(again.body).to.deep.equal({ transaction, status: 'complete' })
        expect(cookiesOf(again)).to.have.length(1)
        await onlySignedIn(web, browser)
        expect((await lost.get('/me')).body.signedIn, 'what never arrived').to.equal(false)
        expect(ids).to.deep.equal([lost.sessionId, browser.sessionId])
        expect(web.op.callsTo('token')).to.have.length(1)
        const said = published.on('express-ciba:login').map(({ event }) => event)
        expect(said).to.deep.equal(['signedIn'])
      })
    }

    it('brings it as often as it is lost, and leaves none of those sessions behind', async () => {
      const web = await start()
      const browser = web.browser()
      const transaction = await browser.begin()
      await web.approve()
      for (let time = 0; time < 3; time += 1) {
        await losePoll(browser, transaction)
        pass(longEnough)
      }
      expect((await browser.poll(transaction, 5)).body.status).to.equal('complete')
      await onlySignedIn(web, browser)
      expect(web.op.callsTo('token')).to.have.length(1)
      expect(published.on('express-ciba:login')).to.have.length(1)
    })

    it('brings it again to a page without scripts', async () => {
      const web = await start()
      const browser = web.browser()
      const form = { 'content-type': 'application/x-www-form-urlencoded', accept: 'text/html' }
      const { headers } = await browser.post('/ciba/start', 'loginHint=alice', form)
      const page = new URL(headers['location'] ?? '', `${web.origin}/ciba/`)
      const path = page.pathname + page.search
      await web.approve()
      await lose(browser, () => until('it is complete', async () => (await browser.get(path)).status === 303))
      pass(longEnough)
      expect((await browser.get(path)).status).to.equal(303)
      await onlySignedIn(web, browser)
    })

    it('says "pending" to a look as long as the answer may arrive, after two seconds, and touches no session', async () => {
      const web = await start({ session: { resave: true, rolling: true } })
      const browser = web.browser()
      const transaction = await browser.begin()
      await web.approve()
      const arrived = await losePoll(browser, transaction)
      const from = performance.now()
      const look = await browser.poll(transaction)
      expect(performance.now() - from).to.be.within(1_900, 3_500)
      expect(look.body).to.include({ transaction, status: 'pending' })
      expect(cookiesOf(look)).to.deep.equal([])
      await onlySignedIn(web, arrived)
    })

    it('says "complete" to who asked after it left as soon as it is known that it arrived, and brings no cookie', async () => {
      const web = await start({ session: { resave: true, rolling: true } })
      const browser = web.browser()
      const transaction = await browser.begin()
      await web.approve()
      const arrived = await losePoll(browser, transaction)
      const held = await browser.hold(transaction, web)
      await arrived.get('/me')
      const answer = await held.answer
      expect(answer.body).to.deep.equal({ transaction, status: 'complete' })
      expect(cookiesOf(answer)).to.deep.equal([])
      await onlySignedIn(web, arrived)
    })

    it('does not keep a look waiting for a hook that takes its time, however often it is renewed', async () => {
      let open = () => {}
      const closed = new Promise<void>((resolve) => {
        open = resolve
      })
      let runs = 0
      const afterAuthentication = () => {
        runs++
        return closed
      }
      const web = await start({ ciba: { afterAuthentication } })
      const browser = web.browser()
      const transaction = await browser.begin()
      await web.approve()
      const poll = browser.copy().poll(transaction, 5)
      await until('the hook runs', () => runs === 1)
      const from = performance.now()
      expect((await browser.poll(transaction)).body.status).to.equal('pending')
      expect(performance.now() - from).to.be.below(3_500)
      open()
      expect((await poll).body.status).to.equal('complete')
      expect(runs).to.equal(1)
    })

    it('does not bring a session back that was logged out while a look waited', async () => {
      const web = await start({ session: { resave: true, rolling: true } })
      const browser = web.browser()
      const transaction = await browser.begin()
      const old = browser.sessionId
      await web.approve()
      await losePoll(browser, transaction)
      const held = await browser.copy().hold(transaction, web, 0)
      await browser.post('/ciba/logout')
      await held.answer
      expect(await web.sessions.ids()).to.not.include(old)
    })

    it('takes along what was written while a look waited', async () => {
      const web = await start()
      const browser = web.browser()
      const transaction = await browser.begin()
      await web.approve()
      await losePoll(browser, transaction)
      pass(longEnough - 2)
      const window = browser.copy()
      const held = await window.hold(transaction, web, 0)
      await browser.post('/data', { cart: [1] })
      expect((await held.answer).body.status).to.equal('complete')
      expect((await window.get('/data')).body.cart).to.deep.equal([1])
    })

    context('and the login before is another one of the same session', () => {
      it('leaves it signed in as before, and then brings the new one', async () => {
        const web = await start()
        const browser = web.browser()
        const first = await browser.begin()
        await web.approve({ claims: { acr: 'weak' } })
        await browser.poll(first, 5)
        const second = await browser.begin()
        await web.approve({ claims: { acr: 'strong' } })
        const lost = await losePoll(browser, second)
        const acr = async () => (await browser.get('/me')).body.user.acr
        expect(await acr()).to.equal('weak')
        pass(longEnough)
        expect((await browser.poll(second, 5)).body.status).to.equal('complete')
        expect(await acr()).to.equal('strong')
        expect((await lost.get('/me')).body.signedIn).to.equal(false)
        await onlySignedIn(web, browser)
      })
    })

    it('ends what an earlier answer brought when afterAuthentication refuses the next one', async () => {
      let refuses = false
      const afterAuthentication = () => {
        if (refuses) throw Object.assign(new Error('closed meanwhile'), { status: 403 })
      }
      const web = await start({ ciba: { afterAuthentication } })
      const browser = web.browser()
      const transaction = await browser.begin()
      await web.approve()
      const lost = await losePoll(browser, transaction)
      refuses = true
      pass(longEnough)
      expect((await browser.poll(transaction, 5)).body.error).to.equal('login_refused')
      expect((await lost.get('/me')).body.signedIn).to.equal(false)
      expect(await web.sessions.ids()).to.deep.equal([browser.sessionId])
    })

    context('for all that is known, but it arrived', () => {
      const own: WebOptions['own'] = (app) => {
        app.get('/own', (_req: Request, res) => void res.end())
      }
      const requests: Record<string, (browser: Browser, transaction: string) => Promise<unknown>> = {
        'a route of the app': (browser) => browser.get('/own'),
        'a path that does not exist': (browser) => browser.get('/nothing'),
        'a poll': (browser, transaction) => browser.poll(transaction),
        'another start': (browser) => browser.begin(),
        'a logout': (browser) => browser.post('/ciba/logout'),
        'many at once': (browser) =>
          Promise.all(Array.from({ length: 10 }, () => browser.copy().get('/own'))),
      }
      for (const [what, ask] of Object.entries(requests)) {
        it(`is out of reach for the old cookie after ${what} [SEC-7, SEC-9]`, async () => {
          const web = await start({ own })
          const browser = web.browser()
          const transaction = await browser.begin()
          await web.approve()
          const arrived = await losePoll(browser, transaction)
          const old = browser.sessionId
          await ask(arrived, transaction)
          expect(await web.sessions.ids()).to.not.include(old)
          pass(longEnough)
          for (const wait of [0, 5]) expect((await browser.poll(transaction, wait)).status).to.equal(404)
          expect((await browser.get('/me')).body.signedIn).to.equal(false)
          expect((await arrived.get('/me')).body.signedIn).to.equal(what !== 'a logout')
          await sleep(20)
          const inStore = await Promise.all((await web.sessions.ids()).map((id) => web.sessions.read(id)))
          expect(inStore.filter((data) => data?.ciba?.login)).to.have.length(what === 'a logout' ? 0 : 1)
        })
      }
    })
  })
}
