/** `createCibaClient()` against the scripted OP: start, check, wait and cancel in each delivery mode. */
import { expect } from 'chai'
import { type CibaClientOptions, createCibaClient, RequestRefusedError } from '../../lib/index.ts'
import { retentionMs } from '../../lib/transaction.ts'
import { type ClientScene, clientScenes } from '../support/clients.ts'
import { environment } from '../support/environment.ts'
import { failureOf } from '../support/outcomes.ts'
import { timeTravel } from '../support/real-op.ts'
import { pending, tokenError, unavailable } from '../support/scripted-op.ts'

const modes = ['poll', 'ping', 'push'] as const
type Mode = (typeof modes)[number]

/** The person decides, and the OP says so in the way of this mode. */
async function decide({ op, notifications: { url } }: ClientScene, mode: Mode, error?: string) {
  if (mode === 'push') return error ? op.pushError(url, error) : op.push(url)
  op.onToken(error ? tokenError(error) : await op.tokens())
  return mode === 'ping' ? op.ping(url) : undefined
}

describe('createCibaClient()', () => {
  const setEnvironment = environment()
  const scene = clientScenes()

  for (const mode of modes) {
    context(`in ${mode} mode`, () => {
      it('starts, waits and brings the claims and the tokens', async () => {
        const all = await scene({ client: { deliveryMode: mode } })
        const { client, op } = all
        const started = await client.start({ loginHint: 'alice', bindingMessage: 'KXM-4F7' })
        expect(started.transaction).to.match(/^[\w-]{22}$/)
        const { transaction } = started
        expect(started).to.deep.equal({
          transaction,
          status: 'pending',
          expiresIn: 120,
          interval: 1,
          bindingMessage: 'KXM-4F7',
        })
        const waiting = client.wait(transaction)
        await decide(all, mode)
        const outcome = await waiting
        expect(outcome).to.have.all.keys('transaction', 'status', 'user', 'tokens')
        expect(outcome).to.deep.include({ transaction, status: 'complete' })
        expect(outcome).to.have.nested.property('user.sub', 'alice')
        expect(outcome).to.have.nested.property('tokens.tokenType', 'bearer')
        expect(JSON.parse(JSON.stringify(outcome))).to.deep.equal(outcome)
        expect(op.callsTo('token')).to.have.length(mode === 'push' ? 0 : 1)
        expect(op.violations()).to.deep.equal([])
      })

      it('says how it ended without an approval, and says it again', async () => {
        const all = await scene({ client: { deliveryMode: mode } })
        const { client } = all
        const { transaction } = await client.start({ loginHint: 'alice' })
        const waiting = client.wait(transaction)
        await decide(all, mode, 'access_denied')
        const denied = { transaction, status: 'denied', error: 'access_denied' }
        expect(await waiting).to.deep.equal(denied)
        expect(await client.check(transaction)).to.deep.equal(denied)
        expect(await client.wait(transaction)).to.deep.equal(denied)
      })

      it('brings the same tokens to everybody who waits at once, and to whoever comes later', async () => {
        const all = await scene({ client: { deliveryMode: mode } })
        const { client, op } = all
        const { transaction } = await client.start({ loginHint: 'alice' })
        const other = all.another()
        const waits = [client, client, other, other].map((one) => one.wait(transaction))
        await decide(all, mode)
        const outcomes = await Promise.all(waits)
        outcomes.push(await client.wait(transaction), await other.check(transaction))
        for (const outcome of outcomes) {
          expect(outcome.status).to.equal('complete')
          expect(outcome).to.deep.equal(outcomes[0])
        }
        expect(op.callsTo('token').length).to.be.at.most(1)
        expect(op.violations()).to.deep.equal([])
      })
    })
  }

  it('goes on asking while the OP says that the person has not decided [POLL-4]', async () => {
    const { client, op } = await scene()
    op.onToken(pending(), await op.tokens())
    const { transaction } = await client.start({ loginHint: 'alice' })
    op.onToken(() => op.tokens())
    expect(await client.wait(transaction)).to.have.property('status', 'complete')
    expect(op.callsTo('token')).to.have.length(2)
    expect(op.violations()).to.deep.equal([])
  })

  it('needs no baseURL in poll mode, nor a store, and reads the environment', async () => {
    const { op } = await scene()
    setEnvironment({
      ISSUER_BASE_URL: op.issuer,
      CLIENT_ID: op.clientId,
      CLIENT_SECRET: op.clientSecret,
    })
    const client = createCibaClient({ allowInsecureRequests: true })
    try {
      expect(await client.start({ loginHint: 'alice' })).to.have.property('status', 'pending')
      expect(op.callsTo('backchannel')[0]?.headers.authorization).to.match(/^Basic /)
    } finally {
      await client.close()
    }
  })

  for (const [what, options, named] of [
    ['no object', 5 as never, 'options'],
    ['an option of ciba() alone', { startParams: () => ({}) } as CibaClientOptions, 'startParams'],
    ['a client', { client: {} } as CibaClientOptions, 'client'],
    [
      'a word that is nearly one',
      { issuerBaseUrl: 'https://op.example' } as CibaClientOptions,
      'issuerBaseUrl',
    ],
    ['ping mode without a baseURL', { deliveryMode: 'ping', clientID: 'c' } as CibaClientOptions, 'baseURL'],
    ['a store that cannot watch', { store: { read() {}, write() {} } as never }, 'store'],
  ] as const) {
    it(`refuses ${what}, by name`, () => {
      expect(() => createCibaClient(options))
        .to.throw(TypeError, `"${named}" `)
        .with.property('code', 'ERR_CIBA_INVALID_OPTION')
    })
  }

  describe('start()', () => {
    it("carries the OP's refusal, and the word that fits HTTP", async () => {
      const { client, op } = await scene()
      op.onBackchannel(tokenError('unknown_user_id'))
      const error = await failureOf(client.start({ loginHint: 'nobody' }))
      expect(error).to.be.instanceOf(RequestRefusedError)
      expect(error).to.include({ code: 'ERR_CIBA_REQUEST_REFUSED', error: 'unknown_user_id', status: 400 })
    })

    it('asks the OP nothing for a request that breaks a rule', async () => {
      const { client, op } = await scene()
      for (const request of [{}, { loginHint: 'a', idTokenHint: 'b' }, undefined, { loginHint: 5 }]) {
        const error = await failureOf(client.start(request as never))
        expect(error.code).to.equal('ERR_CIBA_INVALID_REQUEST')
      }
      expect(op.callsTo('backchannel')).to.have.length(0)
    })

    it('adds the authorizationParams, which the request beats', async () => {
      const { client, op } = await scene({ client: { authorizationParams: { scope: 'openid profile' } } })
      await client.start({ loginHint: 'alice' })
      await client.start({ loginHint: 'alice', scope: 'openid' })
      expect(op.callsTo('backchannel').map(({ params }) => params.get('scope'))).to.deep.equal([
        'openid profile',
        'openid',
      ])
    })

    it('says that trying again is safe when nobody was asked [REQ-16]', async () => {
      const { client, op } = await scene()
      op.onBackchannel(unavailable('7', 429))
      const error = await failureOf(client.start({ loginHint: 'alice' }))
      expect(error).to.include({ code: 'ERR_CIBA_OP_UNREACHABLE', status: 503, retryAfter: 7 })
    })
  })

  describe('check()', () => {
    it('asks the OP if that is due, and says how it stands without waiting', async () => {
      const { client, op } = await scene()
      const { transaction } = await client.start({ loginHint: 'alice', bindingMessage: 'KXM' })
      expect(await client.check(transaction)).to.include({ status: 'pending', bindingMessage: 'KXM' })
      expect(op.callsTo('token').length, 'the interval has not passed').to.be.at.most(1)
    })
  })

  describe('cancel()', () => {
    it('ends it for everybody who waits, and can be repeated [POLL-14]', async () => {
      const { client, another } = await scene()
      const { transaction } = await client.start({ loginHint: 'alice' })
      const waits = [client.wait(transaction), another().wait(transaction)]
      await client.cancel(transaction)
      await client.cancel(transaction)
      const cancelled = { transaction, status: 'cancelled', error: 'cancelled' }
      expect(await Promise.all(waits)).to.deep.equal([cancelled, cancelled])
      expect(await client.check(transaction)).to.deep.equal(cancelled)
    })

    it('takes nothing back that was approved', async () => {
      const { client, op } = await scene()
      op.onToken(() => op.tokens())
      const { transaction } = await client.start({ loginHint: 'alice' })
      await client.wait(transaction)
      await client.cancel(transaction)
      expect(await client.check(transaction)).to.have.property('status', 'complete')
    })
  })

  describe('a handle', () => {
    const travel = timeTravel()

    for (const [what, handle] of [
      ['never given out', 'AAAAAAAAAAAAAAAAAAAAAA'],
      ['empty', ''],
      ['of another form', '../../etc/passwd'],
    ] as const) {
      it(`that was ${what} is unknown to check, wait and cancel`, async () => {
        const { client } = await scene()
        for (const act of [client.check, client.wait, client.cancel] as const) {
          const error = await failureOf(act(handle))
          expect(error).to.include({ code: 'ERR_CIBA_UNKNOWN_TRANSACTION', status: 404 })
        }
      })
    }

    it('of a start that was refused says so, to whoever could have written it down', async () => {
      const { client, op, store } = await scene()
      const ids: string[] = []
      const { write } = store
      store.write = (record, version) => {
        ids.push(record.id)
        return write.call(store, record, version)
      }
      op.onBackchannel(tokenError('unknown_user_id'))
      await failureOf(client.start({ loginHint: 'nobody' }))
      expect(await client.check(ids[0] as string)).to.deep.equal({
        transaction: ids[0],
        status: 'failed',
        error: 'unknown_user_id',
      })
    })

    it('brings the tokens until 5 minutes after the request expired, and is unknown from then on', async () => {
      const { client, op } = await scene()
      op.onToken(() => op.tokens())
      const { transaction, expiresIn } = await client.start({ loginHint: 'alice' })
      const outcome = await client.wait(transaction)
      travel(expiresIn + retentionMs / 1000 - 5)
      expect(await client.check(transaction)).to.deep.equal(outcome)
      travel(6)
      expect(await failureOf(client.check(transaction))).to.include({ code: 'ERR_CIBA_UNKNOWN_TRANSACTION' })
      expect(await failureOf(client.wait(transaction))).to.include({ code: 'ERR_CIBA_UNKNOWN_TRANSACTION' })
      expect(await failureOf(client.cancel(transaction))).to.include({ code: 'ERR_CIBA_UNKNOWN_TRANSACTION' })
    })

    it('that nobody has approved in time is expired', async () => {
      const { client } = await scene()
      const { transaction, expiresIn } = await client.start({ loginHint: 'alice' })
      travel(expiresIn + 1)
      const expired = { transaction, status: 'expired', error: 'expired_token' }
      expect(await client.check(transaction)).to.deep.equal(expired)
    })

    for (const [what, other] of [
      ['OP', { issuerBaseURL: 'another' }],
      ['registration', { clientID: 'another' }],
    ] as const) {
      it(`is unknown to a client of another ${what} on the same store, which shows it to nobody`, async () => {
        const { client, another } = await scene()
        const elsewhere = await scene()
        const { transaction } = await client.start({ loginHint: 'alice' })
        const { issuer: issuerBaseURL } = elsewhere.op
        const stranger = another('clientID' in other ? other : { issuerBaseURL })
        travel(1.2) // a token request is due
        for (const act of [stranger.check, stranger.wait, stranger.cancel] as const) {
          expect(await failureOf(act(transaction))).to.include({ code: 'ERR_CIBA_UNKNOWN_TRANSACTION' })
        }
        expect(elsewhere.op.calls).to.deep.equal([])
        expect(await client.check(transaction)).to.have.property('status', 'pending')
      })
    }

    it('cannot be read with another secret, which is a fault of the store and not an unknown handle', async () => {
      const { client, another } = await scene()
      const { transaction } = await client.start({ loginHint: 'alice' })
      const stranger = another({ secret: 'another secret' })
      expect((await failureOf(stranger.check(transaction))).code).to.equal('ERR_CIBA_STORE_FAILED')
    })
  })
})
