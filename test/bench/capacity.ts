/**
 * What one login takes, in absolute figures, for whoever plans a site: CPU of the app, commands of Redis, requests to the OP,
 * bytes. No comparison, and no goal.
 */
import type { RedisServer } from '../support/redis-server.ts'
import { type BenchEnv, type Benchmark, type Figure, median, type Subject } from './harness.ts'
import { costs, ms, opOfLogins } from './login.ts'
import { logIn, startLogins } from './login-load.ts'
import type { LoginConfig } from './login-terms.ts'
import { type OpStats, startOp } from './op.ts'

type Mode = LoginConfig['mode']

export const benchmark: Benchmark = {
  name: 'capacity',
  async run(env) {
    const redis = await env.redis()
    const figures: Figure[] = []
    for (const mode of ['poll', 'ping'] as const) {
      figures.push(...(await inMode(env, redis, mode)))
    }
    return figures
  },
}

async function inMode(env: BenchEnv, redis: RedisServer, mode: Mode): Promise<Figure[]> {
  const op = await startOp(env, opOfLogins)
  const app = (config: Partial<LoginConfig> = {}) =>
    env.spawn('login-ours', { issuer: op.origin, mode, ...config } satisfies LoginConfig)
  const inMemory = await app()
  const overRedis = await app({ redis: redis.socketPath })
  const side = (subject: Subject) => ({
    subject,
    logIn: (count: number) => logIn(subject, op, count, mode),
  })
  const cost = await costs(
    { ...env, rounds: Math.min(env.rounds, 3) },
    { memory: side(inMemory), redis: side(overRedis) },
  )

  const count = env.quick ? 100 : 500
  await redis.resetCounts()
  const before = await redisCpu(redis)
  await logIn(overRedis, op, count, mode)
  const redisMs = ((await redisCpu(redis)) - before) / count
  const commands = each(withoutScripts(await redis.counts()), count)
  const requests = each((await op.ask<OpStats>('stats')).requests, count)
  const bytes = mode === 'poll' ? await bytesInRedis(redis, overRedis) : []
  for (const one of [inMemory, overRedis, op]) await one.stop()
  const total = (counts: Readonly<Record<string, number>>) => Object.values(counts).reduce((a, b) => a + b, 0)
  return [
    {
      name: `a login, ${mode} mode, all in memory`,
      unit: 'ms',
      rounds: cost.memory,
      detail: 'CPU of the app',
    },
    {
      name: `a login, ${mode} mode, sessions and transactions in Redis`,
      unit: 'ms',
      rounds: cost.redis,
      detail: `CPU of the app; of Redis ${ms([redisMs])}; in memory ${ms(cost.memory)}`,
    },
    {
      name: `a login, ${mode} mode, commands of Redis`,
      unit: 'commands',
      rounds: [total(commands)],
      detail: listed(commands),
    },
    {
      name: `a login, ${mode} mode, requests to the OP`,
      unit: 'requests',
      rounds: [total(requests)],
      detail: listed(requests),
    },
    ...bytes,
  ]
}

/** What one login that is under way takes in Redis, keys and the like included. */
async function bytesInRedis(redis: RedisServer, app: Subject): Promise<Figure[]> {
  await redis.command('FLUSHALL')
  await startLogins(app, 20)
  const usage = async (pattern: string) => {
    const keys = (await redis.command('KEYS', pattern)) as string[]
    if (keys.length !== 20) throw new Error(`${keys.length} keys ${pattern}`)
    const used = keys.map(async (key) => Number(await redis.command('MEMORY', 'USAGE', key)))
    return median(await Promise.all(used))
  }
  const detail = 'by MEMORY USAGE, pending'
  return [
    { name: 'a transaction in Redis', unit: 'bytes', rounds: [await usage('ciba:*')], detail },
    { name: 'its session in Redis', unit: 'bytes', rounds: [await usage('sess:*')], detail },
  ]
}

/** What clients have sent: Redis counts what the store's script does inside as well. */
function withoutScripts({ getrange, spublish = 0, set = 0, ...others }: Readonly<Record<string, number>>) {
  return { ...others, set: set - spublish }
}

/** Milliseconds of CPU that Redis has used so far. */
async function redisCpu(redis: RedisServer): Promise<number> {
  const info = String(await redis.command('INFO', 'cpu'))
  const seconds = (name: string) => Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(info)?.[1])
  return (seconds('used_cpu_user') + seconds('used_cpu_sys')) * 1000
}

/** Of each login; what is asked once for all of them vanishes in the rounding. */
function each(counts: Readonly<Record<string, number>>, logins: number): Record<string, number> {
  const ours = Object.entries(counts).filter(([name]) => !/^(?:info|config)/.test(name))
  const rounded = ours.map(([name, count]) => [name, Math.round((count / logins) * 10) / 10] as const)
  return Object.fromEntries(rounded.filter(([, count]) => count > 0))
}

function listed(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .map(([name, count]) => `${count} ${name}`)
    .join(', ')
}
