/**
 * Thousands of logins that wait for their approval in one process, in poll mode: what a token request costs, and what each
 * takes of memory. Against as many loops of openid-client. The OP counts who asks too early.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type BenchEnv,
  type Benchmark,
  type Figure,
  median,
  ratios,
  type Subject,
  sideBySide,
} from './harness.ts'
import { type OpStats, startOp } from './op.ts'
import type { WaitingConfig } from './waiting-terms.ts'

/** The OP's, in seconds. */
const interval = 5
/** How many intervals a round lasts, once all wait. */
const intervals = 2

/** One round of one side. */
interface Round {
  /** Microseconds of CPU for a token request. */
  readonly cpu: number
  /** Bytes for a login. */
  readonly memory: number
  /** Token requests of a login in an interval. */
  readonly requests: number
  /** Of them too early, and by how many milliseconds at the most. */
  readonly early: number
  readonly earliestByMs: number
}

export const benchmark: Benchmark = { name: 'waiting', run: compare }

async function compare(env: BenchEnv): Promise<Figure[]> {
  const count = env.quick ? 1_000 : 10_000
  const measure = await Promise.all([
    side(env, 'waiting-ours', count),
    side(env, 'waiting-openid-client', count),
  ])
  const { ours, theirs } = await sideBySide(env.quick ? 1 : 3, ...measure)
  const wrong = ours.find(({ early, requests }) => early > 0 || requests > 1.02 || requests < 0.9)
  if (wrong)
    throw new Error(`not one token request per interval and login, or early: ${JSON.stringify(wrong)}`)
  const of = (rounds: readonly Round[], what: keyof Round) => rounds.map((round) => round[what])
  const mid = (rounds: readonly Round[], what: keyof Round) => median(of(rounds, what))
  const early = Math.max(...of(theirs, 'early'))
  const earliest = Math.max(...of(theirs, 'earliestByMs')).toFixed(1)
  return [
    {
      name: `waiting, ${count} logins, CPU of a token request, of openid-client`,
      goal: { atMost: 0.6 },
      rounds: ratios(of(ours, 'cpu'), of(theirs, 'cpu')),
      detail: `${mid(ours, 'cpu').toFixed(0)} µs to ${mid(theirs, 'cpu').toFixed(0)} µs`,
    },
    {
      name: `waiting, ${count} logins, memory, of openid-client`,
      goal: { atMost: 0.5 },
      rounds: ratios(of(ours, 'memory'), of(theirs, 'memory')),
      detail: `${kilobytes(mid(ours, 'memory'))} to ${kilobytes(mid(theirs, 'memory'))} each`,
    },
    {
      name: `waiting, ${count} logins, token requests per login and interval`,
      goal: { atMost: 1.02 },
      unit: 'requests',
      rounds: of(ours, 'requests'),
      detail: `none early; openid-client ${mid(theirs, 'requests').toFixed(2)}, up to ${early} a round early by up to ${earliest} ms`,
    },
  ]
}

/** Starts one side with all its logins, and returns what measures a round of it. */
async function side(env: BenchEnv, name: string, count: number): Promise<() => Promise<Round>> {
  const op = await startOp(env, { interval, expiresIn: 7_200, pending: null })
  const config: WaitingConfig = { issuer: op.origin, interval }
  const subject = await env.spawn(name, config)
  const { heapUsed, external } = await subject.memory()
  await subject.ask('start', count)
  return () => round(subject, op, count, heapUsed + external)
}

async function round(subject: Subject, op: Subject, count: number, emptyBytes: number): Promise<Round> {
  const stats = () => op.ask<OpStats>('stats')
  await subject.ask('wait')
  // The first token requests of all of them.
  await sleep(interval * 1000)
  const before = await stats()
  await subject.cpu()
  await sleep(interval * 1000 * intervals)
  const after = await stats()
  const cpu = await subject.cpu()
  const { heapUsed, external } = await subject.memory()
  await subject.ask('stop')
  const requests = (after.requests['/token'] ?? 0) - (before.requests['/token'] ?? 0)
  return {
    cpu: cpu / requests,
    memory: (heapUsed + external - emptyBytes) / count,
    requests: requests / count / intervals,
    early: after.early - before.early,
    earliestByMs: after.earliestByMs,
  }
}

function kilobytes(bytes: number): string {
  return `${(bytes / 1000).toFixed(1)} kB`
}
