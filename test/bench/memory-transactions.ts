/**
 * Pending transactions in the memory store, as the middleware's core keeps them: each with an owner as long as those of
 * sessions, and a code to compare. The OP answers from within.
 */
import { createHash } from 'node:crypto'
import { createCore } from '../../lib/core.ts'
import { MemoryTransactionStore } from '../../lib/index.ts'
import { resolveClientOptions } from '../../lib/options.ts'
import type { CustomFetch } from '../../lib/protocol/transport.ts'
import { inParallel } from './in-parallel.ts'
import { runSubject } from './subject.ts'

const issuer = 'https://op.example.com'

const metadata = {
  issuer,
  jwks_uri: `${issuer}/jwks`,
  token_endpoint: `${issuer}/token`,
  backchannel_authentication_endpoint: `${issuer}/bc-authorize`,
  backchannel_token_delivery_modes_supported: ['poll'],
  token_endpoint_auth_methods_supported: ['client_secret_basic'],
  id_token_signing_alg_values_supported: ['ES256'],
  grant_types_supported: ['urn:openid:params:grant-type:ciba'],
}

let asked = 0

const answerFromWithin: CustomFetch = async (url) => {
  if (url.endsWith('/openid-configuration')) return Response.json(metadata)
  if (!url.endsWith('/bc-authorize')) throw new Error(`nobody should ask for ${url}`)
  // 22 characters, as 16 random bytes have.
  return Response.json({ auth_req_id: `request-${++asked}`.padEnd(22, 'x'), expires_in: 600, interval: 5 })
}

await runSubject(() => {
  const options = {
    issuerBaseURL: issuer,
    clientID: 'bench',
    clientSecret: 'a client secret of more than 32 bytes',
    secret: 'a secret of more than 32 bytes, the same everywhere',
    store: new MemoryTransactionStore({ maxTransactions: 1_000_000 }),
    authorizationParams: { scope: 'openid profile', bindingMessage: 'auto' as const },
    customFetch: answerFromWithin,
  }
  const { flow, check } = createCore(resolveClientOptions(options, {}))
  let started = 0

  async function start(): Promise<void> {
    const person = ++started
    const owner = createHash('sha256').update(String(person)).digest('base64url')
    const { state } = await flow.start(check({ loginHint: `person-${person}@example.com` }), { owner })
    if (state !== 'pending') throw new Error(`it is ${state}`)
  }

  return { answers: { start: (count: number) => inParallel(Array(count).keys(), 100, start) } }
})
