import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'chai'
import type { SessionOptions } from 'express-session'
import type { Response as Answer } from 'supertest'
import { type Browser, cookiesOf, expressVersions, until, type Web, webs } from '../support/web.ts'

const settings: readonly [string, Partial<SessionOptions>][] = [
  ['the usual session settings', {}],
  ['resave: true', { resave: true }],
  ['rolling: true', { rolling: true }],
  ['saveUninitialized: true', { saveUninitialized: true }],
  [
    'resave, rolling, saveUninitialized and a maxAge',
    { resave: true, rolling: true, saveUninitialized: true, cookie: { maxAge: 60_000 } },
  ],
  ['unset: destroy', { unset: 'destroy' }],
]

for (const { name, express } of expressVersions) {
  describe(`POST /ciba/poll: many at once (${name})`, () => {
    const start = webs()

    for (const [title, session] of settings) {
      context(`with ${title}`, () => {
        it('signs one new session in when ten polls of one session wait, and says so with its cookie alone [SEC-7]', async () => {
          const web = await start({ express, session })
          const browser = web.browser()
          await browser.post('/data', { language: 'de' })
          const transaction = await browser.begin()
          const oldId = browser.sessionId as string
          const windows = Array.from({ length: 10 }, () => browser.copy())
          const held = await Promise.all(windows.map((window) => window.hold(transaction, web)))
          await web.approve()
          const answers = await Promise.all(held.map(({ answer }) => answer))
          await oneIsComplete(answers, windows, transaction)
          await onlyTheNewSessionIsLeft(web, windows, oldId)
        })

        it('does the same when ten polls come after the approval', async () => {
          const web = await start({ express, session })
          const browser = web.browser()
          await browser.post('/data', { language: 'de' })
          const transaction = await browser.begin()
          const oldId = browser.sessionId as string
          await web.approve()
          await until('the tokens are there', () => web.op.callsTo('token')[0]?.answeredAt !== undefined)
          web.sessions.beforeSet = () => sleep(50)
          const windows = Array.from({ length: 10 }, () => browser.copy())
          const answers = await Promise.all(windows.map((window) => window.poll(transaction, 5)))
          await oneIsComplete(answers, windows, transaction)
          await onlyTheNewSessionIsLeft(web, windows, oldId)
        })
      })
    }

    it('runs afterAuthentication once for ten polls', async () => {
      let runs = 0
      const web = await start({
        express,
        ciba: {
          async afterAuthentication() {
            runs++
            await sleep(30)
          },
        },
      })
      const browser = web.browser()
      const transaction = await browser.begin()
      await web.approve()
      const windows = Array.from({ length: 10 }, () => browser.copy())
      const answers = await Promise.all(windows.map((window) => window.poll(transaction, 5)))
      await oneIsComplete(answers, windows, transaction)
      expect(runs).to.equal(1)
    })

    it('asks the OP once for ten polls that wait [POLL-2]', async () => {
      const web = await start({ express })
      const browser = web.browser()
      const transaction = await browser.begin()
      const held = await Promise.all(Array.from({ length: 10 }, () => browser.copy().hold(transaction, web)))
      await web.approve()
      await Promise.all(held.map(({ answer }) => answer))
      expect(web.op.callsTo('token')).to.have.length(1)
    })

    it('leaves the session alone after a poll that waited in vain, with unset: destroy', async () => {
      const web = await start({ express, session: { unset: 'destroy' } })
      const browser = web.browser()
      const transaction = await browser.begin()
      expect((await browser.poll(transaction, 0.1)).body.status).to.equal('pending')
      expect(web.sessions.destroyed).to.be.empty
      expect((await browser.poll(transaction)).body.status).to.equal('pending')
    })

    context('with resave: true', () => {
      for (const [outcome, end] of [
        ['pending', undefined],
        ['denied', (web: Web) => web.deny()],
      ] as const) {
        it(`does not undo what another request wrote while the poll waited that ends as "${outcome}"`, async () => {
          const web = await start({ express, session: { resave: true } })
          const browser = web.browser()
          const transaction = await browser.begin()
          const window = browser.copy()
          const held = await browser.hold(transaction, web, end ? 5 : 0.3)
          await window.post('/data', { cart: [1] })
          await end?.(web)
          expect((await held.answer).body.status).to.equal(outcome)
          expect((await window.get('/data')).body.cart).to.deep.equal([1])
        })
      }

      it('does not undo what another request wrote while a poll waited that another one cancels', async () => {
        const web = await start({ express, session: { resave: true } })
        const browser = web.browser()
        const transaction = await browser.begin()
        const window = browser.copy()
        const held = await browser.hold(transaction, web)
        await window.post('/data', { cart: [1] })
        await window.post('/ciba/cancel', { transaction })
        expect((await held.answer).body.status).to.equal('cancelled')
        expect((await window.get('/data')).body.cart).to.deep.equal([1])
      })

      it('does not bring a session back that was logged out while the poll waited', async () => {
        const web = await start({ express, session: { resave: true } })
        const browser = web.browser()
        const transaction = await browser.begin()
        const oldId = browser.sessionId as string
        const held = await browser.hold(transaction, web, 0.3)
        await browser.copy().post('/ciba/logout')
        expect((await held.answer).body.status).to.equal('pending')
        expect(await web.sessions.ids()).to.not.include(oldId)
      })
    })

    /** The answer with the cookie may be lost, so the others say that yet; with the cookie they hear it, too. */
    async function oneIsComplete(
      answers: readonly Answer[],
      windows: readonly Browser[],
      transaction: string,
    ): Promise<void> {
      const statuses = answers.map(({ body }) => body.status)
      expect(statuses.toSorted()).to.deep.equal(['complete', ...Array(answers.length - 1).fill('pending')])
      const index = statuses.indexOf('complete')
      expect(answers[index]?.body).to.deep.equal({ transaction, status: 'complete' })
      expect(answers.map((answer) => cookiesOf(answer).length)).to.deep.equal(
        answers.map((_, one) => (one === index ? 1 : 0)),
      )
      for (const window of windows) {
        const other = window.copy()
        other.cookie = windows[index]?.cookie
        expect((await other.poll(transaction)).body).to.deep.equal({ transaction, status: 'complete' })
      }
    }

    async function onlyTheNewSessionIsLeft(web: Web, windows: Browser[], oldId: string): Promise<void> {
      const signedIn = windows.find(({ sessionId }) => sessionId !== oldId)
      const newId = signedIn?.sessionId as string
      await signedIn?.get('/me')
      await sleep(50) // for whatever might bring it back
      expect(await web.sessions.ids()).to.deep.equal([newId])
      const saved = await web.sessions.read(newId)
      expect(saved?.ciba?.login?.user.sub).to.equal('alice')
      expect(saved).to.deep.include({ language: 'de' })
    }
  })
}
