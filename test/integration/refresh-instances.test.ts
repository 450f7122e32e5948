/**
 * Three instances of an app on one Redis, with sessions and transactions there, at an OP that ends a login when an old
 * refresh token comes back: whichever refreshes, it is one [SEC-10, TOK-23].
 */
import { expect } from 'chai'
import { RedisStore } from 'connect-redis'
import type { Configuration } from 'oidc-provider'
import { type CibaOptions, cibaClientMetadata, type TokenSet } from '../../lib/index.ts'
import { RedisTransactionStore } from '../../lib/stores/redis.ts'
import { startApp, type TestApp } from '../support/app.ts'
import { type FullOp, startFullOp } from '../support/full-op.ts'
import { type Later, later } from '../support/outcomes.ts'
import { CLIENT_SECRET, timeTravel } from '../support/real-op.ts'
import { type Client, redisServer } from '../support/redis-server.ts'
import { handled } from '../support/signed-in.ts'
import { Browser, until } from '../support/web.ts'

type FindAccount = NonNullable<Configuration['findAccount']>

interface Instance extends TestApp {
  /** While true, every command of the transaction store fails; the sessions are there. */
  isStoreAway: boolean
  /** How many commands the transaction store has sent. */
  commands: number
  /** Its requests with a refresh token get stuck from now on: as if it were killed, as far as others can see. */
  isDead: boolean
}

