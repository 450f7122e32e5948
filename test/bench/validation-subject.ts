/**
 * The checks of one token response, ours and oauth4webapi's with its check of the signature, in one process. The keys of the
 * OP are at hand for both.
 */
import * as oauth from 'oauth4webapi'
import { processBackchannelAuthenticationGrantResponse } from '../../lib/index.ts'
import { signingKeys } from '../support/signing-keys.ts'
import { goodTokenResponse } from '../support/token-response.ts'
import { inParallel } from './in-parallel.ts'
import { runSubject } from './subject.ts'

/** Which algorithm signs the ID token. */
export interface ValidationConfig {
  readonly alg: 'ES256' | 'RS256'
}

/** Which of the two, and how often. */
export interface ValidationRun {
  readonly who: 'ours' | 'theirs'
  readonly count: number
}

const issuer = 'https://op.example.com'
const clientId = 'bench'
const authReqId = 'an auth_req_id of 32 characters'
const acr = 'urn:example:phone'
const subject = 'a-subject-identifier'

await runSubject<ValidationConfig>(async ({ alg }) => {
  const { jwks } = await signingKeys()
  const context = { issuer, clientId, clientSecret: '', authReqId, acr, subject }
  const scope = { scope: 'openid', refresh_token: 'a refresh token' }
  const text = JSON.stringify(await goodTokenResponse(context, { header: { alg }, response: scope }))
  const requestedAt = Math.floor(Date.now() / 1000)
  // The cache of keys hangs on the object: each side has one of its own.
  const server = (): oauth.AuthorizationServer => ({
    issuer,
    jwks_uri: `${issuer}/jwks`,
    id_token_signing_alg_values_supported: ['ES256', 'RS256'],
  })
  const [as, theirAs] = [server(), server()]
  const client: oauth.Client = { client_id: clientId, id_token_signed_response_alg: alg }
  const http = { [oauth.customFetch]: async () => Response.json(jwks) }
  const headers = { 'content-type': 'application/json', 'cache-control': 'no-store' }
  const response = () => new Response(text, { headers })

  const validate = {
    async ours() {
      await processBackchannelAuthenticationGrantResponse(as, client, response(), {
        ...http,
        strict: true,
        idTokenSigningAlgs: [alg],
        tokenType: 'bearer',
        trustedAudiences: [],
        authReqId,
        requestedAt,
        acrValues: [acr],
        maxAge: 600,
        expectedSubject: subject,
      })
    },
    async theirs() {
      const answer = response()
      await oauth.processBackchannelAuthenticationGrantResponse(theirAs, client, answer)
      await oauth.validateApplicationLevelSignature(theirAs, answer, http)
    },
  }
  return {
    answers: {
      run: ({ who, count }: ValidationRun) => inParallel(Array(count), 16, validate[who]),
    },
  }
})
