/** `sendCommand` and `subscribe` for a RedisTransactionStore, as an app writes them for a client of its choice. */
import type { RedisCommandsStoreOptions } from '../../lib/stores/redis.ts'
import type { RedisServer } from './redis-server.ts'

export async function commandsOf(redis: RedisServer): Promise<RedisCommandsStoreOptions> {
  const client = await redis.client()
  const subscriber = await redis.client()
  return {
    sendCommand: (args) => client.sendCommand(args),
    async subscribe(channel, listener) {
      await subscriber.sSubscribe(channel, listener)
      subscriber.on('ready', listener)
      return () => {
        subscriber.off('ready', listener)
        return subscriber.sUnsubscribe(channel, listener)
      }
    },
  }
}

/** `resolved`, or the message with which it was rejected. */
export function outcomeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'resolved',
    (error: Error) => error.message,
  )
}
