/** Agents that are killed: another process goes on with the handle, and nothing is asked for twice at once. */
import { expect } from 'chai'
import { type CibaClient, type CibaClientOptions, createCibaClient } from '../../lib/index.ts'
import { Agent } from '../support/agents.ts'
import { type NotificationServer, sharedSecret, startNotificationServer } from '../support/clients.ts'
import { timeTravel } from '../support/real-op.ts'
import { pending, type ScriptedOp, startScriptedOp, tokenError } from '../support/scripted-op.ts'
import { RemoteStore, type StoreServer, startStoreServer } from '../support/store-server.ts'

/** Longer than any lease: the token request's 60 seconds, the checks' 20, and 5 more. */
const leaseSeconds = 90

describe('an agent that is killed', function () {
  this.timeout(30_000)

  const travel = timeTravel()
  let op: ScriptedOp
  let server: StoreServer
  let store: RemoteStore
  let notifications: NotificationServer
  /** The other process: this one. */
  let survivor: CibaClient
  const agents: Agent[] = []

  beforeEach(async () => {
    op = await startScriptedOp()
    server = await startStoreServer()
    store = await RemoteStore.connect(server.port)
    notifications = await startNotificationServer()
  })

  afterEach(async () => {
    for (const agent of agents.splice(0)) await agent.kill()
    await survivor.close()
    await store.close()
    await notifications.close()
    await server.close()
    await op.stop()
  })

  async function agent(deliveryMode: 'poll' | 'ping' | 'push'): Promise<Agent> {
    const client: CibaClientOptions = {
      issuerBaseURL: op.issuer,
      clientID: op.clientId,
      clientSecret: op.clientSecret,
      baseURL: notifications.origin,
      secret: sharedSecret,
      deliveryMode,
      allowInsecureRequests: true,
    }
    survivor = createCibaClient({ ...client, store })
    notifications.serve(survivor)
    const child = new Agent({ client, port: server.port })
    agents.push(child)
    await child.report('ready')
    return child
  }

  async function started(child: Agent): Promise<string> {
    child.tell({ start: 'owner' })
    return child.report('started')
  }

  for (const mode of ['poll', 'ping', 'push'] as const) {
    it(`while it waits: the tokens come to another one, in ${mode} mode`, async () => {
      const child = await agent(mode)
      const transaction = await started(child)
      child.tell({ wait: transaction })
      await child.report('waiting')
      // In poll mode there is a sign that it does wait, and then a lease that it may have left.
      if (mode === 'poll') await op.waitForCall('token')
      await child.kill()
      op.onToken(() => op.tokens())
      if (mode === 'poll') travel(leaseSeconds)
      const waiting = survivor.wait(transaction)
      if (mode === 'ping') await op.ping(notifications.url)
      if (mode === 'push') await op.push(notifications.url)
      expect(await waiting).to.have.nested.property('user.sub', 'alice')
      expect(op.callsTo('token')).to.have.length({ poll: 2, ping: 1, push: 0 }[mode])
      expect(op.violations()).to.deep.equal([])
    })

    it(`right after it has started: whoever has the handle goes on, in ${mode} mode`, async () => {
      const child = await agent(mode)
      const transaction = await started(child)
      await child.kill()
      op.onToken(() => op.tokens())
      if (mode === 'ping') await op.ping(notifications.url)
      if (mode === 'push') await op.push(notifications.url)
      expect(await survivor.wait(transaction)).to.have.property('status', 'complete')
      expect(op.callsTo('token')).to.have.length(mode === 'push' ? 0 : 1)
      expect(op.violations()).to.deep.equal([])
    })
  }

  it('while it waits with another: the other one learns of it, and asks alone from then on', async () => {
    const child = await agent('poll')
    const transaction = await started(child)
    child.tell({ wait: transaction })
    const waiting = survivor.wait(transaction)
    await op.waitForCall('token', 2)
    await child.kill()
    // Whoever asked last, the next answer is the one that counts.
    op.onToken(pending(), () => op.tokens())
    travel(leaseSeconds) // the lease of a request in flight is over
    expect(await waiting).to.have.property('status', 'complete')
    expect(op.violations().filter((violation) => violation.includes('overlaps'))).to.deep.equal([])
  })

  describe('during the token request', () => {
    async function killedWhileAsking(): Promise<string> {
      const child = await agent('poll')
      op.onBackchannel({ json: { auth_req_id: 'of-the-agent', expires_in: 600, interval: 1 } })
      op.onToken({ hang: true })
      const transaction = await started(child)
      child.tell({ wait: transaction })
      await op.waitForCall('token')
      await child.kill()
      return transaction
    }

    it('delays the next request by its lease, and no longer [POLL-2]', async () => {
      const transaction = await killedWhileAsking()
      expect(await survivor.wait(transaction, { timeout: 1.5 })).to.have.property('status', 'pending')
      expect(op.callsTo('token'), 'it may be in flight still').to.have.length(1)
      op.onToken(() => op.tokens())
      travel(leaseSeconds)
      expect(await survivor.wait(transaction)).to.have.property('status', 'complete')
      expect(op.callsTo('token')).to.have.length(2)
    })

    it('says that nobody knows how it ended when the OP takes it for redeemed [POLL-13]', async () => {
      const transaction = await killedWhileAsking()
      op.onToken(tokenError('invalid_grant'))
      travel(leaseSeconds)
      expect(await survivor.wait(transaction)).to.deep.equal({
        transaction,
        status: 'failed',
        error: 'outcome_unknown',
      })
    })
  })

  it('after it has got the tokens: they are there for another one, and the OP is not asked again', async () => {
    const child = await agent('poll')
    op.onToken(() => op.tokens())
    const transaction = await started(child)
    child.tell({ wait: transaction })
    const outcome = await child.report('outcome')
    await child.kill()
    expect(outcome).to.have.property('status', 'complete')
    expect(await survivor.check(transaction)).to.deep.equal(outcome)
    expect(op.callsTo('token')).to.have.length(1)
  })

  it('is not needed to cancel what it has started', async () => {
    const child = await agent('ping')
    const transaction = await started(child)
    child.tell({ wait: transaction })
    await child.report('waiting')
    await survivor.cancel(transaction)
    expect(await child.report('outcome')).to.have.property('status', 'cancelled')
    child.tell({ close: true })
    expect(await child.ended(), 'and ends by itself').to.equal(0)
  })
})
