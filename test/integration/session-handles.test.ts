/** What becomes of the handles of a session when somebody signs in there: they stay with the person, and pass to nobody else. */
import { expect } from 'chai'
import { ask, approvalRoutes as own, signedIn, use } from '../support/approvals.ts'
import { expressVersions, type Web, webs } from '../support/web.ts'

const newestRequest = ({ op }: Web) => String(op.callsTo('backchannel').at(-1)?.answer?.['auth_req_id'])

for (const { name, express } of expressVersions) {
  describe(`the handles of a session (${name})`, () => {
    const start = webs()

    /** Alice is signed in, is about to sign in once more, and has asked for an approval. */
    async function busy() {
      const web = await start({ express, own })
      const browser = await signedIn(web)
      const login = await browser.begin('alice')
      const loginRequest = newestRequest(web)
      const approval = await ask(browser)
      const approvalRequest = newestRequest(web)
      return { web, browser, login, loginRequest, approval, approvalRequest }
    }

    const subject = async (browser: ReturnType<Web['browser']>) => (await browser.get('/me')).body.user?.sub

    it('do not exist any more once another person has signed in there [SEC-6]', async () => {
      const { web, browser, login, approval, approvalRequest } = await busy()
      await signedIn(web, 'bob', browser)
      for (const transaction of [login, approval]) {
        expect((await browser.poll(transaction)).status).to.equal(404)
        expect((await browser.post('/ciba/cancel', { transaction })).status).to.equal(404)
        expect((await use(browser, transaction)).status).to.equal(404)
      }
      await web.approve({ authReqId: approvalRequest })
      expect((await use(browser, approval)).status, 'approved').to.equal(404)
      expect((await browser.poll(approval, 0.5)).status).to.equal(404)
    })

    it('sign nobody in there any more when that person approves later', async () => {
      const { web, browser, login, loginRequest } = await busy()
      await signedIn(web, 'bob', browser)
      const { sessionId } = browser
      await web.approve({ authReqId: loginRequest })
      expect((await browser.poll(login, 0.5)).status).to.equal(404)
      expect((await browser.get(`/ciba/login?transaction=${login}`)).status).to.equal(404)
      expect([browser.sessionId, await subject(browser)]).to.deep.equal([sessionId, 'bob'])
    })

    it('sign nobody in by a poll that has waited all the time', async () => {
      const { web, browser, login, loginRequest } = await busy()
      const tab = browser.copy()
      const held = await tab.hold(login, web)
      await signedIn(web, 'bob', browser)
      await web.approve({ authReqId: loginRequest })
      const { status, body } = await held.answer
      expect([status, body.error]).to.deep.equal([404, 'unknown_transaction'])
      expect(await subject(tab)).to.equal(undefined)
      expect(await subject(browser)).to.equal('bob')
      expect(await web.sessions.ids()).to.deep.equal([browser.sessionId])
    })

    it('say "complete" in both tabs of who has just signed in, once they have the cookie', async () => {
      const { web, browser } = await busy()
      const transaction = await browser.begin('bob')
      const tab = browser.copy()
      const { cookie } = browser
      const held = [await browser.hold(transaction, web), await tab.hold(transaction, web)]
      await web.approve({ claims: { sub: 'bob' } })
      const answers = await Promise.all(held.map(({ answer }) => answer))
      expect(answers.map(({ body }) => body.status)).to.have.members(['complete', 'pending'])
      const moved = [browser, tab].filter((one) => one.cookie !== cookie)
      expect(moved, 'with one new cookie between them').to.have.length(1)
      for (const one of [browser, tab]) {
        one.cookie = moved[0]?.cookie
        expect(await subject(one)).to.equal('bob')
        expect((await one.poll(transaction)).body.status).to.equal('complete')
      }
    })

    it('stay with the same person after another login', async () => {
      const { web, browser, login, approval, approvalRequest } = await busy()
      const { sessionId } = browser
      await signedIn(web, 'alice', browser)
      expect(browser.sessionId).to.not.equal(sessionId)
      expect((await browser.poll(login)).body.status).to.equal('pending')
      expect((await browser.post('/ciba/cancel', { transaction: login })).status).to.equal(204)
      await web.approve({ authReqId: approvalRequest })
      expect((await browser.poll(approval, 5)).body.status).to.equal('complete')
      expect((await use(browser, approval)).status).to.equal(200)
    })

    it('stay with the browser where nobody was signed in before', async () => {
      const web = await start({ express, own })
      const browser = web.browser()
      const other = await browser.begin('alice')
      const otherRequest = newestRequest(web)
      await signedIn(web, 'alice', browser)
      expect((await browser.poll(other)).body.status).to.equal('pending')
      await web.approve({ authReqId: otherRequest })
      expect((await browser.poll(other, 5)).body.status).to.equal('complete')
      expect(await subject(browser)).to.equal('alice')
    })
  })
}