describe('three instances on one Redis, refreshing', function () {
  this.timeout(20_000)

  const redis = redisServer()
  const pass = timeTravel()
  let op: FullOp
  let instances: Instance[]
  let a: Instance
  let b: Instance
  let c: Instance
  let undo: (() => unknown)[]
  /** The OP answers no refresh before it opens; `undefined` is open. */
  let gate: Later<void> | undefined
  let askedAt: Later<void>
  let death: Later<Response>

  beforeEach(async () => {
    undo = []
    gate = undefined
    askedAt = later()
    death = later()
    op = await startFullOp({
      accessTokenExpiresIn: 120,
      configure: (configuration) => ({
        ...configuration,
        async findAccount(...args) {
          if (args[0].oidc.params?.['grant_type'] === 'refresh_token') {
            askedAt.resolve()
            await gate?.promise
          }
          return (configuration.findAccount as FindAccount)(...args)
        },
      }),
    })
    instances = []
    a = await startInstance()
    b = await startInstance()
    c = await startInstance()
  })
  afterEach(async () => {
    gate?.resolve()
    death.resolve(Response.error())
    for (const { close } of instances) await close()
    for (const act of undo) await act()
    await op.close()
  })

  function storeOf(client: Client, instance: Pick<Instance, 'isStoreAway' | 'commands'>) {
    const subscriber = client.duplicate()
    subscriber.on('error', () => {})
    undo.push(() => subscriber.destroy())
    const store = new RedisTransactionStore({
      async sendCommand(args) {
        instance.commands++
        if (instance.isStoreAway) throw new Error('Redis is away')
        return client.sendCommand(args)
      },
      async subscribe(channel, listener) {
        if (!subscriber.isOpen) await subscriber.connect()
        await subscriber.sSubscribe(channel, listener)
        return () => subscriber.sUnsubscribe(channel, listener)
      },
    })
    undo.unshift(() => store.close())
    return store
  }

  async function startInstance(): Promise<Instance> {
    const client = await redis.client()
    const state = { isStoreAway: false, commands: 0, isDead: false }
    const options: CibaOptions = {
      issuerBaseURL: op.issuer,
      clientID: 'app',
      clientSecret: CLIENT_SECRET,
      deliveryMode: 'ping',
      allowInsecureRequests: true,
      authorizationParams: { scope: 'openid offline_access' },
      secret: 'of all instances',
      store: storeOf(client, state),
      customFetch: async (url, init) =>
        state.isDead && String(init.body).includes('refresh_token')
          ? death.promise
          : fetch(url, init as RequestInit),
    }
    const app = await startApp({
      async options(origin) {
        const baseURL = instances[0]?.origin ?? origin // where the OP pings
        const metadata = cibaClientMetadata({ ...options, baseURL })
        await op.register({ client_id: 'app', client_secret: CLIENT_SECRET, ...metadata })
        return { ...options, baseURL }
      },
      session: { store: new RedisStore({ client }) },
      after(express) {
        express.get(
          '/token',
          handled(async (req, res) => res.json(await req.ciba.getAccessToken())),
        )
        express.get('/tokens', (req, res) => void res.json(req.ciba.tokens))
        express.post('/slow', (req, res) => {
          isHeld.resolve()
          void slow.promise.then(() => {
            Object.assign(req.session, { note: 'written late' })
            res.json(true)
          })
        })
      },
    })
    const instance = Object.assign(state, app)
    instances.push(instance)
    return instance
  }

  let isHeld = later()
  let slow = later()
  beforeEach(() => {
    isHeld = later()
    slow = later()
  })

  /** A person who is signed in: their browser at each of the instances. */
  async function signIn(): Promise<(at: TestApp) => Browser> {
    const browser = new Browser(a.origin)
    const transaction = await browser.begin()
    const { authReqId } = await op.waitForRequest()
    const poll = browser.poll(transaction, 10)
    await op.approve(authReqId)
    expect((await poll).body.status).to.equal('complete')
    await browser.get('/me')
    return ({ origin }) => new Browser(origin, browser.cookie)
  }

  const tokensOf = async (browser: Browser) => (await browser.get('/tokens')).body as TokenSet

  async function isAlive(browser: Browser): Promise<boolean> {
    const { accessToken, refreshToken = '' } = await tokensOf(browser)
    return (await op.isActive(accessToken)) && (await op.isActive(refreshToken))
  }

  const ask = (browser: Browser) => browser.get('/token').then(({ status, body }) => ({ status, body }))

  it('asks the OP once for twenty requests at once, which all get the new token', async () => {
    const at = await signIn()
    for (let round = 1; round <= 3; round++) {
      const before = await tokensOf(at(a))
      pass(100)
      const answers = await Promise.all(
        Array.from({ length: 20 }, (_, n) => ask(at([a, b, c][(n + round) % 3] as Instance))),
      )
      expect(op.counts).to.include({ refresh: round })
      expect(new Set(answers.map(({ status }) => status))).to.deep.equal(new Set([200]))
      expect(new Set(answers.map(({ body }) => body))).to.have.property('size', 1)
      for (const one of [a, b, c]) {
        const { accessToken, refreshToken } = await tokensOf(at(one))
        expect(accessToken).to.equal(answers[0]?.body).and.not.to.equal(before.accessToken)
        expect(refreshToken).not.to.equal(before.refreshToken)
      }
    }
    expect(await isAlive(at(b))).to.equal(true)
    await until('nobody listens any more', async () => {
      return (await redis.command('PUBSUB', 'SHARDCHANNELS'))?.toString() === ''
    })
  })

  it('does without the store while the token is fresh', async () => {
    const at = await signIn()
    await at(b).get('/me') // where it is confirmed once
    b.commands = 0
    await Promise.all([ask(at(b)), ask(at(b)), at(b).get('/me')])
    expect(b.commands).to.equal(0)
  })

  it('goes on when the instance that refreshes is killed, once its lease is over', async () => {
    const at = await signIn()
    pass(130)
    a.isDead = true
    const lost = ask(at(a))
    await until('it has its lease', async () => (await refreshRecords()).length === 1)
    const waiting = [ask(at(b)), ask(at(c))]
    await until('they wait', async () => (await redis.subscribers()).length === 2)
    expect(op.counts).to.include({ refresh: 0 })
    pass(100)
    const answers = await Promise.all(waiting)
    expect(op.counts).to.include({ refresh: 1 })
    for (const { status, body } of answers) {
      expect([status, body]).to.deep.equal([200, (await tokensOf(at(b))).accessToken])
    }
    expect(await isAlive(at(c))).to.equal(true)
    death.resolve(Response.error())
    expect(await lost, 'it was no more than slow').to.deep.equal(answers[0])
  })

  const refreshRecords = async () => (await redis.command('KEYS', 'ciba:refresh-*')) as string[]

  /** Sessions in which somebody is signed in. */
  async function signedIn(): Promise<unknown[]> {
    const keys = (await redis.command('KEYS', 'sess:*')) as string[]
    const sessions = await Promise.all(keys.map((key) => redis.command('GET', key)))
    return sessions.filter((session) => String(session).includes('accessToken'))
  }

  it('leaves neither session nor tokens when a logout at another instance comes in between [SEC-12]', async () => {
    const at = await signIn()
    pass(130)
    gate = later()
    const refreshing = ask(at(a))
    await askedAt.promise
    expect((await at(b).post('/ciba/logout')).status).to.equal(204)
    gate.resolve()
    const { status, body } = await refreshing
    expect([status, body.uncaught]).to.deep.equal([401, 'ERR_CIBA_UNAUTHENTICATED'])
    expect(await signedIn()).to.deep.equal([])
    const granted = op.received.flatMap(({ route, answer }) => {
      const { access_token, refresh_token } = (answer ?? {}) as Record<string, string>
      return route === 'token' && access_token ? [access_token, refresh_token ?? ''] : []
    })
    expect(granted.length, 'what was granted').to.be.oneOf([2, 4])
    await until('nothing works any more', async () => {
      return !(await Promise.all(granted.map(op.isActive))).includes(true)
    })
  })

  it('revokes the newest tokens at a logout from an old copy of the session', async () => {
    const at = await signIn()
    pass(100)
    const logout = at(c).post('/slow').then()
    await isHeld.promise
    await ask(at(b))
    const newest = await tokensOf(at(a))
    slow.resolve()
    await logout
    await at(c).post('/ciba/logout')
    expect(op.counts).to.include({ refresh: 1 })
    const revoked = () =>
      op.received.flatMap(({ route, form }) => (route === 'revocation' ? form['token'] : []))
    await until('both are revoked', () => revoked().length === 2)
    expect(revoked()).to.deep.equal([newest.refreshToken, newest.accessToken])
    expect(await op.isActive(newest.refreshToken ?? '')).to.equal(false)
  })

  it('heals a session that a slow request at another instance has written back', async () => {
    const at = await signIn()
    const old = await tokensOf(at(a))
    const writing = at(c).post('/slow').then()
    await isHeld.promise
    pass(100)
    const { body: refreshed } = await ask(at(a))
    slow.resolve()
    await writing
    expect(await tokensOf(at(b)), 'the old ones are back').to.deep.equal(old)
    const answers = await Promise.all([b, c, b, c, a].map((one) => ask(at(one))))
    expect(answers.map(({ body }) => body)).to.deep.equal(Array(5).fill(refreshed))
    expect((await tokensOf(at(b))).accessToken).to.equal(refreshed)
    expect(op.counts).to.include({ refresh: 1 })
    pass(100)
    await ask(at(c))
    expect(op.counts).to.include({ refresh: 2 })
    expect(await isAlive(at(c))).to.equal(true)
  })

  it('risks no login while the store is away: a valid token is used, without one it is 503', async () => {
    const at = await signIn()
    const { accessToken } = await tokensOf(at(a))
    b.isStoreAway = true
    pass(100)
    expect(await ask(at(b))).to.deep.equal({ status: 200, body: accessToken })
    pass(30)
    const { status, body } = await ask(at(b))
    expect([status, body.uncaught]).to.deep.equal([503, 'ERR_CIBA_STORE_FAILED'])
    expect(op.counts).to.include({ refresh: 0 })
    b.isStoreAway = false
    expect((await ask(at(b))).status).to.equal(200)
    expect(await isAlive(at(b))).to.equal(true)
  })

  it('signs out while the store is away, in good time', async () => {
    const at = await signIn()
    const { accessToken } = await tokensOf(at(a))
    b.isStoreAway = true
    const since = performance.now()
    expect((await at(b).post('/ciba/logout')).status).to.equal(204)
    expect(performance.now() - since).to.be.below(3_000)
    expect(await signedIn()).to.deep.equal([])
    expect(await op.isActive(accessToken)).to.equal(false)
  })
})
