/** What is published about transactions and token requests: each thing once, whoever waits. */
import { expect } from 'chai'
import type { TokenRequestMessage, TransactionMessage } from '../../lib/index.ts'
import { type ClientScene, clientScenes } from '../support/clients.ts'
import { publishedEvents } from '../support/events.ts'
import { failureOf } from '../support/outcomes.ts'
import { timeTravel } from '../support/real-op.ts'
import { type Answer, html, pending, slowDown, tokenError, unavailable } from '../support/scripted-op.ts'
import { until, webs } from '../support/web.ts'

/** What can be told beforehand of a message; its duration has to make sense. */
function told<Message extends { readonly transaction?: string; readonly durationMs?: number }>(
  messages: readonly Message[],
  handle?: string,
): object[] {
  return messages.map(({ transaction, durationMs, ...rest }) => {
    expect(durationMs).to.be.a('number').within(0, 600_000)
    if (handle !== undefined) expect(transaction).to.equal(`${handle.slice(0, 6)}…`)
    return rest
  })
}

describe('express-ciba:transaction', () => {
  const scene = clientScenes()
  const web = webs()
  const travel = timeTravel()
  const published = publishedEvents()
  const messages = (): TransactionMessage[] => published.on('express-ciba:transaction')

  for (const deliveryMode of ['poll', 'ping', 'push'] as const) {
    it(`says when one has started, and how it ended: ${deliveryMode}`, async () => {
      const { client, op, notifications } = await scene({ client: { deliveryMode } })
      op.onBackchannel({
        json: { auth_req_id: 'a', expires_in: 60, interval: 1 },
        delayMs: 100,
      })
      const { transaction } = await client.start({ loginHint: 'alice' })
      op.onToken(() => op.tokens())
      const waiting = client.wait(transaction)
      if (deliveryMode === 'ping') await op.ping(notifications.url)
      if (deliveryMode === 'push') await op.push(notifications.url)
      await waiting
      const about = { purpose: 'login', deliveryMode }
      expect(told(messages(), transaction)).to.deep.equal([
        { ...about, event: 'started' },
        { ...about, event: 'ended', status: 'complete' },
      ])
      const [started, ended] = messages()
      expect(started?.durationMs).to.be.within(95, 2_000)
      expect(ended?.durationMs).to.be.at.least(started?.durationMs ?? 0)
    })
  }

  for (const [status, error, end] of [
    ['complete', undefined, async ({ op }: ClientScene) => op.onToken(() => op.tokens())],
    ['denied', 'access_denied', async ({ op }: ClientScene) => op.onToken(tokenError('access_denied'))],
    ['expired', 'expired_token', async ({ op }: ClientScene) => op.onToken(tokenError('expired_token'))],
    ['failed', 'invalid_grant', async ({ op }: ClientScene) => op.onToken(tokenError('invalid_grant'))],
    [
      'failed',
      'invalid_token_response',
      async ({ op }: ClientScene) => op.onToken(() => op.tokens({ claims: { aud: 'another' } })),
    ],
    [
      'expired',
      'expired_token',
      async () => {
        travel(121)
      },
    ],
    [
      'cancelled',
      'cancelled',
      async ({ client, another }: ClientScene, transaction: string) => {
        await Promise.all([client.cancel(transaction), another().cancel(transaction)])
      },
    ],
  ] as const) {
    it(`says once that it is ${status} (${error}), over two instances with several waiters`, async () => {
      const all = await scene()
      const { client, another } = all
      const other = another()
      const { transaction } = await client.start({ loginHint: 'alice' })
      const waits = [client, other, client, other].map((one) => one.wait(transaction))
      await end(all, transaction)
      for (const outcome of await Promise.all(waits)) expect(outcome.status).to.equal(status)
      await Promise.all([client.check(transaction), other.check(transaction), client.cancel(transaction)])
      expect(told(messages(), transaction).slice(1)).to.deep.equal([
        { purpose: 'login', deliveryMode: 'poll', event: 'ended', status, ...(error && { error }) },
      ])
    })
  }

  for (const [what, answer, error] of [
    ['refused', tokenError('unknown_user_id'), 'unknown_user_id'],
    ['refused with a word that is none', tokenError('"évil"\n'), 'unknown_error'],
    ['not answered as it should be', html(500), 'bad_gateway'],
    ['put off', unavailable(undefined, 429), 'temporarily_unavailable'],
  ] satisfies [string, Answer, string][]) {
    it(`says once that one has not started: ${what}`, async () => {
      const { client, op } = await scene()
      op.onBackchannel(answer)
      await failureOf(client.start({ loginHint: 'alice' }))
      expect(told(messages())).to.deep.equal([
        { purpose: 'login', deliveryMode: 'poll', event: 'notStarted', error },
      ])
    })
  }

  it('says once that one has not started: the OP could not be reached at all', async () => {
    const { client, op } = await scene()
    await op.down()
    expect(await failureOf(client.start({ loginHint: 'alice' }))).to.have.property('status', 503)
    expect(told(messages())).to.deep.equal([
      { purpose: 'login', deliveryMode: 'poll', event: 'notStarted', error: 'temporarily_unavailable' },
    ])
  })

  it('says first that one has started, though a push overtook the acknowledgement [PUSH-2]', async () => {
    const { client, op, notifications } = await scene({ client: { deliveryMode: 'push' } })
    op.onBackchannel(async () => {
      expect((await op.push(notifications.url, { authReqId: 'early' })).status).to.equal(204)
      return { json: { auth_req_id: 'early', expires_in: 60, interval: 1 } }
    })
    const { transaction } = await client.start({ loginHint: 'alice' })
    expect((await client.check(transaction)).status).to.equal('complete')
    const about = { purpose: 'login', deliveryMode: 'push' }
    expect(told(messages(), transaction)).to.deep.equal([
      { ...about, event: 'started' },
      { ...about, event: 'ended', status: 'complete' },
    ])
  })

  it('says nothing of a request that breaks a rule: nothing was begun', async () => {
    const { client } = await scene()
    await failureOf(client.start({} as never))
    expect(messages()).to.deep.equal([])
  })

  it('says whom the OP does not know, which the browser does not learn [ERR-5]', async () => {
    const { op, browser } = await web({ ciba: { deliveryMode: 'poll' } })
    op.onBackchannel(tokenError('unknown_user_id'))
    const one = browser()
    const transaction = await one.begin('nobody')
    await one.poll(transaction, 1.5)
    expect((await one.post('/ciba/cancel', { transaction })).status).to.equal(204)
    const about = { purpose: 'login', deliveryMode: 'poll' }
    expect(told(messages(), transaction)).to.deep.equal([
      { ...about, event: 'started', unknownUser: true },
      { ...about, event: 'ended', status: 'cancelled', error: 'cancelled' },
    ])
    expect(published.on('express-ciba:token-request'), 'the OP was not asked').to.deep.equal([])
  })

  it('says that an approval is one', async () => {
    const { op, browser } = await web({
      own(app) {
        app.post('/pay', (req, res, next) => {
          const asked = req.ciba.requestApproval({ loginHint: 'alice', anotherPerson: true, action: 'pay' })
          asked.then((started) => res.json(started), next)
        })
      },
    })
    await browser().post('/pay')
    expect(op.callsTo('backchannel')).to.have.length(1)
    expect(told(messages())).to.deep.equal([{ purpose: 'approval', deliveryMode: 'ping', event: 'started' }])
  })
})

