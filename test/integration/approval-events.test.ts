/** What is told of approvals: an audit trail on `express-ciba:approval`, and nowhere a secret [SEC-11]. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { expect } from 'chai'
import { actionDigest, requireApproval } from '../../lib/index.ts'
import {
  approvalMessages,
  approvalRoutes,
  approved,
  ask,
  everythingOf,
  approvalRoutes as own,
  signedIn,
  use,
} from '../support/approvals.ts'
import { debugLines } from '../support/scenes.ts'
import { authenticationRequest } from '../support/scripted-answers.ts'
import { until, type Web, webs } from '../support/web.ts'

const action = { pay: 'a-secret-amount', to: 'a-secret-payee' }
const digest = actionDigest(action)

describe('express-ciba:approval', () => {
  const start = webs()
  const messages = approvalMessages()

  it('tells of the request, the refusals and the use, with the digest of the action', async () => {
    const web = await start({ own })
    const alice = await signedIn(web)
    const transaction = await ask(alice, { action })
    await use(alice, transaction, action)
    await use(alice, transaction, 'other')
    await web.approve()
    await alice.poll(transaction, 5)
    await use(alice, transaction, { to: action.to, pay: action.pay })
    await use(alice, transaction, action)
    const about = { transaction: `${transaction.slice(0, 6)}…`, action: digest, requester: 'alice' }
    const [asked, pending, wrong, done, again, ...more] = messages
    expect(asked).to.deep.equal({ ...about, event: 'requested' })
    expect(pending).to.deep.equal({ ...about, event: 'refused', error: 'approval_pending' })
    expect(wrong).to.deep.equal({
      ...about,
      action: actionDigest('other'),
      event: 'refused',
      error: 'wrong_action',
    })
    expect(done).to.include({ ...about, event: 'used', subject: 'alice' })
    expect(done).to.have.property('durationMs').that.is.within(0, 5_000)
    expect(again).to.deep.equal({ ...about, event: 'refused', error: 'approval_used' })
    expect(more).to.deep.equal([])
  })

  it('tells an agent from the customer who approved', async () => {
    const web = await start({ own })
    const agent = await signedIn(web, 'agent')
    const request = { action, anotherPerson: true, loginHint: 'bob' }
    const transaction = await approved(web, agent, request, { claims: { sub: 'bob' } })
    await use(agent, transaction, action)
    expect(messages.map(({ event, requester }) => [event, requester])).to.deep.equal([
      ['requested', 'agent'],
      ['used', 'agent'],
    ])
    expect(messages.at(-1)).to.have.property('subject', 'bob')
  })

  it('knows no requester where nobody is signed in', async () => {
    const web = await start({ own })
    const request = { action, anotherPerson: true, loginHint: 'bob' }
    await approved(web, web.browser(), request)
    expect(messages).to.have.length(1)
    expect(messages[0]).to.not.have.property('requester')
  })

  it('tells of the attempts of another session and of another person', async () => {
    const web = await start({ own })
    const alice = await signedIn(web)
    const transaction = await approved(web, alice, { action })
    const [thief, bob] = [web.browser(), await signedIn(web, 'bob')]
    messages.length = 0
    for (const stranger of [thief, bob])
      expect((await use(stranger, transaction, action)).status).to.equal(404)
    await signedIn(web, 'bob', alice)
    expect((await use(alice, transaction, 'other')).status).to.equal(404)
    const refused = {
      transaction: `${transaction.slice(0, 6)}…`,
      action: digest,
      event: 'refused',
      error: 'unknown_transaction',
    }
    expect(messages).to.deep.equal([
      refused,
      { ...refused, requester: 'bob' },
      { ...refused, requester: 'bob', action: actionDigest('other') },
    ])
  })

  it('says nothing of what was never started, or does not exist', async () => {
    const web = await start({ own })
    const alice = await signedIn(web)
    web.op.onBackchannel({ status: 400, json: { error: 'unknown_user_id' } })
    expect((await alice.post('/approval', { action })).status).to.equal(400)
    expect((await use(alice, 'A'.repeat(22), action)).status).to.equal(404)
    expect((await web.browser().post('/approval', { action })).status).to.equal(401)
    expect(messages).to.deep.equal([])
  })
})

describe('an approval, in all that is told of it', () => {
  const start = webs()
  const lines = debugLines()
  const told: unknown[] = []
  const listen = (message: unknown) => void told.push(message)
  const channels = ['transaction', 'token-request', 'notification', 'login', 'approval']

  beforeEach(() => {
    told.length = 0
    for (const name of channels) subscribe(`express-ciba:${name}`, listen)
  })
  afterEach(() => {
    for (const name of channels) unsubscribe(`express-ciba:${name}`, listen)
  })

  it('is one purpose of transactions, which start and end once', async () => {
    const web = await start({ own })
    const alice = await signedIn(web)
    told.length = 0
    const transaction = await approved(web, alice, { action })
    await use(alice, transaction, action)
    const events = told.map((message) => {
      const { event, purpose, status } = message as Record<string, unknown>
      return [purpose, event, status].filter(Boolean).join(' ')
    })
    expect(events.filter((event) => event.startsWith('approval '))).to.deep.equal([
      'approval started',
      'approval ended complete',
    ])
    expect(events.join(), 'nobody is signed in').to.not.match(/signedIn|login /)
  })

  it('holds no secret: events, debug output, answers to errors, errors [SEC-11]', async () => {
    const web = await start({
      own(app, self) {
        app.post('/guarded', requireApproval(action), (_req, res) => void res.end())
        approvalRoutes(app, self)
      },
      ciba: { userCodeParameter: true },
    })
    const alice = await signedIn(web)
    const request = {
      action,
      loginHint: 'hint-of-alice',
      userCode: 'code-of-alice',
      bindingMessage: 'message',
    }
    const handles = [await approved(web, alice, request, { response: { refresh_token: 'a-refresh-token' } })]
    const errors: string[] = []
    const other = await signedIn(web, 'bob')
    for (const browser of [other, alice]) {
      for (const tried of ['wrong', action, action]) {
        const answer = await use(browser, String(handles[0]), tried)
        if (answer.status !== 200) errors.push(answer.text)
      }
    }
    handles.push(await ask(alice, request))
    errors.push((await use(alice, String(handles[1]), action)).text)
    await web.deny()
    await until('it is denied', async () => (await alice.poll(String(handles[1]))).body.status === 'denied')
    errors.push((await alice.post('/guarded', {}, { 'ciba-approval': String(handles[1]) })).text)
    errors.push((await alice.post('/guarded', {})).text)
    expect(errors).to.have.length(8)
    const everything = [everythingOf(told), everythingOf(web.errors), ...lines, ...errors].join('\n')
    expect(everything)
      .to.include(digest)
      .and.to.match(/started/)
    const found = Object.entries({
      ...secretsOf(web),
      ...action,
      first: handles[0],
      second: handles[1],
    }).filter(([, secret]) => everything.includes(String(secret)))
    expect(found).to.deep.equal([])
  })
})

function secretsOf({ op }: Web): Record<string, string> {
  const secrets: Record<string, string> = {
    hint: 'hint-of-alice',
    userCode: 'code-of-alice',
    refresh: 'a-refresh-token',
    clientSecret: op.clientSecret,
  }
  for (const [index, { endpoint, answer, ...call }] of op.calls.entries()) {
    const token =
      endpoint === 'backchannel' && authenticationRequest({ endpoint, ...call })['client_notification_token']
    const { auth_req_id, access_token, id_token } = answer ?? {}
    for (const [name, secret] of Object.entries({ token, auth_req_id, access_token, id_token })) {
      if (typeof secret === 'string') secrets[`${name} ${index}`] = secret
    }
  }
  expect(Object.keys(secrets).length, 'secrets').to.be.greaterThan(10)
  return secrets
}
