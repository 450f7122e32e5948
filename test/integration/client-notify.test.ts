/** `client.notify()`: pings and pushes in servers without Express, and what to answer them with. */
import { expect } from 'chai'
import { MemoryTransactionStore, type StoredRecord } from '../../lib/index.ts'
import { type ClientScene, clientScenes } from '../support/clients.ts'
import { failureOf } from '../support/outcomes.ts'
import { authenticationRequest } from '../support/scripted-answers.ts'
import { tokenError } from '../support/scripted-op.ts'
import { goodPush } from '../support/token-response.ts'

/** The `Authorization` header of a genuine notification for the latest request, and its body. */
function genuine({ op }: ClientScene) {
  const call = op.callsTo('backchannel').at(-1)
  if (!call) throw new Error('nobody was asked')
  const { client_notification_token: token } = authenticationRequest(call)
  return { authorization: `Bearer ${String(token)}`, body: { auth_req_id: call.answer?.['auth_req_id'] } }
}

describe('client.notify()', () => {
  const scene = clientScenes()
  const started = async (mode: 'ping' | 'push' | 'poll' = 'ping') => {
    const all = await scene({ client: { deliveryMode: mode } })
    const { transaction } = await all.client.start({ loginHint: 'alice' })
    return { ...all, transaction, ...(mode === 'poll' ? { authorization: '', body: {} } : genuine(all)) }
  }

  describe('401', () => {
    for (const [what, header] of [
      ['no header', () => undefined],
      ['an empty one', () => ''],
      ['Basic', (good: string) => good.replace('Bearer', 'Basic')],
      ['a forged token', (good: string) => `${good.slice(0, -2)}AA`],
      ['one that is cut off', (good: string) => good.slice(0, -1)],
      ['one with more behind it', (good: string) => `${good}, ${good}`],
      ['a long one', () => `Bearer ${'x'.repeat(10_000)}`],
    ] as const) {
      it(`for ${what}, without a look into the store [PING-4, SEC-13]`, async () => {
        const { client, store, authorization, body } = await started()
        store.read = () => expect.fail('the store was asked')
        const answer = await client.notify(header(authorization), body)
        expect(answer.status).to.equal(401)
        answer.proceed()
      })
    }

    it("for another transaction's token [PING-3]", async () => {
      const { client, op, transaction, ...all } = await started()
      await client.start({ loginHint: 'bob' })
      const bobs = genuine({ op, client, ...all })
      expect((await client.notify(bobs.authorization, all.body)).status).to.equal(401)
      expect(await client.check(transaction)).to.have.property('status', 'pending')
    })

    it('in poll mode, where nobody has a token to notify with', async () => {
      const { client } = await started('poll')
      expect((await client.notify('Bearer a.b', { auth_req_id: 'a' })).status).to.equal(401)
    })
  })

  for (const body of [undefined, null, 'text', 5, [], {}, { auth_req_id: '' }, { auth_req_id: 5 }]) {
    it(`says 400 to a body that is no ping: ${JSON.stringify(body)} [PING-1]`, async () => {
      const { client, authorization, transaction, op } = await started()
      const answer = await client.notify(authorization, body)
      expect(answer.status).to.equal(400)
      answer.proceed()
      expect(await client.check(transaction)).to.have.property('status', 'pending')
      expect(op.callsTo('token')).to.have.length(0)
    })
  }

  it('says 204 to a ping, and asks the OP when told that the answer has left [PING-7]', async () => {
    const { client, op, authorization, body, transaction } = await started()
    op.onToken(() => op.tokens())
    const answer = await client.notify(authorization, body)
    expect(answer.status).to.equal(204)
    expect(op.callsTo('token')).to.have.length(0)
    answer.proceed()
    await op.waitForCall('token')
    expect(await client.wait(transaction)).to.have.property('status', 'complete')
    answer.proceed()
    expect((await client.notify(authorization, body)).status, 'the same one again').to.equal(204)
    expect(op.callsTo('token')).to.have.length(1)
  })

  it('lets whoever waits have the tokens within about a second where nobody calls proceed()', async () => {
    const { client, op, authorization, body, transaction } = await started()
    op.onToken(() => op.tokens())
    const waiting = client.wait(transaction)
    const from = Date.now()
    expect((await client.notify(authorization, body)).status).to.equal(204)
    expect(await waiting).to.have.property('status', 'complete')
    expect(Date.now() - from).to.be.within(900, 2_500)
    expect(op.callsTo('token')).to.have.length(1)
  })

  it('is taken by any process: whoever waits elsewhere learns of it', async () => {
    const { client, op, another, authorization, body, transaction } = await started()
    op.onToken(() => op.tokens())
    const waiting = client.wait(transaction)
    const other = another()
    const { status, proceed } = await other.notify(authorization, body)
    proceed()
    expect(status).to.equal(204)
    expect(await waiting).to.have.property('status', 'complete')
    expect(op.callsTo('token')).to.have.length(1)
  })

  it('takes pushed tokens, the first ones [PUSH-9]', async () => {
    const { client, op, transaction, authorization } = await started('push')
    const push = await goodPush(op.context())
    const answer = await client.notify(authorization, push)
    expect(answer.status).to.equal(204)
    answer.proceed()
    expect(await client.wait(transaction)).to.have.property('status', 'complete')
    expect((await client.notify(authorization, push)).status).to.equal(204)
    expect(op.callsTo('token')).to.have.length(0)
  })

  it('says 400 to pushed tokens that do not pass the checks, and goes on waiting [PUSH-9]', async () => {
    const { client, op, transaction, notifications } = await started('push')
    const pong = await op.push(notifications.url, { claims: { aud: 'another client' } })
    expect(pong.status).to.equal(400)
    expect(await client.check(transaction)).to.have.property('status', 'pending')
    expect((await op.push(notifications.url)).status).to.equal(204)
    expect(await client.check(transaction)).to.have.property('status', 'complete')
  })

  it('ends a transaction by a pushed error [PUSH-7]', async () => {
    const { client, op, transaction, notifications } = await started('push')
    expect((await op.pushError(notifications.url, 'access_denied')).status).to.equal(204)
    expect(await client.check(transaction)).to.include({ status: 'denied', error: 'access_denied' })
  })

  it('rejects when the store fails, and the OP may send it again [PING-16]', async () => {
    class FailingStore extends MemoryTransactionStore {
      fails = false

      override async write(record: StoredRecord, expectedVersion: number): Promise<boolean> {
        if (this.fails) throw new Error('the database is down')
        return super.write(record, expectedVersion)
      }
    }
    const store = new FailingStore()
    const all = await scene({ client: { deliveryMode: 'ping', store } })
    const { client, op } = all
    const { transaction } = await client.start({ loginHint: 'alice' })
    const { authorization, body } = genuine(all)
    store.fails = true
    expect((await failureOf(client.notify(authorization, body))).code).to.equal('ERR_CIBA_STORE_FAILED')
    store.fails = false
    op.onToken(tokenError('access_denied'))
    const { proceed } = await client.notify(authorization, body)
    proceed()
    expect(await client.wait(transaction)).to.have.property('status', 'denied')
  })

  it('takes a ping after close(), which another process pursues', async () => {
    const { client, op, another, authorization, body, transaction } = await started()
    op.onToken(() => op.tokens())
    const other = another()
    await client.close()
    const { status, proceed } = await client.notify(authorization, body)
    proceed()
    expect(status).to.equal(204)
    expect(op.callsTo('token')).to.have.length(0)
    expect(await other.wait(transaction)).to.have.property('status', 'complete')
  })
})
