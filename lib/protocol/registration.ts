/**
 * What is configured about one OP and our registration there: types only, with every option checked. Knows nothing of how
 * it is used.
 */

import type { IdTokenClaims } from '../grant.ts'
import type { DecryptionKey, SigningKey } from './client-keys.ts'
import type { ClientCertificate, CustomFetch } from './transport.ts'

/** How a client authenticates at the OP (`token_endpoint_auth_method`, OpenID Connect Core §9, RFC 8705 §2). */
export type ClientAuthMethod =
  | 'client_secret_basic'
  | 'client_secret_post'
  | 'client_secret_jwt'
  | 'private_key_jwt'
  | 'tls_client_auth'
  | 'self_signed_tls_client_auth'

/** A check of an ecosystem; it throws to refuse. */
export type ValidateIdTokenClaims = (
  claims: IdTokenClaims,
  context: { readonly isRefresh: boolean },
) => void | Promise<void>

/** How to reach the OP, and who we are to it. */
export interface OpConfig {
  readonly issuer: URL
  readonly clientID: string
  /** Needed by the methods that are named after it, and by ID tokens with `HS…`. */
  readonly clientSecret?: string
  readonly clientAuthMethod: ClientAuthMethod
  /** The first signs. */
  readonly clientAssertionKeys?: readonly SigningKey[]
  readonly deliveryMode: 'poll' | 'ping' | 'push'
  /** Requests are signed with the first (CIBA Core §7.1.1). */
  readonly requestObjectKeys?: readonly SigningKey[]
  /** Whether `backchannel_user_code_parameter` is registered [CFG-7]. */
  readonly userCodeParameter?: boolean
  /** Pinned algorithms of the ID token; by default the OP's list without `none` and `HS…` [CFG-8]. */
  readonly idTokenSigningAlgs?: readonly string[]
  /** A profile's: for whatever else the OP signs [FAPI-3]. */
  readonly signingAlgs?: readonly string[]
  /** ID tokens come encrypted for one of these keys. */
  readonly idTokenDecryptionKeys?: readonly DecryptionKey[]
  /** `false` switches a check off. */
  readonly idTokenChecks?: { readonly acr: boolean; readonly nonce: boolean }
  readonly validateIdTokenClaims?: ValidateIdTokenClaims
  /** `true`: `customFetch` presents the certificate. */
  readonly mtls?: ClientCertificate | true
  /** One key for all tokens, or a new one for each transaction. */
  readonly dpop?: SigningKey | 'perTransaction'
  /** Seconds [CFG-9]. */
  readonly clockTolerance: number
  /** For everything but token requests. */
  readonly timeoutMs: number
  readonly customFetch?: CustomFetch
  readonly allowInsecureRequests: boolean
}
