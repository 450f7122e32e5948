/** What both sides of the ping benchmark agree on. */

/** What a side of the ping benchmark is told. */
export interface PingConfig {
  readonly side: 'ours' | 'bare'
  /** Whether express-session runs before the route. */
  readonly hasSession: boolean
  /** What is measured, see {@link PingWork}. */
  readonly work: PingWork
}

/**
 * - `ping`: the ping alone: what the store is asked for after it has taken the ping waits until the round is over
 * - `pingAndAsk`: the ping, and its token request up to the moment at which it would leave
 */
export type PingWork = 'ping' | 'pingAndAsk'

/** One ping to come. */
export interface Ping {
  readonly authReqId: string
  readonly notificationToken: string
}

/** Of the one route. */
export const path = '/ciba/notification'
