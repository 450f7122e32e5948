/**
 * Rings when a record is written that somebody here waits for: one channel for each such record, and no other. Knows
 * nothing of records.
 */

import createDebug from 'debug'

const debug = createDebug('express-ciba:store')

/** Longer than most reads take: a browser that only looks never subscribes. */
const subscribeAfterMs = 10
const retryAfterMs = 1_000
/** How long Redis may take for anything. */
const patienceMs = 5_000

/** Ends a subscription; may return a promise. */
export type Unsubscribe = () => unknown

/** Subscribes to one channel, and resolves once messages can no longer be missed. */
export type Subscribe = (channel: string, listener: () => void) => Promise<Unsubscribe>

/** Rejects if Redis has not answered in time: clients keep commands for ever while the connection is down. */
export async function inTime<Result>(ask: () => Promise<Result>): Promise<Result> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`Redis has not answered within ${patienceMs / 1000} seconds`))
    }, patienceMs)
  })
  try {
    // Asked only now: where a client gives up at the same time, and says less, ours is first.
    return await Promise.race([ask(), late])
  } finally {
    clearTimeout(timer)
  }
}

interface Channel {
  readonly name: string
  readonly listeners: Set<() => void>
  readonly ring: () => void
  /** There while it is subscribed. */
  unsubscribe?: Unsubscribe | undefined
  /** There while that is about to change. */
  turning?: Promise<void> | undefined
  timer?: NodeJS.Timeout | undefined
}

/** The channels that somebody here listens to, however often; subscribed once each, and only as long. */
export class Channels {
  readonly #subscribe: Subscribe
  readonly #channels = new Map<string, Channel>()
  #isClosed = false

  constructor(subscribe: Subscribe) {
    this.#subscribe = subscribe
  }

  /** See `TransactionStore.watch`. */
  watch(name: string, listener: () => void): () => void {
    if (this.#isClosed) return () => {}
    const channel = this.#channels.get(name) ?? this.#add(name)
    const own = () => listener()
    channel.listeners.add(own)
    if (!channel.unsubscribe && !channel.turning && !channel.timer) this.#later(channel, subscribeAfterMs)
    return () => {
      if (channel.listeners.delete(own) && channel.listeners.size === 0) this.#leave(channel)
    }
  }

  /** After a lost connection: nobody knows what was missed. */
  readonly ringAll = (): void => {
    for (const { ring } of this.#channels.values()) ring()
  }

  /** Ends all subscriptions. */
  async close(): Promise<void> {
    this.#isClosed = true
    for (const channel of this.#channels.values()) {
      channel.listeners.clear()
      this.#leave(channel)
    }
    const turning = () => [...this.#channels.values()].flatMap(({ turning: one }) => one ?? [])
    for (let some = turning(); some.length > 0; some = turning()) await Promise.all(some)
  }

  #add(name: string): Channel {
    const listeners = new Set<() => void>()
    const ring = () => {
      for (const listener of listeners) listener()
    }
    const channel: Channel = { name, listeners, ring }
    this.#channels.set(name, channel)
    return channel
  }

  #leave(channel: Channel): void {
    clearTimeout(channel.timer)
    channel.timer = undefined
    this.#settle(channel)
  }

  #later(channel: Channel, ms: number): void {
    channel.timer = setTimeout(() => {
      channel.timer = undefined
      this.#settle(channel)
    }, ms).unref()
  }

  /** Subscribes, unsubscribes or forgets: one thing at a time, as what overlaps is told apart by no client. */
  #settle(channel: Channel): void {
    if (channel.turning || channel.timer) return
    const isWanted = channel.listeners.size > 0
    const isOn = channel.unsubscribe !== undefined
    if (isWanted !== isOn) channel.turning = this.#turn(channel, isWanted)
    else if (!isOn) this.#channels.delete(channel.name)
  }

  async #turn(channel: Channel, on: boolean): Promise<void> {
    const failure = await (on ? this.#turnOn(channel) : this.#turnOff(channel)).catch((error: unknown) => {
      debug('%s: %s', on ? 'not subscribed' : 'not unsubscribed', (error as Error | undefined)?.message)
      return 'failed' as const
    })
    channel.turning = undefined
    // Whoever is left waits for the next try; a closed store tries no more, nor who never was on and has left.
    if (failure && this.#isClosed) this.#channels.delete(channel.name)
    else if (failure && (channel.unsubscribe || channel.listeners.size > 0))
      this.#later(channel, retryAfterMs)
    else this.#settle(channel)
  }

  async #turnOn(channel: Channel): Promise<undefined> {
    const unsubscribe = await this.#subscribe(channel.name, channel.ring)
    if (typeof unsubscribe !== 'function') throw new TypeError('"subscribe" did not resolve to a function')
    channel.unsubscribe = unsubscribe
    // What was written before is not told any more.
    channel.ring()
  }

  async #turnOff(channel: Channel): Promise<undefined> {
    await Promise.resolve(channel.unsubscribe?.())
    channel.unsubscribe = undefined
  }
}

/** What is used of a connection of node-redis for subscriptions, or of such connections to a cluster. */
interface Subscriber {
  readonly isOpen: boolean
  /** Absent: nobody knows. */
  readonly isReady?: boolean
  connect(): Promise<unknown>
  sSubscribe(channel: string, listener: () => void): Promise<unknown>
  sUnsubscribe(channel: string, listener: () => void): Promise<unknown>
  on(event: string, listener: (error: unknown) => void): unknown
  destroy(): unknown
}

/** A connection of our own beside the application's client of node-redis; opened when first needed. */
export class NodeRedisSubscriber {
  readonly #duplicate: () => Subscriber
  readonly #onBack: () => void
  #subscriber: Subscriber | undefined
  #connecting: Promise<Subscriber> | undefined
  #isClosed = false

  /** @param onBack - called when the connection was lost and is back */
  constructor(duplicate: () => unknown, onBack: () => void) {
    this.#duplicate = duplicate as () => Subscriber
    this.#onBack = onBack
  }

  readonly subscribe: Subscribe = async (channel, listener) => {
    const subscriber = await inTime(() => this.#connected())
    // It would be kept until the connection is back, long after everybody has left.
    if (subscriber.isReady === false) throw new Error('the connection is lost')
    await subscriber.sSubscribe(channel, listener)
    return () => subscriber.isOpen && subscriber.sUnsubscribe(channel, listener)
  }

  close(): void {
    this.#isClosed = true
    if (this.#subscriber?.isOpen) this.#subscriber.destroy()
  }

  async #connected(): Promise<Subscriber> {
    if (this.#isClosed) throw new Error('the store is closed')
    this.#connecting ??= this.#connect()
    const connecting = this.#connecting
    try {
      const subscriber = await connecting
      if (subscriber.isOpen) return subscriber
    } catch (error) {
      this.#forget(connecting)
      throw error
    }
    // The client's own strategy has given up reconnecting.
    this.#forget(connecting)
    return this.#connected()
  }

  async #connect(): Promise<Subscriber> {
    const subscriber = this.#duplicate()
    this.#subscriber = subscriber
    // Without it a lost connection would end the process.
    subscriber.on('error', (error) => debug('subscriber: %s', (error as Error | undefined)?.message))
    let wasLost = false
    for (const node of ['', 'node-']) {
      subscriber.on(`${node}reconnecting`, () => {
        wasLost = true
      })
      subscriber.on(`${node}ready`, () => {
        if (wasLost) this.#onBack()
      })
    }
    await subscriber.connect()
    return subscriber
  }

  #forget(connecting: Promise<Subscriber>): void {
    if (this.#connecting === connecting) this.#connecting = undefined
  }
}
