/** Bodies that are too large, too slow, or made to hurt whoever reads them [SEC-13]. */
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'chai'
import { flood, open, post, type Wire } from '../support/flood.ts'
import { signIn, signInDuring } from '../support/honest-people.ts'
import { type LoadedApp, loadedApps } from '../support/loaded.ts'
import type { LoadedSettings } from '../support/loaded-process.ts'
import { type ScriptedOp, startScriptedOp } from '../support/scripted-op.ts'
import { until, Visitor } from '../support/visitor.ts'

const kilobyte = 1024
const marginBytes = 6 * kilobyte * kilobyte
const routes = ['start', 'poll', 'cancel', 'logout'].map((name) => `/ciba/${name}`)

describe('hostile bodies', function () {
  this.timeout(30_000)

  const start = loadedApps()
  let op: ScriptedOp

  beforeEach(async () => {
    op = await startScriptedOp()
  })
  afterEach(() => op.stop())

  function startApp(more: Partial<LoadedSettings> = {}): Promise<LoadedApp> {
    const { issuer: issuerBaseURL, clientId: clientID, clientSecret } = op
    const options = {
      issuerBaseURL,
      clientID,
      clientSecret,
      deliveryMode: 'ping',
      startLimiter: false,
    } as const
    return start({ options, ...more })
  }

  it('of a megabyte are refused unread, on every route, and the connection ends', async () => {
    const app = await startApp()
    const heap = await app.heap()
    for (const path of routes) {
      const wire = await open(app.origin)
      // The announcement is enough.
      wire.socket.write(post(path, '', { 'content-length': String(kilobyte * kilobyte) }))
      expect(await wire.answers(1), path).to.deep.equal([413])
      await ended(wire)
    }
    expect(await app.heap()).to.be.below(heap + marginBytes)
  })

  it('in chunks that never end are refused at their limit, and the connection ends', async () => {
    const app = await startApp()
    const chunk = `400\r\n${'x'.repeat(kilobyte)}\r\n`
    for (const path of routes) {
      const wire = await open(app.origin)
      wire.socket.write(
        post(path, '', { 'transfer-encoding': 'chunked', 'content-length': '' }).replace(
          /content-length: \r\n/,
          '',
        ),
      )
      let sent = 0
      while (!wire.socket.destroyed && wire.text === '' && sent < 10_000) {
        wire.socket.write(chunk)
        sent += 1
        await sleep(1)
      }
      expect(wire.text, path).to.match(/^HTTP\/1\.1 413 /)
      expect(sent).to.be.below(1_000)
      await ended(wire)
    }
  })

  it('that come by a byte a second are held by 500 connections, and nobody else notices; Node ends them', async () => {
    const app = await startApp({ requestTimeout: 5_000 })
    await signIn(app, op)
    const { sessionReads, storeReads } = await app.counts()
    const heap = await app.heap()
    const wires = await Promise.all(Array.from({ length: 500 }, () => open(app.origin)))
    const trickle = setInterval(() => {
      for (const { socket } of wires) if (!socket.destroyed) socket.write(' ')
    }, 1_000)
    try {
      for (const [n, { socket }] of wires.entries()) {
        socket.write(post(routes[n % routes.length] as string, '', { 'content-length': '1000' }))
      }
      await until('all are there', async () => (await app.connections()) >= 500)
      // Each costs its socket and its request, and no look into a store.
      expect((await app.heap()) - heap).to.be.below(500 * 40 * kilobyte)
      expect(await app.counts()).to.include({ sessionReads, storeReads })
      const trouble = Promise.all(wires.map(ended))
      expect(await signInDuring(trouble, app, op)).to.be.at.least(3)
    } finally {
      clearInterval(trickle)
    }
    for (const { text } of wires) expect(text).to.match(/^HTTP\/1\.1 408 /)
    await until('nothing is left of them', async () => (await app.heap()) < heap + marginBytes)
    expect((await app.counts()).errors).to.deep.equal([])
  })

  for (const parses of [false, true]) {
    it(`that are bombs are answered like any other${parses ? ', where the app parses bodies itself' : ''}`, async () => {
      const app = await startApp({ parses })
      await new Visitor(app.origin).begin()
      const asked = op.callsTo('backchannel').length
      const deep = 8_000
      const form = { 'content-type': 'application/x-www-form-urlencoded' }
      const bombs: [string, string, Record<string, string>?][] = [
        ['nested arrays', `{"loginHint":${'['.repeat(deep)}${']'.repeat(deep)}}`],
        ['nested objects', `${'{"a":'.repeat(2_600)}1${'}'.repeat(2_600)}`],
        [
          '__proto__',
          '{"__proto__":{"loginHint":"alice","transaction":"x","status":200},"constructor":{"prototype":1}}',
        ],
        ['__proto__ in a form', '__proto__=x&constructor=y&prototype=z', form],
        [
          '5,000 keys',
          Array.from({ length: 5_000 }, (_, n) => n.toString(36))
            .join('&')
            .slice(0, 16_000),
          form,
        ],
        ['5,000 equal keys', 'a&'.repeat(5_000), form],
        ['a long number', `{"transaction":${'9'.repeat(16_000)}}`],
        ['half a surrogate', '{"loginHint":1,"transaction":"\\ud800"}'],
      ]
      for (const [name, body, headers] of bombs) {
        for (const path of ['/ciba/start', '/ciba/poll', '/ciba/cancel']) {
          // The second comes in one chunk, so that nobody knows its size.
          const chunked = `${Buffer.byteLength(body).toString(16)}\r\n${body}\r\n0\r\n\r\n`
          const inChunks = post(path, '', { ...headers, 'transfer-encoding': 'chunked' }).replace(
            /content-length: 0\r\n/,
            '',
          )
          const statuses = await flood(
            app.origin,
            2,
            (n) => (n === 0 ? post(path, body, headers) : inChunks + chunked),
            {
              connections: 1,
              ahead: 1,
            },
          )
          for (const status of Object.keys(statuses)) expect(`${name} ${path} ${status}`).to.match(/ 4\d\d$/)
        }
      }
      expect(op.callsTo('backchannel')).to.have.length(asked)
      // What the app's own parser refuses goes to the app's error handler, and nothing else.
      const parsers = 'PayloadTooLargeError: too many parameters'
      const errors = (await app.counts()).errors
      expect(errors.filter((error) => !(parses && error === parsers))).to.deep.equal([])
      await signIn(app, op)
    })
  }
})

/** Reads on, and sends nothing more. */
async function ended({ socket }: Wire): Promise<void> {
  if (!socket.destroyed) await once(socket, 'close')
}
