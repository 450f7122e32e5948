/**
 * What a finished login consists of, and what was asked of it: plain data that the protocol produces, a
 * transaction keeps and the session receives. Types only; knows nothing of any of the three.
 */

/** Any value that survives `JSON.stringify` and `JSON.parse`. */
export type JsonValue =
  | string
  | number
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue | undefined }

/** The claims of a validated ID token (OpenID Connect Core §2), under their own names. */
export interface IdTokenClaims {
  readonly iss: string
  readonly sub: string
  readonly aud: string | readonly string[]
  /** Seconds since the epoch, as all times in a token. */
  readonly exp: number
  readonly iat: number
  readonly auth_time?: number
  readonly acr?: string
  readonly amr?: readonly string[]
  readonly azp?: string
  readonly [claim: string]: JsonValue | undefined
}

/** The tokens that the OP granted. */
export interface TokenSet {
  readonly accessToken: string
  /** In lower case. */
  readonly tokenType: 'bearer' | 'dpop'
  /** Epoch milliseconds; absent when the OP did not say. */
  readonly expiresAt?: number
  /** Space-separated; what was asked for when the OP did not say (RFC 6749 §5.1). */
  readonly scope: string
  /** The signed JWT, also where it came encrypted. */
  readonly idToken: string
  readonly refreshToken?: string
  /**
   * What was granted of the request's `authorizationDetails`, in the OP's words; absent when the OP did not say
   * (RFC 9396 §7) [TOK-20].
   */
  readonly authorizationDetails?: readonly AuthorizationDetail[]
}

/** One element of `authorization_details` (RFC 9396 §2). */
export interface AuthorizationDetail {
  readonly type: string
  readonly [member: string]: JsonValue | undefined
}

/** A private key as a JWK (RFC 7517). */
export type PrivateJwk = Readonly<Record<string, unknown>>

/** The outcome of an approved authentication request. */
export interface Grant {
  readonly claims: IdTokenClaims
  readonly tokens: TokenSet
  /** The private JWK that the tokens are bound to, where each transaction has its own [AUTH-7]. */
  readonly dpopKey?: PrivateJwk
  /** When the tokens came, epoch milliseconds. */
  readonly grantedAt?: number
  /** The types of `authorization_details` that were asked for: a refresh must not bring others [TOK-20]. */
  readonly authorizationTypes?: readonly string[]
}

/** A grant that is in use. */
export interface HeldGrant extends Grant {
  /** How often it was refreshed: the higher, the newer. */
  readonly refreshes: number
  /** When its tokens came, epoch milliseconds. */
  readonly since: number
}

/** What the token response has to live up to, because the authentication request asked for it. */
export interface Expectations {
  /** When the authentication request was sent, epoch milliseconds [TOK-11]. */
  readonly requestedAt: number
  readonly scope: string
  readonly acrValues?: readonly string[]
  /** Seconds since the person last authenticated [TOK-16]. */
  readonly maxAge?: number
  readonly expectedSubject?: string
  /** Sent again with the token request (RFC 8707 §2.2) [REQ-11]. */
  readonly resource?: readonly string[]
  /** The types of `authorization_details`: others must not be granted [TOK-20]. */
  readonly authorizationTypes?: readonly string[]
  /** Sent by an ecosystem that has one [TOK-17]. */
  readonly nonce?: string
}
