/**
 * Pings, genuine and forged, against a bare route with a JSON parser and a bearer check.
 *
 * What a ping costs until it is answered is one thing, and has the goal: each ping is the first of its own transaction, which
 * means a look into the store and a write to it. The token request that it sets off comes after the 204, belongs to the login,
 * and has no counterpart on the bare route; with the part of it that happens here, the figure is reported beside it.
 */
import { connect } from 'node:net'
import {
  type BenchEnv,
  type Benchmark,
  type Figure,
  median,
  ratios,
  type Subject,
  sideBySide,
} from './harness.ts'
import { Load, type Run, wire } from './load.ts'
import { type Ping, type PingConfig, type PingWork, path } from './ping-terms.ts'
import { digits } from './results.ts'

interface Kind {
  readonly name: string
  readonly work: PingWork
  readonly goal?: Figure['goal']
  /** Whether it is also measured with express-session before both. */
  readonly alsoWithSession?: boolean
  /** One round, of which the time and the CPU are the result. */
  readonly round: (side: Side, env: BenchEnv) => Promise<Round>
}

interface Round extends Run {
  /** Microseconds for each ping. */
  readonly cpu: number
}

/** Each for a transaction of its own. */
const freshPings = (env: BenchEnv) => (env.quick ? 2_048 : 8_192)
/** How many transactions pings are repeated or forged for. */
const transactions = 512

const kinds: readonly Kind[] = [
  {
    name: 'first ping',
    work: 'ping',
    goal: { atLeast: 1 },
    alsoWithSession: true,
    async round(side, env) {
      const pings = await side.arm(freshPings(env))
      return side.measure(() => side.load.once(pings, { status: 204 }))
    },
  },
  {
    name: 'first ping, and its token request until it leaves',
    work: 'pingAndAsk',
    async round(side, env) {
      const pings = await side.arm(freshPings(env))
      return side.measure(() => side.load.once(pings, { status: 204 }))
    },
  },
  {
    name: 'repeated ping',
    work: 'pingAndAsk',
    async round(side, env) {
      const pings = await side.arm(transactions)
      for (let time = 0; time < 3; time++) await side.load.once(pings, { status: 204 })
      return side.measure(() => side.load.forTime(pings, env.roundMs, { status: 204 }))
    },
  },
  {
    name: 'forged ping',
    work: 'pingAndAsk',
    goal: { atLeast: 1.2 },
    alsoWithSession: true,
    async round(side, env) {
      const pings = await side.arm(transactions, forge)
      const before = await side.accesses()
      const expected = { status: 401, text: 'WWW-Authenticate: Bearer' }
      const round = await side.measure(() => side.load.forTime(pings, env.roundMs, expected))
      if ((await side.accesses()) !== before) throw new Error('forged pings have reached the store')
      return round
    },
  },
]

export const benchmark: Benchmark = {
  name: 'ping',
  async run(env) {
    const figures: Figure[] = []
    for (const kind of kinds) {
      for (const hasSession of kind.alsoWithSession ? [false, true] : [false]) {
        figures.push(await measure(env, kind, hasSession))
      }
    }
    return figures
  },
}

class Side {
  readonly subject: Subject
  readonly load: Load
  readonly #isOurs: boolean

  private constructor(subject: Subject, load: Load, isOurs: boolean) {
    this.subject = subject
    this.load = load
    this.#isOurs = isOurs
  }

  static async start(env: BenchEnv, config: PingConfig): Promise<Side> {
    const subject = await env.spawn('ping-subject', config)
    return new Side(subject, await Load.open(subject.origin), config.side === 'ours')
  }

  /** New transactions, and the pings for them. */
  async arm(count: number, change = (ping: Ping) => ping): Promise<Buffer[]> {
    await this.subject.ask('clear')
    const pings = await this.subject.ask<Ping[]>('arm', count)
    return pings.map((ping) => {
      const { authReqId, notificationToken } = change(ping)
      const headers = { Authorization: `Bearer ${notificationToken}` }
      return wire(this.subject.origin, { path, headers, body: { auth_req_id: authReqId } })
    })
  }

  async measure(run: () => Promise<Run>): Promise<Round> {
    await this.subject.memory() // nobody pays for what happened between the rounds
    await this.subject.cpu()
    const done = await run()
    return { ...done, cpu: (await this.subject.cpu()) / done.count }
  }

  /** How often the store was asked. */
  async accesses(): Promise<number> {
    return this.#isOurs ? this.subject.ask<number>('accesses') : 0
  }

  async stop(): Promise<void> {
    this.load.close()
    await this.subject.stop()
  }
}

async function measure(
  env: BenchEnv,
  { name, work, goal, round }: Kind,
  hasSession: boolean,
): Promise<Figure> {
  const ours = await Side.start(env, { side: 'ours', hasSession, work })
  const bare = await Side.start(env, { side: 'bare', hasSession, work })
  const warmUp = { ...env, roundMs: env.warmUpMs / 2 }
  for (const side of [ours, bare, ours, bare]) await round(side, warmUp)
  const rounds = await sideBySide(
    env.rounds,
    () => round(ours, env),
    () => round(bare, env),
  )
  if (name === 'forged ping') {
    const [first] = await ours.arm(1, forge)
    await refusedUnread(ours.subject.origin, first ?? Buffer.of())
  }
  await ours.stop()
  await bare.stop()
  const perSecond = (side: readonly Round[]) => side.map(({ count, seconds }) => count / seconds)
  const cpus = (side: readonly Round[]) => side.map(({ cpu }) => cpu)
  const [mine, theirs] = [rounds.ours, rounds.theirs]
  const load = Math.min(
    ...[...mine, ...theirs].map(({ cpu, count, seconds }) => (cpu * count) / 1e6 / seconds),
  )
  return {
    name: `${name}, ${hasSession ? 'express-session before both' : 'nothing before both'}`,
    goal,
    rounds: ratios(perSecond(mine), perSecond(theirs)),
    detail:
      `${digits(median(perSecond(mine)))} to ${digits(median(perSecond(theirs)))} per second; CPU ` +
      `${digits(median(cpus(mine)))} to ${digits(median(cpus(theirs)))} µs, ratio ${digits(median(ratios(cpus(mine), cpus(theirs))))}; ` +
      `core in use ${digits(load * 100)} % or more`,
  }
}

/** Well formed, for a transaction that there is, with the MAC of another. */
function forge({ authReqId, notificationToken }: Ping): Ping {
  const [id = '', mac = ''] = notificationToken.split('.')
  const other = Buffer.from(mac, 'base64url')
  other[0] = (other[0] ?? 0) ^ 1
  return { authReqId, notificationToken: `${id}.${other.toString('base64url')}` }
}

/** The answer must come although the body does not: nobody waits for it. */
async function refusedUnread(origin: string, ping: Buffer): Promise<void> {
  const { hostname, port } = new URL(origin)
  const socket = connect(Number(port), hostname)
  socket.write(ping.subarray(0, ping.indexOf('\r\n\r\n') + 4))
  const answer = await new Promise<string>((resolve, reject) => {
    socket.once('data', (data) => resolve(data.toString('latin1'))).once('error', reject)
    socket.setTimeout(5_000, () => reject(new Error('a forged ping was not refused before its body came')))
  })
  socket.destroy()
  if (!answer.startsWith('HTTP/1.1 401 ')) throw new Error(`a forged ping was answered ${answer}`)
}
