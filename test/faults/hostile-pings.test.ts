/** A hundred thousand pings that the OP has not sent [SEC-13]. */
import { randomBytes } from 'node:crypto'
import { expect } from 'chai'
import { flood, post } from '../support/flood.ts'
import { signInDuring } from '../support/honest-people.ts'
import { loadedApps } from '../support/loaded.ts'
import { authenticationRequest } from '../support/scripted-answers.ts'
import { type ScriptedOp, startScriptedOp } from '../support/scripted-op.ts'
import { Visitor } from '../support/visitor.ts'

const pings = 100_000
/** Node's own needs go up and down by about that much. */
const marginBytes = 4 * 1024 * 1024

describe('forged pings', function () {
  this.timeout(60_000)

  const start = loadedApps()
  let op: ScriptedOp

  beforeEach(async () => {
    op = await startScriptedOp()
  })
  afterEach(() => op.stop())

  const startApp = () =>
    start({
      options: {
        issuerBaseURL: op.issuer,
        clientID: op.clientId,
        clientSecret: op.clientSecret,
        deliveryMode: 'ping',
        startLimiter: false,
      },
    })

  it(`cost no memory and no look into a store, ${pings} of them, while others sign in`, async () => {
    const app = await startApp()
    await new Visitor(app.origin).begin()
    const call = op.callsTo('backchannel').at(-1)
    const genuine = String(call && authenticationRequest(call)['client_notification_token'])
    const forge = forgerOf(genuine)
    // The first ones teach the engine.
    await flood(app.origin, pings / 20, forge)
    const before = { heap: await app.heap(), ...(await app.counts()) }

    expect(await flood(app.origin, pings / 2, forge)).to.deep.equal({ 401: pings / 2 })
    const after = await app.counts()
    expect(after.requests - before.requests).to.equal(pings / 2)
    expect(after.storeReads).to.equal(before.storeReads)
    expect(after.storeWrites).to.equal(before.storeWrites)
    expect(after.sessionReads).to.equal(before.sessionReads)
    expect(await app.heap()).to.be.below(before.heap + marginBytes)

    const attack = flood(app.origin, pings / 2, forge)
    expect(await signInDuring(attack, app, op)).to.be.at.least(3)
    expect(await attack).to.deep.equal({ 401: pings / 2 })
    expect(await app.heap()).to.be.below(before.heap + marginBytes)
    expect((await app.counts()).errors).to.deep.equal([])
  })

  it('are cut off by Node where their headers are larger than its limit, and nobody else is', async () => {
    const app = await startApp()
    const huge = () => post('/ciba/notification', '', { authorization: `Bearer ${'x'.repeat(20_000)}` })
    const attack = (async () => {
      for (let n = 0; n < 500; n++) {
        expect(await flood(app.origin, 1, huge, { connections: 1 })).to.deep.equal({ 431: 1 })
      }
    })()
    expect(await signInDuring(attack, app, op)).to.be.at.least(1)
  })
})

/** @param genuine - the notification token of a transaction that is under way */
function forgerOf(genuine: string): (n: number) => string {
  const [id = '', mac = ''] = genuine.split('.')
  const body = JSON.stringify({ auth_req_id: 'a guess' })
  const large = JSON.stringify({ auth_req_id: 'x'.repeat(4_000) })
  const forgeries: ((n: number) => string)[] = [
    () =>
      ping(`Bearer ${randomBytes(16).toString('base64url')}.${randomBytes(32).toString('base64url')}`, body),
    () => ping(`Bearer ${id}.${randomBytes(32).toString('base64url')}`, body),
    () => ping(`Bearer ${id}.${mac.slice(1)}${mac.slice(0, 1)}`, body),
    () => ping(undefined, body),
    () => ping('Basic Y2xpZW50OnNlY3JldA==', large),
    (n) => ping(`Bearer ${'x'.repeat(n % 100 === 5 ? 10_000 : 300)}`, 'no json at all'),
  ]
  return (n) => (forgeries[n % forgeries.length] as (n: number) => string)(n)
}

function ping(authorization: string | undefined, body: string): string {
  return post('/ciba/notification', body, authorization === undefined ? {} : { authorization })
}
