/**
 * The OP answers garbage, without an end, too slowly or not at all, to an app in a process of its own with the transport of
 * the lib. What else it may answer is in `op-failures.test.ts` and `polling.test.ts`.
 */
import type { Socket } from 'node:net'
import { expect } from 'chai'
import { expectSignedInOnce, faultStage, Visitor } from '../support/fault-stage.ts'
import {
  endless,
  endlessHead,
  type HostileServer,
  noHttp,
  startHostileServer,
  trickle,
} from '../support/hostile-server.ts'
import type { Instance } from '../support/instances.ts'
import { type Answer, html, tokenError } from '../support/scripted-op.ts'

type Asked = 'discovery' | 'backchannel' | 'token' | 'jwks'

const garbage: readonly (readonly [string, Answer])[] = [
  ['JSON that breaks off', { body: '{"keys":[{"kty":"EC"' }],
  ['an array', { json: [] }],
  ['null', { body: 'null' }],
  ['a number', { body: '1' }],
  ['a text', { json: 'token' }],
  ['nothing', { body: '' }],
  ['HTML', html(200)],
  ['bytes that are no UTF-8', { body: '\ud800\udfff{' }],
]

/** Of the right names and the wrong types. */
const wrongTypes: Readonly<Record<Asked, Answer>> = {
  discovery: { json: { issuer: 1, token_endpoint: [], jwks_uri: {} } },
  backchannel: { json: { auth_req_id: 1, expires_in: '120', interval: [] } },
  token: { json: { access_token: 1, token_type: [], id_token: {} } },
  jwks: { json: { keys: { kty: 'EC' } } },
}

const streams: readonly (readonly [string, (socket: Socket) => void])[] = [
  ['an answer without an end', endless],
  ['a head without an end', endlessHead],
  ['another protocol', noHttp],
]

const endpointNames: Readonly<Record<Exclude<Asked, 'discovery'>, string>> = {
  backchannel: 'backchannel_authentication_endpoint',
  token: 'token_endpoint',
  jwks: 'jwks_uri',
}

