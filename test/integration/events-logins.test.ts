/** What is published about logins: who was signed in, was refused, was signed out, and by whom. */
import { expect } from 'chai'
import type { LoginMessage } from '../../lib/index.ts'
import { publishedEvents } from '../support/events.ts'
import { expressVersions, until, type Web, webs } from '../support/web.ts'

const path = '/ciba/backchannel-logout'

describe('express-ciba:login', () => {
  const start = webs()
  const published = publishedEvents()
  const messages = (): LoginMessage[] => published.on('express-ciba:login')

  /** What can be told beforehand; handles are short, and durations make sense. */
  const told = () =>
    messages().map(({ transaction, ...message }) => {
      expect(transaction).to.match(/^[\w-]{6}…$/)
      if (!('durationMs' in message)) return message
      const { durationMs, ...rest } = message
      expect(durationMs).to.be.within(0, 60_000)
      return rest
    })

  async function signIn(web: Web) {
    const browser = web.browser()
    const transaction = await browser.begin()
    await web.approve()
    expect((await browser.poll(transaction, 5)).body).to.have.property('status', 'complete')
    await until('it is said', () => messages().length > 0)
    return browser
  }

  const strong = { claims: { acr: 'urn:strong', amr: ['hwk', 'pin'] } }

  for (const { name, express } of expressVersions) {
    it(`says who was signed in, and how well: once, however many polls wait (${name})`, async () => {
      const web = await start({ express })
      const browser = web.browser()
      const transaction = await browser.begin()
      const held = [await browser.hold(transaction, web), await browser.copy().hold(transaction, web)]
      await web.approve(strong)
      const answers = await Promise.all(held.map(({ answer }) => answer))
      expect(answers.map(({ body }) => body.status)).to.have.members(['complete', 'pending'])
      await until('it is said', () => messages().length > 0)
      await browser.poll(transaction, 0.1)
      await browser.get('/me')
      expect(messages()[0]?.transaction).to.equal(`${transaction.slice(0, 6)}…`)
      expect(told()).to.deep.equal([
        { event: 'signedIn', subject: 'alice', acr: 'urn:strong', amr: ['hwk', 'pin'] },
      ])
    })
  }

  it('leaves out what the OP does not say', async () => {
    const web = await start()
    await signIn(web)
    expect(told()).to.deep.equal([{ event: 'signedIn', subject: 'alice' }])
  })

  it('says how long the tokens waited for the browser', async () => {
    const web = await start()
    const browser = web.browser()
    const transaction = await browser.begin()
    await web.approve()
    await web.op.waitForCall('token')
    await new Promise((resolve) => setTimeout(resolve, 300)) // the person takes out the phone again
    await browser.poll(transaction, 5)
    await until('it is said', () => messages().length > 0)
    expect(messages()[0]).to.have.property('durationMs').that.is.within(200, 5_000)
  })

  it('says who was refused by afterAuthentication, and never that he was signed in', async () => {
    const web = await start({
      ciba: {
        afterAuthentication() {
          throw Object.assign(new Error('not on the list'), { status: 403 })
        },
      },
    })
    const browser = web.browser()
    const transaction = await browser.begin()
    await web.approve(strong)
    for (let poll = 0; poll < 2; poll += 1) {
      const { body } = await browser.poll(transaction, 5)
      expect(body).to.include({ status: 'failed', error: 'login_refused' })
    }
    expect(told()).to.deep.equal([
      { event: 'refused', subject: 'alice', acr: 'urn:strong', amr: ['hwk', 'pin'] },
    ])
  })

  it('says nothing while afterAuthentication fails, and that somebody is in when it works again', async () => {
    let fails = true
    const web = await start({
      ciba: {
        afterAuthentication() {
          if (fails) throw new Error('the directory is down')
        },
      },
    })
    const browser = web.browser()
    const transaction = await browser.begin()
    await web.approve()
    expect((await browser.poll(transaction, 5)).status).to.equal(500)
    expect(told()).to.deep.equal([])
    fails = false
    await browser.poll(transaction, 5)
    await until('it is said', () => messages().length > 0)
    expect(told()).to.deep.equal([{ event: 'signedIn', subject: 'alice' }])
  })

  it('says who has signed out, once', async () => {
    const web = await start()
    const browser = await signIn(web)
    for (let time = 0; time < 2; time += 1) await browser.post('/ciba/logout')
    await web.browser().post('/ciba/logout')
    expect(told().slice(1)).to.deep.equal([{ event: 'signedOut', by: 'person', subject: 'alice' }])
    expect(messages()[1]?.transaction).to.equal(messages()[0]?.transaction)
  })

  it('says who was signed out by the OP, when it takes effect, once [BCL-2.7]', async () => {
    const web = await start({ ciba: { routes: { backchannelLogout: path } } })
    const browser = await signIn(web)
    expect((await web.op.logout(web.origin + path)).status).to.equal(200)
    for (let time = 0; time < 2; time += 1) {
      expect((await browser.get('/me')).body.signedIn).to.equal(false)
    }
    expect(told().slice(1)).to.deep.equal([{ event: 'signedOut', by: 'op', subject: 'alice' }])
  })

  it('says nothing of a login that was denied', async () => {
    const web = await start()
    const browser = web.browser()
    const transaction = await browser.begin()
    await web.deny()
    expect((await browser.poll(transaction, 5)).body).to.have.property('status', 'denied')
    expect(told()).to.deep.equal([])
  })
})
