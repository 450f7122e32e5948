import { expect } from 'chai'
import { requireCiba } from '../../lib/index.ts'
import { cookiesOf, expressVersions, type WebOptions, webs } from '../support/web.ts'

for (const { name, express } of expressVersions) {
  describe(`requireCiba() (${name})`, () => {
    const start = webs()
    const guarded: WebOptions = {
      express,
      own: (app) =>
        app.get('/account', requireCiba(), (req, res) => {
          res.json({ sub: req.ciba.user?.sub })
        }),
    }

    it('answers 401 as JSON when nobody is signed in', async () => {
      const web = await start(guarded)
      const answer = await web.browser().get('/account')
      expect(answer.status).to.equal(401)
      expect(answer.headers['content-type']).to.equal('application/json; charset=utf-8')
      expect(answer.headers['cache-control']).to.equal('no-store')
      expect(answer.body).to.deep.equal({ error: 'unauthenticated', error_description: 'sign in first' })
      expect(cookiesOf(answer)).to.be.empty
      expect(web.errors).to.be.empty
    })

    it('answers 401 while the login is pending', async () => {
      const web = await start(guarded)
      const browser = web.browser()
      await browser.begin()
      expect((await browser.get('/account')).status).to.equal(401)
    })

    it('lets pass who is signed in, until the logout', async () => {
      const web = await start(guarded)
      const browser = web.browser()
      const transaction = await browser.begin()
      await web.approve()
      await browser.poll(transaction, 5)
      expect((await browser.get('/account')).body).to.deep.equal({ sub: 'alice' })
      await browser.post('/ciba/logout')
      expect((await browser.get('/account')).status).to.equal(401)
    })

    it('answers 401 to another browser', async () => {
      const web = await start(guarded)
      const browser = web.browser()
      const transaction = await browser.begin()
      await web.approve()
      await browser.poll(transaction, 5)
      expect((await web.browser().get('/account')).status).to.equal(401)
    })

    it('guards a whole router too', async () => {
      const web = await start({
        express,
        own: (app) => {
          const inner = express.Router()
          inner.get('/secret', (_req, res) => void res.send('secret'))
          app.use('/inner', requireCiba(), inner)
        },
      })
      const answer = await web.browser().get('/inner/secret')
      expect(answer.status).to.equal(401)
      expect(answer.text).to.not.include('secret')
    })

    it('says what is missing when it comes before ciba()', async () => {
      const web = await start({
        express,
        before: (app) => app.get('/account', requireCiba(), (_req, res) => void res.send('secret')),
      })
      const answer = await web.browser().get('/account')
      expect(answer.status).to.equal(500)
      expect(web.errors[0]).to.be.an.instanceOf(TypeError)
      expect((web.errors[0] as Error).message).to.equal('requireCiba() needs app.use(ciba(…)) before it')
    })
  })

  describe(`ciba() without express-session (${name})`, () => {
    const start = webs()

    it('says what is missing with the first request, to the error handler of the app', async () => {
      const web = await start({ express, session: false })
      for (const path of ['/anything', '/ciba/start', '/ciba/poll']) {
        const answer = await web.browser().post(path, { loginHint: 'alice' })
        expect(answer.status, path).to.equal(500)
      }
      // Said once, it does not keep what needs no session from its work: a readiness probe, for example.
      expect((await web.browser().post('/anything')).status).to.equal(404)
      expect(web.errors).to.have.length(3)
      for (const error of web.errors as Error[]) {
        expect(error).to.include({ code: 'ERR_CIBA_NO_SESSION', expose: false })
        expect(error.message).to.include('app.use(session(').and.include('before app.use(ciba(')
      }
    })

    it('still answers the OP', async () => {
      const web = await start({ express, session: false })
      const pong = await web.op.ping(`${web.origin}/ciba/notification`, { token: 'x', body: '{"a":1}' })
      expect(pong.status).to.equal(401)
      expect(web.errors).to.be.empty
    })

    it('says the same of its own routes and of guarded ones while the session store is away, and recovers', async () => {
      const web = await start({
        express,
        own: (app) => {
          app.get('/account', requireCiba(), (_req, res) => void res.send('secret'))
          app.get('/public', (_req, res) => void res.send('public'))
        },
      })
      const browser = web.browser()
      const transaction = await browser.begin()
      web.sessions.emit('disconnect')
      expect((await browser.poll(transaction)).status).to.equal(500)
      expect((await browser.get('/account')).status).to.equal(500)
      for (const error of web.errors) expect(error).to.include({ code: 'ERR_CIBA_NO_SESSION' })
      expect(web.errors).to.have.length(2)
      expect((await browser.get('/public')).text).to.equal('public')
      web.sessions.emit('connect')
      expect((await browser.poll(transaction)).status).to.equal(200)
      expect((await browser.get('/account')).status).to.equal(401)
    })

    it('says what to do when the session cookie is "secure" and the request came by plain http', async () => {
      const web = await start({ express, session: { cookie: { secure: true }, proxy: true } })
      const body = { loginHint: 'alice' }
      const plain = await web.browser().post('/ciba/start', body, { 'x-forwarded-proto': 'http' })
      expect(plain.status).to.equal(500)
      expect(web.errors[0]).to.include({ code: 'ERR_CIBA_NO_SESSION' })
      expect((web.errors[0] as Error).message).to.include('trust proxy')
      expect(web.op.callsTo('backchannel')).to.be.empty
      const secure = await web.browser().post('/ciba/start', body, { 'x-forwarded-proto': 'https' })
      expect(secure.status).to.equal(202)
    })
  })

  describe(`the notification route and sessions (${name})`, () => {
    const start = webs()

    it('sets no cookie, saves no session, whatever the session settings are [PING-6]', async () => {
      const session = { saveUninitialized: true, rolling: true, resave: true }
      const web = await start({ express, session })
      const browser = web.browser()
      const transaction = await browser.begin()
      const ids = await web.sessions.ids()
      web.op.onToken(await web.op.tokens())
      const pong = await web.op.ping(`${web.origin}/ciba/notification`)
      expect(pong.status).to.equal(204)
      expect(pong.headers.get('set-cookie')).to.equal(null)
      expect(await web.sessions.ids()).to.deep.equal(ids)
      expect((await browser.poll(transaction, 5)).body.status).to.equal('complete')
    })
  })
}
