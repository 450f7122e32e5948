/** `createCibaClient()` at a real OP: whole transactions in poll and ping mode, and what the tokens are good for. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { expect } from 'chai'
import {
  type ApprovedStatus,
  type CibaClient,
  type CibaClientOptions,
  type ClientStatus,
  cibaClientMetadata,
  createCibaClient,
} from '../../lib/index.ts'
import { startNotificationServer } from '../support/clients.ts'
import { type FullOp, type FullOpOptions, startFullOp } from '../support/full-op.ts'
import { failureOf } from '../support/outcomes.ts'
import { CLIENT_SECRET, privateJwk } from '../support/real-op.ts'
import type { ResourceAnswer } from '../support/resource-server.ts'

const secret = 'what these clients seal with'

describe('createCibaClient() at a real OP', function () {
  this.timeout(20_000)

  const cleanup: (() => Promise<void>)[] = []
  afterEach(async () => {
    for (const undo of cleanup.splice(0).reverse()) await undo()
  })

  async function start(given: CibaClientOptions = {}, opOptions: FullOpOptions = {}) {
    const op = await startFullOp(opOptions)
    cleanup.push(() => op.close())
    const notifications = await startNotificationServer()
    cleanup.push(() => notifications.close())
    const options: CibaClientOptions = {
      issuerBaseURL: op.issuer,
      clientID: 'agent',
      clientSecret: CLIENT_SECRET,
      baseURL: notifications.origin,
      secret,
      allowInsecureRequests: true,
      ...given,
    }
    const registration = { client_id: 'agent', client_secret: CLIENT_SECRET }
    await op.register({ ...registration, ...cibaClientMetadata(options) })
    const another = (own: CibaClientOptions = {}) => {
      const client = createCibaClient({ ...options, ...own })
      cleanup.push(() => client.close())
      return client
    }
    const client = another()
    notifications.serve(client)
    return { op, client, another, options }
  }

  async function approved(op: FullOp, client: CibaClient): Promise<ApprovedStatus> {
    const { transaction } = await client.start({ loginHint: 'alice' })
    const waiting = client.wait(transaction)
    await op.approve((await op.waitForRequest()).authReqId)
    return complete(await waiting)
  }

  function complete(status: ClientStatus): ApprovedStatus {
    if (status.status !== 'complete') throw new Error(`it is ${status.status}`)
    return status
  }

  for (const deliveryMode of ['poll', 'ping'] as const) {
    context(`in ${deliveryMode} mode`, () => {
      it('is registered by its own metadata, brings tokens, and they are good', async () => {
        const { op, client } = await start({ deliveryMode })
        const outcome = await approved(op, client)
        expect(outcome.user).to.include({ iss: op.issuer, sub: 'alice', aud: 'agent' })
        expect(outcome).not.to.have.property('dpopKey')
        const answer = await client.fetch(outcome, op.resource, { method: 'PUT', body: 'what to do' })
        const seen = (await answer.json()) as ResourceAnswer
        expect(seen).to.include({ method: 'PUT', sub: 'alice', scheme: 'bearer', body: 'what to do' })
        expect(op.counts).to.include({ token: 1, ping: deliveryMode === 'ping' ? 1 : 0 })
      })

      it('says that the person has said no', async () => {
        const { op, client } = await start({ deliveryMode })
        const { transaction } = await client.start({ loginHint: 'alice' })
        const waiting = client.wait(transaction)
        await op.deny((await op.waitForRequest()).authReqId)
        expect(await waiting).to.deep.equal({ transaction, status: 'denied', error: 'access_denied' })
      })
    })
  }

  it('says that time is over', async () => {
    const { client } = await start({}, { expiresIn: 2 })
    const { transaction } = await client.start({ loginHint: 'alice' })
    expect(await client.wait(transaction)).to.deep.equal({
      transaction,
      status: 'expired',
      error: 'expired_token',
    })
  })

  it('refuses to show an access token over plain http, unless that is allowed', async () => {
    const { op, client, another } = await start({ deliveryMode: 'ping' })
    const outcome = await approved(op, client)
    const careful = another({
      allowInsecureRequests: false,
      issuerBaseURL: 'https://op.example',
      baseURL: 'https://app.example',
    })
    const refusal = await careful.fetch(outcome, op.resource).catch((error) => error)
    expect(refusal).to.be.instanceOf(TypeError).with.property('message').that.matches(/https/)
    expect(op.counts.resource).to.equal(0)
  })

  describe('with "dpop"', () => {
    it('brings the key sealed, and uses the tokens with it, servers wanting nonces [AUTH-7]', async () => {
      const { op, client } = await start({ dpop: true, deliveryMode: 'ping' }, { dpopNonce: true })
      const outcome = await approved(op, client)
      expect(outcome.tokens).to.include({ tokenType: 'dpop' })
      expect(outcome.dpopKey).to.match(/^ey[\w-]+\.\.[\w-]+\.[\w-]+\.[\w-]+$/)
      for (const body of ['first', 'second']) {
        const answer = await client.fetch(outcome, op.resource, { method: 'POST', body })
        expect(await answer.json()).to.include({ sub: 'alice', scheme: 'dpop', binding: 'dpop', body })
      }
    })

    it('uses them after a trip through JSON, in another process with the same secret', async () => {
      const { op, client, options } = await start({ dpop: true, deliveryMode: 'ping' })
      const outcome = await approved(op, client)
      const library = JSON.stringify(new URL('../../lib/index.ts', import.meta.url).href)
      const program = `
        const { createCibaClient } = await import(${library})
        const { options, outcome, resource } = JSON.parse(process.argv[1])
        const client = createCibaClient(options)
        const answer = await client.fetch(outcome, resource, { method: 'POST', body: 'from elsewhere' })
        console.log(await answer.text())
        await client.close()`
      const given = JSON.stringify({ options, outcome, resource: op.resource })
      const args = ['--import', 'tsx', '--input-type=module', '--eval', program, given]
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
      const [out, [status]] = await Promise.all([text(child.stdout), once(child, 'close')])
      expect(status).to.equal(0)
      expect(JSON.parse(out)).to.include({ sub: 'alice', binding: 'dpop', body: 'from elsewhere' })
    })

    it('brings the key to each who asks, in a form of its own, and each works', async () => {
      const { op, client } = await start({ dpop: true, deliveryMode: 'ping' })
      const first = await approved(op, client)
      const second = complete(await client.check(first.transaction))
      expect(second.tokens).to.deep.equal(first.tokens)
      for (const outcome of [first, second]) {
        expect((await client.fetch(outcome, op.resource)).status).to.equal(200)
      }
    })

    it('says what is wrong with another secret, and shows the token to nobody', async () => {
      const { op, client, another } = await start({ dpop: true, deliveryMode: 'ping' })
      const outcome = await approved(op, client)
      const stranger = another({ secret: 'another secret than that' })
      const error = await failureOf(stranger.fetch(outcome, op.resource))
      expect(error).to.include({ code: 'ERR_CIBA_INVALID_TOKEN', status: 401 })
      expect(error.message).to.match(/another secret/)
      expect(op.counts.resource).to.equal(0)
    })

    it('is not fooled into showing a bound token as a bearer token: the resource refuses it', async () => {
      const { op, client } = await start({ dpop: true, deliveryMode: 'ping' })
      const { dpopKey: _, ...without } = await approved(op, client)
      const outcome = await client.fetch(without, op.resource).then(
        ({ status }) => status,
        () => 'rejected',
      )
      expect(outcome).to.not.equal(200)
    })

    it('keeps a key that it was given to itself', async () => {
      const dpop = privateJwk('ES256')
      const { op, client } = await start({ dpop, deliveryMode: 'ping' })
      const outcome = await approved(op, client)
      expect(JSON.stringify(outcome)).not.to.include(String(dpop.d))
      expect(await (await client.fetch(outcome, op.resource)).json()).to.include({ binding: 'dpop' })
    })
  })
})
