/** Token requests (CIBA Core §10.1, §11): when they are sent, and what each answer of the OP leads to. */
import { expect } from 'chai'
import type { Response } from 'supertest'
import { type Browser, type Status, startApp, type TestApp } from '../support/app.ts'
import {
  type Answer,
  type Call,
  html,
  pending,
  redirect,
  type ScriptedOp,
  slowDown,
  startScriptedOp,
  tokenError,
  unavailable,
} from '../support/scripted-op.ts'

interface Scene {
  readonly op: ScriptedOp
  readonly app: TestApp
  readonly browser: Browser
  readonly transaction: string
}

/** One login in poll mode, with an interval of one second. */
interface Scenario {
  readonly name: string
  readonly id: string
  /** The OP's answers; then good tokens. */
  readonly script: (op: ScriptedOp) => Answer[]
  readonly status: string
  readonly error?: string
  /** How many token requests it takes. */
  readonly requests: number
  /** How long the second of them has to wait after the first, in milliseconds. @default 1000 */
  readonly pauseMs?: number
}

const tokens =
  (op: ScriptedOp): Answer =>
  () =>
    op.tokens()
const reset = { reset: 'before-answer' } as const
const inSeconds = (seconds: number) => new Date(Date.now() + seconds * 1000).toUTCString()
const text: Answer = {
  status: 400,
  body: '{"error":"authorization_pending"}',
  headers: { 'content-type': 'text/plain' },
}
const challenged = (error: string, challenge: string, status = 400) =>
  tokenError(error, status, { 'www-authenticate': challenge })

const goesOn = (name: string, id: string, answers: () => Answer[], pauseMs = 1000): Scenario => ({
  name,
  id,
  script: (op) => [...answers(), tokens(op)],
  status: 'complete',
  requests: answers().length + 1,
  pauseMs,
})

const ends = (name: string, id: string, answers: Answer[], status: string, error: string): Scenario => ({
  name,
  id,
  script: (op) => [...answers, tokens(op)],
  status,
  error,
  requests: answers.length,
})

const scenarios: Scenario[] = [
  goesOn('nothing in its way', 'POLL-1', () => []),
  goesOn('three times pending', 'POLL-4', () => [pending(), pending(), pending()]),
  goesOn('pending behind a DPoP challenge', 'ERR-1', () => [
    challenged('authorization_pending', 'DPoP error="use_dpop_nonce"'),
  ]),
  goesOn('pending behind a Basic challenge', 'ERR-1', () => [
    challenged('authorization_pending', 'Basic realm="op"', 401),
  ]),
  goesOn('pending as plain text', 'ERR-1', () => [text]),
  goesOn('slow_down', 'POLL-3', () => [slowDown()], 6000),
  goesOn('slow_down behind a challenge', 'ERR-1', () => [challenged('slow_down', 'Bearer')], 6000),
  goesOn('503, Retry-After in seconds', 'POLL-8', () => [unavailable('2')], 2000),
  goesOn('503, Retry-After as a date', 'POLL-8', () => [() => unavailable(inSeconds(4))], 3000),
  goesOn('503, Retry-After in the past', 'POLL-8', () => [() => unavailable(inSeconds(-60))]),
  goesOn('503, Retry-After shorter than the interval', 'POLL-8', () => [unavailable('0')]),
  goesOn('503, Retry-After that is garbage', 'POLL-8', () => [unavailable('soon')]),
  goesOn('503 without Retry-After', 'POLL-8', () => [unavailable()]),
  goesOn('503 with an error code', 'POLL-8', () => [tokenError('invalid_request', 503)]),
  goesOn('429 as HTML', 'POLL-9', () => [html(429)]),
  goesOn('429, Retry-After', 'POLL-9', () => [unavailable('2', 429)], 2000),
  goesOn('500, 502 and 504 as HTML', 'POLL-9', () => [html(500), html(502), html(504)]),
  goesOn('a connection reset before the answer', 'POLL-10', () => [reset], 2000),
  goesOn('a connection reset in the answer', 'POLL-10', () => [{ reset: 'mid-body' }], 2000),
  goesOn('two resets', 'POLL-10', () => [reset, reset], 2000),

  ends('access_denied', 'POLL-11', [tokenError('access_denied')], 'denied', 'access_denied'),
  ends('access_denied under 403', 'POLL-11', [tokenError('access_denied', 403)], 'denied', 'access_denied'),
  ends('expired_token', 'POLL-5', [tokenError('expired_token')], 'expired', 'expired_token'),
  ...[
    'invalid_request',
    'invalid_grant',
    'invalid_client',
    'unauthorized_client',
    'unsupported_grant_type',
    'use_dpop_nonce',
    'transaction_failed',
    'a_code_nobody_knows',
    'Authorization_Pending',
  ].map((error) => ends(error, 'POLL-11', [tokenError(error)], 'failed', error)),
  ends('an error code that is none', 'ERR-6', [tokenError('<b>\r\n"')], 'failed', 'unknown_error'),
  ends(
    'invalid_client behind a challenge',
    'ERR-1',
    [challenged('invalid_client', 'Basic realm="op"', 401)],
    'failed',
    'invalid_client',
  ),
  ends(
    'pending before invalid_grant',
    'POLL-13',
    [pending(), tokenError('invalid_grant')],
    'failed',
    'invalid_grant',
  ),
  ends(
    'a reset before invalid_grant',
    'POLL-13',
    [reset, tokenError('invalid_grant')],
    'failed',
    'outcome_unknown',
  ),
  ends(
    'half an answer before invalid_grant',
    'POLL-13',
    [{ reset: 'mid-body' }, tokenError('invalid_grant')],
    'failed',
    'outcome_unknown',
  ),
  ends(
    'a reset, then 503, before invalid_grant',
    'POLL-13',
    [reset, unavailable(), tokenError('invalid_grant')],
    'failed',
    'outcome_unknown',
  ),
  ...[500, 502, 504].map((status) =>
    ends(
      `${status} before invalid_grant`,
      'POLL-13',
      [html(status), tokenError('invalid_grant')],
      'failed',
      'outcome_unknown',
    ),
  ),
  ...[503, 429].map((status) =>
    ends(
      `${status} before invalid_grant`,
      'POLL-13',
      [html(status), tokenError('invalid_grant')],
      'failed',
      'invalid_grant',
    ),
  ),
  ends(
    'a reset, then pending, before invalid_grant',
    'POLL-13',
    [reset, pending(), tokenError('invalid_grant')],
    'failed',
    'invalid_grant',
  ),
  ends(
    'a reset before access_denied',
    'POLL-13',
    [reset, tokenError('access_denied')],
    'denied',
    'access_denied',
  ),
  ends('302', 'ERR-4', [redirect('/elsewhere')], 'failed', 'invalid_token_response'),
  ends('307', 'ERR-4', [redirect('/elsewhere', 307)], 'failed', 'invalid_token_response'),
  ends('HTML under 200', 'TOK-1', [html(200)], 'failed', 'invalid_token_response'),
  ends('HTML under 400', 'POLL-11', [html(400)], 'failed', 'invalid_token_response'),
  ends(
    'pending under 200',
    'TOK-1',
    [tokenError('authorization_pending', 200)],
    'failed',
    'invalid_token_response',
  ),
]

