/**
 * The OP of the examples: the test kit's, with the people that the examples are about, and a page that stands in for
 * their phones (`/device`). Everything lives in memory and ends with `close()`.
 */
import { startTestProvider, type TestProvider, type TestProviderOptions } from '../../lib/testing/index.ts'
import { devicePage } from './device-page.ts'

export interface ExampleOp extends TestProvider {
  /** Where the pending requests can be approved and denied by hand. */
  readonly devicePage: string
}

/** Who has a phone. */
const ACCOUNTS = [
  { sub: 'alice', name: 'Alice Anders' },
  { sub: 'bob', name: 'Bob Brandt' },
  { sub: 'carol', name: 'Carol Costa' },
  { sub: 'agent', name: 'Sam Smith', role: 'agent' },
]

/** Starts an OP. Rejects when the port is in use. */
export async function startOp(options: Omit<TestProviderOptions, 'device'>): Promise<ExampleOp> {
  const op = await startTestProvider({
    accounts: ACCOUNTS,
    authorizationDetailsTypes: ['payment', 'file_deletion'],
    // As most OPs do it: who polls waits for a while, who is pinged does not.
    interval: 5,
    ...options,
    device: devicePage,
  })
  return Object.assign(op, { devicePage: `${op.issuer}/device` })
}
