/** What the sides of the latency benchmark agree on. */

/** What an instance of the latency benchmark is told. */
export interface LatencyConfig {
  readonly side: 'ours' | 'bare'
  /** Of the OP. */
  readonly issuer: string
  /** The socket of a Redis that the instances share, for sessions and transactions; absent: all in memory. */
  readonly redis?: string
}
