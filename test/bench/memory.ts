/**
 * What a pending transaction takes in the memory store, and what a waiting browser takes beside a bare held answer.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type BenchEnv,
  type Benchmark,
  type Figure,
  type Memory,
  median,
  ratios,
  type Subject,
  sideBySide,
} from './harness.ts'
import { inParallel } from './in-parallel.ts'
import { Connection, wire } from './load.ts'
import type { BrowsersConfig } from './memory-browsers.ts'
import { startOp } from './op.ts'
import { type Visitor, visitors } from './visitors.ts'

export const benchmark: Benchmark = {
  name: 'memory',
  run: async (env) => [await transactions(env), ...(await browsers(env))],
}

/** What is the process's own, which the system may give back late. */
const heapOf = ({ heapUsed, external }: Memory) => heapUsed + external

async function transactions(env: BenchEnv): Promise<Figure> {
  const subject = await env.spawn('memory-transactions')
  const count = env.quick ? 5_000 : 20_000
  await subject.ask('start', 1_000)
  const rounds: number[] = []
  let before = heapOf(await subject.memory())
  for (let round = 0; round < Math.min(env.rounds, 5); round++) {
    await subject.ask('start', count)
    const after = heapOf(await subject.memory())
    rounds.push(Math.round((after - before) / count))
    before = after
  }
  await subject.stop()
  return {
    name: 'memory of a pending transaction in the memory store',
    goal: { atMost: 1_200 },
    unit: 'bytes',
    rounds,
    detail: `heap and external, over ${count} more in each round`,
  }
}

/** Bytes for each waiting browser. */
interface Waiting {
  readonly heap: number
  readonly rss: number
}

async function browsers(env: BenchEnv): Promise<Figure[]> {
  const op = await startOp(env, { interval: 3_600, expiresIn: 7_200 })
  const measure = (side: BrowsersConfig['side']) => async () => {
    // A new process each time: what one has once had from the system it keeps.
    const subject = await env.spawn('memory-browsers', { side, issuer: op.origin } satisfies BrowsersConfig)
    const waiting = await waitAndWeigh(subject, env.quick ? 500 : 5_000)
    await subject.stop()
    await op.ask('reset')
    return waiting
  }
  const { ours, theirs } = await sideBySide(env.quick ? 1 : 3, measure('ours'), measure('bare'))
  await op.stop()
  const figure = (what: keyof Waiting): Figure => {
    const [mine, bare] = [ours.map((one) => one[what]), theirs.map((one) => one[what])]
    return {
      name: `memory of a waiting browser, ${what === 'rss' ? 'RSS' : what}, of a bare held answer`,
      goal: { atMost: 1.2 },
      rounds: ratios(mine, bare),
      detail: `${kilobytes(mine)} to ${kilobytes(bare)}`,
    }
  }
  return [figure('heap'), figure('rss')]
}

/** Sessions, and transactions where there are any, are there before: the difference is the waiting alone. */
async function waitAndWeigh(subject: Subject, count: number): Promise<Waiting> {
  const all = await visitors(subject.origin, count)
  // What is compiled, and what the first of many takes, belongs to nobody.
  const first = await hold(subject, all.slice(0, count / 10))
  await letGo(subject, first)
  const before = await subject.memory()
  const connections = await hold(subject, all)
  const after = await subject.memory()
  await letGo(subject, connections)
  return {
    heap: (heapOf(after) - heapOf(before)) / count,
    rss: (after.rss - before.rss) / count,
  }
}

async function hold(subject: Subject, waiting: readonly Visitor[]): Promise<Connection[]> {
  const connections: Connection[] = []
  await inParallel(waiting, 50, async ({ cookie, transaction }) => {
    const connection = await new Connection(subject.origin).open()
    connections.push(connection)
    const body = { transaction, wait: 300 }
    // Nobody answers before it is closed.
    connection.send(wire(subject.origin, { path: '/ciba/poll', headers: { Cookie: cookie }, body })).then(
      (answer) => process.stderr.write(`answered too early: ${answer}\n`),
      (error: Error) => process.stderr.write(`${error.message}\n`),
    )
  })
  await heldAre(subject, connections.length)
  return connections
}

async function letGo(subject: Subject, connections: readonly Connection[]): Promise<void> {
  for (const connection of connections) connection.close()
  await heldAre(subject, 0)
}

async function heldAre(subject: Subject, count: number): Promise<void> {
  const deadline = Date.now() + 20_000
  while ((await subject.ask('held')) !== count) {
    if (Date.now() > deadline) throw new Error(`${await subject.ask('held')} of ${count} browsers wait`)
    await sleep(50)
  }
  await sleep(300)
  if ((await subject.ask('held')) !== count) throw new Error('not all who waited still do')
}

function kilobytes(values: readonly number[]): string {
  return `${(median(values) / 1000).toFixed(1)} kB`
}
