/** `npm start call-centre`: the agent stays signed in, and callers approve. */
import { expect } from 'chai'
import { ExampleProcess } from '../support/example-process.ts'

describe('npm start call-centre', function () {
  this.timeout(30_000)
  let example: ExampleProcess

  before(async () => {
    example = new ExampleProcess(['call-centre', '--mode', 'ping'])
    await example.signIn({ loginHint: 'agent' }, 'agent')
  })
  after(() => example.end('SIGKILL'))

  const ask = (customer: string, approval?: string) =>
    example.post(
      `/customers/${customer}/record`,
      {},
      approval === undefined ? {} : { 'ciba-approval': approval },
    )
  const handleOf = (answer: Awaited<ReturnType<typeof ask>>) => String(answer.body['transaction'])

  it('verifies several callers at once, while the agent stays signed in', async () => {
    const [alice, bob] = [await ask('alice'), await ask('bob')]
    expect([alice.status, bob.status]).to.deep.equal([202, 202])
    expect((await example.request('bob')).bindingMessage).to.equal(bob.body['bindingMessage'])

    const { cookie } = example
    await example.decide('bob', 'approve')
    expect(await example.outcome(handleOf(bob))).to.include({ status: 'complete' })
    const opened = await ask('bob', handleOf(bob))
    expect(opened.body).to.deep.include({ verified: 'bob' }).and.have.nested.property('record.Contract')
    expect((await ask('alice', handleOf(alice))).body).to.include({ error: 'approval_pending' })

    await example.decide('alice', 'deny')
    expect(await example.outcome(handleOf(alice))).to.include({ status: 'denied' })
    expect((await ask('alice', handleOf(alice))).body).to.include({ error: 'approval_refused' })
    expect(await (await example.fetch('/')).text()).to.contain('Sam Smith')
    expect(example.cookie).to.equal(cookie)
  })

  it('opens the record of the one who approved, once', async () => {
    const carol = handleOf(await ask('carol'))
    await example.decide('carol', 'approve')
    await example.outcome(carol)
    expect((await ask('bob', carol)).body).to.include({ error: 'wrong_action' })
    expect((await ask('carol', carol)).status).to.equal(200)
    expect((await ask('carol', carol)).body).to.include({ error: 'approval_used' })
  })

  it('knows no other customers', async () => {
    expect((await ask('agent')).status).to.equal(404)
  })

  it('lets nobody in but agents', async () => {
    const { cookie } = example
    example.cookie = ''
    expect(await example.signIn({ loginHint: 'alice' }, 'alice')).to.include({ error: 'login_refused' })
    expect((await ask('alice')).status).to.equal(401)
    expect((await example.navigate('/')).status).to.equal(302)
    example.cookie = cookie
  })
})
