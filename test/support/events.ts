/** What was published on the channels of `diagnostics_channel`. Asserts nothing. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { CibaEvents } from '../../lib/index.ts'

type Name = keyof CibaEvents

/** @public a child process imports it */
export const channelNames: readonly Name[] = [
  'express-ciba:transaction',
  'express-ciba:token-request',
  'express-ciba:notification',
  'express-ciba:login',
  'express-ciba:approval',
]

/** The messages of one test, in order. */
class Published {
  readonly all: { readonly channel: Name; readonly message: CibaEvents[Name] }[] = []

  on<Channel extends Name>(channel: Channel): CibaEvents[Channel][] {
    return this.all.filter((one) => one.channel === channel).map(({ message }) => message as never)
  }
}

/** Listens on all channels while a test runs. */
export function publishedEvents(): Published {
  const published = new Published()
  const listen = (message: unknown, channel: string | symbol) => {
    published.all.push({ channel: channel as Name, message: message as CibaEvents[Name] })
  }
  beforeEach(() => {
    published.all.length = 0
    for (const name of channelNames) subscribe(name, listen)
  })
  afterEach(() => {
    for (const name of channelNames) unsubscribe(name, listen)
  })
  return published
}
