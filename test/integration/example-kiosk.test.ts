/** `npm start kiosk`: a shared screen, on which nothing may stay. */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'chai'
import { ExampleProcess } from '../support/example-process.ts'

describe('npm start kiosk', function () {
  this.timeout(30_000)
  let example: ExampleProcess

  afterEach(() => example.end('SIGKILL'))

  const page = async () => (await example.fetch('/')).text()

  it('shows the tickets of whoever has approved, until they are done', async () => {
    example = new ExampleProcess(['kiosk', '--mode', 'ping'])
    expect(await page()).to.contain('Collect your tickets')
    expect((await example.fetch('/ciba/login')).status).to.equal(404)
    expect((await example.post('/touch', {})).status).to.equal(401)
    expect(await example.signIn({ member: ' Alice ' }, 'alice')).to.include({ status: 'complete' })
    const shown = await example.fetch('/')
    expect(shown.headers.get('cache-control')).to.equal('no-store')
    expect(await shown.text()).to.contain('Your tickets, alice')

    const { cookie } = example
    await example.post('/ciba/logout', {})
    example.cookie = cookie
    expect(await page()).to.contain('Collect your tickets')
  })

  it('ends the session on the server too when nobody touches the screen, and not before', async () => {
    example = new ExampleProcess(['kiosk', '--mode', 'ping'], { IDLE_SECONDS: '0.1' })
    await example.signIn({ member: 'alice' }, 'alice')
    const { cookie } = example
    const started = Date.now()
    // Each touch starts the 2.1 seconds anew.
    while (Date.now() - started < 2_500) {
      const touched = await example.fetch('/touch', { method: 'POST' })
      expect(touched.status).to.equal(204)
      // Else the browser would forget the cookie, whatever the server does.
      expect(touched.headers.get('set-cookie')).to.contain('Expires=')
      await sleep(100)
    }
    example.cookie = cookie
    // A look would be a touch: there is no condition to wait for.
    await sleep(2_200)
    expect((await example.post('/touch', {})).status).to.equal(401)
    expect(await page()).to.contain('Collect your tickets')
  })
})
