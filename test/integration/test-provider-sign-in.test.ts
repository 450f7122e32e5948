/** `signIn()` of the test kit: what a test of protected routes gets, and what it is told where that fails. */
import { expect } from 'chai'
import { requireCiba } from '../../lib/index.ts'
import { signIn, startTestProvider } from '../../lib/testing/index.ts'
import { kits } from '../support/test-provider.ts'

describe('signIn()', function () {
  this.timeout(20_000)

  const start = kits()

  const get = (url: string, cookie: string) => fetch(url, { headers: { cookie } })
  const whoIs = async (origin: string, cookie: string) => {
    const response = await get(`${origin}/me`, cookie)
    return response.ok ? ((await response.json()) as { sub: string }).sub : response.status
  }
  const failure = (promise: Promise<unknown>): Promise<Error> =>
    promise.then(
      () => expect.fail('it went well'),
      (error) => error,
    )

  it('brings the cookie of somebody who is signed in', async () => {
    const { op, app } = await start()
    const cookie = await signIn(app.origin, op)
    expect(cookie).to.match(/^connect\.sid=[^;]+$/)
    expect(await whoIs(app.origin, cookie)).to.equal('alice')
    const trailingSlash = await signIn(`${app.origin}/`, op, { loginHint: 'bob@example.com' })
    expect(await whoIs(app.origin, trailingSlash)).to.equal('bob')
    expect(await whoIs(app.origin, cookie)).to.equal('alice')
  })

  it('signs several people in at once', async () => {
    const { op, app } = await start()
    const names = ['bob', 'alice', 'bob', 'alice']
    const cookies = await Promise.all(names.map((loginHint) => signIn(app.origin, op, { loginHint })))
    expect(new Set(cookies)).to.have.property('size', 4)
    expect(await Promise.all(cookies.map((cookie) => whoIs(app.origin, cookie)))).to.deep.equal(names)
  })

  it('polls an app in poll mode', async () => {
    const { op, app } = await start({ provider: { deliveryMode: 'poll' } })
    expect(await whoIs(app.origin, await signIn(app.origin, op))).to.equal('alice')
  })

  it('leaves the decision to a provider that decides by itself', async () => {
    const { op, app } = await start({
      provider: { autoApprove: ({ accountId: id }) => (id === 'bob' ? 'deny' : 'approve') },
    })
    expect(await whoIs(app.origin, await signIn(app.origin, op))).to.equal('alice')
    expect(op.counts).to.include({ backchannel: 1, ping: 1 })
    expect(await failure(signIn(app.origin, op, { loginHint: 'bob' }))).to.match(
      /The login ended: denied \(access_denied\)/,
    )
  })

  it('steps a session up that there is already', async () => {
    const { op, app } = await start({
      ciba: { startParams: (req) => ({ loginHint: 'alice', ...req.body }) },
      after: (express) => {
        express.get('/safe', requireCiba({ acrValues: ['gold'] }), (_req, res) => {
          res.json('gold')
        })
        express.get('/put', (req, res) => {
          Object.assign(req.session, { basket: 'full' })
          res.json('put')
        })
        express.get('/basket', (req, res) => {
          res.json((req.session as unknown as Record<string, unknown>)['basket'])
        })
      },
    })
    const weak = await signIn(app.origin, op)
    await get(`${app.origin}/put`, weak)
    expect((await get(`${app.origin}/safe`, weak)).status).to.equal(401)
    const strong = await signIn(app.origin, op, { cookie: weak, body: { acrValues: ['gold'] } })
    expect((await get(`${app.origin}/safe`, strong)).status).to.equal(200)
    expect(await (await get(`${app.origin}/basket`, strong)).json()).to.equal('full')
  })

  it('finds its way in an app with other routes, hints and headers', async () => {
    const { op, app } = await start({
      ciba: {
        routes: { start: '/in', poll: '/look' },
        startParams: (req) => ({ loginHint: req.body.customer === 7 ? 'bob' : 'mallory' }),
      },
      session: { name: 'shop', cookie: { secure: true } },
      before: (express) => {
        express.set('trust proxy', 1)
      },
    })
    const options = { body: { customer: 7 }, routes: { start: '/in', poll: '/look' } }
    const headers = { 'x-forwarded-proto': 'https' }
    const cookie = await signIn(app.origin, op, { ...options, headers })
    expect(cookie).to.match(/^shop=/)
    const me = await fetch(`${app.origin}/me`, { headers: { ...headers, cookie } })
    expect(await me.json()).to.have.property('sub', 'bob')
  })

  context('getting nowhere', () => {
    it('says what the app answered', async () => {
      const { op, app } = await start({ ciba: { routes: { start: '/in' } } })
      expect(await failure(signIn(app.origin, op))).to.match(/answered 404 to POST \/ciba\/start/)
      await op.close()
      const away = signIn(app.origin, op, { routes: { start: '/in' } })
      expect(await failure(away)).to.match(/answered 503 to POST \/in: \{"error":"temporarily_unavailable"/)
    })

    it('says that nobody is asked', async () => {
      const { op, app } = await start()
      expect(await failure(signIn(app.origin, op, { loginHint: 'eve' }))).to.match(/nobody called "eve"/)
    })

    it('gives up on a ping that does not come', async () => {
      const { op, app } = await start({ provider: { pings: 'never' } })
      const before = performance.now()
      const lost = await failure(signIn(app.origin, op, { timeoutMs: 300 }))
      expect(lost).to.match(/No login within 300 ms\. .* does "baseURL" lead to the app\?/)
      expect(performance.now() - before).to.be.below(5_000)
    })

    it('gives up on an app that is not there', async () => {
      const op = await startTestProvider()
      await op.close()
      expect(await failure(signIn(op.issuer, op))).to.be.instanceOf(TypeError)
    })
  })
})
