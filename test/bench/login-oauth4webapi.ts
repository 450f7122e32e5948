/**
 * The least that a login costs: oauth4webapi's functions one after the other, on the transport that this package uses, with
 * neither Express nor sessions, no waiting, and no check beyond its own.
 */
import * as oauth from 'oauth4webapi'
import { createTransport } from '../../lib/protocol/transport.ts'
import { inParallel } from './in-parallel.ts'
import { acrValues, type LoginConfig, maxAge } from './login-terms.ts'
import { clientID, clientSecret } from './op.ts'
import { runSubject } from './subject.ts'

await runSubject(async ({ issuer }: LoginConfig) => {
  const transport = createTransport({ connectTimeoutMs: 5_000 })
  const http = () => ({
    [oauth.customFetch]: transport.fetch as (url: string, init: unknown) => Promise<Response>,
    [oauth.allowInsecureRequests]: true,
    signal: AbortSignal.timeout(10_000),
  })
  const found = await oauth.discoveryRequest(new URL(issuer), http())
  const as = await oauth.processDiscoveryResponse(new URL(issuer), found)
  const client: oauth.Client = { client_id: clientID, id_token_signed_response_alg: 'ES256' }
  const authentication = oauth.ClientSecretBasic(clientSecret)

  async function logIn(loginHint: string): Promise<void> {
    const parameters = {
      scope: 'openid',
      login_hint: loginHint,
      acr_values: acrValues.join(' '),
      max_age: String(maxAge),
    }
    const started = await oauth.backchannelAuthenticationRequest(
      as,
      client,
      authentication,
      parameters,
      http(),
    )
    const { auth_req_id } = await oauth.processBackchannelAuthenticationResponse(as, client, started)
    const response = await oauth.backchannelAuthenticationGrantRequest(
      as,
      client,
      authentication,
      auth_req_id,
      http(),
    )
    const tokens = await oauth.processBackchannelAuthenticationGrantResponse(as, client, response)
    // Its cache of the OP's keys hangs on `as`.
    await oauth.validateApplicationLevelSignature(as, response, http())
    if (oauth.getValidatedIdTokenClaims(tokens)?.sub !== loginHint) throw new Error('somebody else')
  }

  return { answers: { logIn: (hints: readonly string[]) => inParallel(hints, 32, logIn) } }
})
