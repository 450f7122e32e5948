import { expect } from 'chai'
import type { Request } from 'express'
import type { AuthenticationResult } from '../../lib/index.ts'
import { expressVersions, until, webs } from '../support/web.ts'

/** What an app of these tests keeps in its sessions. */
interface Data {
  profile?: { name: string; seen?: boolean }
  roles?: string[]
}

const dataOf = (req: Request) => req.session as unknown as Data
const refusal = () => Object.assign(new Error('this account is closed'), { status: 403 })

for (const { name, express } of expressVersions) {
  describe(`POST /ciba/poll: a login that meets trouble (${name})`, () => {
    const start = webs()

    context('when the session store fails', () => {
      for (const failures of [1, 2]) {
        it(`answers 503 ${failures} times, and signs in with the next poll: no tokens are lost`, async () => {
          const web = await start({ express })
          const browser = web.browser()
          const transaction = await browser.begin()
          const oldId = browser.sessionId
          await web.approve()
          web.sessions.failures = failures
          for (let n = 0; n < failures; n++) {
            const answer = await browser.poll(transaction, 5)
            expect(answer.status).to.equal(503)
            expect(answer.headers['cache-control']).to.equal('no-store')
            expect(answer.body).to.deep.equal({
              error: 'temporarily_unavailable',
              error_description: 'the session store failed',
            })
            expect(browser.sessionId).to.equal(oldId)
            expect((await browser.get('/me')).body.signedIn).to.equal(false)
          }
          expect((await browser.poll(transaction, 5)).body).to.deep.equal({ transaction, status: 'complete' })
          expect((await browser.get('/me')).body.signedIn).to.equal(true)
          expect(web.op.callsTo('token')).to.have.length(1)
        })
      }

      it('leaves no signed-in session behind that was stored in spite of the error', async () => {
        const web = await start({ express })
        const browser = web.browser()
        const transaction = await browser.begin()
        const { set } = web.sessions
        let lost = ''
        web.sessions.set = function (id, data, done) {
          delete (this as { set?: unknown }).set
          lost = id
          set.call(this, id, data, () => done?.(new Error('the connection broke after the write')))
        }
        await web.approve()
        expect((await browser.poll(transaction, 5)).status).to.equal(503)
        expect(lost).to.not.equal('')
        expect(await web.sessions.read(lost)).to.equal(undefined)
        expect((await browser.poll(transaction, 5)).body.status).to.equal('complete')
      })

      it('answers 503 to a start, and asks nobody', async () => {
        const web = await start({ express })
        web.sessions.failures = 1
        const answer = await web.browser().post('/ciba/start', { loginHint: 'alice' })
        expect(answer.status).to.equal(503)
        expect(answer.body.error).to.equal('temporarily_unavailable')
        expect(web.op.callsTo('backchannel')).to.have.length(0)
      })

      it('depends on one write for a login, not on a second one behind the answer', async () => {
        const web = await start({ express })
        const browser = web.browser()
        const transaction = await browser.begin()
        let writes = 0
        web.sessions.beforeSet = () => {
          writes++
          return undefined
        }
        await web.approve()
        expect((await browser.poll(transaction, 5)).body.status).to.equal('complete')
        expect(writes).to.equal(1)
      })
    })

    context('when afterAuthentication throws a plain error', () => {
      it('hands it to the error handler of the app, and signs in with the next poll', async () => {
        let runs = 0
        const web = await start({
          express,
          ciba: {
            afterAuthentication() {
              if (++runs === 1) throw new Error('the directory is down')
            },
          },
        })
        const browser = web.browser()
        const transaction = await browser.begin()
        await web.approve()
        const answer = await browser.poll(transaction, 5)
        expect(answer.status).to.equal(500)
        expect(answer.text).to.equal("the app's own error page: the directory is down")
        expect(web.errors).to.have.length(1)
        expect((await browser.get('/me')).body.signedIn).to.equal(false)
        expect((await browser.poll(transaction, 5)).body.status).to.equal('complete')
        expect((await browser.get('/me')).body.signedIn).to.equal(true)
        expect(runs).to.equal(2)
      })

      it('leaves nothing of what it wrote to the session in the old one', async () => {
        const web = await start({
          express,
          ciba: {
            afterAuthentication(req) {
              Object.assign(dataOf(req), { roles: ['admin'] })
              throw new Error('the directory is down')
            },
          },
        })
        const browser = web.browser()
        const transaction = await browser.begin()
        await web.approve()
        await browser.poll(transaction, 5)
        expect((await browser.get('/data')).body).to.not.have.property('roles')
      })
    })

    context('when afterAuthentication throws an error with a 4xx status', () => {
      it('ends as failed, login_refused, for good, with nobody signed in', async () => {
        const web = await start({
          express,
          ciba: {
            async afterAuthentication() {
              throw refusal()
            },
          },
        })
        const browser = web.browser()
        const transaction = await browser.begin()
        const oldId = browser.sessionId
        await web.approve()
        for (let n = 0; n < 2; n++) {
          const answer = await browser.poll(transaction, 5)
          expect(answer.status).to.equal(200)
          expect(answer.body).to.deep.equal({ transaction, status: 'failed', error: 'login_refused' })
        }
        expect(browser.sessionId).to.equal(oldId)
        expect((await browser.get('/me')).body.signedIn).to.equal(false)
        expect(web.errors).to.deep.equal([])
        expect(await web.sessions.ids()).to.deep.equal([oldId])
      })

      it('drops what it added to the session', async () => {
        const web = await start({
          express,
          ciba: {
            afterAuthentication(req) {
              Object.assign(dataOf(req), { roles: ['admin'] })
              throw refusal()
            },
          },
        })
        const browser = web.browser()
        const transaction = await browser.begin()
        await web.approve()
        await browser.poll(transaction, 5)
        expect((await browser.get('/data')).body).to.not.have.property('roles')
      })

      for (const wait of [5, 0]) {
        it(`drops what it changed inside of what was in the session, with wait ${wait}`, async () => {
          const web = await start({
            express,
            ciba: {
              afterAuthentication(req) {
                const { profile } = dataOf(req)
                if (profile) profile.seen = true
                throw refusal()
              },
            },
          })
          const browser = web.browser()
          await browser.post('/data', { profile: { name: 'A.' } })
          const transaction = await browser.begin()
          await web.approve()
          await until('the login is refused', async () => {
            const { body } = await browser.poll(transaction, wait)
            return body.error === 'login_refused'
          })
          expect((await browser.get('/data')).body.profile).to.deep.equal({ name: 'A.' })
        })
      }

      it('says the same to every poll that waited', async () => {
        const web = await start({
          express,
          ciba: {
            async afterAuthentication() {
              throw refusal()
            },
          },
        })
        const browser = web.browser()
        const transaction = await browser.begin()
        const held = await Promise.all([1, 2, 3].map(() => browser.copy().hold(transaction, web)))
        await web.approve()
        const answers = await Promise.all(held.map(({ answer }) => answer))
        expect(answers.map(({ body }) => body.error)).to.deep.equal(Array(3).fill('login_refused'))
      })
    })

    context('when afterAuthentication succeeds', () => {
      it('may take its time, sees the result, and enriches the session', async () => {
        const results: AuthenticationResult[] = []
        const web = await start({
          express,
          ciba: {
            async afterAuthentication(req, result) {
              await new Promise((resolve) => setTimeout(resolve, 30))
              results.push(result)
              Object.assign(dataOf(req), { roles: ['clerk'] })
            },
          },
        })
        const browser = web.browser()
        const transaction = await browser.begin()
        await web.approve({
          response: { access_token: 'the-access-token', refresh_token: 'the-refresh-token' },
        })
        expect((await browser.poll(transaction, 5)).body.status).to.equal('complete')
        expect((await browser.get('/data')).body.roles).to.deep.equal(['clerk'])
        expect(results).to.have.length(1)
        expect(results[0]).to.have.all.keys('transaction', 'user', 'tokens')
        expect(results[0]?.transaction).to.equal(transaction)
        expect(results[0]?.user.sub).to.equal('alice')
        expect(results[0]?.tokens).to.include({
          accessToken: 'the-access-token',
          tokenType: 'bearer',
          refreshToken: 'the-refresh-token',
        })
      })

      it('runs in the new session, where the login is already to be seen', async () => {
        const seen: unknown[] = []
        const web = await start({
          express,
          ciba: { afterAuthentication: (req) => void seen.push(req.sessionID, req.ciba.user?.sub) },
        })
        const browser = web.browser()
        const transaction = await browser.begin()
        await web.approve()
        await browser.poll(transaction, 5)
        expect(seen).to.deep.equal([browser.sessionId, 'alice'])
        await browser.get('/me')
        expect(await web.sessions.ids()).to.deep.equal([browser.sessionId])
      })
    })
  })
}
