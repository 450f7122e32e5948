/**
 * From a ping to the answer that tells the waiting browser: from the moment at which the OP sends the ping until the browser has
 * the whole answer to its poll, with everything in between: the 204, the token request, the checks, the session that is saved.
 * OP, pinger and browser are on the other core, and the OP has signed the ID token before. Beside it is the time that a bare
 * round trip takes.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type BenchEnv, type Benchmark, type Figure, median, type Subject } from './harness.ts'
import { Connection, wire } from './load.ts'
import { type OpRequest, startOp } from './op.ts'
import { digits } from './results.ts'
import { visitor } from './visitors.ts'

/** Where the parts of one login are. */
interface Stage {
  readonly op: Subject
  /** Where the browser is. */
  readonly browsing: Subject
  readonly browser: Connection
  /** Where the OP pings. */
  readonly pinged: Subject
  readonly pinger: Connection
  readonly bare: Connection
  readonly barePing: Buffer
}

/** Milliseconds. */
interface Times {
  readonly answered: number
  readonly acknowledged: number
  readonly bare: number
}

export const benchmark: Benchmark = {
  name: 'latency',
  async run(env) {
    return [
      await measure(env, 'one process, all in memory', 3, false),
      await measure(env, 'ping at one instance, browser at another, all in Redis', 8, true),
    ]
  },
}

async function measure(env: BenchEnv, name: string, goalMs: number, isShared: boolean): Promise<Figure> {
  const op = await startOp(env)
  const redis = isShared ? { redis: (await env.redis()).socketPath } : {}
  const config = { side: 'ours', issuer: op.origin, ...redis }
  const browsing = await env.spawn('latency-subject', config)
  const pinged = isShared ? await env.spawn('latency-subject', config) : browsing
  const bare = await env.spawn('latency-subject', { side: 'bare', issuer: op.origin })
  const stage: Stage = {
    op,
    browsing,
    browser: await new Connection(browsing.origin).open(),
    pinged,
    pinger: await new Connection(pinged.origin).open(),
    bare: await new Connection(bare.origin).open(),
    barePing: wire(bare.origin, { path: '/ciba/notification', body: { auth_req_id: 'any' } }),
  }
  const perRound = env.quick ? 20 : 50
  for (let time = 0; time < (env.quick ? 50 : 300); time++) await login(stage)
  const all: Times[] = []
  const rounds: number[] = []
  for (let round = 0; round < env.rounds; round++) {
    const times: Times[] = []
    for (let time = 0; time < perRound; time++) times.push(await login(stage))
    rounds.push(median(times.map(({ answered }) => answered)))
    all.push(...times)
  }
  for (const connection of [stage.browser, stage.pinger, stage.bare]) connection.close()
  for (const subject of new Set([browsing, pinged, bare, op])) await subject.stop()
  const part = (of: keyof Times, share: number) => {
    const sorted = all.map((times) => times[of]).toSorted((a, b) => a - b)
    return digits(sorted[Math.floor(sorted.length * share)] ?? Number.NaN)
  }
  return {
    name: `ping to answered poll, ${name}`,
    goal: { atMost: goalMs },
    unit: 'ms',
    rounds,
    detail:
      `of ${all.length}: nine in ten within ${part('answered', 0.9)} ms, 99 in 100 within ${part('answered', 0.99)} ms; ` +
      `the ping's own 204 after ${part('acknowledged', 0.5)} ms; a bare round trip ${part('bare', 0.5)} ms`,
  }
}

/** One login, with its browser waiting when the ping comes. */
async function login(stage: Stage): Promise<Times> {
  const { op, browsing, browser, pinged, pinger } = stage
  const { cookie, transaction } = await visitor(browsing.origin, randomUUID())
  const [asked] = await op.ask<OpRequest[]>('requests')
  const poll = browser.send(
    wire(browsing.origin, {
      path: '/ciba/poll',
      headers: { Cookie: cookie },
      body: { transaction, wait: 25 },
    }),
  )
  const from = performance.now()
  while ((await browsing.ask<number>('watching')) === 0) {
    if (performance.now() - from > 5_000) throw new Error('the browser does not wait')
  }
  // Redis must know it too.
  await sleep(5)
  const ping = wire(pinged.origin, {
    path: '/ciba/notification',
    headers: { Authorization: `Bearer ${asked?.notificationToken}` },
    body: { auth_req_id: asked?.authReqId },
  })
  const bareFrom = performance.now()
  await stage.bare.send(stage.barePing)
  const bare = performance.now() - bareFrom
  const sentAt = performance.now()
  const [acknowledged, answered] = await Promise.all([
    pinger.send(ping).then((answer) => after(sentAt, answer, 'HTTP/1.1 204 ')),
    poll.then((answer) => after(sentAt, answer, '"status":"complete"')),
  ])
  return { answered, acknowledged, bare }
}

function after(sentAt: number, answer: string, expected: string): number {
  if (!answer.includes(expected)) throw new Error(`unexpected: ${answer}`)
  return performance.now() - sentAt
}
