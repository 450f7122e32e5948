/** What both sides of the poll benchmark agree on. */

/** What a side of the poll benchmark is told. */
export interface PollConfig {
  readonly side: 'ours' | 'bare'
  /** Of the OP. */
  readonly issuer: string
  /** Where sessions are kept: the socket of a Redis; absent: in memory. */
  readonly sessions?: string
  /** Where our transactions are kept, likewise. */
  readonly transactions?: string
}

/** How the OP answers authentication requests in this benchmark: no token request is due for an hour. */
export const terms = { interval: 3_600, expiresIn: 7_200 }
