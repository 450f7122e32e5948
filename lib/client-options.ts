/**
 * The options of the client, in types and prose. Knows nothing of how they are checked.
 */

import type { AuthenticationRequestParameters } from './protocol/authentication-request.ts'
import type { PrivateKeyInput } from './protocol/client-keys.ts'
import type { ClientAuthMethod, ValidateIdTokenClaims } from './protocol/registration.ts'
import type { ClientCertificate, CustomFetch } from './protocol/transport.ts'
import type { TransactionStore } from './store.ts'
import type { DeliveryMode } from './transaction.ts'

/** The options that concern the OP, our registration there, and where transactions are kept. */
export interface CibaClientOptions {
  /**
   * The OP's issuer URL, https; its metadata is found by discovery when it is first needed. An issuer with a path
   * needs its exact trailing slash. Environment variable: `ISSUER_BASE_URL`.
   */
  readonly issuerBaseURL?: string | undefined
  /** Our `client_id` at the OP. Environment variable: `CLIENT_ID`. */
  readonly clientID?: string | undefined
  /**
   * Our `client_secret` at the OP: for the client authentication methods that are named after it, and for ID tokens
   * signed with it. Environment variable: `CLIENT_SECRET`.
   */
  readonly clientSecret?: string | undefined
  /**
   * The public URL of this app, https; required in ping and push mode. The client notification endpoint that the OP must
   * know is this URL followed by `routes.notification` (CIBA Core §4). Environment variable: `BASE_URL`.
   */
  readonly baseURL?: string | undefined
  /**
   * Seals the records of transactions and makes notification tokens. At least 8 characters, better 32 random
   * bytes in hex. With an array the first one is used, all are accepted: for rotation. Required with a shared
   * store. Environment variable: `SECRET`.
   *
   * @default random for each process
   */
  readonly secret?: string | readonly string[] | undefined
  /**
   * How the OP delivers the result, as registered for this client (`backchannel_token_delivery_mode`, CIBA Core
   * §5).
   *
   * @default 'poll'
   */
  readonly deliveryMode?: DeliveryMode | undefined
  /**
   * How this client authenticates at the OP (`token_endpoint_auth_method`, OpenID Connect Core §9, RFC 8705 §2).
   *
   * @default by what is given: `private_key_jwt` with a `clientAssertionSigningKey`, `client_secret_basic` with a
   *   `clientSecret`, `tls_client_auth` with `mtls` alone
   */
  readonly clientAuthMethod?: ClientAuthMethod | undefined
  /**
   * Signs the assertions of `private_key_jwt` (RFC 7523 §2.2). With an array the first one signs, and `routes.jwks`
   * publishes all: for rotation. RSA needs 2048 bits.
   */
  readonly clientAssertionSigningKey?: PrivateKeyInput | readonly PrivateKeyInput[] | undefined
  /**
   * The JWS algorithm of the assertions. `client_secret_jwt` uses HS256.
   *
   * @default the key's own `alg`, else PS256, ES256, ES384, ES512 or EdDSA, as the key can
   */
  readonly clientAssertionSigningAlg?: string | undefined
  /**
   * With a key, authentication requests are signed (CIBA Core §7.1.1). An array as for `clientAssertionSigningKey`.
   */
  readonly requestObjectSigningKey?: PrivateKeyInput | readonly PrivateKeyInput[] | undefined
  /** The JWS algorithm of signed requests, as registered. @default as for `clientAssertionSigningAlg` */
  readonly requestObjectSigningAlg?: string | undefined
  /**
   * The only acceptable signing algorithm(s) of ID tokens (OpenID Connect Core §3.1.3.7). HS256, HS384 and HS512 need a
   * `clientSecret` of at least as many bits.
   *
   * @default what the OP lists, without `none` and `HS…`; RS256 if it lists nothing
   */
  readonly idTokenSigningAlg?: string | readonly string[] | undefined
  /**
   * Decrypts ID tokens (OpenID Connect Core §10.2); plain ones are then refused. All keys of an array decrypt, so that
   * a key can be rotated. RSA1_5 is never taken.
   */
  readonly idTokenDecryptionKey?: PrivateKeyInput | readonly PrivateKeyInput[] | undefined
  /**
   * Switches off single checks of the ID token, for OPs that cannot do better: `acr`, that it is one of the
   * `acrValues`; `nonce`, that there is none that nobody sent.
   *
   * @default { acr: true, nonce: true }
   */
  readonly idTokenChecks?:
    | { readonly acr?: boolean | undefined; readonly nonce?: boolean | undefined }
    | undefined
  /**
   * A check of your own, after all others, also of refreshed ID tokens; may be async. What it throws is not shown to
   * anybody: the transaction ends as `failed` with `invalid_token_response`; a push is refused, and a
   * later one may pass.
   */
  readonly validateIdTokenClaims?: ValidateIdTokenClaims | undefined
  /**
   * A client certificate for all requests to the OP and for `req.ciba.fetch()`, whatever the client authentication
   * (RFC 8705); the OP's `mtls_endpoint_aliases` are used. `true`: `customFetch` presents it.
   */
  readonly mtls?: ClientCertificate | true | undefined
  /**
   * Binds the tokens to a key (RFC 9449). `true`: to a new one for each transaction, which the record and then the
   * session keep sealed. A private key: to that one. Not in push mode.
   *
   * @default false
   */
  readonly dpop?: boolean | PrivateKeyInput | undefined
  /**
   * Refuses at start-up, as far as possible, what the profile forbids: FAPI-CIBA, Implementer's Draft 1.
   */
  readonly profile?: 'fapi-ciba-id1' | undefined
  /**
   * Whether `backchannel_user_code_parameter` is registered (CIBA Core §4): a request may then have a `userCode`.
   *
   * @default false
   */
  readonly userCodeParameter?: boolean | undefined
  /**
   * Defaults for every authentication request: every member of it but the hint.
   *
   * @default { scope: 'openid' }
   */
  readonly authorizationParams?: AuthenticationRequestParameters | undefined
  /** Where transactions are kept. @default a new `MemoryTransactionStore` */
  readonly store?: TransactionStore | undefined
  /**
   * Seconds that the OP may take to answer, 1 to 300. Token requests are never given less than 30 (CIBA Core
   * §10.1).
   *
   * @default 60 for token requests, 10 for others
   */
  readonly httpTimeout?: number | undefined
  /** Seconds that the OP's clock and ours may be apart, 0 to 300. @default 30 */
  readonly clockTolerance?: number | undefined
  /** Sends the requests to the OP instead of the built-in transport, for example through a proxy. */
  readonly customFetch?: CustomFetch | undefined
  /** Allows plain http for the OP and `baseURL`: for development only. @default false */
  readonly allowInsecureRequests?: boolean | undefined
}

/** The names of {@link CibaClientOptions}; the compiler complains when one is missing. */
export const clientOptionNames: readonly (keyof CibaClientOptions)[] = Object.keys({
  issuerBaseURL: true,
  clientID: true,
  clientSecret: true,
  baseURL: true,
  secret: true,
  deliveryMode: true,
  clientAuthMethod: true,
  clientAssertionSigningKey: true,
  clientAssertionSigningAlg: true,
  requestObjectSigningKey: true,
  requestObjectSigningAlg: true,
  idTokenSigningAlg: true,
  idTokenDecryptionKey: true,
  idTokenChecks: true,
  validateIdTokenClaims: true,
  mtls: true,
  dpop: true,
  profile: true,
  userCodeParameter: true,
  authorizationParams: true,
  store: true,
  httpTimeout: true,
  clockTolerance: true,
  customFetch: true,
  allowInsecureRequests: true,
} satisfies Record<keyof CibaClientOptions, true>) as (keyof CibaClientOptions)[]
