/** `req.ciba.useApproval()`: once, for the action, in the session and by the person that asked. */
import { expect } from 'chai'
import { MemoryTransactionStore, type StoredRecord } from '../../lib/index.ts'
import {
  approvalMessages,
  approved,
  ask,
  approvalRoutes as own,
  payment,
  signedIn,
  use,
} from '../support/approvals.ts'
import { later } from '../support/outcomes.ts'
import { timeTravel } from '../support/real-op.ts'
import { RecordingStore, sceneSecret } from '../support/scenes.ts'
import type { Answer } from '../support/scripted-op.ts'
import { cookiesOf, until, webs } from '../support/web.ts'

/** Takes offence at an id that is no text, as a database does. */
class StrictStore extends MemoryTransactionStore {
  override async read(id: string): Promise<StoredRecord | undefined> {
    if (typeof id !== 'string') throw new TypeError('an id must be text')
    return super.read(id)
  }
}

describe('req.ciba.useApproval()', () => {
  const start = webs()
  const pass = timeTravel()
  const messages = approvalMessages()

  it('brings the person, the tokens and what was granted, a single time', async () => {
    const web = await start({ own })
    const alice = await signedIn(web)
    const authorizationDetails = [{ type: 'payment', amount: '9.99' }]
    const response = { access_token: 'of-this-approval', refresh_token: 'refresh-of-this-approval' }
    const transaction = await approved(web, alice, { ...payment, authorizationDetails }, { response })
    const { status, body } = await use(alice, transaction)
    expect(status).to.equal(200)
    expect(body).to.have.all.keys('user', 'tokens', 'authorizationDetails')
    expect(body.user).to.include({ sub: 'alice', iss: web.op.issuer })
    expect(body.tokens).to.include({
      accessToken: 'of-this-approval',
      refreshToken: 'refresh-of-this-approval',
    })
    expect(body.authorizationDetails).to.deep.equal(authorizationDetails)
    for (let again = 0; again < 2; again++) {
      const { status, body } = await use(alice, transaction)
      expect(status).to.equal(409)
      expect(body).to.include({ code: 'ERR_CIBA_APPROVAL_USED', error: 'approval_used' })
    }
    // The login has tokens of its own.
    expect((await web.sessions.read(alice.sessionId ?? ''))?.ciba?.login?.tokens.accessToken)
      .to.be.a('string')
      .and.not.equal('of-this-approval')
  })

  it('has no details where the OP granted none', async () => {
    const web = await start({ own })
    const alice = await signedIn(web)
    const { body } = await use(alice, await approved(web, alice))
    expect(body).to.have.all.keys('user', 'tokens')
  })

  it('gives one of twenty that come at once what all of them want', async () => {
    const web = await start({ own })
    const alice = await signedIn(web)
    const transaction = await approved(web, alice)
    const copies = Array.from({ length: 20 }, () => use(alice.copy(), transaction))
    const answers = await Promise.all(copies)
    expect(answers.filter(({ status }) => status === 200)).to.have.length(1)
    expect(answers.filter(({ body }) => body.code === 'ERR_CIBA_APPROVAL_USED')).to.have.length(19)
    expect(answers.filter(({ text }) => text.includes('accessToken'))).to.have.length(1)
  })

  it('refuses another action, and leaves the approval for the right one', async () => {
    const web = await start({ own })
    const alice = await signedIn(web)
    const action = { pay: '9.99', to: 'ACME', lines: [1, 2] }
    const transaction = await approved(web, alice, { action })
    const wrong = [
      { ...action, pay: '9999' },
      { ...action, lines: [2, 1] },
      { ...action, extra: null },
      { pay: '9.99', to: 'ACME' },
      JSON.stringify(action),
      null,
      '',
    ]
    for (const other of wrong) {
      const { status, body } = await use(alice, transaction, other)
      expect(status).to.equal(403)
      expect(body).to.include({ code: 'ERR_CIBA_WRONG_ACTION', error: 'wrong_action' })
    }
    const { status } = await use(alice, transaction, { lines: [1, 2], to: 'ACME', pay: '9.99' })
    expect(status, 'in another order').to.equal(200)
  })

  it('says nothing of how it stands to who names another action', async () => {
    const web = await start({ own })
    const alice = await signedIn(web)
    const transaction = await ask(alice)
    expect((await use(alice, transaction, 'other')).body.code).to.equal('ERR_CIBA_WRONG_ACTION')
    await web.deny()
    await alice.poll(transaction, 5)
    expect((await use(alice, transaction, 'other')).body.code).to.equal('ERR_CIBA_WRONG_ACTION')
  })

  it('is 409 with a time to come back while the person has not decided', async () => {
    const web = await start({ own })
    const alice = await signedIn(web)
    const { status, body } = await use(alice, await ask(alice))
    expect(status).to.equal(409)
    expect(body).to.include({ code: 'ERR_CIBA_APPROVAL_PENDING', error: 'approval_pending', retryAfter: 1 })
  })

  const ends: [
    state: string,
    end: (web: Awaited<ReturnType<typeof start>>, cancel: () => unknown) => unknown,
  ][] = [
    ['denied', (web) => web.deny()],
    ['cancelled', (_web, cancel) => cancel()],
    ['failed', (web) => web.approve({ claims: { iss: 'https://evil.example' } })],
  ]
  for (const [state, end] of ends) {
    it(`is 403 once it is ${state}`, async () => {
      const web = await start({ own })
      const alice = await signedIn(web)
      const transaction = await ask(alice)
      await end(web, () => alice.post('/ciba/cancel', { transaction }))
      expect((await alice.poll(transaction, 5)).body.status).to.equal(state)
      const { status, body } = await use(alice, transaction)
      expect([status, body.code]).to.deep.equal([403, 'ERR_CIBA_APPROVAL_REFUSED'])
      expect(body.message).to.equal(`the approval was not given: ${state}`)
    })
  }

  it('is 403 once it has expired, without asking the OP any more [POLL-5]', async () => {
    const web = await start({ own })
    const alice = await signedIn(web)
    web.op.onBackchannel({ json: { auth_req_id: 'soon-over', expires_in: 1, interval: 1 } })
    const transaction = await ask(alice)
    expect((await alice.poll(transaction, 5)).body.status).to.equal('expired')
    const asked = web.op.callsTo('token').length
    expect((await use(alice, transaction)).body).to.include({
      code: 'ERR_CIBA_APPROVAL_REFUSED',
      message: 'the approval was not given: expired',
    })
    expect(web.op.callsTo('token')).to.have.length(asked)
  })

  it('can still be used when the deadline of the question has passed, and after a cancel that came too late', async () => {
    const web = await start({ own })
    const alice = await signedIn(web)
    web.op.onBackchannel({ json: { auth_req_id: 'soon-over', expires_in: 2, interval: 1 } })
    const from = Date.now()
    const transaction = await approved(web, alice)
    expect((await alice.post('/ciba/cancel', { transaction })).status).to.equal(204)
    await until('the deadline has passed', () => Date.now() > from + 2_000).catch(() => {})
    expect((await alice.poll(transaction)).body.status).to.equal('complete')
    expect((await use(alice, transaction)).status).to.equal(200)
  })

  context('it does not exist', () => {
    const gone = { status: 404, code: 'ERR_CIBA_UNKNOWN_TRANSACTION' }
    const answerOf = ({ status, body }: Awaited<ReturnType<typeof use>>) => ({ status, code: body.code })

    it('for another session, of the same person or of another, signed in or not', async () => {
      const web = await start({ own })
      const alice = await signedIn(web)
      const transaction = await approved(web, alice)
      const others = [web.browser(), await signedIn(web), await signedIn(web, 'bob')]
      for (const other of others) expect(answerOf(await use(other, transaction))).to.deep.equal(gone)
      // Neither does anything else about it.
      expect((await others[1]?.poll(transaction))?.status).to.equal(404)
      expect((await use(alice, transaction)).status).to.equal(200)
    })

    it('for a handle that nobody has given out, whatever it is made of', async () => {
      const store = new StrictStore()
      const web = await start({ own, ciba: { store, secret: 'of a strict store' } })
      const alice = await signedIn(web)
      const texts = ['A'.repeat(22), '', ' ', '__proto__', '../x', '\u0000', 'x'.repeat(9_000), '%00']
      for (const handle of [...texts, null, 5, {}, ['a'], undefined, { $ne: null }]) {
        expect(answerOf(await use(alice, handle as string)), String(handle)).to.deep.equal(gone)
      }
    })

    it('for a login, which stays one', async () => {
      const web = await start({ own })
      const alice = await signedIn(web)
      const transaction = await alice.begin('alice')
      expect(answerOf(await use(alice, transaction))).to.deep.equal(gone)
      await web.approve()
      await until('the tokens are there', () => web.op.callsTo('token').length === 2)
      expect(answerOf(await use(alice, transaction))).to.deep.equal(gone)
      expect((await alice.poll(transaction, 5)).body.status).to.equal('complete')
    })

    it('after a logout, and a login of another person or of the same', async () => {
      for (const sub of ['bob', 'alice']) {
        const web = await start({ own })
        const alice = await signedIn(web)
        const transaction = await approved(web, alice)
        await alice.post('/sign-out')
        expect(answerOf(await use(alice, transaction))).to.deep.equal(gone)
        await signedIn(web, sub, alice)
        expect(answerOf(await use(alice, transaction)), sub).to.deep.equal(gone)
      }
    })

    it('for another person who has signed in there meanwhile, in the moved session', async () => {
      const web = await start({ own })
      const browser = await signedIn(web)
      const transaction = await approved(web, browser)
      await signedIn(web, 'bob', browser)
      expect(answerOf(await use(browser, transaction))).to.deep.equal(gone)
      expect((await browser.poll(transaction)).status).to.equal(404)
      await signedIn(web, 'alice', browser)
      expect(answerOf(await use(browser, transaction)), 'alice is back').to.deep.equal(gone)
    })

    it('where the agent has signed out of a session that asked a customer', async () => {
      const web = await start({ own })
      const agent = await signedIn(web, 'agent')
      const request = { ...payment, anotherPerson: true, loginHint: 'bob' }
      const transaction = await approved(web, agent, request, { claims: { sub: 'bob' } })
      await agent.post('/sign-out')
      await signedIn(web, 'bob', agent)
      expect(answerOf(await use(agent, transaction)), 'for the customer').to.deep.equal(gone)
    })
  })

  it('is not used by who signs out while the OP takes its time, and stays unused', async () => {
    const store = new RecordingStore()
    const web = await start({ own, ciba: { deliveryMode: 'poll', store, secret: sceneSecret } })
    const alice = web.browser()
    web.op.onToken(() => web.op.tokens())
    await alice.poll(await alice.begin(), 5)
    const transaction = await ask(alice)
    const tab = alice.copy()
    const held = later<Answer>()
    web.op.onToken(() => held.promise)
    pass(2)
    const using = use(alice, transaction).then()
    await web.op.waitForCall('token', 2)
    await tab.post('/sign-out')
    held.resolve(await web.op.tokens())
    const { status, body } = await using
    expect([status, body.code]).to.deep.equal([404, 'ERR_CIBA_UNKNOWN_TRANSACTION'])
    const left = store.transactions().at(-1)
    expect(left).to.include({ id: transaction, state: 'complete', delivery: 'undelivered' })
    expect(left).to.have.property('grant')
    expect(left).to.not.have.property('usedBy')
    expect(messages.map(({ event }) => event)).to.deep.equal(['requested'])
  })

  it('follows the same person into the new session of a step-up', async () => {
    const web = await start({ own })
    const alice = await signedIn(web)
    const transaction = await approved(web, alice)
    const { sessionId } = alice
    await signedIn(web, 'alice', alice)
    expect(alice.sessionId).to.not.equal(sessionId)
    expect((await use(alice, transaction)).status).to.equal(200)
  })

  it('keeps several apart that one session has asked for', async () => {
    const web = await start({ own })
    const alice = await signedIn(web)
    const [first, second] = [await ask(alice, { action: 1 }), await ask(alice, { action: 2 })]
    await web.approve()
    expect((await alice.poll(second, 5)).body.status).to.equal('complete')
    expect((await use(alice, first, 1)).body.code).to.equal('ERR_CIBA_APPROVAL_PENDING')
    expect((await use(alice, second, 1)).body.code).to.equal('ERR_CIBA_WRONG_ACTION')
    expect((await use(alice, second, 2)).status).to.equal(200)
    expect((await use(alice, first, 1)).body.code).to.equal('ERR_CIBA_APPROVAL_PENDING')
  })

  it('asks the OP by itself when that is due: nobody needs to poll', async () => {
    const web = await start({ own, ciba: { deliveryMode: 'poll' } })
    const alice = web.browser()
    web.op.onToken(() => web.op.tokens())
    await alice.poll(await alice.begin(), 5)
    const transaction = await ask(alice)
    web.op.onToken(() => web.op.tokens())
    await until('it is used', async () => (await use(alice, transaction)).status === 200)
    expect(web.op.callsTo('token')).to.have.length(2)
    expect(web.op.violations()).to.deep.equal([])
  })

  it('goes in push mode: what was pushed is for the action', async () => {
    const web = await start({ own, ciba: { deliveryMode: 'push' } })
    const notification = `${web.origin}/ciba/notification`
    const alice = web.browser()
    const login = await alice.begin()
    expect((await web.op.push(notification)).status).to.equal(204)
    await alice.poll(login, 5)
    const transaction = await ask(alice)
    expect((await web.op.push(notification)).status).to.equal(204)
    const { status, body } = await use(alice, transaction)
    expect([status, body.user.sub]).to.deep.equal([200, 'alice'])
    expect((await use(alice, transaction)).body.code).to.equal('ERR_CIBA_APPROVAL_USED')
  })

  it('fetches with its own access token, as Bearer', async () => {
    const web = await start({ own })
    const alice = await signedIn(web)
    const response = { access_token: 'of-this-approval' }
    const transaction = await approved(web, alice, payment, { response })
    const { body } = await alice.post('/use', {
      transaction,
      ...payment,
      fetch: `${web.op.issuer}/resource/payments`,
    })
    expect(body.fetched).to.deep.equal({ resource: 'of Alice' })
    const [call] = web.op.callsTo('resource')
    expect(call).to.include({ method: 'POST', body: 'a' })
    expect(call?.headers.authorization).to.equal('Bearer of-this-approval')
  })
})

