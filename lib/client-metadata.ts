/**
 * What an operator has to register at the OP for given options. Knows nothing of how to register it.
 */

import { type CibaOptions, type ResolvedOptions, resolveOptions } from './express/options.ts'
import type { PublicJwk } from './protocol/client-keys.ts'
import { certificateSubject, publishedKeys } from './protocol/published-keys.ts'
import type { OpConfig } from './protocol/registration.ts'

/** Client metadata under their registered names (RFC 7591, OpenID Connect Registration, CIBA Core §4, RFC 8705, RFC 9449). */
export interface CibaClientMetadata {
  readonly grant_types: readonly string[]
  readonly response_types: readonly string[]
  readonly redirect_uris: readonly string[]
  readonly scope: string
  readonly token_endpoint_auth_method: string
  readonly token_endpoint_auth_signing_alg?: string
  readonly jwks_uri?: string
  readonly jwks?: { readonly keys: readonly PublicJwk[] }
  readonly id_token_signed_response_alg?: string
  readonly id_token_encrypted_response_alg?: string
  readonly id_token_encrypted_response_enc?: string
  readonly backchannel_token_delivery_mode: string
  readonly backchannel_client_notification_endpoint?: string
  readonly backchannel_authentication_request_signing_alg?: string
  readonly backchannel_user_code_parameter: boolean
  readonly tls_client_auth_subject_dn?: string
  readonly tls_client_certificate_bound_access_tokens?: boolean
  readonly dpop_bound_access_tokens?: boolean
  readonly authorization_details_types?: readonly string[]
  readonly backchannel_logout_uri?: string
  readonly backchannel_logout_session_required?: boolean
  readonly post_logout_redirect_uris?: readonly string[]
}

/**
 * The client metadata to register at the OP for these options of `ciba()`: paste it, or send it to the OP's registration
 * endpoint. `client_id` and `client_secret` are not part of it. Environment variables count as for `ciba()`.
 *
 * Without `routes.jwks` the public keys are included as `jwks`; with it and a `baseURL` there is a `jwks_uri`.
 *
 * @throws TypeError with `code: 'ERR_CIBA_INVALID_OPTION'`, as `ciba()` does.
 */
export function cibaClientMetadata(options: CibaOptions = {}): CibaClientMetadata {
  const resolved = resolveOptions(options, process.env)
  const { op, authorizationParams } = resolved.client
  const { scope = 'openid', authorizationDetails } = authorizationParams
  const types = authorizationDetails && [...new Set(authorizationDetails.map(({ type }) => type))]
  const isOffline = scope.split(' ').includes('offline_access')
  return {
    grant_types: ['urn:openid:params:grant-type:ciba', ...(isOffline ? ['refresh_token'] : [])],
    response_types: [],
    redirect_uris: [],
    scope,
    ...clientAuthentication(op),
    ...keys(resolved),
    ...idTokens(op),
    ...backchannel(resolved),
    // One way to bind them is enough, and OPs want no more.
    ...(op.mtls && !op.dpop && { tls_client_certificate_bound_access_tokens: true }),
    ...(op.dpop && { dpop_bound_access_tokens: true }),
    ...(types && { authorization_details_types: types }),
    ...logout(resolved),
  }
}

function clientAuthentication(op: OpConfig) {
  const { clientAuthMethod, clientAssertionKeys } = op
  const alg = clientAuthMethod === 'client_secret_jwt' ? 'HS256' : clientAssertionKeys?.[0]?.alg
  const subject = certificateSubject(op)
  return {
    token_endpoint_auth_method: clientAuthMethod,
    ...(alg && clientAuthMethod.endsWith('_jwt') && { token_endpoint_auth_signing_alg: alg }),
    ...(subject && clientAuthMethod === 'tls_client_auth' && { tls_client_auth_subject_dn: subject }),
  }
}

function keys(resolved: ResolvedOptions) {
  const published = publishedKeys(resolved.client.op)
  if (published.length === 0) return {}
  const jwks_uri = urlOf(resolved, 'jwks')
  return jwks_uri ? { jwks_uri } : { jwks: { keys: published } }
}

function idTokens({ idTokenSigningAlgs = [], idTokenDecryptionKeys }: OpConfig) {
  const [alg] = idTokenSigningAlgs
  return {
    // Without it the OP signs with RS256, which may not be among them (OpenID Connect Registration §2).
    ...(alg && { id_token_signed_response_alg: alg }),
    ...(idTokenDecryptionKeys?.[0] && {
      id_token_encrypted_response_alg: idTokenDecryptionKeys[0].algs[0],
      id_token_encrypted_response_enc: 'A256GCM',
    }),
  }
}

function backchannel(resolved: ResolvedOptions) {
  const { deliveryMode, requestObjectKeys, userCodeParameter } = resolved.client.op
  const notification = deliveryMode === 'poll' ? undefined : urlOf(resolved, 'notification')
  const [requestKey] = requestObjectKeys ?? []
  return {
    backchannel_token_delivery_mode: deliveryMode,
    ...(notification && { backchannel_client_notification_endpoint: notification }),
    ...(requestKey && { backchannel_authentication_request_signing_alg: requestKey.alg }),
    backchannel_user_code_parameter: userCodeParameter === true,
  }
}

function logout(resolved: ResolvedOptions) {
  const { idpLogout, postLogoutRedirect, client } = resolved
  const backchannelLogout = urlOf(resolved, 'backchannelLogout')
  const redirect = client.absolute(postLogoutRedirect)
  return {
    // Without a sid all logins of the person end: those that CIBA brings about have none.
    ...(backchannelLogout && {
      backchannel_logout_uri: backchannelLogout,
      backchannel_logout_session_required: false,
    }),
    ...(idpLogout && redirect && { post_logout_redirect_uris: [redirect] }),
  }
}

function urlOf(
  { routes, client }: ResolvedOptions,
  route: keyof ResolvedOptions['routes'],
): string | undefined {
  const path = routes[route]
  return path === false ? undefined : client.absolute(path)
}
