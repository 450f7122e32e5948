/** Approvals at a real OP: what it grants for one action, and to whom it asks the question. */
import { expect } from 'chai'
import { calculateJwkThumbprint, decodeProtectedHeader, type JWK } from 'jose'
import type { Browser } from '../support/app.ts'
import { approvalRoutes, payment } from '../support/approvals.ts'
import type { FullApproval } from '../support/full-op.ts'
import { type Scene, type SceneOptions, scenes } from '../support/real-op.ts'

const wanted = [
  { type: 'payment_initiation', instructedAmount: { currency: 'EUR', amount: '9.99' } },
  { type: 'account_information' },
]

interface Answer {
  readonly status: number
  readonly body: { readonly [member: string]: unknown }
}

async function post(browser: Browser, path: string, body: object): Promise<Answer> {
  const { status, body: answer } = await browser.agent.post(path).send(body)
  return { status, body: answer }
}

/** From the question to the answer; resolves to the handle. */
async function approve({ op, browser }: Scene, request: object, approval?: FullApproval): Promise<string> {
  const { status, body } = await post(browser, '/approval', request)
  if (status !== 200) throw new Error(`the approval was answered ${status}: ${JSON.stringify(body)}`)
  const { authReqId } = await op.waitForRequest()
  await op.approve(authReqId, approval)
  const transaction = String(body['transaction'])
  expect(await browser.outcome(transaction)).to.deep.equal({ transaction, status: 'complete' })
  return transaction
}

describe('req.ciba.requestApproval() at a real OP', () => {
  const scene = scenes()
  // The metadata of the client says only what "authorizationParams" ask for.
  const registration = { authorization_details_types: ['payment_initiation', 'account_information'] }
  const withApprovals = (options: SceneOptions['options'], more: SceneOptions = {}) =>
    scene({
      registration,
      ...more,
      ...(options && { options }),
      after: (app) => approvalRoutes(app, undefined as never),
    })

  for (const mode of ['poll', 'ping'] as const) {
    it(`brings tokens for the action of who is signed in, ${mode}`, async () => {
      const set = await withApprovals({ deliveryMode: mode })
      const { op, browser, login, get } = set
      await login()
      const before = await get('/tokens')
      const transaction = await approve(set, {
        ...payment,
        authorizationDetails: wanted,
        bindingMessage: 'ACME',
      })
      const used = await post(browser, '/use', { transaction, ...payment, fetch: op.resource })
      expect(used.status).to.equal(200)
      expect(used.body['user']).to.include({ sub: 'alice' })
      expect(used.body['authorizationDetails']).to.deep.equal(wanted)
      expect(used.body['fetched']).to.include({ sub: 'alice', scheme: 'bearer', method: 'POST', body: 'a' })
      expect(used.body['fetched']).to.have.deep.property('authorizationDetails', wanted)
      expect((await post(browser, '/use', { transaction, ...payment })).status).to.equal(409)
      expect(await get('/tokens'), 'of the login').to.deep.equal(before)
    }).timeout(30_000)
  }

  it('says what was granted of what was asked for', async () => {
    const set = await withApprovals({})
    await set.login()
    const request = { ...payment, authorizationDetails: wanted }
    const transaction = await approve(set, request, { authorizationDetails: wanted.slice(1) })
    const { body } = await post(set.browser, '/use', { transaction, ...payment })
    expect(body['authorizationDetails']).to.deep.equal(wanted.slice(1))
  })

  it('fetches with a token that is bound to a key of its own [AUTH-7]', async () => {
    const set = await withApprovals({ dpop: true }, { op: { dpopNonce: true } })
    const { op, browser, login, get } = set
    await login()
    const ofTheLogin = await get<{ headers: Record<string, string> }>('/resource')
    const transaction = await approve(set, payment)
    const { body } = await post(browser, '/use', { transaction, ...payment, fetch: op.resource })
    const fetched = body['fetched'] as { headers: Record<string, string> }
    expect(fetched).to.include({ sub: 'alice', scheme: 'dpop', binding: 'dpop', body: 'a' })
    expect(JSON.stringify(body), 'no private key').to.not.match(/"d":|dpopKey/)
    const keys = await Promise.all([ofTheLogin, fetched].map(({ headers }) => keyIn(headers['dpop'])))
    expect(keys[0]).to.be.a('string').and.not.equal(keys[1])
  })

  it('asks the customer, while the agent stays signed in', async () => {
    const set = await withApprovals({})
    const { browser, login, get } = set
    await login({ request: { loginHint: 'bob' } })
    const before = await get('/tokens')
    const transaction = await approve(set, { ...payment, anotherPerson: true, loginHint: 'alice' })
    const { body } = await post(browser, '/use', { transaction, ...payment })
    expect(body['user']).to.include({ sub: 'alice' })
    expect(await browser.user()).to.equal('bob')
    expect(await get('/tokens')).to.deep.equal(before)
  })

  it('does not take the word of another person for that of who is signed in [TOK-18]', async () => {
    const { op, browser, login } = await withApprovals({})
    await login()
    const { body } = await post(browser, '/approval', { ...payment, loginHint: 'bob' })
    const { authReqId } = await op.waitForRequest()
    await op.approve(authReqId)
    const transaction = String(body['transaction'])
    expect(await browser.outcome(transaction)).to.include({
      status: 'failed',
      error: 'invalid_token_response',
    })
    expect((await post(browser, '/use', { transaction, ...payment })).body['code']).to.equal(
      'ERR_CIBA_APPROVAL_REFUSED',
    )
    expect(await browser.user()).to.equal('alice')
  })

  it('brings the code of the OP when it refuses [ERR-2]', async () => {
    const { browser } = await withApprovals({})
    const { status, body } = await post(browser, '/approval', {
      ...payment,
      anotherPerson: true,
      loginHint: 'nobody',
    })
    expect([status, body['error']]).to.deep.equal([400, 'unknown_user_id'])
  })
})

async function keyIn(proof: string | undefined): Promise<string> {
  return calculateJwkThumbprint(decodeProtectedHeader(String(proof)).jwk as JWK)
}
