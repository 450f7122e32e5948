/** Whole logins against a real OP (oidc-provider), in both delivery modes and under both versions of Express. */
import { expect } from 'chai'
import { decodeProtectedHeader } from 'jose'
import type { CibaOptions } from '../../lib/index.ts'
import {
  startTestProvider,
  type TestClient,
  type TestProvider,
  type TestProviderOptions,
  USER_CODE,
} from '../../lib/testing/index.ts'
import {
  type AppOptions,
  type Browser,
  type ExpressVersion,
  expressVersions,
  type Status,
  startApp,
  type TestApp,
} from '../support/app.ts'

const clientSecret = 'real-op-secret'

interface Scene {
  readonly op: TestProvider
  readonly app: TestApp
  readonly browser: Browser
}

interface SceneOptions {
  readonly deliveryMode: 'poll' | 'ping'
  readonly client?: Partial<TestClient>
  readonly op?: TestProviderOptions
  readonly options?: CibaOptions
  readonly express?: ExpressVersion
  readonly before?: AppOptions['before']
}

describe('ciba() against a real OP', function () {
  this.timeout(20_000)

  const cleanup: (() => Promise<void>)[] = []
  const cleanUp = async () => {
    for (const close of cleanup.splice(0).reverse()) await close()
  }

  async function scene(given: SceneOptions): Promise<Scene> {
    const { deliveryMode, client, options, express, before } = given
    let op: TestProvider | undefined
    const app = await startApp({
      ...(express && { express }),
      ...(before && { before }),
      async options(origin) {
        const registration: TestClient = {
          clientID: 'app',
          clientSecret,
          deliveryMode,
          notificationEndpoint: `${origin}/ciba/notification`,
          ...client,
        }
        op = await startTestProvider({ clients: [registration], interval: 5, ...given.op })
        return { issuerBaseURL: op.issuer, clientID: 'app', clientSecret, deliveryMode, ...options }
      },
    })
    const started = op as unknown as TestProvider
    cleanup.push(
      () => app.close(),
      () => started.close(),
    )
    return { op: started, app, browser: app.browser() }
  }

  context('a person approves', () => {
    interface Login {
      readonly scene: Scene
      readonly anonymous: string | undefined
      readonly outcome: Status
      readonly user: string | undefined
    }
    const logins = new Map<string, Promise<Login>>()
    const cases = (['poll', 'ping'] as const).flatMap((deliveryMode) =>
      (['client_secret_basic', 'client_secret_post'] as const).flatMap((method) =>
        expressVersions.map((express) => ({ deliveryMode, method, express })),
      ),
    )
    const nameOf = (one: (typeof cases)[number]) => `${one.deliveryMode}, ${one.method}, ${one.express}`

    async function login({ deliveryMode, method, express }: (typeof cases)[number]): Promise<Login> {
      const client = { clientAuthMethod: method }
      const { op, app, browser } = await scene({ deliveryMode, express, client, options: client })
      const anonymous = await browser.user()
      const transaction = await browser.begin({ loginHint: 'alice@example.com' })
      const asked = await op.waitForRequest()
      const outcome = browser.outcome(transaction)
      await op.approve(asked.authReqId)
      return { scene: { op, app, browser }, anonymous, outcome: await outcome, user: await browser.user() }
    }

    // All at once: most of a login in poll mode is waiting for the interval of five seconds.
    before(() => {
      for (const one of cases) {
        const running = login(one)
        running.catch(() => {}) // its own test reports it
        logins.set(nameOf(one), running)
      }
    })

    after(async () => {
      await Promise.allSettled(logins.values())
      await cleanUp()
    })

    for (const one of cases) {
      it(`signs the session in: ${nameOf(one)} [TOK-9]`, async () => {
        const { anonymous, outcome, user } = await (logins.get(nameOf(one)) as Promise<Login>)
        expect(anonymous).to.equal(undefined)
        expect(outcome).to.have.keys('transaction', 'status')
        expect(outcome.status).to.equal('complete')
        expect(user).to.equal('alice')
      })

      it(`asks the OP once for everything: ${nameOf(one)} [POLL-12]`, async () => {
        const { scene } = await (logins.get(nameOf(one)) as Promise<Login>)
        expect(scene.op.counts).to.deep.equal({
          backchannel: 1,
          token: 1,
          jwks: 1,
          discovery: 1,
          ping: one.deliveryMode === 'ping' ? 1 : 0,
        })
      })
    }
  })

  context('otherwise', () => {
    afterEach(cleanUp)

    for (const express of expressVersions) {
      it(`answers a denial as soon as the OP pings, under ${express} [PING-13]`, async () => {
        const { op, browser } = await scene({ deliveryMode: 'ping', express })
        const transaction = await browser.begin()
        const outcome = browser.outcome(transaction)
        await op.deny((await op.waitForRequest()).authReqId)
        expect(await outcome).to.deep.equal({ transaction, status: 'denied', error: 'access_denied' })
        expect(await browser.user()).to.equal(undefined)
        expect(op.counts).to.include({ backchannel: 1, token: 1, ping: 1 })
      })
    }

    it('finds a denial by polling [POLL-11]', async () => {
      const { op, browser } = await scene({ deliveryMode: 'poll' })
      const transaction = await browser.begin()
      await op.deny((await op.waitForRequest()).authReqId)
      expect(await browser.outcome(transaction)).to.include({ status: 'denied', error: 'access_denied' })
      expect(op.counts).to.include({ backchannel: 1, token: 1 })
    })

    for (const [what, given] of [
      ['the OP is short of time', { op: { expiresIn: 2 } }],
      ['"requestedExpiry" is short', { options: { authorizationParams: { requestedExpiry: 2 } } }],
    ] as const) {
      it(`expires where ${what}, without asking the OP again and again [POLL-5]`, async () => {
        const { op, browser } = await scene({ deliveryMode: 'poll', ...given })
        const before = Date.now()
        const { body } = await browser.start()
        expect(body).to.include({ status: 'pending', expiresIn: 2, interval: 5 })
        const { transaction } = body as Status
        expect(await browser.outcome(transaction)).to.deep.equal({
          transaction,
          status: 'expired',
          error: 'expired_token',
        })
        // The OP counts whole seconds: its two may be little more than one.
        expect(Date.now() - before).to.be.within(900, 4000)
        expect(op.counts).to.include({ backchannel: 1 })
        expect(op.counts.token, 'the last chance before the deadline').to.be.at.most(1)
      })
    }

    it('tells nobody that the OP does not know somebody, and asks nobody [ERR-5]', async () => {
      const { op, browser } = await scene({ deliveryMode: 'ping' })
      const known = await browser.start({ loginHint: 'bob' })
      const unknown = await browser.start({ loginHint: 'mallory' })
      expect([known.status, unknown.status]).to.deep.equal([202, 202])
      expect(Object.keys(unknown.body)).to.deep.equal(Object.keys(known.body))
      expect([...op.requests.values()].map((one) => one.accountId)).to.deep.equal(['bob'])
    })

    for (const alg of ['ES256', 'EdDSA'] as const) {
      it(`signs in with an ID token signed with ${alg} [TOK-8]`, async () => {
        let idToken = ''
        const { op, browser } = await scene({
          deliveryMode: 'ping',
          client: { idTokenSigningAlg: alg },
          options: {
            idTokenSigningAlg: alg,
            afterAuthentication(_req, { tokens }) {
              idToken = tokens.idToken
            },
          },
        })
        const transaction = await browser.begin()
        await op.approve((await op.waitForRequest()).authReqId)
        expect(await browser.outcome(transaction)).to.have.property('status', 'complete')
        expect(decodeProtectedHeader(idToken).alg).to.equal(alg)
        expect(await browser.user()).to.equal('alice')
      })
    }

    it('refuses the RS256 token of an OP that should have signed with ES256 [CFG-8]', async () => {
      const { op, browser } = await scene({ deliveryMode: 'ping', options: { idTokenSigningAlg: 'ES256' } })
      const transaction = await browser.begin()
      await op.approve((await op.waitForRequest()).authReqId)
      expect(await browser.outcome(transaction)).to.include({ error: 'invalid_token_response' })
      expect(await browser.user()).to.equal(undefined)
    })

    it('asks for the user code where the client is registered for one, and takes it [REQ-9]', async () => {
      const { op, browser } = await scene({
        deliveryMode: 'ping',
        client: { userCode: true },
        options: { userCodeParameter: true },
      })
      const without = await browser.start({ loginHint: 'alice' })
      expect([without.status, without.body.error]).to.deep.equal([400, 'missing_user_code'])
      const wrong = await browser.start({ loginHint: 'alice', userCode: '0000' })
      expect([wrong.status, wrong.body.error]).to.deep.equal([400, 'invalid_user_code'])
      expect(op.requests.size).to.equal(0)
      const transaction = await browser.begin({ loginHint: 'alice', userCode: USER_CODE })
      await op.approve((await op.waitForRequest()).authReqId)
      expect(await browser.outcome(transaction)).to.have.property('status', 'complete')
    })

    it('shows the same binding message on both devices [SEC-5]', async () => {
      const options = { authorizationParams: { bindingMessage: 'auto' } }
      const { op, browser } = await scene({ deliveryMode: 'poll', options })
      const { body } = await browser.start()
      expect(body.bindingMessage).to.match(/^[BCDFGHJKMNPQRSTVWXZ2-9]{3}-[BCDFGHJKMNPQRSTVWXZ2-9]{3}$/)
      expect((await op.waitForRequest()).bindingMessage).to.equal(body.bindingMessage)
    })

    it('gives up where the approval has another acr than was asked for [TOK-15]', async () => {
      const acrValues = ['urn:example:loa:2']
      const { op, browser } = await scene({
        deliveryMode: 'ping',
        options: { authorizationParams: { acrValues } },
      })
      for (const [acr, status] of [
        ['urn:example:loa:1', 'failed'] as const,
        ['urn:example:loa:2', 'complete'] as const,
      ]) {
        const transaction = await browser.begin()
        await op.approve((await op.waitForRequest()).authReqId, { acr })
        expect(await browser.outcome(transaction)).to.have.property('status', status)
      }
    })
  })

  context('the OP pings', () => {
    afterEach(cleanUp)

    it('ends a login that was approved before the acknowledgement, at once [PING-11]', async () => {
      const { op, browser } = await scene({
        deliveryMode: 'ping',
        op: { autoApprove: true, pings: 'early' },
      })
      const before = Date.now()
      const transaction = await browser.begin()
      expect(await browser.outcome(transaction)).to.have.property('status', 'complete')
      expect(Date.now() - before).to.be.below(3000)
      expect(await browser.user()).to.equal('alice')
      expect(op.counts).to.include({ backchannel: 1, token: 1, ping: 1 })
    })

    it('answers a browser that waits within 100 ms of the ping, in the middle of five [PING-8]', async () => {
      let pingedAt = 0
      const { op, app } = await scene({
        deliveryMode: 'ping',
        before: (express) => {
          express.use('/ciba/notification', (_req, _res, next) => {
            pingedAt = performance.now()
            next()
          })
        },
      })
      const delays: number[] = []
      for (let round = 0; round < 5; round++) {
        const browser = app.browser()
        const transaction = await browser.begin()
        const waiting = browser.poll(transaction, 20).then((answer) => ({ answer, at: performance.now() }))
        // Its wait has begun when a second, shorter one behind it is over.
        await browser.poll(transaction)
        await op.approve((await op.waitForRequest()).authReqId)
        const { answer, at } = await waiting
        expect(answer.body).to.have.property('status', 'complete')
        delays.push(at - pingedAt)
      }
      expect(delays.sort((one, other) => one - other)[2]).to.be.within(0, 100)
    })

    it('signs in whom the OP asked, browser by browser [SEC-6]', async () => {
      const { op, app } = await scene({ deliveryMode: 'ping' })
      const people = ['alice', 'bob'].map((name) => ({ name, browser: app.browser() }))
      const handles = await Promise.all(people.map(({ name, browser }) => browser.begin({ loginHint: name })))
      const outcomes = people.map(({ browser }, index) => browser.outcome(String(handles[index])))
      for (const { name } of [...people].reverse())
        await op.approve((await op.waitForRequest(name)).authReqId)
      expect((await Promise.all(outcomes)).map(({ status }) => status)).to.deep.equal([
        'complete',
        'complete',
      ])
      expect(await Promise.all(people.map(({ browser }) => browser.user()))).to.deep.equal(['alice', 'bob'])
      const foreign = await people[0]?.browser.poll(String(handles[1]))
      expect([foreign?.status, foreign?.body.error]).to.deep.equal([404, 'unknown_transaction'])
    })
  })
})
