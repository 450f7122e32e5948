/** What both sides of the flat benchmark agree on. */

/** What a side of the flat benchmark is told. */
export interface FlatConfig {
  /** How many transactions are pending from the beginning. */
  readonly pending: number
  /** The socket of a Redis for the transactions; absent: in memory. */
  readonly redis?: string
}
