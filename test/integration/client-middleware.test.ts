/** `ciba({ client })`: a client and browsers share what faces the OP, and see nothing of each other. */
import { expect } from 'chai'
import {
  type CibaClient,
  type CibaClientOptions,
  type CibaOptions,
  ciba,
  createCibaClient,
  MemoryTransactionStore,
} from '../../lib/index.ts'
import { startApp, type TestApp } from '../support/app.ts'
import { environment } from '../support/environment.ts'
import { failureOf } from '../support/outcomes.ts'
import { type ScriptedOp, startScriptedOp } from '../support/scripted-op.ts'

describe('ciba({ client })', () => {
  const setEnvironment = environment()
  let op: ScriptedOp
  let client: CibaClient
  let app: TestApp

  /** `startApp()` has options of the client's own by default; here they are the client's. */
  const alone = (own: CibaOptions = {}): CibaOptions => ({
    clientID: undefined,
    clientSecret: undefined,
    allowInsecureRequests: undefined,
    baseURL: undefined,
    client,
    ...own,
  })

  beforeEach(async () => {
    op = await startScriptedOp()
    app = await startApp({
      options(baseURL) {
        client = createCibaClient({
          issuerBaseURL: op.issuer,
          clientID: op.clientId,
          clientSecret: op.clientSecret,
          baseURL,
          deliveryMode: 'ping',
          allowInsecureRequests: true,
        })
        return alone()
      },
    })
  })

  afterEach(async () => {
    await app.close()
    await client.close()
    await op.stop()
  })

  const authReqIdOf = (index: number) => String(op.callsTo('backchannel')[index]?.answer?.['auth_req_id'])

  it('takes the pings of both at one route', async () => {
    const browser = app.browser()
    const { transaction: agents } = await client.start({ loginHint: 'owner' })
    const browsers = await browser.begin({ loginHint: 'alice' })
    const waiting = client.wait(agents)
    const login = browser.outcome(browsers)
    for (const [index, sub] of ['owner', 'alice'].entries()) {
      const authReqId = authReqIdOf(index)
      op.onToken(await op.tokens({ authReqId, claims: { sub } }))
      expect(await op.ping(app.notificationUrl, { authReqId })).to.have.property('status', 204)
      await op.waitForCall('token', index + 1)
    }
    expect(await waiting).to.have.nested.property('user.sub', 'owner')
    expect(await login).to.have.property('status', 'complete')
    expect(await browser.user()).to.equal('alice')
    expect(op.callsTo('discovery'), 'one look at the metadata').to.have.length(1)
  })

  it('takes pings through client.notify() for logins of browsers, too', async () => {
    const browser = app.browser()
    const transaction = await browser.begin()
    op.onToken(() => op.tokens())
    const token = op.callsTo('backchannel')[0]?.params.get('client_notification_token')
    const { status, proceed } = await client.notify(`Bearer ${token}`, { auth_req_id: authReqIdOf(0) })
    proceed()
    expect(status).to.equal(204)
    expect(await browser.outcome(transaction)).to.have.property('status', 'complete')
  })

  it("keeps a session's transactions from the client, which does not even know them [SEC-6]", async () => {
    const transaction = await app.browser().begin()
    for (const act of [client.check, client.wait, client.cancel] as const) {
      expect(await failureOf(act(transaction))).to.include({ code: 'ERR_CIBA_UNKNOWN_TRANSACTION' })
    }
  })

  it("keeps the client's transactions from sessions: 404 [SEC-6]", async () => {
    const { transaction } = await client.start({ loginHint: 'owner' })
    const browser = app.browser()
    await browser.begin()
    const answers = [await browser.poll(transaction), await browser.cancel(transaction)]
    for (const { status, body } of answers) {
      expect([status, body.error]).to.deep.equal([404, 'unknown_transaction'])
    }
    expect(await client.check(transaction)).to.have.property('status', 'pending')
  })

  it('does not sign a browser in by what the client was granted', async () => {
    const { transaction } = await client.start({ loginHint: 'owner' })
    op.onToken(() => op.tokens())
    const waiting = client.wait(transaction)
    await op.ping(app.notificationUrl)
    expect(await waiting).to.have.property('status', 'complete')
    const browser = app.browser()
    expect((await browser.poll(transaction)).status).to.equal(404)
    expect(await browser.user()).to.equal(undefined)
    expect(await client.check(transaction), 'undelivered still').to.have.property('status', 'complete')
  })

  it('leaves the client running when it is closed', async () => {
    await app.auth.close()
    const { transaction } = await client.start({ loginHint: 'owner' })
    const waiting = client.wait(transaction)
    op.onToken(() => op.tokens())
    await op.ping(app.notificationUrl)
    expect(await waiting).to.have.property('status', 'complete')
  })

  it('answers 503 to starts, and lets waiting browsers go, once the client is closed', async () => {
    const browser = app.browser()
    const transaction = await browser.begin()
    const polled = browser.poll(transaction, 20)
    await client.close()
    // The store went with it, so who came late is told to try again; but nobody waits.
    expect((await polled).body).to.satisfy(
      ({ status, error }: Record<string, string>) =>
        status === 'pending' || error === 'temporarily_unavailable',
    )
    const { status, body } = await browser.start()
    expect([status, body.error]).to.deep.equal([503, 'temporarily_unavailable'])
    await app.auth.close()
  })

  it('serves several middlewares', async () => {
    const second = await startApp({ options: alone({ routes: { start: '/second/start' } }) })
    try {
      const { body } = await second.browser().agent.post('/second/start').send({ loginHint: 'alice' })
      expect(body).to.have.property('status', 'pending')
    } finally {
      await second.close()
    }
  })

  it('takes nothing from the environment', async () => {
    setEnvironment({
      ISSUER_BASE_URL: 'https://another.example',
      CLIENT_ID: 'another',
      CLIENT_SECRET: 'another secret',
      BASE_URL: 'https://another.example',
      SECRET: 'another',
    })
    const second = ciba({ client })
    await second.close()
    expect(await app.browser().begin()).to.be.a('string')
  })

  for (const [name, value] of [
    ['issuerBaseURL', 'https://op.example'],
    ['clientID', 'another'],
    ['clientSecret', 'a secret'],
    ['baseURL', 'https://app.example'],
    ['secret', 'at least eight'],
    ['store', new MemoryTransactionStore()],
    ['deliveryMode', 'ping'],
    ['dpop', true],
    ['httpTimeout', 5],
    ['allowInsecureRequests', false],
    ['authorizationParams', {}],
    ['profile', 'fapi-ciba-id1'],
    ['mtls', true],
  ] satisfies [keyof CibaClientOptions, unknown][]) {
    it(`refuses "${name}" beside it, by name, and says where it belongs`, () => {
      expect(() => ciba({ client, [name]: value }))
        .to.throw(TypeError, new RegExp(`"${name}" option belongs to createCibaClient`))
        .with.property('code', 'ERR_CIBA_INVALID_OPTION')
    })
  }

  for (const [what, make] of [
    ['an object of the same form', () => ({ ...client })],
    ['an empty object', () => ({})],
    ['a heir of one', () => Object.create(client)],
    ['a proxy of one', () => new Proxy(client, {})],
    ['a middleware', () => app.auth],
    ['options', () => ({ issuerBaseURL: 'https://op.example', clientID: 'c' })],
    ['null', () => null],
    ['text', () => 'client'],
  ] as const) {
    it(`refuses ${what} for a client`, () => {
      expect(() => ciba({ client: make() as CibaClient }))
        .to.throw(TypeError, /"client" option must be a client of createCibaClient\(\)/)
        .with.property('option', 'client')
    })
  }
})
