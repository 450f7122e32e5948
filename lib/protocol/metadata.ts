/**
 * Whether the OP's metadata fits our registration: every misfit found at the first discovery instead of at the
 * first approval. Knows nothing of how the metadata was fetched.
 */

import type * as oauth from 'oauth4webapi'
import { CibaError } from '../errors.ts'
import { perTransactionAlg } from './dpop.ts'
import type { OpConfig } from './registration.ts'

/** The parts of the configuration that the OP has a say in. */
export type Registration = Pick<
  OpConfig,
  | 'deliveryMode'
  | 'clientAuthMethod'
  | 'clientAssertionKeys'
  | 'requestObjectKeys'
  | 'idTokenSigningAlgs'
  | 'idTokenDecryptionKeys'
  | 'dpop'
  | 'mtls'
  | 'allowInsecureRequests'
>

const cibaGrantType = 'urn:openid:params:grant-type:ciba'

/**
 * Checks endpoints, delivery mode, client authentication and algorithms (CIBA Core §4) [CFG-2 to CFG-4, CFG-6, CFG-8].
 *
 * @throws CibaError `ERR_CIBA_INVALID_OP_METADATA`; the message says what to change where.
 */
export function checkMetadata(server: oauth.AuthorizationServer, registration: Registration): void {
  const { deliveryMode, clientAuthMethod, clientAssertionKeys, requestObjectKeys } = registration
  checkEndpoints(server, registration)
  requireListed(server, 'backchannel_token_delivery_modes_supported', 'deliveryMode', [deliveryMode])
  requireListed(server, 'token_endpoint_auth_methods_supported', 'clientAuthMethod', [clientAuthMethod])
  if (clientAuthMethod === 'private_key_jwt' || clientAuthMethod === 'client_secret_jwt') {
    const alg = clientAuthMethod === 'client_secret_jwt' ? 'HS256' : (clientAssertionKeys?.[0]?.alg ?? '')
    const named = 'token_endpoint_auth_signing_alg_values_supported'
    requireListed(server, named, 'clientAssertionSigningAlg', [alg])
  }
  const [requestKey] = requestObjectKeys ?? []
  if (requestKey) {
    const named = 'backchannel_authentication_request_signing_alg_values_supported'
    // Here an absent list says that the OP takes no signed requests.
    if (list(server[named]) === undefined) {
      throw misfit('takes no signed requests, but "requestObjectSigningKey" is given')
    }
    requireListed(server, named, 'requestObjectSigningAlg', [requestKey.alg])
  }
  const { idTokenSigningAlgs, idTokenDecryptionKeys, dpop } = registration
  requireListed(server, 'id_token_signing_alg_values_supported', 'idTokenSigningAlg', idTokenSigningAlgs)
  if (!idTokenSigningAlgs) requireUsableAlg(server)
  const decryptionAlgs = idTokenDecryptionKeys?.flatMap(({ algs }) => algs)
  requireListed(server, 'id_token_encryption_alg_values_supported', 'idTokenDecryptionKey', decryptionAlgs)
  if (dpop && list(server['dpop_signing_alg_values_supported']) === undefined) {
    process.emitWarning('the OP lists no "dpop_signing_alg_values_supported": it may not know "dpop"', {
      code: 'EXPRESS_CIBA_DPOP',
    })
  }
  const dpopAlg = dpop && [dpop === 'perTransaction' ? perTransactionAlg : dpop.alg]
  requireListed(server, 'dpop_signing_alg_values_supported', 'dpop', dpopAlg)
  const grantTypes = list(server.grant_types_supported)
  if (deliveryMode !== 'push' && grantTypes !== undefined && !grantTypes.includes(cibaGrantType)) {
    // The list is optional, and often forgotten: no reason to refuse [CFG-4].
    process.emitWarning(`the OP does not list ${cibaGrantType} in "grant_types_supported"`, {
      code: 'EXPRESS_CIBA_GRANT_TYPE',
    })
  }
}

/** An OP whose list has only what we do not take by default would have every login fail at its end. */
function requireUsableAlg(server: oauth.AuthorizationServer): void {
  const listed = list(server['id_token_signing_alg_values_supported'])
  if (listed === undefined || listed.some((alg) => !/^(?:none$|HS)/.test(alg))) return
  throw misfit(`signs ID tokens with ${listed.join(', ')} only: "idTokenSigningAlg" must name one of them`)
}

function checkEndpoints(
  server: oauth.AuthorizationServer,
  { deliveryMode, allowInsecureRequests, mtls }: Registration,
): void {
  const needed = ['backchannel_authentication_endpoint', 'token_endpoint', 'jwks_uri'] as const
  // What is used in their place, but for the keys [AUTH-5].
  const { jwks_uri: _, ...aliases } = (server.mtls_endpoint_aliases ?? {}) as Record<string, unknown>
  for (const endpoint of needed) {
    if (endpoint === 'token_endpoint' && deliveryMode === 'push') continue // [PUSH-8]
    const value: unknown = mtls && endpoint in aliases ? aliases[endpoint] : server[endpoint]
    const protocol = typeof value === 'string' && URL.canParse(value) ? new URL(value).protocol : undefined
    if (protocol !== 'https:' && !(protocol === 'http:' && allowInsecureRequests)) {
      throw misfit(`has no usable "${endpoint}" in its metadata; it must be an https URL`)
    }
  }
}

/** One of `wanted` must be in the OP's list, if it publishes one. */
function requireListed(
  server: oauth.AuthorizationServer,
  name: string,
  option: string,
  wanted: readonly string[] | undefined,
): void {
  const offered = list(server[name])
  if (wanted === undefined || offered === undefined) return
  if (wanted.some((one) => offered.includes(one))) return
  throw misfit(`does not offer the "${option}" ${wanted.join(', ')}, but ${offered.join(', ')}`)
}

/** What is not a list says nothing. */
function list(value: unknown): readonly string[] | undefined {
  return Array.isArray(value) ? value : undefined
}

function misfit(what: string): CibaError {
  return new CibaError('ERR_CIBA_INVALID_OP_METADATA', `the OP ${what}`)
}
