/**
 * Transactions in Redis or Valkey, for apps of several instances. Knows nothing of what the records mean, and of
 * clients only how they send a command and subscribe to a channel.
 */

import { createHash } from 'node:crypto'
import { invalidOption } from '../errors.ts'
import { checkOption, func, object, refuseUnknownOptions, text } from '../option-checks.ts'
import type { StoredRecord, TransactionStore } from '../store.ts'
import { RedisClock, timeScript } from './redis-clock.ts'
import { Channels, inTime, NodeRedisSubscriber, type Subscribe } from './redis-listener.ts'

/** A client of node-redis 5 or later: what `createClient()` and `createCluster()` make, and from 6 on `createSentinel()`. */
export interface NodeRedisClient {
  sendCommand(...args: never[]): Promise<unknown>
  sSubscribe(...args: never[]): Promise<unknown>
  duplicate(...args: never[]): unknown
}

/** Options of {@link RedisTransactionStore} for node-redis. */
export interface NodeRedisStoreOptions {
  /**
   * A connected client, which stays yours to close. The store duplicates it for a connection of its own, on which it
   * subscribes.
   */
  readonly client: NodeRedisClient
  /**
   * What the keys begin with. Stores with different prefixes share a Redis without meeting. A `keyPrefix` of the client
   * does not count.
   *
   * @default 'ciba:'
   */
  readonly prefix?: string
}

/** Options of {@link RedisTransactionStore} for every other client. */
export interface RedisCommandsStoreOptions {
  /**
   * Sends one command, and resolves to Redis's answer; rejects with Redis's error, whose message begins with its code.
   * In Redis Cluster it sends the command where its key lives. The store waits 5 seconds.
   */
  readonly sendCommand: (args: string[]) => Promise<unknown>
  /**
   * Subscribes to a *sharded* channel (`SSUBSCRIBE`) on a connection of its own, and resolves once Redis has confirmed it,
   * to a function that ends it. The store never subscribes twice to one channel at a time. After a lost connection
   * subscribe again, and call the listeners once.
   */
  readonly subscribe: (channel: string, listener: () => void) => Promise<() => unknown>
  /** See {@link NodeRedisStoreOptions.prefix}. */
  readonly prefix?: string
}

/** Options of {@link RedisTransactionStore}. */
export type RedisTransactionStoreOptions = NodeRedisStoreOptions | RedisCommandsStoreOptions

/**
 * Compare, set, expire and publish in one step. It touches one key, and the channel of that name, which therefore
 * lives in the same place in Redis Cluster.
 *
 * - `KEYS[1]`: the record, `version:purgeAt:data`
 * - `ARGV[1]`: the version that is expected, 0 for none
 * - `ARGV[2]`: the time where the writer is, so that a record is gone for all at its `purgeAt`, whatever Redis's clock says
 * - `ARGV[3]`: for how many milliseconds Redis keeps it
 * - `ARGV[4]`: the record to write
 *
 * It publishes first: a Redis that refuses that, for its version or its access rules, must not have written.
 */
const script = `
local version, purgeAt = string.match(redis.call('GETRANGE', KEYS[1], 0, 63), '^([^:]+):([^:]+):')
if not version or tonumber(purgeAt) <= tonumber(ARGV[2]) then version = '0' end
if version ~= ARGV[1] then return 0 end
redis.call('SPUBLISH', KEYS[1], '')
redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[3])
return 1
`.trim()
const scriptDigest = createHash('sha1').update(script).digest('hex')

/** How the store reaches Redis. */
interface Connection {
  /** @param key - the one that the command is about, which says where in a cluster it goes */
  send(args: string[], key: string): Promise<unknown>
  readonly channels: Channels
  close(): void
}

/**
 * Keeps transactions in Redis 7 or Valkey, alone, with replicas or as a cluster. Shared by all instances of an app, which
 * share their `secret` as well.
 *
 * One command for each read and write, and one small message to each instance that waits for what was written, to no other.
 * What Redis loses in a crash or evicts is lost: logins under way begin again.
 */
export class RedisTransactionStore implements TransactionStore {
  readonly #connection: Connection
  readonly #prefix: string
  readonly #clock: RedisClock

  /** @throws TypeError with `code: 'ERR_CIBA_INVALID_OPTION'` */
  constructor(options: RedisTransactionStoreOptions) {
    const { client, sendCommand, subscribe, prefix } = checked(options)
    this.#connection = client ? viaNodeRedis(client) : viaCommands(sendCommand, subscribe)
    this.#prefix = prefix
    const key = `${prefix}clock`
    this.#clock = new RedisClock(() =>
      inTime(() => this.#connection.send(['EVAL', timeScript, '1', key], key)),
    )
  }