describe('POST /ciba/poll for an approval', () => {
  const start = webs()

  it('says how it stands, signs nobody in, and changes neither cookie nor session', async () => {
    let logins = 0
    const afterAuthentication = () => void logins++
    const web = await start({ own, ciba: { afterAuthentication } })
    const alice = await signedIn(web)
    const { sessionId = '' } = alice
    const before = JSON.stringify((await web.sessions.read(sessionId))?.ciba)
    const pendingOne = await alice.post('/approval', { ...payment, bindingMessage: 'ACME' })
    const { transaction } = pendingOne.body
    const first = await alice.poll(transaction)
    expect(first.body).to.include({ status: 'pending', bindingMessage: 'ACME' })
    expect(first.headers['retry-after']).to.equal('1')
    const held = await alice.hold(transaction, web)
    await web.approve({ claims: { name: 'Other Claims' } })
    const polls = [await held.answer, await alice.poll(transaction), await alice.poll(transaction, 5)]
    for (const answer of polls) {
      expect(answer.body).to.deep.equal({ transaction, status: 'complete' })
      expect(cookiesOf(answer)).to.deep.equal([])
    }
    expect((await use(alice, transaction)).status).to.equal(200)
    expect((await alice.poll(transaction)).body, 'once used').to.deep.equal({
      transaction,
      status: 'complete',
    })
    expect(JSON.stringify((await web.sessions.read(sessionId))?.ciba)).to.equal(before)
    expect(await web.sessions.ids()).to.deep.equal([sessionId])
    expect(logins).to.equal(1)
  })

  it('says it to an own route that polls, and changes nothing there either', async () => {
    const web = await start({ own })
    const alice = await signedIn(web)
    const transaction = await approved(web, alice)
    const answer = await alice.post('/poll-own', { transaction, wait: 5 })
    expect(answer.body).to.deep.equal({ transaction, status: 'complete' })
    expect(cookiesOf(answer)).to.deep.equal([])
  })

  for (const [what, path, body, expected] of [
    ['what another request has written', '/data', { cart: 'full' }, { cart: 'full' }],
    ['a logout', '/sign-out', {}, undefined],
  ] as const) {
    it(`does not undo ${what} during a long wait`, async () => {
      const web = await start({ own, session: { resave: true } })
      const alice = await signedIn(web)
      const { sessionId = '' } = alice
      const transaction = await ask(alice)
      const held = await alice.copy().hold(transaction, web)
      await alice.copy().post(path, body)
      await web.approve()
      expect((await held.answer).body).to.include({ status: 'complete' })
      const stored = await web.sessions.read(sessionId)
      if (expected) expect(stored).to.include(expected)
      else expect(stored, 'the session that has ended').to.equal(undefined)
    })
  }
})
