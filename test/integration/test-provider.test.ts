/** The test kit as its users have it: the test decides, and a real `ciba()` app finds out. */
import { expect } from 'chai'
import { createCibaClient, requireCiba } from '../../lib/index.ts'
import { startTestProvider, USER_CODE } from '../../lib/testing/index.ts'
import { kits } from '../support/test-provider.ts'

/** What the promise rejects with. */
const failure = (promise: Promise<unknown>): Promise<Error> =>
  promise.then(
    () => expect.fail('it went well'),
    (error) => error,
  )

describe('startTestProvider()', function () {
  this.timeout(20_000)

  const start = kits()

  context('told to approve', () => {
    it('takes a request, its id, an account or its address', async () => {
      const { op, app } = await start()
      for (const which of ['request', 'authReqId', 'alice', 'alice@example.com']) {
        const browser = app.browser()
        const transaction = await browser.begin()
        const request = await op.waitForRequest('alice')
        if (which === 'request') await op.approve(request)
        else await op.approve(which === 'authReqId' ? request.authReqId : which)
        expect((await browser.outcome(transaction)).status, which).to.equal('complete')
        expect(await browser.user()).to.equal('alice')
      }
    })

    it('waits for the request of an account that has none yet', async () => {
      const { op, browser, ended } = await start()
      const approval = op.approve('bob')
      const alices = await browser.begin({ loginHint: 'alice' })
      const bobs = await browser.begin({ loginHint: 'bob' })
      await approval
      expect(await ended(bobs)).to.equal('complete')
      expect((await browser.poll(alices)).body).to.have.property('status', 'pending')
    })

    it('says what was asked for: acr, a time, authorization details', async () => {
      const details = [{ type: 'payment', amount: '12.00' }]
      const { op, browser, ended } = await start({
        provider: { authorizationDetailsTypes: ['payment'] },
        after: (app) => {
          app.get('/login', (req, res) => {
            res.json({ ...req.ciba.user, details: req.ciba.tokens?.authorizationDetails })
          })
        },
      })
      const asked = {
        loginHint: 'alice',
        acrValues: ['urn:example:loa:2'],
        maxAge: 60,
        authorizationDetails: details,
      }
      const before = Math.floor(Date.now() / 1000)
      const transaction = await browser.begin(asked)
      expect((await op.waitForRequest()).authorizationDetails).to.deep.equal(details)
      await op.approve('alice')
      expect(await ended(transaction)).to.equal('complete')
      const { body: login } = await browser.agent.get('/login')
      expect(login).to.have.property('acr', 'urn:example:loa:2')
      expect(login.auth_time).to.be.within(before, before + 5)
      expect(login.details).to.deep.equal(details)
    })

    it('says what it is told to say instead', async () => {
      const details = [{ type: 'payment', amount: '12.00' }]
      const { op, browser, ended } = await start({
        provider: { authorizationDetailsTypes: ['payment', 'account'] },
        after: (app) => {
          app.get('/login', (req, res) => {
            res.json({ ...req.ciba.user, details: req.ciba.tokens?.authorizationDetails })
          })
        },
      })
      const authTime = Math.floor(Date.now() / 1000) - 1000
      const transaction = await browser.begin({
        loginHint: 'alice',
        authorizationDetails: [...details, { type: 'account' }],
      })
      await op.approve('alice', { acr: 'a', amr: ['face'], authTime, authorizationDetails: details })
      expect(await ended(transaction)).to.equal('complete')
      const { body: login } = await browser.agent.get('/login')
      expect(login).to.deep.include({ acr: 'a', amr: ['face'], auth_time: authTime, details })
      const weak = await browser.begin({ loginHint: 'alice', acrValues: ['b'] })
      await op.approve('alice', { acr: 'a' })
      expect(await ended(weak)).to.equal('failed: invalid_token_response')
    })

    it('puts the claims of accounts into the ID token, where guards see them', async () => {
      const { op, browser, ended, app } = await start({
        provider: { accounts: [{ sub: 'u1', email: 'ada@maths.example', roles: ['admin'] }, 'bob'] },
        after: (express) => {
          express.get('/admin', requireCiba({ claimIncludes: { roles: 'admin' } }), (_req, res) => {
            res.json('welcome')
          })
        },
      })
      expect(op.accounts).to.deep.equal(['u1', 'bob'])
      const transaction = await browser.begin({ loginHint: 'ada@maths.example' })
      await op.approve('ada@maths.example')
      expect(await ended(transaction)).to.equal('complete')
      const { body: user } = await browser.agent.get('/me')
      expect(user).to.deep.include({ sub: 'u1', email: 'ada@maths.example', roles: ['admin'] })
      expect(await browser.agent.get('/admin')).to.have.property('status', 200)

      const bob = app.browser()
      const bobs = await bob.begin({ loginHint: 'bob' })
      await op.approve('bob')
      expect((await bob.outcome(bobs)).status).to.equal('complete')
      expect((await bob.agent.get('/me')).body).to.have.property('sub', 'bob')
      expect((await bob.agent.get('/me')).body).to.not.have.any.keys('email', 'roles')
      expect(await bob.agent.get('/admin')).to.have.property('status', 403)
    })
  })

  context('told to deny', () => {
    it('ends the login as denied', async () => {
      const { op, browser, ended } = await start()
      const transaction = await browser.begin()
      await op.deny('alice')
      expect(await ended(transaction)).to.equal('denied: access_denied')
      expect(op.requests.size).to.equal(0)
      expect(await browser.user()).to.equal(undefined)
    })
  })

  context('told to let expire', () => {
    it('ends the login as expired, long before its time', async () => {
      const { op, browser, ended } = await start()
      const transaction = await browser.begin()
      const request = await op.waitForRequest()
      await op.expire(request)
      expect(await ended(transaction)).to.equal('expired: expired_token')
      expect(op.requests.size).to.equal(0)
      expect(op.counts).to.include({ ping: 1, token: 1 })
      expect(await failure(op.approve(request))).to.match(/it has expired/)
    })

    it('answers expired_token to whoever polls', async () => {
      const { op, browser, ended } = await start({ provider: { deliveryMode: 'poll' } })
      const transaction = await browser.begin()
      await op.expire('alice')
      expect(await ended(transaction)).to.equal('expired: expired_token')
      expect(op.counts).to.include({ ping: 0, token: 1 })
    })
  })

  context('started with nothing', () => {
    it('signs in by polling every second', async () => {
      const { op, browser, ended } = await start({ provider: () => ({ baseURL: undefined }) as object })
      expect(op.clientOptions).to.deep.equal({
        issuerBaseURL: op.issuer,
        clientID: 'test-client',
        clientSecret: op.clientOptions.clientSecret,
        clientAuthMethod: 'client_secret_basic',
        deliveryMode: 'poll',
        allowInsecureRequests: true,
      })
      const { body } = await browser.start()
      expect(body).to.include({ expiresIn: 120, interval: 1 })
      await op.approve('alice')
      expect(await ended(body.transaction)).to.equal('complete')
    })
  })

  context('beside a client without Express', () => {
    it('answers it, too', async () => {
      const op = await startTestProvider({ clients: [{ clientID: 'agent', userCode: true }] })
      const client = createCibaClient(op.clientOptions)
      try {
        const { transaction } = await client.start({ loginHint: 'bob', userCode: USER_CODE })
        await op.approve('bob')
        const approved = await client.wait(transaction, { timeout: 10 })
        expect(approved).to.have.property('status', 'complete')
        expect(approved).to.have.nested.property('user.sub', 'bob')
      } finally {
        await client.close()
        await op.close()
      }
    })
  })

  context('started with more', () => {
    it('pings where it is told to', async () => {
      const { op, app, browser, ended } = await start({
        provider: (origin) => ({ notificationEndpoint: `${origin}/pings` }),
        ciba: { routes: { notification: '/pings' } },
      })
      expect(op.clientOptions).to.include({ deliveryMode: 'ping', baseURL: app.origin })
      const transaction = await browser.begin()
      await op.approve('alice')
      expect(await ended(transaction)).to.equal('complete')
    })

    it('has clients of any kind', async () => {
      const { browser, op, ended } = await start({
        provider: {
          clients: [{ clientID: 'till', clientAuthMethod: 'client_secret_post', userCode: true }],
          expiresIn: 77,
        },
      })
      expect(op.clientOptions).to.include({ clientID: 'till', userCodeParameter: true })
      expect((await browser.start()).body).to.have.property('error', 'missing_user_code')
      const { body } = await browser.start({ loginHint: 'alice', userCode: USER_CODE })
      expect(body).to.include({ expiresIn: 77 })
      const request = await op.waitForRequest()
      expect(request).to.include({ clientID: 'till', accountId: 'alice' })
      await op.approve(request)
      expect(await ended(body.transaction)).to.equal('complete')
    })

    it('serves a page for the phone beside the OP', async () => {
      const op = await startTestProvider({
        device: (provider) => (req, res) => res.end(`${req.url} of ${provider.issuer}`),
      })
      try {
        for (const path of ['/device', '/device/requests?x=1']) {
          expect(await (await fetch(op.issuer + path)).text()).to.equal(`${path} of ${op.issuer}`)
        }
        expect((await fetch(`${op.issuer}/devices`)).status).to.equal(404)
      } finally {
        await op.close()
      }
    })
  })

  context('asked for what it does not have', () => {
    it('says who there is', async () => {
      const { op } = await start({ provider: { accounts: ['ada', 'bob'] } })
      for (const asked of [op.approve('eve'), op.deny('eve'), op.expire('eve'), op.waitForRequest('eve')]) {
        expect(await failure(asked)).to.match(/no request and nobody called "eve", only ada, bob/)
      }
    })

    it('gives up waiting for a request that does not come', async () => {
      const { op, browser } = await start()
      await browser.begin({ loginHint: 'bob' })
      expect(await failure(op.waitForRequest('alice', { timeoutMs: 20 }))).to.match(
        /No authentication request for alice arrived within 20 ms/,
      )
      expect(await op.waitForRequest('bob')).to.have.property('accountId', 'bob')
      expect(await failure(op.waitForRequest(undefined, { timeoutMs: 20 }))).to.match(/within 20 ms/)
    })

    it('refuses a port that is in use', async () => {
      const { op } = await start()
      const port = Number(new URL(op.issuer).port)
      expect(await failure(startTestProvider({ port }))).to.have.property('code', 'EADDRINUSE')
    })
  })
})
