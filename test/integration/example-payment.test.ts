/** `npm start payment`: an approval pays this amount to this payee, once. */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect } from 'chai'
import { createApp } from '../../examples/payment/app.ts'
import type { ExampleApp } from '../../examples/support/web-example.ts'
import { signIn, startTestProvider, type TestProvider } from '../../lib/testing/index.ts'
import { ExampleProcess } from '../support/example-process.ts'

const groceries = { amount: '25.00', to: 'Green Grocers' }

describe('npm start payment', function () {
  this.timeout(30_000)
  let example: ExampleProcess

  before(async () => {
    example = new ExampleProcess(['payment', '--mode', 'ping'])
    await example.signIn({ loginHint: 'alice' }, 'alice')
  })
  after(() => example.end('SIGKILL'))

  const pay = (payment: object, approval?: string) =>
    example.post('/payments', payment, approval === undefined ? {} : { 'ciba-approval': approval })

  async function approved(payment: object): Promise<string> {
    const { body } = await pay(payment)
    await example.decide('alice', 'approve')
    expect(await example.outcome(body['transaction'])).to.include({ status: 'complete' })
    return String(body['transaction'])
  }

  it('shows on the phone what is to be approved, and what the OP granted', async () => {
    const { body } = await pay(groceries)
    const request = await example.request('alice')
    const detail = { type: 'payment', amount: '25.00 EUR', creditor: 'Green Grocers' }
    expect(request.authorizationDetails).to.deep.equal([detail])
    expect(await (await fetch(await example.phone())).text())
      .to.contain('25.00 EUR')
      .and.contain('Green Grocers')
    await example.decide('alice', 'approve')
    await example.outcome(body['transaction'])
    const answer = await pay(groceries, String(body['transaction']))
    expect(answer).to.deep.equal({ status: 200, body: { paid: groceries, granted: [detail] } })
    expect(await (await example.fetch('/')).text()).to.contain('25.00 EUR to Green Grocers')
  })

  it('refuses another amount or payee than was approved, and then pays the right one', async () => {
    const approval = await approved(groceries)
    for (const other of [
      { ...groceries, amount: '250.00' },
      { ...groceries, to: 'Mallory' },
    ]) {
      expect(await pay(other, approval))
        .to.deep.include({ status: 403 })
        .and.nested.include({ 'body.error': 'wrong_action' })
    }
    expect((await pay({ amount: '25,0', to: ' Green Grocers ' }, approval)).status).to.equal(200)
  })

  it('pays once when the same is sent twice at the same time', async () => {
    const approval = await approved({ amount: '7.00', to: 'Twice' })
    const answers = await Promise.all([1, 2].map(() => pay({ amount: '7.00', to: 'Twice' }, approval)))
    expect(answers.map(({ status }) => status).sort()).to.deep.equal([200, 409])
    expect((await (await example.fetch('/')).text()).match(/7\.00 EUR to Twice/g)).to.have.length(1)
  })

  it('pays nothing after a denial', async () => {
    const { body } = await pay(groceries)
    await example.decide('alice', 'deny')
    expect(await example.outcome(body['transaction'])).to.include({ status: 'denied' })
    expect((await pay(groceries, String(body['transaction']))).body).to.include({ error: 'approval_refused' })
  })

  for (const amount of ['0', '-5', '1e3', '100000', '1.234', '', undefined, {}]) {
    it(`asks nobody about an amount of ${JSON.stringify(amount)}`, async () => {
      expect(await pay({ to: 'Green Grocers', amount })).to.deep.include({ status: 400 })
    })
  }
})

describe('the payment example', () => {
  let provider: TestProvider
  let server: Server
  let example: ExampleApp

  beforeEach(async () => {
    provider = await startTestProvider({ authorizationDetailsTypes: ['payment'] })
    example = createApp(provider.clientOptions)
    server = createServer(example.app)
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve)
    })
  })
  afterEach(async () => {
    await example.close()
    server.close()
    server.closeAllConnections()
    await provider.close()
  })

  it('pays nothing when the OP granted less than was asked for', async () => {
    const baseURL = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const cookie = await signIn(baseURL, provider, { loginHint: 'alice' })
    const send = async (path: string, body: object, headers = {}) => {
      const init = { method: 'POST', headers: { cookie, 'content-type': 'application/json', ...headers } }
      return fetch(baseURL + path, { ...init, body: JSON.stringify(body) })
    }
    const { transaction } = (await (await send('/payments', groceries)).json()) as { transaction: string }
    const less = { type: 'payment', amount: '2.50 EUR', creditor: 'Green Grocers' }
    await provider.approve('alice', { authorizationDetails: [less] })
    await send('/ciba/poll', { transaction, wait: 10 })
    const refused = await send('/payments', groceries, { 'ciba-approval': transaction })
    expect(await refused.json()).to.include({ error: 'not_granted' })
    expect(await (await fetch(baseURL, { headers: { cookie } })).text()).to.contain('Nothing yet.')
  })
})
