/** What starts and polls cost when 100,000 transactions are pending, against what they cost when 1,000 are. */
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
import { digits } from './results.ts'
import { visitors } from './visitors.ts'

const few = 1_000
const browsers = 256

/** Microseconds of CPU. */
interface Round {
  readonly start: number
  readonly poll: number
}

export const benchmark: Benchmark = {
  name: 'flat',
  async run(env) {
    return [...(await measure(env, false)), ...(await measure(env, true))]
  },
}

class Side {
  readonly #env: BenchEnv
  readonly #subject: Subject
  readonly #load: Load
  readonly #polls: readonly Buffer[]
  #people = 0

  private constructor(env: BenchEnv, subject: Subject, load: Load, polls: readonly Buffer[]) {
    this.#env = env
    this.#subject = subject
    this.#load = load
    this.#polls = polls
  }

  static async start(env: BenchEnv, pending: number, inRedis: boolean): Promise<Side> {
    const redis = inRedis ? { redis: (await env.redis()).socketPath } : {}
    const subject = await env.spawn('flat-subject', { pending, ...redis })
    const { origin } = subject
    const polls = (await visitors(origin, browsers)).map(({ cookie, transaction }) =>
      wire(origin, { path: '/ciba/poll', headers: { Cookie: cookie }, body: { transaction } }),
    )
    return new Side(env, subject, await Load.open(origin), polls)
  }

  /** Each start is the first of its session and for a person of its own. */
  async measure(): Promise<Round> {
    const starts = Array.from({ length: this.#env.quick ? 128 : 512 }, () =>
      wire(this.#subject.origin, { path: '/ciba/start', body: { loginHint: `someone-${this.#people++}` } }),
    )
    const start = await this.#cpuOf(() => this.#load.once(starts, { status: 202 }))
    const expected = { status: 200, text: '"status":"pending"' }
    const poll = await this.#cpuOf(() => this.#load.forTime(this.#polls, this.#env.roundMs / 2, expected))
    return { start, poll }
  }

  async #cpuOf(run: () => Promise<{ readonly count: number }>): Promise<number> {
    await this.#subject.cpu()
    const { count } = await run()
    return (await this.#subject.cpu()) / count
  }

  async stop(): Promise<void> {
    this.#load.close()
    await this.#subject.stop()
  }
}

async function measure(env: BenchEnv, inRedis: boolean): Promise<Figure[]> {
  const many = env.quick ? 5_000 : 100_000
  const full = await Side.start(env, many, inRedis)
  const empty = await Side.start(env, few, inRedis)
  for (let time = 0; time < 4; time++) for (const side of [full, empty]) await side.measure()
  const rounds = await sideBySide(
    env.rounds,
    () => full.measure(),
    () => empty.measure(),
  )
  await full.stop()
  await empty.stop()
  return (['start', 'poll'] as const).map((what) => {
    const [of, against] = [rounds.ours, rounds.theirs].map((side) => side.map((round) => round[what]))
    return {
      name: `CPU per ${what}, ${digits(many)} pending against ${digits(few)}, ${inRedis ? 'Redis' : 'memory'} store`,
      goal: { atMost: 1.15 },
      rounds: ratios(of ?? [], against ?? []),
      detail: `${digits(median(of ?? []))} to ${digits(median(against ?? []))} µs; the starts come on top`,
    }
  })
}
