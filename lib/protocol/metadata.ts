/**
 * Whether the OP's metadata fits our registration: every misfit found at the first discovery instead of at the
 * first approval. Knows nothing of how the metadata was fetched.
 */

import type * as oauth from 'oauth4webapi'
import { CibaError } from '../errors.ts'

/** The parts of the configuration that the OP has a say in. */
export interface Registration {
  readonly deliveryMode: string
  readonly clientAuthMethod: string
  readonly idTokenSigningAlgs?: readonly string[]
  readonly allowInsecureRequests: boolean
}

const cibaGrantType = 'urn:openid:params:grant-type:ciba'

/**
 * Checks endpoints, delivery mode, client authentication and algorithms (CIBA Core §4) [CFG-2 to CFG-4, CFG-8].
 *
 * @throws CibaError `ERR_CIBA_INVALID_OP_METADATA`; the message says what to change where.
 */
export function checkMetadata(server: oauth.AuthorizationServer, registration: Registration): void {
  const { deliveryMode, clientAuthMethod, idTokenSigningAlgs, allowInsecureRequests } = registration
  for (const endpoint of ['backchannel_authentication_endpoint', 'token_endpoint', 'jwks_uri'] as const) {
    const value: unknown = server[endpoint]
    const protocol = typeof value === 'string' && URL.canParse(value) ? new URL(value).protocol : undefined
    if (protocol !== 'https:' && !(protocol === 'http:' && allowInsecureRequests)) {
      throw misfit(`has no usable "${endpoint}" in its metadata; it must be an https URL`)
    }
  }
  const modes = list(server.backchannel_token_delivery_modes_supported)
  if (modes !== undefined && !modes.includes(deliveryMode)) {
    throw misfit(`does not offer the "deliveryMode" ${deliveryMode}, but ${modes.join(', ')}`)
  }
  const methods = list(server.token_endpoint_auth_methods_supported)
  if (methods !== undefined && !methods.includes(clientAuthMethod)) {
    throw misfit(`does not offer the "clientAuthMethod" ${clientAuthMethod}, but ${methods.join(', ')}`)
  }
  const algs = list(server.id_token_signing_alg_values_supported)
  if (idTokenSigningAlgs && algs && !idTokenSigningAlgs.some((alg) => algs.includes(alg))) {
    throw misfit(`signs ID tokens with none of "idTokenSigningAlg", but with ${algs.join(', ')}`)
  }
  const grantTypes = list(server.grant_types_supported)
  if (grantTypes !== undefined && !grantTypes.includes(cibaGrantType)) {
    // The list is optional, and often forgotten: no reason to refuse [CFG-4].
    process.emitWarning(`the OP does not list ${cibaGrantType} in "grant_types_supported"`, {
      code: 'EXPRESS_CIBA_GRANT_TYPE',
    })
  }
}

/** What is not a list says nothing. */
function list(value: unknown): readonly string[] | undefined {
  return Array.isArray(value) ? value : undefined
}

function misfit(what: string): CibaError {
  return new CibaError('ERR_CIBA_INVALID_OP_METADATA', `the OP ${what}`)
}
