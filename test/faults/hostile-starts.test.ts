/** Starts by the thousand: how many people are asked because of them, and who else notices [SEC-3, SEC-13]. */
import { expect } from 'chai'
import type { CibaOptions } from '../../lib/index.ts'
import { flood, post } from '../support/flood.ts'
import { signInDuring } from '../support/honest-people.ts'
import { type LoadedApp, loadedApps } from '../support/loaded.ts'
import { crowd, type LoadedSettings } from '../support/loaded-process.ts'
import { type ScriptedOp, startScriptedOp } from '../support/scripted-op.ts'
import { Visitor } from '../support/visitor.ts'

const starts = 5_000
const marginBytes = 6 * 1024 * 1024

describe('floods of starts', function () {
  this.timeout(30_000)

  const start = loadedApps()
  let op: ScriptedOp

  beforeEach(async () => {
    op = await startScriptedOp()
  })
  afterEach(() => op.stop())

  function startApp(options: CibaOptions = {}, more: Partial<LoadedSettings> = {}): Promise<LoadedApp> {
    const { issuer: issuerBaseURL, clientId: clientID, clientSecret } = op
    const own = { issuerBaseURL, clientID, clientSecret, deliveryMode: 'ping' } as const
    return start({ options: { ...own, ...options }, ...more })
  }

  const startOf = (loginHint: string, cookie = '') =>
    post('/ciba/start', JSON.stringify({ loginHint }), cookie === '' ? {} : { cookie })
  const asked = (hint: RegExp) =>
    op.callsTo('backchannel').filter(({ params }) => hint.test(params.get('login_hint') ?? '')).length

  it('of one session, each for somebody else, reach 20 people; the others who start do not notice', async () => {
    const app = await startApp()
    const visitor = new Visitor(app.origin)
    await visitor.begin('victim-0')
    const heap = await app.heap()
    const attack = flood(app.origin, starts, (n) => startOf(`victim-${n + 1}`, visitor.cookie))
    const others = signInDuring(attack, app, op, (n) => `honest-${n}`)
    expect(await attack).to.deep.equal({ 202: 19, 429: starts - 19 })
    expect(await others).to.be.at.least(1)
    expect(asked(/^victim-/)).to.equal(20)
    // Nobody was counted whom he could not ask for.
    expect(await app.heap()).to.be.below(heap + marginBytes)
  })

  it('of many sessions for one person reach that person five times, and leave no session behind', async () => {
    const app = await startApp()
    const { sessionWrites } = await app.counts()
    const attack = flood(app.origin, starts, () => startOf('the victim'))
    const honest = signInDuring(attack, app, op, (n) => `honest-${n}`)
    expect(await attack).to.deep.equal({ 202: 5, 429: starts - 5 })
    const signedIn = await honest
    expect(signedIn).to.be.at.least(1)
    expect(asked(/^the victim$/)).to.equal(5)
    const { sessionWrites: written, errors } = await app.counts()
    // A login writes two: of who starts, and of who is signed in.
    expect(written - sessionWrites).to.equal(5 + 2 * signedIn)
    expect(errors).to.deep.equal([])
  })

  it('that fill the store are refused with 503; logins that are under way go on', async () => {
    const app = await startApp({ startLimiter: false }, { hasCrowd: true, memory: { maxTransactions: 200 } })
    const visitor = new Visitor(app.origin)
    const transaction = await visitor.begin()
    op.onToken(await op.tokens())
    const poll = visitor.poll(transaction, 25)

    const full = await flood(app.origin, starts, (n) => startOf(`${crowd}${n}`))
    expect(full).to.deep.equal({ 202: 199, 503: starts - 199 })
    const refused = await new Visitor(app.origin).post('/ciba/start', { loginHint: `${crowd}x` })
    expect(refused.body).to.include({ error: 'temporarily_unavailable' })
    expect(refused.headers.get('retry-after')).to.equal('30')

    expect((await op.ping(app.notificationUrl)).status).to.equal(204)
    expect((await poll).body).to.deep.equal({ transaction, status: 'complete' })
    expect(await visitor.user()).to.equal('alice')
    expect((await app.counts()).errors).to.deep.equal([])
  })
})
