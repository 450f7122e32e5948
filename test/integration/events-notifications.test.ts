/** What is published about notifications: each verdict, and whether it changed anything. */
import { expect } from 'chai'
import { MemoryTransactionStore, type NotificationMessage, type StoredRecord } from '../../lib/index.ts'
import { clientScenes } from '../support/clients.ts'
import { publishedEvents } from '../support/events.ts'
import { html, type PingOptions } from '../support/scripted-op.ts'
import { webs } from '../support/web.ts'

class FailingStore extends MemoryTransactionStore {
  fails = false

  override async read(id: string): Promise<StoredRecord | undefined> {
    if (this.fails) throw new Error('the database is down')
    return super.read(id)
  }
}

describe('express-ciba:notification', () => {
  const scene = clientScenes()
  const web = webs()
  const published = publishedEvents()
  const messages = (): NotificationMessage[] => published.on('express-ciba:notification')
  const told = () =>
    messages().map(({ durationMs, ...rest }) => {
      expect(durationMs).to.be.within(0, 10_000)
      return rest
    })

  async function started(deliveryMode: 'ping' | 'push') {
    const store = new FailingStore()
    const all = await scene({ client: { deliveryMode, store, httpTimeout: 2 } })
    const { transaction } = await all.client.start({ loginHint: 'alice' })
    return { ...all, store, about: { transaction: `${transaction.slice(0, 6)}…`, kind: deliveryMode } }
  }

  it('says that a ping was accepted, and that its repetition changed nothing', async () => {
    const { op, notifications, client, another, about } = await started('ping')
    await op.ping(notifications.url)
    await op.ping(notifications.url)
    notifications.serve(another())
    await op.ping(notifications.url)
    await client.close()
    const verdicts = told()
    expect(verdicts[0]).to.deep.equal({ ...about, verdict: 'accepted', effect: true })
    expect(verdicts).to.have.length(3)
    expect(new Set(verdicts.map(({ verdict }) => verdict))).to.deep.equal(new Set(['accepted']))
    expect(verdicts.slice(1).filter(({ effect }) => effect)).to.deep.equal([])
  })

  it('says that a push was accepted, and that its repetition changed nothing [PUSH-9]', async () => {
    const { op, notifications, about } = await started('push')
    await op.push(notifications.url)
    await op.push(notifications.url)
    await op.pushError(notifications.url, 'access_denied')
    expect(told()).to.deep.equal([
      { ...about, verdict: 'accepted', effect: true },
      { ...about, verdict: 'accepted', effect: false },
      { ...about, verdict: 'accepted', effect: false },
    ])
  })

  it('says that a pushed error was accepted', async () => {
    const { op, notifications, about } = await started('push')
    await op.pushError(notifications.url, 'access_denied')
    expect(told()).to.deep.equal([{ ...about, verdict: 'accepted', effect: true }])
  })

  it('names no transaction where the token is not genuine', async () => {
    const { op, notifications, about } = await started('ping')
    await op.ping(notifications.url, { token: 'forged.token' })
    await op.ping(notifications.url, { token: '' })
    const refused = { kind: about.kind, verdict: 'unauthorized', effect: false }
    expect(told()).to.deep.equal([refused, refused])
  })

  it("says that a genuine token came with another request's id", async () => {
    const { op, notifications, about } = await started('ping')
    await op.ping(notifications.url, { body: '{"auth_req_id":"another"}' })
    expect(told()).to.deep.equal([{ ...about, verdict: 'unauthorized', effect: false }])
  })

  it('says that a body was no ping', async () => {
    const { op, notifications, about } = await started('ping')
    await op.ping(notifications.url, { body: '{"auth_req_id":5}' })
    expect(told()).to.deep.equal([{ ...about, verdict: 'malformed', effect: false }])
  })

  it('says that pushed tokens did not pass the checks', async () => {
    const { op, notifications, about } = await started('push')
    await op.push(notifications.url, { claims: { at_hash: 'wrong' } })
    expect(told()).to.deep.equal([{ ...about, verdict: 'invalid', effect: false }])
  })

  it('says that the store could not be had', async () => {
    const { op, notifications, store, about } = await started('ping')
    store.fails = true
    await op.ping(notifications.url)
    store.fails = false
    expect(told()).to.deep.equal([{ ...about, verdict: 'unavailable', effect: false }])
  })

  it("says that the OP's keys for a push could not be had", async () => {
    const { op, notifications, about } = await started('push')
    op.onJwks(...Array.from({ length: 6 }, () => html(200)))
    expect((await op.push(notifications.url)).status).to.equal(503)
    expect(told()).to.deep.equal([{ ...about, verdict: 'unavailable', effect: false }])
  })

  it('says it at the route of ciba(), too', async () => {
    const { op, browser, origin } = await web()
    const transaction = await browser().begin()
    const url = `${origin}/ciba/notification`
    await op.ping(url, { token: 'forged.token' })
    await op.ping(url)
    await op.ping(url, { body: '{}' })
    const about = { kind: 'ping', transaction: `${transaction.slice(0, 6)}…` }
    expect(told()).to.deep.equal([
      { kind: 'ping', verdict: 'unauthorized', effect: false },
      { ...about, verdict: 'accepted', effect: true },
      { ...about, verdict: 'malformed', effect: false },
    ])
  })

  for (const [what, status, options] of [
    ['is no JSON', 400, { body: '{"auth_req_id":' }],
    ['is too long', 413, { body: JSON.stringify({ auth_req_id: 'A'.repeat(20_000) }) }],
    ['is of another type', 415, { contentType: 'text/plain' }],
    ['is of no type', 415, { contentType: '' }],
  ] satisfies [string, number, PingOptions][]) {
    it(`says it of a body that ${what} (${status}), too`, async () => {
      const { op, browser, origin } = await web()
      const transaction = await browser().begin()
      expect((await op.ping(`${origin}/ciba/notification`, options)).status).to.equal(status)
      const about = { kind: 'ping', transaction: `${transaction.slice(0, 6)}…` }
      expect(told()).to.deep.equal([{ ...about, verdict: 'malformed', effect: false }])
    })
  }

  it('names no transaction where a genuine token comes twice [PING-2]', async () => {
    const { op, browser, origin } = await web()
    await browser().begin()
    const token = String(op.callsTo('backchannel')[0]?.params.get('client_notification_token'))
    const headers = { authorization: [`Bearer ${token}`, `Bearer ${token}`] }
    expect((await op.ping(`${origin}/ciba/notification`, { token: '', headers })).status).to.equal(401)
    expect(told()).to.deep.equal([{ kind: 'ping', verdict: 'unauthorized', effect: false }])
  })
})
