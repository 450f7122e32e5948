/** `npm start` as a stranger meets it: two addresses, a login, Ctrl-C. */
import { expect } from 'chai'
import { ExampleProcess } from '../support/example-process.ts'

describe('npm start', function () {
  this.timeout(30_000)
  let example: ExampleProcess

  afterEach(() => example.end('SIGKILL'))

  for (const mode of ['poll', 'ping']) {
    it(`brings up an app and an OP where people sign in, in ${mode} mode`, async () => {
      example = new ExampleProcess(['--mode', mode])
      expect(await (await example.fetch('/')).text()).to.contain('/ciba/login')
      expect((await example.fetch('/account')).status).to.equal(401)

      const { body } = await example.post('/ciba/start', { loginHint: 'alice' })
      const request = await example.request('alice')
      expect(request.bindingMessage).to.equal(body['bindingMessage'])
      expect(await (await fetch(await example.phone())).text()).to.contain(body['bindingMessage'])

      const waiting = example.outcome(body['transaction'])
      await example.decide('alice', 'approve')
      expect(await waiting).to.include({ status: 'complete' })
      expect(await (await example.fetch('/account')).text()).to.contain('Hello, alice')

      const signOut = await example.fetch('/ciba/logout', {
        method: 'POST',
        headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'text/html' },
      })
      expect(signOut.status).to.equal(303)
      expect((await example.fetch('/account')).status).to.equal(401)
    })
  }

  it('sends browsers that are not signed in to the login page, and back', async () => {
    example = new ExampleProcess(['login'])
    const { status, location } = await example.navigate('/account')
    expect(status).to.equal(302)
    const page = await example.fetch(String(location))
    expect(await page.text())
      .to.contain('Sign in by phone')
      .and.contain('value="/account"')
  })

  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    it(`ends everything on ${signal}, also while a browser waits`, async () => {
      example = new ExampleProcess(['--mode', 'ping'])
      const { body } = await example.post('/ciba/start', { loginHint: 'bob' })
      const waiting = example.outcome(body['transaction']).catch(() => undefined)
      // Behind the poll on its way to the server, so that the poll is waiting when this is answered.
      await example.fetch('/')
      expect(await example.end(signal)).to.equal(0)
      await waiting
    })
  }
})
