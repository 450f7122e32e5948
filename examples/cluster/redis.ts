/**
 * The Redis of the instances: the one of `REDIS_URL`, or a redis-server that ends with the example and keeps nothing.
 * Knows nothing of what is stored there.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient } from 'redis'
import { SetupError } from './setup-error.ts'

/** A Redis that answers. */
export interface ExampleRedis {
  readonly url: string
  stop(): Promise<void>
}

/** @throws SetupError when there is none, or one that is too old */
export async function findRedis(url: string | undefined): Promise<ExampleRedis> {
  if (!url) return startRedis()
  await check(url, 'the Redis of REDIS_URL', 0)
  return { url, async stop() {} }
}

/**
 * Runs Redis until nobody holds the other end of its input any more, however that came about, and removes the folder `$0`.
 */
const KEEPER = '"$@" & read -r _; kill $!; wait; rm -rf "$0"'

async function startRedis(): Promise<ExampleRedis> {
  const program = findServer()
  // Nobody else can enter the folder, and nothing listens at a port.
  const folder = await mkdtemp(join(tmpdir(), 'express-ciba-cluster-'))
  const path = join(folder, 'redis')
  const settings = ['--port', '0', '--unixsocket', path, '--save', '', '--dir', folder]
  const keeper = spawn('/bin/sh', ['-c', KEEPER, folder, program, ...settings], {
    stdio: ['pipe', 'ignore', 'ignore'],
    // Ctrl-C is for us alone: the instances need Redis to their end.
    detached: true,
  })
  const ended = once(keeper, 'exit')
  const redis = {
    url: `unix://${path}`,
    async stop() {
      keeper.stdin.end()
      await ended
    },
  }
  try {
    await check(redis.url, program, 100)
    return redis
  } catch (error) {
    await redis.stop()
    throw error
  }
}

function findServer(): string {
  const { stdout } = spawnSync('/bin/sh', ['-c', 'command -v redis-server || command -v valkey-server'])
  const program = String(stdout).trim()
  if (program !== '') return program
  throw new SetupError(
    'This example needs Redis 7 or Valkey, and there is no redis-server here. Install it, or say where one is: ' +
      'REDIS_URL=redis://localhost:6379 npm start cluster',
  )
}

/** @param retries - how often it may not be there yet */
async function check(url: string, what: string, retries: number): Promise<void> {
  try {
    const client = createClient({
      url,
      socket: { reconnectStrategy: (tries) => (tries < retries ? 50 : false), connectTimeout: 5_000 },
    })
    client.on('error', () => {})
    await client.connect()
    const [, version = ''] = /redis_version:(\S+)/.exec(await client.info('server')) ?? []
    client.destroy()
    if (Number.parseInt(version, 10) < 7) throw new Error(`it is Redis ${version}, and 7 is needed`)
  } catch (error) {
    throw new SetupError(`${what} is of no use: ${(error as Error).message}`)
  }
}
