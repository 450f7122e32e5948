import { expect } from 'chai'
import { cookiesOf, expressVersions, webs } from '../support/web.ts'

for (const { name, express } of expressVersions) {
  describe(`POST /ciba/poll: a login into the session (${name})`, () => {
    const start = webs()

    it('moves into a session with a new id, whose first request destroys the old one [SEC-7]', async () => {
      const web = await start({ express })
      const browser = web.browser()
      const transaction = await browser.begin()
      const oldId = browser.sessionId
      await web.approve()
      const answer = await browser.poll(transaction, 5)
      expect(answer.status).to.equal(200)
      expect(answer.body).to.deep.equal({ transaction, status: 'complete' })
      expect(browser.sessionId).to.be.a('string').that.does.not.equal(oldId)
      expect(await web.sessions.ids(), 'until it is known that the answer has arrived').to.include(oldId)
      await browser.get('/me')
      expect(await web.sessions.ids()).to.deep.equal([browser.sessionId])
    })

    it('sets the cookie once', async () => {
      const web = await start({ express })
      const browser = web.browser()
      const transaction = await browser.begin()
      await web.approve()
      expect(cookiesOf(await browser.poll(transaction, 5))).to.have.length(1)
    })

    it('shows the app the claims of the ID token, and the browser none of the tokens [SEC-6]', async () => {
      const web = await start({ express })
      const browser = web.browser()
      const transaction = await browser.begin()
      await web.approve({ response: { access_token: 'the-access-token' } })
      const answer = await browser.poll(transaction, 5)
      expect(answer.text).to.not.include('the-access-token')
      const me = await browser.get('/me')
      expect(me.body.signedIn).to.equal(true)
      expect(me.body.user).to.include({ iss: web.op.issuer, sub: 'alice', aud: 'client' })
    })

    it('keeps what the app had in the session', async () => {
      const web = await start({ express })
      const browser = web.browser()
      await browser.post('/data', { cart: { items: [1, 2] }, language: 'de' })
      const transaction = await browser.begin()
      await web.approve()
      await browser.poll(transaction, 5)
      const { body } = await browser.get('/data')
      expect(body).to.deep.include({ cart: { items: [1, 2] }, language: 'de' })
    })

    it('keeps what another request wrote into the session during the long poll', async () => {
      const web = await start({ express })
      const browser = web.browser()
      await browser.post('/data', { cart: { items: [1] } })
      const transaction = await browser.begin()
      const window = browser.copy()
      const held = await browser.hold(transaction, web)
      await window.post('/data', { cart: { items: [1, 2] } })
      await web.approve()
      expect((await held.answer).body.status).to.equal('complete')
      expect((await browser.get('/data')).body.cart).to.deep.equal({ items: [1, 2] })
    })

    it('does not sign in a browser that logged out during the long poll', async () => {
      const web = await start({ express })
      const browser = web.browser()
      await browser.post('/data', { cart: { items: [1] } })
      const transaction = await browser.begin()
      const window = browser.copy()
      const held = await browser.hold(transaction, web)
      expect((await window.post('/ciba/logout')).status).to.equal(204)
      await web.approve()
      await held.answer
      expect((await browser.get('/me')).body.signedIn).to.equal(false)
      expect((await window.get('/me')).body.signedIn).to.equal(false)
    })

    it('is in the session store before the answer leaves [SEC-7]', async () => {
      const web = await start({ express })
      const browser = web.browser()
      const transaction = await browser.begin()
      await web.approve()
      web.sessions.beforeSet = () => new Promise((resolve) => setTimeout(resolve, 100))
      const answer = await browser.poll(transaction, 5)
      expect(answer.body.status).to.equal('complete')
      const saved = await web.sessions.read(browser.sessionId as string)
      expect(saved?.ciba?.login?.user.sub).to.equal('alice')
    })

    it('says "complete" again to the new cookie', async () => {
      const web = await start({ express })
      const browser = web.browser()
      const transaction = await browser.begin()
      await web.approve()
      await browser.poll(transaction, 5)
      const id = browser.sessionId
      const again = await browser.poll(transaction)
      expect(again.body).to.deep.equal({ transaction, status: 'complete' })
      expect(browser.sessionId).to.equal(id)
      expect((await browser.get('/me')).body.signedIn).to.equal(true)
    })

    it('signs nobody in who comes with the old cookie afterwards [SEC-7]', async () => {
      const web = await start({ express })
      const browser = web.browser()
      const transaction = await browser.begin()
      const thief = browser.copy()
      await web.approve()
      await browser.poll(transaction, 5)
      await browser.get('/me')
      const late = await thief.poll(transaction)
      expect(late.status).to.equal(404)
      expect((await thief.get('/me')).body.signedIn).to.equal(false)
    })

    it('is out of reach for another session [SEC-6]', async () => {
      const web = await start({ express })
      const browser = web.browser()
      const stranger = web.browser()
      const transaction = await browser.begin()
      await stranger.begin('mallory')
      await web.approve({ authReqId: String(web.op.callsTo('backchannel')[0]?.answer?.['auth_req_id']) })
      const foreign = await stranger.poll(transaction, 1)
      expect(foreign.status).to.equal(404)
      expect((await stranger.get('/me')).body.signedIn).to.equal(false)
      expect((await browser.poll(transaction, 5)).body.status).to.equal('complete')
    })

    it('replaces an earlier login of the session', async () => {
      const web = await start({ express })
      const browser = web.browser()
      const first = await browser.begin('alice')
      await web.approve()
      await browser.poll(first, 5)
      const second = await browser.begin('bob')
      await web.approve({ claims: { sub: 'bob' } })
      expect((await browser.poll(second, 5)).body.status).to.equal('complete')
      expect((await browser.get('/me')).body.user.sub).to.equal('bob')
      expect((await browser.poll(first)).status, 'it was that of alice').to.equal(404)
      expect((await browser.get('/me')).body.user.sub).to.equal('bob')
    })

    for (const [sub, passes] of [
      ['alice', true],
      ['bob', false],
    ] as const) {
      it(`${passes ? 'keeps' : 'does not pass on'} what the session of alice held when ${sub} signs in next`, async () => {
        const web = await start({ express })
        const browser = web.browser()
        const first = await browser.begin('alice')
        await web.approve()
        await browser.poll(first, 5)
        await browser.post('/data', { diary: 'dear diary' })
        const second = await browser.begin(sub)
        await web.approve({ claims: { sub } })
        expect((await browser.poll(second, 5)).body.status).to.equal('complete')
        const { body } = await browser.get('/data')
        expect(body.diary).to.equal(passes ? 'dear diary' : undefined)
        expect(body.ciba.login.user.sub).to.equal(sub)
      })
    }

    it('lets both of two starts of one session be polled', async () => {
      const web = await start({ express })
      const browser = web.browser()
      await browser.post('/data', { language: 'de' })
      web.sessions.beforeSet = () => new Promise((resolve) => setTimeout(resolve, 30))
      const [first, second] = await Promise.all([browser.begin('alice'), browser.copy().begin('alice')])
      const answers = await Promise.all([browser.poll(first), browser.poll(second)])
      expect(answers.map(({ status }) => status)).to.deep.equal([200, 200])
    })
  })
}