describe('a token request', function () {
  this.timeout(60_000)

  const cleanup: (() => Promise<void>)[] = []
  const cleanUp = async () => {
    for (const close of cleanup.splice(0).reverse()) await close()
  }
  let slow: Promise<{ scene: Scene; answer: Response }>

  // Goes on beside all other tests.
  before(() => {
    slow = answerAfter29Seconds()
    slow.catch(() => {}) // its own test reports it
  })

  after(cleanUp)

  async function answerAfter29Seconds() {
    const scene = await open({}, (op) => [async () => ({ ...(await op.tokens()), delayMs: 29_000 })])
    return { scene, answer: await scene.browser.poll(scene.transaction, 50) }
  }

  async function open(acknowledgement: object = {}, answers: (op: ScriptedOp) => Answer[] = () => []) {
    const op = await startScriptedOp()
    cleanup.push(() => op.stop())
    op.onBackchannel({ json: { auth_req_id: 'id', expires_in: 120, interval: 1, ...acknowledgement } })
    op.onToken(...answers(op))
    const app = await startApp({ options: { issuerBaseURL: op.issuer, longPollTimeout: 60 } })
    cleanup.push(() => app.close())
    const browser = app.browser()
    const transaction = await browser.begin()
    return { op, app, browser, transaction } satisfies Scene
  }

  context('is answered with', () => {
    interface Run extends Scene {
      readonly outcome: Status
      readonly user: string | undefined
    }
    const runs = new Map<Scenario, Run | Error>()

    // All at once: most of it is waiting for intervals.
    before(async () => {
      const run = async (one: Scenario): Promise<Run> => {
        const scene = await open({}, one.script)
        const outcome = await scene.browser.outcome(scene.transaction)
        return { ...scene, outcome, user: await scene.browser.user() }
      }
      await Promise.all(
        scenarios.map(async (one) => {
          runs.set(one, await run(one).catch((error: Error) => error))
        }),
      )
    })

    const endOf = (call: Call | undefined) => Number(call?.answeredAt ?? call?.endedAt ?? call?.at)

    for (const one of scenarios) {
      const { name, id, status, error, requests, pauseMs = 1000 } = one
      it(`${name}: ${error ?? status} after ${requests} request${requests > 1 ? 's' : ''} [${id}]`, () => {
        const run = runs.get(one)
        if (!run || run instanceof Error) throw run ?? new Error('this scenario did not run')
        const { op, transaction, outcome, user } = run
        expect(outcome).to.deep.equal({ transaction, status, ...(error && { error }) })
        expect(user).to.equal(status === 'complete' ? 'alice' : undefined)
        const asked = op.callsTo('token')
        expect(asked).to.have.length(requests)
        expect(op.violations()).to.deep.equal([])
        expect(op.callsTo('other'), 'a redirect that was followed').to.have.length(0)
        expect(op.callsTo('backchannel'), 'a second authentication request').to.have.length(1)
        if (asked[1]) expect(asked[1].at - endOf(asked[0])).to.be.within(pauseMs, pauseMs + 2500)
      })
    }
  })

  context('takes its time', () => {
    it('goes on to its end when the browser has gone [POLL-12]', async () => {
      const { op, browser, transaction } = await open({}, (op) => [
        async () => ({ ...(await op.tokens()), delayMs: 500 }),
      ])
      const poll = browser.agent.post('/ciba/poll').send({ transaction, wait: 20 })
      poll.end(() => {}) // sends it; there will be no answer
      await op.waitForCall('token')
      poll.abort()
      expect(await browser.outcome(transaction)).to.have.property('status', 'complete')
      expect(op.callsTo('token')).to.have.length(1)
    })

    it('brings nothing after the person has cancelled [POLL-14]', async () => {
      const { op, browser, transaction } = await open({}, (op) => [
        async () => ({ ...(await op.tokens()), delayMs: 500 }),
      ])
      const waiting = browser.poll(transaction, 10)
      const call = await op.waitForCall('token')
      expect((await browser.cancel(transaction)).status).to.equal(204)
      expect((await waiting).body).to.include({ status: 'cancelled', error: 'cancelled' })
      expect(call.answeredAt).to.equal(undefined)
      while (call.endedAt === undefined) await new Promise(setImmediate)
      expect((await browser.poll(transaction, 1)).body).to.include({ status: 'cancelled' })
      expect(await browser.user()).to.equal(undefined)
      expect(op.callsTo('token')).to.have.length(1)
    })
  })

  context('is due', () => {
    it('is not sent after the deadline [POLL-5]', async () => {
      const { op, browser, transaction } = await open({ expires_in: 3 })
      const { expires_in } = op.callsTo('backchannel')[0]?.answer ?? {}
      expect(expires_in).to.equal(3)
      expect(await browser.outcome(transaction)).to.include({ status: 'expired', error: 'expired_token' })
      expect((await browser.poll(transaction, 2)).body).to.have.property('status', 'expired')
      expect(op.callsTo('token')).to.have.length(2)
      expect(op.violations()).to.deep.equal([])
    })

    it('is sent once for all who wait, however often they ask [POLL-1, POLL-2]', async () => {
      const { op, browser, transaction } = await open({}, (op) => [pending(), pending(), tokens(op)])
      const waiting = Array.from({ length: 20 }, () => browser.poll(transaction, 10))
      let impatient = 0
      while ((await browser.poll(transaction)).body.status === 'pending') impatient++
      expect(impatient).to.be.above(20)
      // One of all has brought the cookie; the others say "pending" as long as that may be lost.
      for (const { body } of await Promise.all(waiting))
        expect(['complete', 'pending']).to.include(body.status)
      expect((await browser.poll(transaction)).body).to.include({ status: 'complete' })
      expect(op.callsTo('token')).to.have.length(3)
      expect(op.violations()).to.deep.equal([])
    })

    it('is not sent while nobody waits [POLL-14]', async () => {
      const { op, app, browser, transaction } = await open()
      const other = app.browser()
      op.onBackchannel({ json: { auth_req_id: 'other', expires_in: 3, interval: 1 } })
      expect(await other.outcome(await other.begin())).to.have.property('status', 'expired')
      expect(op.callsTo('token').map(({ params }) => params.get('auth_req_id'))).not.to.include('id')
      op.onToken(() => op.tokens({ authReqId: 'id' }))
      expect((await browser.poll(transaction)).body).to.have.property('status', 'complete')
    })

    it('tells the browser of every slow_down, and adds them up [POLL-3]', async () => {
      const { op, browser, transaction } = await open({}, () => [slowDown(), slowDown()])
      for (const [wait, count, interval] of [
        [1.5, 1, 6], // the first request is sent after 1.1 s
        [6.2, 2, 11], // the second one 6.1 s after that
      ] as const) {
        const { body, headers } = await browser.poll(transaction, wait)
        expect(op.callsTo('token')).to.have.length(count)
        expect(body).to.include({ status: 'pending', interval })
        expect(headers).to.have.property('retry-after', String(interval))
      }
      expect(op.violations()).to.deep.equal([])
    })
  })

  // Last, since it began first.
  context('is answered late', () => {
    it('is given 29 s to be answered [POLL-6]', async () => {
      const { scene, answer } = await slow
      const { op, transaction } = scene
      expect(answer.body).to.deep.equal({ transaction, status: 'complete' })
      const [call, ...others] = op.callsTo('token')
      expect(others).to.have.length(0)
      expect(Number(call?.answeredAt) - Number(call?.at)).to.be.at.least(29_000)
      expect(op.violations()).to.deep.equal([])
    })
  })
})
