/** Logins whose session somebody else meddles with: a logout, a hook, another answer, a logger. */
import { expect } from 'chai'
import type { Request, Response } from 'express'
import { expressVersions, until, type WebOptions, webs } from '../support/web.ts'

interface Gate {
  readonly closed: Promise<void>
  open(): void
}

function gate(): Gate {
  let open = () => {}
  const closed = new Promise<void>((resolve) => {
    open = resolve
  })
  return { closed, open: () => open() }
}

for (const { name, express } of expressVersions) {
  describe(`a session that somebody meddles with (${name})`, () => {
    const start = webs()

    it('stays signed out when the logout came while afterAuthentication ran [SEC-7]', async () => {
      const hook = gate()
      let isRunning = false
      const web = await start({
        express,
        ciba: {
          afterAuthentication: () => {
            isRunning = true
            return hook.closed
          },
        },
      })
      const browser = web.browser()
      const transaction = await browser.begin()
      const other = browser.copy()
      await web.approve()
      const poll = browser.poll(transaction, 5)
      await until('the hook runs', () => isRunning)
      expect((await other.post('/ciba/logout')).status).to.equal(204)
      hook.open()
      expect((await poll).status).to.equal(404)
      expect((await browser.get('/me')).body.signedIn).to.equal(false)
      expect((await other.get('/me')).body.signedIn).to.equal(false)
    })

    for (const [what, meddle] of Object.entries<(req: Request) => unknown>({
      'logs out': (req) => req.ciba.logout(),
      'makes a new session': (req) => new Promise((resolve) => req.session.regenerate(resolve)),
      'destroys the session': (req) => new Promise((resolve) => req.session.destroy(resolve)),
      'forgets the login': (req) => delete req.session.ciba,
    })) {
      it(`says so where afterAuthentication ${what}, and keeps the tokens`, async () => {
        let isMeddling = true
        const afterAuthentication = async (req: Request) => {
          if (isMeddling) await meddle(req)
        }
        const web = await start({ express, ciba: { afterAuthentication } })
        const browser = web.browser()
        const transaction = await browser.begin()
        await web.approve()
        expect((await browser.poll(transaction, 5)).status).to.equal(500)
        expect(String(web.errors[0])).to.contain('afterAuthentication must not end or replace the session')
        isMeddling = false
        expect((await browser.poll(transaction, 5)).body).to.deep.equal({ transaction, status: 'complete' })
      })
    }

    for (const options of [{ rolling: true }, { resave: true }, { rolling: true, resave: true }]) {
      it(`has one session after a second login by two polls, with ${JSON.stringify(options)} [SEC-7]`, async () => {
        const web = await start({ express, session: options })
        const browser = web.browser()
        const first = await browser.begin()
        await web.approve()
        expect((await browser.poll(first, 5)).body.status).to.equal('complete')
        const old = browser.sessionId as string

        const transaction = await browser.begin()
        const windows = [browser.copy(), browser.copy()]
        const polls = []
        for (const window of windows) polls.push((await window.hold(transaction, web)).answer)
        await web.approve()
        const answers = await Promise.all(polls)
        expect(answers.map(({ body }) => body.status)).to.have.members(['complete', 'pending'])
        const signedIn = windows.filter(({ sessionId }) => sessionId !== old)
        expect(signedIn, 'one of the two has the new cookie').to.have.length(1)
        await signedIn[0]?.get('/me')
        expect(await web.sessions.ids()).to.deep.equal([signedIn[0]?.sessionId])
      })
    }

    it('signs in by two polls of an own route without bringing the old cookie back, with rolling', async () => {
      const own: WebOptions['own'] = (app) => {
        app.post('/own/:id', (req: Request, res: Response, next) => {
          req.ciba.poll(String(req.params['id']), { wait: 5 }).then((status) => res.json(status), next)
        })
      }
      const web = await start({ express, own, session: { rolling: true } })
      const browser = web.browser()
      const transaction = await browser.begin()
      const old = browser.sessionId
      const windows = [browser.copy(), browser.copy()]
      const loads = web.sessions.loads
      const polls = windows.map((window) => window.post(`/own/${transaction}`))
      await until('both wait', () => web.sessions.loads >= loads + 2)
      await web.approve()
      const answers = await Promise.all(polls)
      expect(answers.map(({ body }) => body.status)).to.have.members(['complete', 'pending'])
      expect(answers.filter(({ headers }) => headers['set-cookie'])).to.have.length(1)
      expect(windows.filter(({ sessionId }) => sessionId !== old)).to.have.length(1)
    })

    it('leaves the session to those who read it behind the answer, a logger for example', async () => {
      const seen: unknown[] = []
      const web = await start({
        express,
        before: (app) => {
          app.use((req, res, next) => {
            res.on('finish', () => seen.push(req.session.cookie.path))
            next()
          })
        },
      })
      const browser = web.browser()
      const transaction = await browser.begin()
      await browser.poll(transaction, 0.05)
      await web.op.ping(`${web.origin}/ciba/notification`)
      await until('all three were logged', () => seen.length === 3)
      expect(seen).to.deep.equal(['/', '/', '/'])
    })

    it('stores nothing for those who log out without a session [SEC-13]', async () => {
      const web = await start({ express })
      for (let n = 0; n < 5; n++) expect((await web.browser().post('/ciba/logout')).status).to.equal(204)
      expect(await web.sessions.ids()).to.deep.equal([])
    })

    it('says so once where only a proxy knows about https, and Express does not trust it', async () => {
      const warnings: string[] = []
      const listen = ({ message }: Error) => warnings.push(message)
      process.on('warning', listen)
      try {
        const web = await start({ express, session: { cookie: { secure: true } } })
        for (let n = 0; n < 2; n++) {
          await web.browser().post('/ciba/start', { loginHint: 'alice' }, { 'x-forwarded-proto': 'https' })
        }
        const plain = await web.browser().post('/ciba/start', { loginHint: 'alice' })
        expect(plain.status).to.equal(500)
        expect(String(web.errors.at(-1))).to.contain('trust proxy')
        // Said by whichever of the two versions of Express comes first.
        expect(warnings.filter((text) => text.includes('trust proxy')).length).to.be.at.most(1)
      } finally {
        process.off('warning', listen)
      }
    })
  })
}
