/**
 * A redis-server of a suite's own, which can be killed, restarted empty, frozen and released, and clients of it. Asserts
 * nothing.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { createClient } from 'redis'

export type Client = ReturnType<typeof createClient>

export interface RedisServer {
  /** There for a server in cluster mode; the others listen at a socket in the file system. */
  readonly port: number
  readonly socketPath: string
  /** Connected; closed with the test. */
  client(options?: Parameters<typeof createClient>[0]): Promise<Client>
  /** One command, beside everything else that is under way. */
  command(...args: string[]): Promise<unknown>
  /** The connections that are subscribed to anything. */
  subscribers(): Promise<string[]>
  /** How often each command was called since the last `resetCounts()`. */
  counts(): Promise<Record<string, number>>
  resetCounts(): Promise<void>
  freeze(): void
  release(): void
  kill(): Promise<void>
  start(): Promise<void>
}

class Redis implements RedisServer {
  readonly #folder = mkdtempSync(join(tmpdir(), 'express-ciba-redis-'))
  readonly #isCluster: boolean
  readonly #keepsData: boolean
  readonly #clients: Client[] = []
  #process: ChildProcess | undefined
  #own: Client | undefined
  port = 0

  constructor(isCluster: boolean, keepsData: boolean) {
    this.#isCluster = isCluster
    this.#keepsData = keepsData
  }

  get socketPath(): string {
    return join(this.#folder, 'socket')
  }

  async start(): Promise<void> {
    const files = ['--save', '', '--appendonly', this.#keepsData ? 'yes' : 'no', '--dir', this.#folder]
    if (this.#isCluster) this.port ||= await freePort()
    const cluster = ['--cluster-enabled', 'yes', '--cluster-port', String(await freePort())]
    const child = spawn(
      'redis-server',
      [
        ...['--bind', '127.0.0.1', '--port', String(this.port), '--unixsocket', this.socketPath],
        ...files,
        ...(this.#keepsData ? ['--appendfsync', 'always'] : []),
        ...(this.#isCluster ? cluster : []),
      ],
      { stdio: ['ignore', 'pipe', 'ignore'] },
    )
    this.#process = child
    await readiness(child)
    if (!this.#isCluster) return
    await this.command('CLUSTER', 'ADDSLOTSRANGE', '0', '16383')
    // It takes some two seconds before it lets anybody write.
    while (!String(await this.command('CLUSTER', 'INFO')).includes('cluster_state:ok')) await sleep(20)
  }

  get isRunning(): boolean {
    return this.#process !== undefined
  }

  async client(options?: Parameters<typeof createClient>[0]): Promise<Client> {
    const client = createClient({ socket: { path: this.socketPath, reconnectStrategy: 20 }, ...options })
    client.on('error', () => {})
    this.#clients.push(client as Client)
    await client.connect()
    return client as Client
  }

  async command(...args: string[]): Promise<unknown> {
    if (!this.#own?.isOpen) {
      this.#own = createClient({ socket: { path: this.socketPath, reconnectStrategy: 20 } })
      this.#own.on('error', () => {})
      await this.#own.connect()
    }
    return this.#own.sendCommand(args)
  }

  async subscribers(): Promise<string[]> {
    const list = String(await this.command('CLIENT', 'LIST'))
    return list.split('\n').filter((line) => /\bs?sub=[1-9]/.test(line))
  }

  async counts(): Promise<Record<string, number>> {
    const info = String(await this.command('INFO', 'commandstats'))
    return Object.fromEntries(
      [...info.matchAll(/^cmdstat_(\S+):calls=(\d+)/gm)].map(([, name, calls]) => [name, Number(calls)]),
    )
  }

  async resetCounts(): Promise<void> {
    await this.command('CONFIG', 'RESETSTAT')
  }

  freeze(): void {
    this.#process?.kill('SIGSTOP')
  }

  release(): void {
    this.#process?.kill('SIGCONT')
  }

  async kill(): Promise<void> {
    const child = this.#process
    this.#process = undefined
    if (child?.exitCode === null && child.kill('SIGKILL')) await once(child, 'exit')
  }

  closeClients(): void {
    for (const client of this.#clients.splice(0)) client.destroy()
  }

  async stop(): Promise<void> {
    this.closeClients()
    this.#own?.destroy()
    await this.kill()
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

/**
 * Starts one server for a suite, and before each test again if one has killed it; each test finds it empty. Without
 * redis-server the suite is skipped, and on CI it fails. With `keepsData` nothing is lost when it is killed.
 */
export function redisServer({ cluster = false, keepsData = false } = {}): RedisServer {
  const server = new Redis(cluster, keepsData)
  before(async function () {
    this.timeout(10_000)
    if (spawnSync('redis-server', ['--version']).error) {
      if (process.env['CI']) throw new Error('no redis-server: install it')
      console.log('      skipped: no redis-server, install it')
      this.skip()
    }
    await server.start()
  })
  beforeEach(async () => {
    if (!server.isRunning) await server.start()
    await server.command('FLUSHALL')
    await server.command('SCRIPT', 'FLUSH')
    await server.resetCounts()
  })
  afterEach(() => server.closeClients())
  after(() => server.stop())
  return server
}

/** A server without a suite around it: whoever starts it stops it. */
export type StartedRedis = RedisServer & { stop(): Promise<void> }

/** Starts a server outside of tests; see {@link redisServer} for those. */
export async function startRedis(): Promise<StartedRedis> {
  const server = new Redis(false, false)
  await server.start()
  return server
}

async function readiness(child: ChildProcess): Promise<void> {
  const said: string[] = []
  for await (const line of createInterface(child.stdout as Readable)) {
    said.push(line)
    if (/ready to accept/i.test(line)) {
      child.stdout?.resume()
      return
    }
  }
  throw new Error(`redis-server has not started:\n${said.join('\n')}`)
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, 'close')
  return port
}
