/**
 * Polls of pending transactions that are not due, which is most of what a browser without `wait` sends, against a bare
 * route that gives the same answer.
 */
import {
  type BenchEnv,
  type Benchmark,
  type Figure,
  median,
  ratios,
  type Subject,
  sideBySide,
} from './harness.ts'
import { Load, wire } from './load.ts'
import { type OpStats, startOp } from './op.ts'
import { type PollConfig, terms } from './poll-terms.ts'
import { digits } from './results.ts'
import { visitors } from './visitors.ts'

interface Variant {
  readonly name: string
  readonly sessions?: 'redis'
  readonly transactions?: 'redis'
}

const variants: readonly Variant[] = [
  { name: 'memory' },
  { name: 'sessions in Redis', sessions: 'redis' },
  { name: 'sessions and transactions in Redis', sessions: 'redis', transactions: 'redis' },
]

/** How many browsers poll, each in a session and for a transaction of its own. */
const browsers = 512

interface Round {
  readonly count: number
  readonly perSecond: number
  /** Microseconds. */
  readonly cpu: number
  /** How much of the core was in use. */
  readonly load: number
}

/** One side, ready to be polled. */
class Side {
  readonly subject: Subject
  readonly #load: Load
  readonly #requests: readonly Buffer[]

  private constructor(subject: Subject, load: Load, requests: readonly Buffer[]) {
    this.subject = subject
    this.#load = load
    this.#requests = requests
  }

  static async start(env: BenchEnv, config: PollConfig): Promise<Side> {
    const subject = await env.spawn('poll-subject', config)
    const { origin } = subject
    const requests = (await visitors(origin, browsers)).map(({ cookie, transaction }) =>
      wire(origin, { path: '/ciba/poll', headers: { Cookie: cookie }, body: { transaction } }),
    )
    return new Side(subject, await Load.open(origin), requests)
  }

  async poll(durationMs: number): Promise<Round> {
    await this.subject.cpu()
    const expected = { status: 200, text: '"status":"pending"' }
    const { count, seconds } = await this.#load.forTime(this.#requests, durationMs, expected)
    const cpu = await this.subject.cpu()
    return { count, perSecond: count / seconds, cpu: cpu / count, load: cpu / 1e6 / seconds }
  }

  close(): void {
    this.#load.close()
  }
}

export const benchmark: Benchmark = {
  name: 'poll',
  async run(env) {
    const figures: Figure[] = []
    for (const variant of variants) figures.push(...(await measure(env, variant)))
    return figures
  },
}

async function measure(env: BenchEnv, { name, sessions, transactions }: Variant): Promise<Figure[]> {
  const op = await startOp(env, terms)
  const redis = sessions && (await env.redis())
  const places = {
    ...(redis && sessions && { sessions: redis.socketPath }),
    ...(redis && transactions && { transactions: redis.socketPath }),
  }
  const ours = await Side.start(env, { side: 'ours', issuer: op.origin, ...places })
  const bare = await Side.start(env, { side: 'bare', issuer: op.origin, ...places })
  for (const side of [ours, bare]) {
    await side.poll(env.warmUpMs)
    await side.subject.ask('writes')
  }
  await redis?.resetCounts()
  const rounds = await sideBySide(
    env.rounds,
    () => ours.poll(env.roundMs),
    () => bare.poll(env.roundMs),
  )
  const commands = redis ? await commandsPerPoll(ours, bare, () => redis.counts()) : ''
  for (const side of [ours, bare]) {
    const writes = await side.subject.ask<number>('writes')
    if (writes > 0) throw new Error(`polls have written ${writes} sessions`)
    side.close()
    await side.subject.stop()
  }
  const { requests } = await op.ask<OpStats>('stats')
  if (requests['/token']) throw new Error('polls have caused token requests')
  await op.stop()
  const cpu = (side: readonly Round[]) => digits(median(side.map((round) => round.cpu)))
  const perSecond = (side: readonly Round[]) => digits(median(side.map((round) => round.perSecond)))
  const load = Math.min(...[...rounds.ours, ...rounds.theirs].map((round) => round.load))
  return [
    {
      name: `polls per second, ${name}`,
      goal: { atLeast: 0.95 },
      rounds: ratios(
        rounds.ours.map((round) => round.perSecond),
        rounds.theirs.map((round) => round.perSecond),
      ),
      detail:
        `${perSecond(rounds.ours)} to ${perSecond(rounds.theirs)} per second; CPU ${cpu(rounds.ours)} to ` +
        `${cpu(rounds.theirs)} µs; core in use ${digits(load * 100)} % or more; no session write${commands}`,
    },
    {
      name: `CPU per poll, ${name}`,
      rounds: ratios(
        rounds.ours.map((round) => round.cpu),
        rounds.theirs.map((round) => round.cpu),
      ),
      detail: `${cpu(rounds.ours)} to ${cpu(rounds.theirs)} µs`,
    },
  ]
}

/** What one poll costs Redis on either side. */
async function commandsPerPoll(
  ours: Side,
  bare: Side,
  counts: () => Promise<Record<string, number>>,
): Promise<string> {
  const texts: string[] = []
  for (const side of [ours, bare]) {
    const before = await counts()
    const { count } = await side.poll(200)
    const added = Object.entries(await counts())
      .map(([command, calls]) => [command, (calls - (before[command] ?? 0)) / count] as const)
      .filter(([command, perPoll]) => perPoll > 0 && command !== 'info')
    if (added.some(([command]) => /^(?:set|eval)/.test(command)))
      throw new Error('polls have written to Redis')
    texts.push(added.map(([command, perPoll]) => `${digits(perPoll)} ${command}`).join(' + '))
  }
  return `; Redis: ${texts.join(' against ')}`
}
