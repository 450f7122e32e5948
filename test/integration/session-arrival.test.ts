/** How it becomes known that a login has arrived: over failing and slow stores, two instances and thieves. */
import { expect } from 'chai'
import type { StoredRecord } from '../../lib/index.ts'
import { publishedEvents } from '../support/events.ts'
import { type Later, later } from '../support/outcomes.ts'
import { timeTravel } from '../support/real-op.ts'
import { RecordingStore, sceneSecret } from '../support/scenes.ts'
import { Browser, cookiesOf, until, type Web, type WebOptions, webs } from '../support/web.ts'

const longEnough = 6

/** A transaction store that fails or hangs when it is told to. */
class WeakStore extends RecordingStore {
  isDown = false
  /** Awaited by every read and write. */
  hold: Promise<unknown> | undefined
  reads = 0

  override async read(id: string): Promise<StoredRecord | undefined> {
    this.reads++
    await this.#pass()
    return super.read(id)
  }

  override async write(record: StoredRecord, expectedVersion: number): Promise<boolean> {
    await this.#pass()
    return super.write(record, expectedVersion)
  }

  async #pass(): Promise<void> {
    await this.hold
    if (this.isDown) throw new Error('the transaction database is down')
  }
}

describe('a login that arrives', () => {
  let store: WeakStore
  let hold: Later<void>

  beforeEach(() => {
    store = new WeakStore()
    hold = later()
  })
  afterEach(() => hold.resolve()) // before the apps are closed, which wait for it
  const start = webs()
  const pass = timeTravel()
  const published = publishedEvents()
  afterEach(() => store.close())

  /** Signed in, with the thief who knows the cookie of before; the app has not heard of the browser since. */
  async function arriving(options: WebOptions = {}) {
    const web = await start({ ...options, ciba: { store, ...options.ciba } })
    const browser = web.browser()
    const transaction = await browser.begin()
    const thief = browser.copy()
    await web.approve()
    const poll = async () => {
      expect((await browser.poll(transaction, 5)).body.status).to.equal('complete')
    }
    return { web, browser, thief, transaction, poll }
  }

  /** Another instance of the same app. */
  const another = ({ op, sessions }: Web, secret: string) => {
    const { issuer: issuerBaseURL, clientId: clientID, clientSecret } = op
    const ciba = { store, secret, issuerBaseURL, clientID, clientSecret }
    return start({ ciba, session: { store: sessions } })
  }

  const untilSent = () =>
    until('it is written that the answer has left', async () => {
      return store.transactions().some((one) => one.state === 'complete' && one.arrival)
    })
  const isSignedIn = async (browser: Browser) => (await browser.get('/me')).body.signedIn
  const signedInSessions = async ({ sessions }: Web) => {
    const all = await Promise.all((await sessions.ids()).map((id) => sessions.read(id)))
    return all.filter((data) => data?.ciba?.login).length
  }

  it('costs one read of the record, and nothing from then on', async () => {
    const { browser, poll } = await arriving()
    await poll()
    const before = store.reads
    await browser.get('/me')
    const after = store.reads
    expect(after - before).to.be.within(1, 3) // that of the answer's own word among them
    for (let time = 0; time < 3; time += 1) await browser.get('/me')
    expect(store.reads).to.equal(after)
  })

  it('ends the session before while the transaction store fails, and drops the tokens with a later request [SEC-7]', async () => {
    const { web, browser, thief, transaction, poll } = await arriving()
    await poll()
    store.isDown = true
    expect(await isSignedIn(browser)).to.equal(true)
    expect(await web.sessions.ids()).to.deep.equal([browser.sessionId])
    store.isDown = false
    pass(longEnough)
    expect((await thief.poll(transaction, 5)).status).to.equal(404)
    const before = store.reads
    expect(await isSignedIn(browser)).to.equal(true)
    expect(store.reads, 'tries again').to.be.above(before)
    const after = store.reads
    await browser.get('/me')
    expect(store.reads, 'and is done').to.equal(after)
  })

  it('leaves nothing to claim after a logout though the transaction store fails all the time', async () => {
    const { web, browser, thief, transaction, poll } = await arriving()
    await poll()
    store.isDown = true
    expect((await browser.post('/ciba/logout')).status).to.equal(204)
    store.isDown = false
    pass(longEnough)
    expect((await thief.poll(transaction, 5)).status).to.equal(404)
    expect(await signedInSessions(web)).to.equal(0)
  })

  it('ends the session before with a later request when the session store fails to', async () => {
    const { web, browser, thief, poll } = await arriving()
    await poll()
    const { destroy } = web.sessions
    web.sessions.destroy = (_id, done) => void setImmediate(() => done?.(new Error('down')))
    expect(await isSignedIn(browser)).to.equal(true)
    expect(await web.sessions.ids()).to.include(thief.sessionId)
    web.sessions.destroy = destroy
    expect(await isSignedIn(browser)).to.equal(true)
    expect(await web.sessions.ids()).to.deep.equal([browser.sessionId])
  })

  it('is confirmed by the first request, though it was fetched hours after the OP granted it [SEC-7]', async () => {
    const web = await start({ ciba: { store } })
    web.op.onBackchannel({ json: { auth_req_id: 'of-a-day', expires_in: 86_400, interval: 1 } })
    const browser = web.browser()
    const transaction = await browser.begin()
    const thief = browser.copy()
    await web.approve()
    const messages = () => published.on('express-ciba:transaction')
    await until('the tokens are in the record', () => messages().some(({ event }) => event === 'ended'))
    pass(2 * 3_600)
    expect((await browser.poll(transaction, 5)).body.status).to.equal('complete')
    expect(await isSignedIn(browser)).to.equal(true)
    expect(await web.sessions.ids()).to.deep.equal([browser.sessionId])
    pass(longEnough)
    expect((await thief.poll(transaction, 5)).status).to.equal(404)
    expect(await signedInSessions(web)).to.equal(1)
    expect(await isSignedIn(browser)).to.equal(true)
  })

  it('is not held up by a transaction store that hangs', async () => {
    const { browser, poll } = await arriving()
    await poll()
    await until('it is written that it left', () => store.reads > 0)
    store.hold = hold.promise
    const from = performance.now()
    expect(await isSignedIn(browser)).to.equal(true)
    expect(performance.now() - from).to.be.within(900, 2_000)
  })

  it('is known of before it is written that the answer has left [SEC-7]', async () => {
    const { web, browser, thief, transaction, poll } = await arriving({
      before: (app) => {
        app.post('/ciba/poll', (_req, res, next) => {
          res.once('finish', () => {
            store.isDown = true // only for what comes behind the answer
            setTimeout(() => {
              store.isDown = false
            }, 30)
          })
          next()
        })
      },
    })
    await poll()
    expect(await isSignedIn(browser)).to.equal(true)
    expect(await web.sessions.ids()).to.deep.equal([browser.sessionId])
    await until('the store is back', () => !store.isDown)
    expect(await isSignedIn(browser)).to.equal(true)
    pass(20)
    expect((await thief.poll(transaction, 5)).status).to.equal(404)
    expect(await signedInSessions(web)).to.equal(1)
  })

  it('brings it to who waits too when the answer breaks off, not "complete" without a cookie', async () => {
    let breaks = 1
    const { web, browser, transaction } = await arriving({
      before: (app) => {
        app.post('/ciba/poll', (_req, res, next) => {
          const { end } = res
          res.end = function cut(...parts: unknown[]) {
            if (!String(parts[0]).includes('complete') || breaks-- <= 0) {
              return end.apply(res, parts as never)
            }
            res.socket?.destroy()
            return res
          } as typeof res.end
          next()
        })
      },
      ciba: { afterAuthentication: () => new Promise((resolve) => setTimeout(resolve, 50)) },
    })
    const windows = [browser.copy(), browser.copy()]
    const answers = await Promise.allSettled(windows.map((window) => window.poll(transaction, 5)))
    expect(answers.map(({ status }) => status)).to.have.members(['rejected', 'fulfilled'])
    const arrived = windows.find(({ sessionId }) => sessionId !== browser.sessionId)
    expect(arrived, 'one has a new cookie').to.not.equal(undefined)
    expect(await isSignedIn(arrived as Browser)).to.equal(true)
    await until('nothing else is left', async () => (await web.sessions.ids()).length === 1)
    expect(await web.sessions.ids()).to.deep.equal([arrived?.sessionId])
  })

  it('takes the login back from who was faster with the cookie of before, and never leaves two signed in', async () => {
    const { web, browser, thief, transaction, poll } = await arriving()
    await poll()
    pass(longEnough)
    const polls = await Promise.all([thief.poll(transaction, 5), browser.get('/me')])
    expect(polls[0].status).to.be.oneOf([200, 404])
    await until('one is signed in', async () => (await signedInSessions(web)) === 1)
    const both = [await isSignedIn(thief), await isSignedIn(browser)]
    expect(both).to.have.members([true, false])
  })

  it('helps nobody who knows the session of before, but not the handle [SEC-6]', async () => {
    const { browser, thief, poll } = await arriving()
    await poll()
    pass(longEnough)
    const own = await thief.begin('mallory')
    expect((await thief.poll(own)).body.status).to.equal('pending')
    expect(await isSignedIn(thief)).to.equal(false)
    expect(await isSignedIn(browser)).to.equal(true)
    expect((await thief.poll(own)).status, 'its session is over').to.equal(404)
  })

  it('is known of at another instance than the one that answered, on shared stores [SEC-10]', async () => {
    const secret = 'shared by both instances of this test'
    const { web, browser, thief, transaction, poll } = await arriving({ ciba: { secret } })
    const other = await another(web, secret)
    const at = ({ origin }: Web, { cookie }: Browser) => new Browser(origin, cookie)
    await poll()
    expect(await isSignedIn(at(other, browser))).to.equal(true)
    expect(await web.sessions.ids()).to.deep.equal([browser.sessionId])
    const { reads } = store
    await isSignedIn(at(other, browser))
    expect(store.reads, 'it is settled').to.equal(reads)
    pass(longEnough)
    for (const one of [web, other]) expect((await at(one, thief).poll(transaction)).status).to.equal(404)
    expect(await isSignedIn(browser)).to.equal(true)
  })

  it('is brought again by another instance than the one that answered [SEC-10]', async () => {
    const { web, browser, thief, transaction, poll } = await arriving({ ciba: { secret: sceneSecret } })
    const other = await another(web, sceneSecret)
    await poll()
    await untilSent()
    pass(longEnough * 2)
    const again = new Browser(other.origin, thief.cookie)
    expect((await again.poll(transaction, 5)).body.status).to.equal('complete')
    expect(await isSignedIn(again)).to.equal(true)
    expect(await signedInSessions(web)).to.equal(1)
    expect(await isSignedIn(browser), 'what never arrived').to.equal(false)
    expect(web.op.callsTo('token')).to.have.length(1)
  })

  for (const deliveryMode of ['poll', 'push'] as const) {
    it(`is brought again in ${deliveryMode} mode`, async () => {
      const web = await start({ ciba: { store, deliveryMode, secret: sceneSecret } })
      const browser = web.browser()
      const transaction = await browser.begin()
      if (deliveryMode === 'push') await web.op.push(`${web.origin}/ciba/notification`)
      else web.op.onToken(await web.op.tokens())
      const old = browser.copy()
      expect((await browser.poll(transaction, 10)).body.status).to.equal('complete')
      await untilSent()
      pass(longEnough * 2)
      const again = await old.poll(transaction, 5)
      expect(again.body.status).to.equal('complete')
      expect(cookiesOf(again)).to.have.length(1)
      expect(await isSignedIn(old)).to.equal(true)
      expect(await web.sessions.ids()).to.deep.equal([old.sessionId])
      expect(web.op.callsTo('token').length).to.equal(deliveryMode === 'push' ? 0 : 1)
    })
  }
})
