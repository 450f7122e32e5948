/** More browsers that wait, and handles that are guessed, than any app has visitors [SEC-13]. */
import { randomBytes } from 'node:crypto'
import { expect } from 'chai'
import { flood, open, post, type Wire } from '../support/flood.ts'
import { signIn, signInDuring } from '../support/honest-people.ts'
import { type LoadedApp, loadedApps } from '../support/loaded.ts'
import { crowd } from '../support/loaded-process.ts'
import { type ScriptedOp, startScriptedOp } from '../support/scripted-op.ts'
import { until, Visitor } from '../support/visitor.ts'

const browsers = 10_000
const guesses = 50_000
const kilobyte = 1024
/** Of the heap. A response that Express holds takes about half of it; see test/bench. */
const bytesPerWait = 25 * kilobyte
const marginBytes = 4 * kilobyte * kilobyte

describe('hostile waits', function () {
  this.timeout(60_000)

  const start = loadedApps()
  let op: ScriptedOp
  let wires: Wire[]

  beforeEach(async () => {
    op = await startScriptedOp()
    wires = []
  })
  afterEach(async () => {
    for (const { socket } of wires) socket.destroy()
    await op.stop()
  })

  function startApp(): Promise<LoadedApp> {
    const { issuer: issuerBaseURL, clientId: clientID, clientSecret } = op
    const options = {
      issuerBaseURL,
      clientID,
      clientSecret,
      deliveryMode: 'ping',
      startLimiter: false,
      longPollTimeout: 300,
    } as const
    return start({ options, hasCrowd: true, keepAliveTimeout: 60_000 })
  }

  /** A login of a session of its own; the request that waits for it. */
  async function begin(wire: Wire, n: number): Promise<string> {
    wire.socket.write(post('/ciba/start', JSON.stringify({ loginHint: `${crowd}${n}` })))
    const text = await wire.whole()
    const [, cookie] = /set-cookie: ([^;]+)/i.exec(text) ?? []
    const [, transaction] = /"transaction":"([^"]+)"/.exec(text) ?? []
    if (!cookie || !transaction) throw new Error(`not started: ${text}`)
    return post('/ciba/poll', JSON.stringify({ transaction, wait: 300 }), { cookie })
  }

  async function pollsOf(app: LoadedApp, count: number): Promise<string[]> {
    const polls: string[] = []
    while (wires.length < count) {
      const more = await Promise.all(Array.from({ length: 100 }, () => open(app.origin)))
      polls.push(...(await Promise.all(more.map((wire, n) => begin(wire, wires.length + n)))))
      wires.push(...more)
    }
    return polls
  }

  it(`hold ${browsers} browsers in bounded memory, others sign in promptly, and all are let go at the end`, async () => {
    const app = await startApp()
    await signIn(app, op)
    const polls = await pollsOf(app, browsers)
    const before = await app.memory()
    const { requests } = await app.counts()
    for (const [n, { socket }] of wires.entries()) socket.write(polls[n] as string)
    await until('all wait', async () => (await app.counts()).requests >= requests + browsers)
    const held = await app.memory()
    expect((held.heapUsed - before.heapUsed) / browsers).to.be.below(bytesPerWait)

    const since = performance.now()
    await signIn(app, op)
    expect(performance.now() - since).to.be.below(3_000)
    expect(wires.filter(({ text }) => text !== '')).to.deep.equal([])

    app.end()
    const answers = await Promise.all(wires.map((wire) => wire.whole()))
    expect(await app.ended).to.deep.equal({ code: 0, signal: null })
    for (const answer of answers) {
      expect(answer)
        .to.match(/^HTTP\/1\.1 200 /)
        .and.match(/\r\nRetry-After: 5\r\n/)
      expect(answer)
        .to.match(/\r\nConnection: close\r\n/)
        .and.include('"status":"pending"')
    }
  })

  it('of one session hold no more than a browser can need: who comes later only looks', async () => {
    const app = await startApp()
    const visitor = new Visitor(app.origin)
    const transaction = await visitor.begin()
    const authReqId = String(op.callsTo('backchannel')[0]?.answer?.['auth_req_id'])
    const body = JSON.stringify({ transaction, wait: 300 })
    wires = await Promise.all(Array.from({ length: 1_000 }, () => open(app.origin)))
    for (const { socket } of wires) socket.write(post('/ciba/poll', body, { cookie: visitor.cookie }))
    const answered = () => wires.filter(({ text }) => text !== '')
    await until('those that are too many are answered', () => answered().length >= 950)
    await signIn(app, op)
    expect(answered()).to.have.length(950)
    for (const { text } of answered())
      expect(text)
        .to.match(/^HTTP\/1\.1 200 /)
        .and.include('"pending"')
    // Whoever goes makes room.
    for (const wire of wires) if (wire.text === '') wire.socket.destroy()
    await until('they have gone', async () => (await app.connections()) < 975)
    const again = visitor.poll(transaction, 20)
    op.onToken(await op.tokens({ authReqId }))
    await op.ping(app.notificationUrl, { authReqId })
    expect((await again).body).to.deep.equal({ transaction, status: 'complete' })
  })

  it(`for ${guesses} handles that nobody has given out cost no memory, while others sign in`, async () => {
    const app = await startApp()
    const visitor = new Visitor(app.origin)
    await visitor.begin()
    const guess = (n: number) => {
      const transaction = randomBytes(16).toString('base64url')
      const cookie = n % 2 === 0 ? visitor.cookie : ''
      return post('/ciba/poll', JSON.stringify({ transaction, wait: n % 3 === 0 ? 300 : 0 }), { cookie })
    }
    await flood(app.origin, guesses / 20, guess)
    const heap = await app.heap()
    const attack = flood(app.origin, guesses, guess)
    expect(await signInDuring(attack, app, op)).to.be.at.least(3)
    expect(await attack).to.deep.equal({ 404: guesses })
    expect(await app.heap()).to.be.below(heap + marginBytes)
  })
})