describe('the OP is not itself', function () {
  this.timeout(20_000)

  const stage = faultStage()
  let instance: Instance
  let visitor: Visitor
  const servers: HostileServer[] = []

  afterEach(async () => {
    for (const server of servers.splice(0)) await server.close()
  })

  async function open(): Promise<void> {
    instance = await stage.instance({ deliveryMode: 'ping', httpTimeout: 1 }, { ownTransport: true })
    visitor = new Visitor(instance)
  }

  /** Of the latest start; the other pings and token requests are over. */
  async function approved(transaction: string): Promise<unknown> {
    stage.op.onToken(() => stage.op.tokens())
    expect((await stage.op.ping(instance.notificationUrl)).status).to.equal(204)
    return (await visitor.outcome(transaction))['status']
  }

  async function expectToGoOn(): Promise<void> {
    const transaction = await visitor.begin()
    const before = visitor.copy()
    expect(await approved(transaction)).to.equal('complete')
    await expectSignedInOnce(stage, { visitor, before, transaction })
    expect(stage.op.violations()).to.deep.equal([])
  }

  /** The endpoint is somewhere else, where nothing good happens. */
  async function redirectTo(asked: Exclude<Asked, 'discovery'>, stream: (socket: Socket) => void) {
    const server = await startHostileServer(stream)
    servers.push(server)
    stage.op.metadata[endpointNames[asked]] = server.origin
    return server
  }

  describe('at discovery', () => {
    for (const [what, answer] of [...garbage, ['wrong types', wrongTypes.discovery] as const]) {
      it(`${what}: 502, and it is asked again for the next login`, async () => {
        await open()
        stage.op.onDiscovery(answer)
        expect((await visitor.start()).status).to.equal(502)
        expect(stage.op.callsTo('backchannel')).to.have.length(0)
        await expectToGoOn()
      })
    }

    it('no answer at all: 502 or 503 in time, and it is asked again for the next login', async () => {
      await open()
      stage.op.onDiscovery({ hang: true })
      const since = Date.now()
      expect((await visitor.start()).status).to.be.oneOf([502, 503])
      expect(Date.now() - since).to.be.within(900, 5_000)
      await expectToGoOn()
    })
  })

  describe('at the authentication request', () => {
    for (const [what, answer] of [...garbage, ['wrong types', wrongTypes.backchannel] as const]) {
      it(`${what}: 502, and nobody is asked twice [REQ-16]`, async () => {
        await open()
        stage.op.onBackchannel(answer)
        const { status, body } = await visitor.start()
        expect([status, body['error']]).to.deep.equal([502, 'bad_gateway'])
        expect(stage.op.callsTo('backchannel')).to.have.length(1)
        await expectToGoOn()
      })
    }

    for (const [what, stream] of [...streams, ['a byte now and then', trickle] as const]) {
      it(`${what}: 502 in time, and nobody is asked twice [REQ-16]`, async () => {
        const server = await redirectTo('backchannel', stream)
        await open()
        const since = Date.now()
        const { status, body } = await visitor.start()
        expect([status, body['error']]).to.deep.equal([502, 'bad_gateway'])
        expect(Date.now() - since).to.be.below(4_000)
        expect(server.requests()).to.equal(1)
      })
    }
  })

  describe('at the token request', () => {
    for (const [what, answer] of [...garbage, ['wrong types', wrongTypes.token] as const]) {
      it(`${what}: the login fails, says so, and the OP is not asked again [TOK-21]`, async () => {
        await open()
        const transaction = await visitor.begin()
        stage.op.onToken(answer, () => stage.op.tokens())
        await stage.op.ping(instance.notificationUrl)
        const failed = { transaction, status: 'failed', error: 'invalid_token_response' }
        expect(await visitor.outcome(transaction)).to.deep.equal(failed)
        expect(stage.op.callsTo('token')).to.have.length(1)
        expect((await stage.sessions()).filter(({ login }) => login)).to.deep.equal([])
      })
    }

    for (const [what, stream] of streams) {
      it(`${what}: the login goes on, and what nobody knows is not made up [POLL-13]`, async () => {
        const server = await redirectTo('token', stream)
        await open()
        const transaction = await visitor.begin()
        await stage.op.ping(instance.notificationUrl)
        const { body } = await visitor.poll(transaction, 0.5)
        expect(body).to.have.property('status', 'pending')
        expect(server.requests()).to.equal(1)
        expect(await instance.said('express-ciba:token-request')).to.have.nested.property(
          '0.outcome',
          'unanswered',
        )
        expect((await stage.transaction(transaction)) as object).to.include({
          answerLost: true,
          state: 'pending',
        })
      })
    }

    it('down: the login goes on when it is up, as nothing was lost [POLL-10]', async () => {
      await open()
      const transaction = await visitor.begin()
      const before = visitor.copy()
      await stage.op.down()
      expect((await stage.op.ping(instance.notificationUrl)).status).to.equal(204)
      expect((await visitor.poll(transaction, 0.5)).body).to.have.property('status', 'pending')
      await stage.op.up()
      stage.op.onToken(() => stage.op.tokens())
      await stage.travel(31)
      expect(await visitor.outcome(transaction)).to.deep.equal({ transaction, status: 'complete' })
      await expectSignedInOnce(stage, { visitor, before, transaction })
      expect(stage.op.callsTo('token')).to.have.length(1)
    })

    it('lost with the tokens: the login fails, and says that nobody knows [POLL-13]', async () => {
      await open()
      const transaction = await visitor.begin()
      stage.op.onToken({ reset: 'mid-body' }, tokenError('invalid_grant'))
      await stage.op.ping(instance.notificationUrl)
      await stage.op.waitForCall('token')
      expect((await visitor.poll(transaction, 0.2)).body).to.have.property('status', 'pending')
      await stage.travel(5)
      const failed = { transaction, status: 'failed', error: 'outcome_unknown' }
      expect(await visitor.outcome(transaction)).to.deep.equal(failed)
      const said = await instance.said('express-ciba:transaction')
      expect(said.at(-1)).to.include({ event: 'ended', status: 'failed', error: 'outcome_unknown' })
      expect(stage.op.violations()).to.deep.equal([])
    })
  })

  describe('where its keys are', () => {
    for (const [what, answer] of [
      ...garbage,
      ['wrong types', wrongTypes.jwks] as const,
      ['an error page', html(500)] as const,
      ['a reset', { reset: 'mid-body' }] as const,
    ]) {
      it(`${what}, once: the tokens are not lost [TOK-22]`, async () => {
        await open()
        stage.op.onJwks(answer)
        await expectToGoOn()
        expect(stage.op.callsTo('token')).to.have.length(1)
      })
    }

    for (const [what, stream] of streams) {
      it(`${what}: the login fails, and says so`, async () => {
        const server = await redirectTo('jwks', stream)
        await open()
        const transaction = await visitor.begin()
        expect(await approved(transaction)).to.equal('failed')
        expect(server.requests()).to.be.within(1, 12)
        expect((await stage.sessions()).filter(({ login }) => login)).to.deep.equal([])
      })
    }
  })
})