  async read(id: string): Promise<StoredRecord | undefined> {
    const key = this.#prefix + id
    const found = await inTime(() => this.#connection.send(['GET', key], key))
    if (found === null || found === undefined) return undefined
    const record = parse(id, String(found))
    return this.now() < record.purgeAt ? record : undefined
  }

  /** Rejects as well when Redis has not answered within 5 seconds: it may still write then. */
  async write(record: StoredRecord, expectedVersion: number): Promise<boolean> {
    const { id, version, purgeAt, data } = record
    const key = this.#prefix + id
    const now = this.now()
    // Not PXAT: Redis's clock may be ahead of what we know of it, and would forget too early.
    const keepMs = Math.max(1, Math.ceil(purgeAt - now))
    const args = [key, expectedVersion, now, keepMs, `${version}:${purgeAt}:${data}`].map(String)
    return Number(await inTime(() => this.#run(key, args))) === 1
  }

  /** Redis's own, as far as it is known: it is asked once a minute. */
  now(): number {
    return this.#clock.now()
  }

  watch(id: string, listener: () => void): () => void {
    return this.#connection.channels.watch(this.#prefix + id, listener)
  }

  /** Ends the subscriptions and the connection that the store has opened for them, never the client it was given. */
  async close(): Promise<void> {
    this.#connection.close()
    // A subscription that cannot be ended is nothing that the caller could help.
    await inTime(() => this.#connection.channels.close()).catch(() => {})
  }

  async #run(key: string, args: string[]): Promise<unknown> {
    const { send } = this.#connection
    try {
      return await send(['EVALSHA', scriptDigest, '1', ...args], key)
    } catch (error) {
      if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw error
      // Redis knows it from now on, until it restarts.
      return send(['EVAL', script, '1', ...args], key)
    }
  }
}

function parse(id: string, text: string): StoredRecord {
  const [, version, purgeAt] = /^(\d+):([^:]+):/.exec(text) ?? []
  if (version === undefined || purgeAt === undefined) throw new Error('a key of ours holds something else')
  const data = text.slice(version.length + purgeAt.length + 2)
  return { id, version: Number(version), purgeAt: Number(purgeAt), data }
}

/** In a cluster and behind sentinels `sendCommand` takes further arguments first. */
interface NodeRedisCommands extends NodeRedisClient {
  /** Clusters have it. */
  nodeClient?: unknown
  /** Sentinels have it. */
  getSentinelNode?: unknown
  sendCommand(...args: unknown[]): Promise<unknown>
  duplicate(overrides?: object): unknown
}

function viaNodeRedis(client: NodeRedisClient): Connection {
  const redis = client as NodeRedisCommands
  const isCluster = 'nodeClient' in redis
  const subscriber: NodeRedisSubscriber = new NodeRedisSubscriber(
    // It sends no commands: of the nodes of a cluster it needs those with a channel that somebody waits for.
    () => (isCluster ? redis.duplicate({ minimizeConnections: true }) : redis.duplicate()),
    () => channels.ringAll(),
  )
  const channels = new Channels(subscriber.subscribe)
  // `false`: a replica may know an older version than its master.
  const before = (key: string) => (isCluster ? [key, false] : 'getSentinelNode' in redis ? [false] : [])
  return {
    send: (args, key) => redis.sendCommand(...before(key), args),
    channels,
    close: () => subscriber.close(),
  }
}

function viaCommands(
  sendCommand: RedisCommandsStoreOptions['sendCommand'],
  subscribe: Subscribe,
): Connection {
  return {
    send: async (args) => sendCommand(args),
    channels: new Channels(async (channel, listener) => subscribe(channel, listener)),
    close() {},
  }
}

type Checked = { readonly prefix: string } & (
  | (Pick<NodeRedisStoreOptions, 'client'> & { readonly sendCommand?: never; readonly subscribe?: never })
  | (Pick<RedisCommandsStoreOptions, 'sendCommand' | 'subscribe'> & { readonly client?: never })
)

function checked(options: RedisTransactionStoreOptions): Checked {
  const given: Partial<Record<'client' | 'sendCommand' | 'subscribe' | 'prefix', unknown>> =
    object(options) ?? {}
  refuseUnknownOptions(given, ['client', 'sendCommand', 'subscribe', 'prefix'])
  const prefix = checkOption('prefix', given.prefix, text, 'a text that is not empty') ?? 'ciba:'
  const client = checkOption(
    'client',
    given.client,
    nodeRedisClient,
    'a client of node-redis 5 or later; for other clients give "sendCommand" and "subscribe"',
  )
  const sendCommand = checkOption(
    'sendCommand',
    given.sendCommand,
    func<RedisCommandsStoreOptions['sendCommand']>,
    'a function',
  )
  const subscribe = checkOption('subscribe', given.subscribe, func<Subscribe>, 'a function')
  if (client) {
    const other = sendCommand ? 'sendCommand' : 'subscribe'
    if (sendCommand ?? subscribe) throw invalidOption(other, 'cannot be given beside "client"')
    return { client, prefix }
  }
  if (!sendCommand && !subscribe) {
    throw invalidOption('client', 'is required, or "sendCommand" and "subscribe" instead')
  }
  if (!sendCommand) throw invalidOption('sendCommand', 'is required beside "subscribe"')
  if (!subscribe) throw invalidOption('subscribe', 'is required beside "sendCommand"')
  return { sendCommand, subscribe, prefix }
}

function nodeRedisClient(value: unknown): NodeRedisClient | undefined {
  const known = object(value) as Partial<NodeRedisClient> | undefined
  const functions = [known?.sendCommand, known?.sSubscribe, known?.duplicate]
  return functions.every((one) => typeof one === 'function') ? (known as NodeRedisClient) : undefined
}
