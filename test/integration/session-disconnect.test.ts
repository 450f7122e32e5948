import { once } from 'node:events'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'chai'
import type { Response } from 'express'
import { type Browser, expressVersions, until, type Web, type WebOptions, webs } from '../support/web.ts'

/** A promise with its handle on the outside. */
function gate(): {
  readonly passed: Promise<void>
  open(): void
  readonly reached: Promise<void>
  reach(): void
} {
  let open = () => {}
  let reach = () => {}
  const passed = new Promise<void>((resolve) => {
    open = resolve
  })
  const reached = new Promise<void>((resolve) => {
    reach = resolve
  })
  return { passed, open, reached, reach }
}

for (const { name, express } of expressVersions) {
  describe(`POST /ciba/poll: a browser that goes away (${name})`, () => {
    const start = webs()
    let closed = 0
    let breaksAfterHead = false

    beforeEach(() => {
      closed = 0
      breaksAfterHead = false
    })

    /** Counts the polls that are over, and breaks one when it is told to. */
    const options = (ciba: WebOptions['ciba'] = {}): WebOptions => ({
      express,
      ciba,
      before: (app) => {
        app.post('/ciba/poll', (_req, res, next) => {
          res.once('close', () => closed++)
          if (breaksAfterHead) breakAfterHead(res)
          next()
        })
      },
    })

    /** As a network does it: the head of the answer arrives, the rest does not. */
    function breakAfterHead(res: Response): void {
      res.end = function end() {
        res.flushHeaders()
        setTimeout(() => res.socket?.destroy(), 20)
        return res
      }
    }

    /** A poll on a connection of its own, which the test can cut. */
    function poll(web: Web, browser: Browser, transaction: string, wait = 5): ClientRequest {
      const sent = request(`${web.origin}/ciba/poll`, { method: 'POST', agent: false })
      sent.on('error', () => {})
      sent.setHeader('content-type', 'application/json')
      sent.setHeader('cookie', browser.cookie as string)
      sent.end(JSON.stringify({ transaction, wait }))
      return sent
    }

    async function cut(sent: ClientRequest): Promise<void> {
      const before = closed
      sent.destroy()
      await until('the server notices', () => closed > before)
    }

    async function expectLogin(web: Web, browser: Browser, transaction: string): Promise<void> {
      const answer = await browser.poll(transaction, 5)
      expect(answer.body).to.deep.equal({ transaction, status: 'complete' })
      const me = await browser.get('/me')
      expect(me.body.user?.sub).to.equal('alice')
      expect(web.op.callsTo('token')).to.have.length(1)
    }

    it('finds its login with the next poll when it left a long poll before the approval', async () => {
      const web = await start(options())
      const browser = web.browser()
      const transaction = await browser.begin()
      const { loads } = web.sessions
      const sent = poll(web, browser, transaction)
      await until('the poll is held', () => web.sessions.loads > loads)
      await cut(sent)
      await web.approve()
      await expectLogin(web, browser, transaction)
    })

    it('is let go at once: no hook runs, no session is made for an answer that nobody receives', async () => {
      let runs = 0
      const web = await start(options({ afterAuthentication: () => void runs++ }))
      const browser = web.browser()
      const transaction = await browser.begin()
      const { loads } = web.sessions
      const sent = poll(web, browser, transaction)
      await until('the poll is held', () => web.sessions.loads > loads)
      await cut(sent)
      await web.approve()
      await until('the tokens are there', () => web.op.callsTo('token')[0]?.answeredAt !== undefined)
      await sleep(50)
      expect(runs).to.equal(0)
      expect(web.sessions.seen).to.deep.equal([browser.sessionId])
      await expectLogin(web, browser, transaction)
      expect(runs).to.equal(1)
    })

    for (const [kind, sync] of [
      ['a session store that calls back later', false],
      ['a session store that calls back at once', true],
    ] as const) {
      context(`with ${kind}`, () => {
        it('finds its login with the next poll when it left while afterAuthentication ran', async () => {
          const hook = gate()
          const afterAuthentication = async () => {
            hook.reach()
            await hook.passed
          }
          const web = await start(options({ afterAuthentication }))
          if (sync) callBackAtOnce(web)
          const browser = web.browser()
          const transaction = await browser.begin()
          await web.approve()
          const sent = poll(web, browser, transaction)
          await hook.reached
          await cut(sent)
          hook.open()
          await expectLogin(web, browser, transaction)
          await onlyOneSignedIn(web, browser)
        })
      })
    }

    it('finds its login with the next poll when it left while the session was saved', async () => {
      const web = await start(options())
      const browser = web.browser()
      const transaction = await browser.begin()
      const save = gate()
      web.sessions.beforeSet = () => {
        save.reach()
        return save.passed
      }
      await web.approve()
      const sent = poll(web, browser, transaction)
      await save.reached
      await cut(sent)
      save.open()
      web.sessions.beforeSet = undefined
      await expectLogin(web, browser, transaction)
      await onlyOneSignedIn(web, browser)
    })

    for (const cookie of ['new', 'old'] as const) {
      it(`finds its login with the ${cookie} cookie when the connection broke between head and body of the answer`, async () => {
        const web = await start(options())
        const browser = web.browser()
        const transaction = await browser.begin()
        await web.approve()
        breaksAfterHead = true
        const sent = poll(web, browser, transaction)
        const [answer] = (await once(sent, 'response')) as [IncomingMessage]
        answer.on('error', () => {})
        answer.resume()
        await until('the server notices', () => closed === 1)
        breaksAfterHead = false
        if (cookie === 'new') browser.cookie = answer.headers['set-cookie']?.[0]?.split(';', 1)[0]
        expect(browser.cookie).to.be.a('string')
        await expectLogin(web, browser, transaction)
      })
    }

    function callBackAtOnce({ sessions }: Web): void {
      const { set, destroy } = sessions
      sessions.set = (id, data, done) => {
        set.call(sessions, id, data)
        done?.()
      }
      sessions.destroy = (id, done) => {
        destroy.call(sessions, id)
        done?.()
      }
    }

    /** What the lost answer had made is not left behind. */
    async function onlyOneSignedIn(web: Web, browser: Browser): Promise<void> {
      expect(await web.sessions.ids()).to.deep.equal([browser.sessionId])
    }
  })
}
