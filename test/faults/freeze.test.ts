/** An instance that is stopped (SIGSTOP) for longer than what it holds lasts, and then goes on as if nothing had happened. */
import { expect } from 'chai'
import { expectSignedInOnce, faultStage, Visitor } from '../support/fault-stage.ts'
import type { Instance } from '../support/instances.ts'
import { tokenError } from '../support/scripted-op.ts'
import { until } from '../support/web.ts'

/** Longer than any lease and any claim. */
const longSeconds = 90
const frozenMs = longSeconds * 1000

describe('an instance is frozen, and goes on after another one has taken over', function () {
  this.timeout(20_000)

  const stage = faultStage()
  let a: Instance
  let b: Instance
  let visitor: Visitor
  let before: Visitor
  let transaction: string
  /** Of the poll that waits at the frozen one. */
  let poll: ReturnType<Visitor['poll']>

  beforeEach(async () => {
    gone = new AbortController()
    a = await stage.instance()
    b = await stage.instance()
    const first = new Visitor(a)
    transaction = await first.begin()
    // The browser polls in vain at one instance, and at the other.
    visitor = first.copy(b)
    before = first.copy(b)
  })

  /** The balancer takes the frozen one out: its requests are cut off. */
  let gone: AbortController

  async function freeze(point: string): Promise<void> {
    await a.trap(point, 'freeze', { frozenMs })
    await stage.travel(2)
    poll = new Visitor(a, before.cookie).poll(transaction, 20, gone.signal)
    poll.catch(() => {})
    await a.trapped(point)
    await stage.travel(longSeconds)
  }

  async function complete(tokenRequests = 1): Promise<void> {
    expect(await visitor.outcome(transaction)).to.deep.equal({ transaction, status: 'complete' })
    await expectSignedInOnce(stage, { visitor, before, transaction })
    expect(stage.op.callsTo('token')).to.have.length(tokenRequests)
    expect(stage.op.violations()).to.deep.equal([])
  }

  /** The browser may learn there that it is signed in, as it is; it gets no session there. */
  async function expectNoSecondLogin(): Promise<void> {
    const { body, headers } = await poll
    expect(body).to.deep.equal({ transaction, status: 'complete' })
    expect(headers.getSetCookie()).to.deep.equal([])
  }

  it('before it has the lease: it gets none any more, and asks nothing [POLL-2]', async () => {
    stage.op.onToken(() => stage.op.tokens())
    await freeze('leased.write:before')
    await complete()
    a.thaw()
    await expectNoSecondLogin()
    await expectSignedInOnce(stage, { visitor, before, transaction })
    expect(stage.op.callsTo('token')).to.have.length(1)
  })

  it('with a lease that has run out: it asks nothing [POLL-2]', async () => {
    stage.op.onToken(() => stage.op.tokens())
    await freeze('leased.write:after')
    await complete()
    a.thaw()
    await expectNoSecondLogin()
    await expectSignedInOnce(stage, { visitor, before, transaction })
    expect(stage.op.callsTo('token')).to.have.length(1)
  })

  it('with the tokens, before anybody else has asked: they are kept, although its lease is over', async () => {
    stage.op.onToken(() => stage.op.tokens())
    await freeze('token:after')
    a.thaw()
    expect((await poll).body).to.deep.equal({ transaction, status: 'complete' })
    expect(stage.op.callsTo('token')).to.have.length(1)
  })

  it('with the tokens, while another one asks: they are kept, whatever that one hears [POLL-13]', async () => {
    let hear = () => {}
    const heard = new Promise<void>((resolve) => {
      hear = resolve
    })
    stage.op.onToken(
      () => stage.op.tokens(),
      async () => {
        await heard
        return tokenError('invalid_grant')
      },
    )
    await freeze('token:after')
    const other = visitor.poll(transaction, 20)
    await stage.op.waitForCall('token', 2)
    a.thaw()
    const answers = [(await poll).body, (await other).body]
    expect(answers).to.deep.include({ transaction, status: 'complete' })
    hear()
    expect(await stage.transaction(transaction)).to.include({ state: 'complete' })
    expect((await stage.sessions()).filter(({ login }) => login)).to.have.length(1)
    expect(stage.op.callsTo('token')).to.have.length(2)
  })

  it('with the tokens, after another one has heard that they were handed out: that is reported [POLL-13]', async () => {
    stage.op.onToken(() => stage.op.tokens(), tokenError('invalid_grant'))
    await freeze('token:after')
    const ended = { transaction, status: 'failed', error: 'outcome_unknown' }
    expect(await visitor.outcome(transaction)).to.deep.equal(ended)
    a.thaw()
    expect((await poll).body).to.deep.equal(ended)
    expect((await stage.sessions()).filter(({ login }) => login)).to.deep.equal([])
    expect(stage.op.callsTo('token')).to.have.length(2)
    expect(stage.op.violations()).to.deep.equal([])
  })

  it('in afterAuthentication: its claim is over, it signs nobody in [SEC-7]', async () => {
    stage.op.onToken(() => stage.op.tokens())
    await freeze('afterAuthentication')
    await complete()
    a.thaw()
    expect((await poll).status).to.be.oneOf([404, 503])
    await expectSignedInOnce(stage, { visitor, before, transaction })
  })

  it('while it saves the session, and its browser has gone: the session that it makes ends [SEC-7]', async () => {
    stage.op.onToken(() => stage.op.tokens())
    await freeze('login.set:before')
    gone.abort()
    await complete()
    a.thaw()
    await a.said('express-ciba:login')
    await until('one session is left', async () => {
      return (await stage.sessions()).filter(({ login }) => login).length === 1
    })
    await expectSignedInOnce(stage, { visitor, before, transaction })
  })

  it('while it saves the session, and its browser waits there too: one session is left in the end [SEC-7]', async () => {
    stage.op.onToken(() => stage.op.tokens())
    await freeze('login.set:before')
    await complete()
    a.thaw()
    const { status, headers } = await poll
    const signedIn = (await stage.sessions()).filter(({ login }) => login)
    expect({ status, cookies: headers.getSetCookie().length, sessions: signedIn.length }).to.deep.equal({
      status: 503,
      cookies: 0,
      sessions: 1,
    })
    await expectSignedInOnce(stage, { visitor, before, transaction })
  })
})

describe('an instance is frozen while it takes a ping', function () {
  this.timeout(20_000)

  const stage = faultStage()

  for (const [when, point] of [
    ['before it is written', 'ready.write:before'],
    ['before its 204', 'ready.write:after'],
  ] as const) {
    it(`${when}: another one fetches the tokens, once [POLL-2, PING-10]`, async () => {
      const deliveryMode = 'ping'
      const a = await stage.instance({ deliveryMode })
      const b = await stage.instance({ deliveryMode })
      const visitor = new Visitor(b)
      const transaction = await visitor.begin()
      const before = visitor.copy()
      stage.op.onToken(() => stage.op.tokens())
      await a.trap(point, 'freeze', { frozenMs: 31_000 })
      const pong = stage.op.ping(a.notificationUrl)
      await a.trapped(point)
      await stage.travel(31)
      expect(await visitor.outcome(transaction)).to.deep.equal({ transaction, status: 'complete' })
      await expectSignedInOnce(stage, { visitor, before, transaction })
      a.thaw()
      expect((await pong).status, 'too late, but true').to.equal(204)
      await a.said('express-ciba:notification')
      expect(stage.op.callsTo('token')).to.have.length(1)
      expect(stage.op.violations()).to.deep.equal([])
    })
  }
})
