/** A connection to an OP that answers from the test's own `customFetch`. Knows nothing of what is asked. */
import { type Connection, connect } from '../../lib/protocol/connection.ts'
import type { OpConfig } from '../../lib/protocol/registration.ts'

/** The client `client` with a secret, in poll mode; `config` goes on top. */
export function connectionTo(
  issuer: string,
  config: Partial<OpConfig> & Required<Pick<OpConfig, 'customFetch'>>,
): Connection {
  return connect({
    issuer: new URL(issuer),
    clientID: 'client',
    clientSecret: 'secret',
    clientAuthMethod: 'client_secret_basic',
    deliveryMode: 'poll',
    clockTolerance: 30,
    timeoutMs: 1_000,
    allowInsecureRequests: false,
    ...config,
  })
}
