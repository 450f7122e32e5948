/** The browser client as built, in Node, against a server that answers as a test says. What needs a page is in test/browser. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { gzipSync } from 'node:zlib'
import { expect } from 'chai'
import { CibaRequestError, type CibaState, type StartCibaOptions, startCiba } from 'express-ciba/browser'
import { until } from '../support/web.ts'

interface Asked {
  readonly path: string
  readonly body: Record<string, unknown>
  readonly headers: IncomingMessage['headers']
  readonly res: ServerResponse
  isGone: boolean
}

type Reply =
  | { status?: number; json?: unknown; text?: string; headers?: Record<string, string> }
  | 'hold'
  | 'cut'

const pending = { transaction: 'T', status: 'pending', expiresIn: 120, interval: 1, bindingMessage: 'ABC' }
const complete = { transaction: 'T', status: 'complete', returnTo: '/account' }
const denied = { transaction: 'T', status: 'denied', error: 'access_denied' }

describe('startCiba()', () => {
  let server: Server
  let origin: string
  let asked: Asked[]
  /** Each is used once; then the server holds everything. */
  let replies: Reply[]

  beforeEach(async () => {
    asked = []
    replies = []
    server = createServer(async (req, res) => {
      const body = JSON.parse((await text(req)) || 'null') as Asked['body']
      const one: Asked = { path: req.url ?? '', body, headers: req.headers, res, isGone: false }
      res.once('close', () => {
        one.isGone = !res.writableFinished
      })
      asked.push(one)
      answer(one, replies.shift() ?? 'hold')
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  })

  afterEach(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })

  function answer({ res }: Asked, reply: Reply): void {
    if (reply === 'hold') return
    if (reply === 'cut') res.destroy()
    else res.writeHead(reply.status ?? 200, reply.headers).end(reply.text ?? JSON.stringify(reply.json))
  }

  const begin = (options: StartCibaOptions = {}, body: object = { loginHint: 'alice' }) =>
    startCiba(body, {
      start: `${origin}/ciba/start`,
      poll: `${origin}/ciba/poll`,
      cancel: `${origin}/ciba/cancel`,
      ...options,
    })
  const started: Reply = { status: 202, json: pending }
  const refusal = async (run: Promise<unknown>): Promise<CibaRequestError> => {
    const error = await run.then(
      () => undefined,
      (reason: unknown) => reason,
    )
    expect(error).to.be.instanceOf(CibaRequestError)
    return error as CibaRequestError
  }

  it('starts, waits, and resolves with the outcome', async () => {
    replies.push(started, { json: complete })
    const run = begin({ headers: { 'x-csrf': 'token' } })
    expect(run.transaction).to.equal(undefined)
    expect(await run).to.deep.equal(complete)
    expect(run.transaction).to.equal('T')
    expect(asked.map(({ path, body }) => [path, body])).to.deep.equal([
      ['/ciba/start', { loginHint: 'alice' }],
      ['/ciba/poll', { transaction: 'T', wait: 25 }],
    ])
    for (const { headers } of asked) {
      expect(headers).to.include({ 'content-type': 'application/json', 'x-csrf': 'token' })
    }
  })

  it('resolves with a denial too', async () => {
    replies.push(started, { json: denied })
    expect(await begin()).to.deep.equal(denied)
  })

  it('yields every answer, the outcome last', async () => {
    replies.push(started, { json: { ...pending, expiresIn: 60 } }, { json: denied })
    const states: CibaState[] = []
    const run = begin({ wait: 0 })
    for await (const state of run) states.push(state)
    expect(states).to.deep.equal([pending, { ...pending, expiresIn: 60 }, denied])
    // Whoever comes later has missed nothing.
    const again: CibaState[] = []
    for await (const state of run) again.push(state)
    expect(again).to.deep.equal(states)
  })

  it('follows a start route of the app, and goes on with a transaction that is under way', async () => {
    replies.push(started, { json: complete })
    await begin({ start: `${origin}/transfers` }, { amount: 5 })
    replies.push({ json: pending }, { json: complete })
    await begin({ transaction: 'T' })
    expect(asked.map(({ path, body }) => [path, body])).to.deep.equal([
      ['/transfers', { amount: 5 }],
      ['/ciba/poll', { transaction: 'T', wait: 25 }],
      ['/ciba/poll', { transaction: 'T', wait: 0 }],
      ['/ciba/poll', { transaction: 'T', wait: 25 }],
    ])
  })

  it('leaves a server alone for the interval that answers at once', async () => {
    replies.push(started, { json: pending }, { json: complete })
    const before = Date.now()
    await begin()
    expect(Date.now() - before).to.be.at.least(950)
  })

  context('something is refused', () => {
    it('rejects with what the start was refused with, and starts nothing again [REQ-16]', async () => {
      const json = { error: 'too_many_requests', error_description: 'later' }
      replies.push({ status: 429, json, headers: { 'retry-after': '240' } })
      const error = await refusal(begin())
      expect(error).to.include({ status: 429, error: 'too_many_requests', message: 'later', retryAfter: 240 })
      expect(asked).to.have.length(1)
    })

    for (const [what, reply] of [
      ['is cut off', 'cut'],
      ['answers no JSON', { text: '<html>' }],
    ] as const) {
      it(`rejects when the start ${what}, and starts nothing again [REQ-16]`, async () => {
        replies.push(reply)
        expect(await refusal(begin())).to.include({ status: 0, error: 'no_answer' })
        expect(asked).to.have.length(1)
      })
    }

    it('rejects when the transaction is unknown', async () => {
      replies.push(started, { status: 404, json: { error: 'unknown_transaction' } })
      expect(await refusal(begin())).to.include({ status: 404, error: 'unknown_transaction' })
    })

    it('throws the same out of the loop', async () => {
      replies.push({ status: 400, json: { error: 'invalid_user_code' } })
      let caught: unknown
      try {
        for await (const state of begin()) expect.fail(state.status)
      } catch (error) {
        caught = error
      }
      expect(caught).to.include({ error: 'invalid_user_code' })
    })

    it('leaves no unhandled rejection behind when only the loop is used, or nothing', async () => {
      const unhandled: unknown[] = []
      const listener = (reason: unknown) => unhandled.push(reason)
      process.on('unhandledRejection', listener)
      try {
        replies.push({ status: 400, json: {} }, { status: 400, json: {} })
        const states = begin()[Symbol.asyncIterator]()
        await states.next().catch(() => {})
        void begin().then(() => {})
        await until('both were answered', () => asked.every(({ res }) => res.writableFinished))
        await new Promise((resolve) => setImmediate(resolve))
        expect(unhandled).to.deep.equal([])
      } finally {
        process.off('unhandledRejection', listener)
      }
    })
  })

  context('the connection is bad', function () {
    this.timeout(20_000)

    it('repeats a poll that was cut, answered 5xx, 429 or by a captive portal, and says so', async () => {
      replies.push(started, 'cut', { status: 503, json: {} }, { text: '<html>' }, { json: complete })
      const troubles: boolean[] = []
      const run = begin({ onTrouble: (error) => troubles.push(error !== undefined) })
      await until('the first poll was cut', () => troubles.length > 0)
      expect(await run).to.deep.equal(complete)
      expect(troubles).to.deep.equal([true, true, true, false])
      expect(asked).to.have.length(5)
    })

    it('waits as long as the server says, and at most until somebody asks', async () => {
      replies.push(started, { status: 429, json: {}, headers: { 'retry-after': '60' } }, { json: complete })
      let isTroubled = false
      const run = begin({
        onTrouble: (error) => {
          isTroubled = error !== undefined
        },
      })
      await until('the poll was refused', () => isTroubled)
      await new Promise((resolve) => setTimeout(resolve, 1_200))
      expect(asked).to.have.length(2)
      run.checkNow()
      expect(await run).to.deep.equal(complete)
      expect(asked.at(-1)?.body).to.deep.equal({ transaction: 'T', wait: 0 })
    })

    it('calls it expired when the time is long over and nobody answers', async () => {
      const { now } = Date
      let later = 0
      Date.now = () => now() + later
      try {
        replies.push(started, 'cut', 'cut', 'cut', 'cut')
        const run = begin({
          onTrouble: () => {
            later = 200_000
          },
        })
        const states: CibaState[] = []
        for await (const state of run) states.push(state)
        expect(states.at(-1)).to.deep.equal({ transaction: 'T', status: 'expired', error: 'expired_token' })
        expect(await run).to.equal(states.at(-1))
        expect(asked).to.have.length(5)
      } finally {
        Date.now = now
      }
    })

    it('replaces a held poll that somebody doubts, after a moment in which it may still answer', async () => {
      replies.push(started, 'hold', { json: complete })
      const run = begin()
      await until('it polls', () => asked.length === 2)
      run.checkNow()
      expect(await run).to.deep.equal(complete)
      expect(asked[1]?.isGone).to.equal(true)
      expect(asked[2]?.body).to.deep.equal({ transaction: 'T', wait: 0 })
    })

    it('never cuts a start', async () => {
      const run = begin()
      await until('it starts', () => asked.length === 1)
      run.checkNow()
      await new Promise((resolve) => setTimeout(resolve, 2_300))
      replies.push({ json: complete })
      answer(asked[0] as Asked, started)
      expect(await run).to.deep.equal(complete)
    })
  })

  context('it is told to stop', () => {
    it('cancels, and resolves as cancelled', async () => {
      const cancelled = { transaction: 'T', status: 'cancelled', error: 'cancelled' }
      replies.push(started, 'hold', { status: 204, text: '' })
      const run = begin()
      await until('it polls', () => asked.length === 2)
      await run.cancel()
      // The server ends the held poll by itself.
      answer(asked[1] as Asked, { json: cancelled })
      expect(await run).to.deep.equal(cancelled)
      expect(asked[2]).to.deep.include({ path: '/ciba/cancel', body: { transaction: 'T' } })
    })

    it('rejects a cancel that does not get through, and goes on', async () => {
      replies.push(started, 'hold', 'cut')
      const run = begin()
      await until('it polls', () => asked.length === 2)
      let failure: unknown
      await run.cancel().catch((error: unknown) => {
        failure = error
      })
      expect(failure).to.be.instanceOf(TypeError)
      answer(asked[1] as Asked, { json: complete })
      expect(await run).to.deep.equal(complete)
    })

    for (const [when, open] of [
      ['a start', 1],
      ['a poll', 2],
    ] as const) {
      it(`ends ${when} and everything else with the signal`, async () => {
        if (open === 2) replies.push(started)
        const controller = new AbortController()
        const run = begin({ signal: controller.signal })
        await until('it asks', () => asked.length === open)
        const reason = new Error('the page is left')
        controller.abort(reason)
        let rejection: unknown
        await run.catch((error: unknown) => {
          rejection = error
        })
        expect(rejection).to.equal(reason)
        await until('the request is gone', () => asked[open - 1]?.isGone === true)
        run.checkNow()
        expect(asked).to.have.length(open)
      })
    }

    it('ends a pause with the signal, and asks nothing where it has ended before', async () => {
      replies.push(started, 'cut')
      const controller = new AbortController()
      const run = begin({
        signal: controller.signal,
        onTrouble: () => setImmediate(() => controller.abort()),
      })
      let name: unknown
      await run.catch((error: Error) => {
        name = error.name
      })
      expect(name).to.equal('AbortError')
      await begin({ signal: controller.signal }).catch(() => {})
      expect(asked).to.have.length(2)
    })
  })

  it('is smaller than 2 kB, compressed, and imports nothing', () => {
    const built = readFileSync(createRequire(import.meta.url).resolve('express-ciba/browser'))
    expect(gzipSync(built).length).to.be.below(2_048)
    expect(built.toString()).not.to.match(/\bimport\b/)
  })
})