describe('express-ciba:token-request', () => {
  const scene = clientScenes()
  const published = publishedEvents()
  const messages = (): TokenRequestMessage[] => published.on('express-ciba:token-request')

  for (const [outcome, answer, error] of [
    ['stillPending', pending(), undefined],
    ['slowedDown', slowDown(), undefined],
    ['busy', unavailable('9'), undefined],
    ['unanswered', { reset: 'before-answer' }, undefined],
    ['unanswered', { reset: 'mid-body' }, undefined],
    ['granted', 'tokens', undefined],
    ['denied', tokenError('access_denied'), 'access_denied'],
    ['expired', tokenError('expired_token'), 'expired_token'],
    ['failed', tokenError('invalid_client', 401), 'invalid_client'],
    ['failed', html(200), 'invalid_token_response'],
    ['failed', tokenError('a secret\u0007'), 'unknown_error'],
  ] satisfies [TokenRequestMessage['outcome'], Answer | 'tokens', string | undefined][]) {
    const shown = error ? `${outcome} (${error})` : outcome
    it(`says once that it was ${shown}: ${JSON.stringify(answer).slice(0, 30)}`, async () => {
      const { client, op, notifications } = await scene({ client: { deliveryMode: 'ping' } })
      const { transaction } = await client.start({ loginHint: 'alice' })
      const good = await op.tokens()
      op.onToken(answer === 'tokens' ? good : answer)
      await op.ping(notifications.url)
      await op.waitForCall('token')
      await until('it is said', () => messages().length > 0)
      expect(told(messages(), transaction)).to.deep.equal([{ outcome, ...(error && { error }) }])
    })
  }

  it('says how long it took, with the checks of what it brought', async () => {
    const { client, op, notifications } = await scene({
      client: {
        deliveryMode: 'ping',
        validateIdTokenClaims: () => new Promise((resolve) => setTimeout(resolve, 200)),
      },
    })
    const { transaction } = await client.start({ loginHint: 'alice' })
    op.onToken(async () => ({ ...(await op.tokens()), delayMs: 200 }))
    await op.ping(notifications.url)
    await client.wait(transaction)
    expect(messages()[0]?.durationMs).to.be.within(390, 3_000)
  })

  it('says one for each that the OP got, and none for what was only waited for', async () => {
    const { client, op } = await scene()
    const { transaction } = await client.start({ loginHint: 'alice' })
    op.onToken(pending(), tokenError('access_denied'))
    await Promise.all([client.wait(transaction), client.wait(transaction), client.check(transaction)])
    expect(messages().map(({ outcome }) => outcome)).to.deep.equal(['stillPending', 'denied'])
    expect(op.callsTo('token')).to.have.length(2)
  })
})
