/**
 * The errors that callers can meet, each with a stable code. Knows nothing of where they are thrown or shown.
 */

/** The closed set of codes of a {@link CibaError}. */
export type CibaErrorCode =
  /** The authentication request, or what the browser sent, breaks a rule; the message says which. */
  | 'ERR_CIBA_INVALID_REQUEST'
  /** The OP refused the authentication request (CIBA Core §13): see {@link RequestRefusedError}. */
  | 'ERR_CIBA_REQUEST_REFUSED'
  /** The guard asks for a signed-in session. */
  | 'ERR_CIBA_UNAUTHENTICATED'
  /** The access token has expired and cannot be refreshed, or is not taken any more: sign in again. */
  | 'ERR_CIBA_INVALID_TOKEN'
  /** The guard asks for a stronger or fresher authentication (RFC 9470). */
  | 'ERR_CIBA_INSUFFICIENT_AUTHENTICATION'
  /** The guard asks for claims that this person does not have. */
  | 'ERR_CIBA_FORBIDDEN'
  /** `requireApproval()` asks for an approval, and the request names none. */
  | 'ERR_CIBA_APPROVAL_REQUIRED'
  /** The person has not decided yet. */
  | 'ERR_CIBA_APPROVAL_PENDING'
  /** Denied, expired, failed or cancelled; the message says which. */
  | 'ERR_CIBA_APPROVAL_REFUSED'
  /** An approval authorises its action once. */
  | 'ERR_CIBA_APPROVAL_USED'
  /** Approved for another action; it stays usable for that. */
  | 'ERR_CIBA_WRONG_ACTION'
  /** A browser called a state-changing route from another site. */
  | 'ERR_CIBA_CROSS_SITE_REQUEST'
  /** Unknown, purged, or started by another session: on purpose, nobody can tell which. */
  | 'ERR_CIBA_UNKNOWN_TRANSACTION'
  | 'ERR_CIBA_METHOD_NOT_ALLOWED'
  | 'ERR_CIBA_BODY_TOO_LARGE'
  | 'ERR_CIBA_UNSUPPORTED_MEDIA_TYPE'
  /** The start limiter says no; `retryAfter` says for how long. */
  | 'ERR_CIBA_TOO_MANY_STARTS'
  /** express-session does not run before `ciba()`, or its store is disconnected. */
  | 'ERR_CIBA_NO_SESSION'
  /** The OP's metadata does not fit this client or the standard; the message says what to change. */
  | 'ERR_CIBA_INVALID_OP_METADATA'
  /**
   * The OP answered with a 5xx or nonsense, or the connection was lost after the request had been sent. The
   * person may have been asked, so nothing is tried again by itself [REQ-16].
   */
  | 'ERR_CIBA_OP_FAILED'
  /** The OP could not be reached, or takes no requests for now: nobody was asked, trying again is safe. */
  | 'ERR_CIBA_OP_UNREACHABLE'
  /** No room for another transaction in the memory store. */
  | 'ERR_CIBA_STORE_FULL'
  /** The transaction store, the session store or the start limiter failed; `cause` has the reason. */
  | 'ERR_CIBA_STORE_FAILED'
  /** `close()` was called. */
  | 'ERR_CIBA_CLOSED'

/** The HTTP status and `error` that the routes answer, and whether the message may be shown to who asked. */
const kinds: Readonly<Record<CibaErrorCode, { status: number; error: string; expose?: false }>> = {
  ERR_CIBA_INVALID_REQUEST: { status: 400, error: 'invalid_request' },
  ERR_CIBA_REQUEST_REFUSED: { status: 400, error: 'invalid_request' },
  ERR_CIBA_UNAUTHENTICATED: { status: 401, error: 'unauthenticated' },
  ERR_CIBA_INVALID_TOKEN: { status: 401, error: 'invalid_token' },
  ERR_CIBA_INSUFFICIENT_AUTHENTICATION: { status: 401, error: 'insufficient_user_authentication' },
  ERR_CIBA_FORBIDDEN: { status: 403, error: 'forbidden' },
  ERR_CIBA_APPROVAL_REQUIRED: { status: 403, error: 'approval_required' },
  ERR_CIBA_APPROVAL_PENDING: { status: 409, error: 'approval_pending' },
  ERR_CIBA_APPROVAL_REFUSED: { status: 403, error: 'approval_refused' },
  ERR_CIBA_APPROVAL_USED: { status: 409, error: 'approval_used' },
  ERR_CIBA_WRONG_ACTION: { status: 403, error: 'wrong_action' },
  ERR_CIBA_CROSS_SITE_REQUEST: { status: 403, error: 'cross_site_request' },
  ERR_CIBA_UNKNOWN_TRANSACTION: { status: 404, error: 'unknown_transaction' },
  ERR_CIBA_METHOD_NOT_ALLOWED: { status: 405, error: 'method_not_allowed' },
  ERR_CIBA_BODY_TOO_LARGE: { status: 413, error: 'body_too_large' },
  ERR_CIBA_UNSUPPORTED_MEDIA_TYPE: { status: 415, error: 'unsupported_media_type' },
  ERR_CIBA_TOO_MANY_STARTS: { status: 429, error: 'too_many_requests' },
  ERR_CIBA_NO_SESSION: { status: 500, error: 'server_error', expose: false },
  ERR_CIBA_INVALID_OP_METADATA: { status: 502, error: 'bad_gateway', expose: false },
  ERR_CIBA_OP_FAILED: { status: 502, error: 'bad_gateway' },
  ERR_CIBA_OP_UNREACHABLE: { status: 503, error: 'temporarily_unavailable' },
  ERR_CIBA_STORE_FULL: { status: 503, error: 'temporarily_unavailable' },
  ERR_CIBA_STORE_FAILED: { status: 503, error: 'temporarily_unavailable' },
  ERR_CIBA_CLOSED: { status: 503, error: 'temporarily_unavailable' },
}

/** What a {@link CibaError} may be given besides its code and message. */
export interface CibaErrorDetails {
  /** The fault behind it. Not enumerable, so that serialisers and loggers that walk properties skip it. */
  readonly cause?: unknown
  /** Seconds after which trying again makes sense. */
  readonly retryAfter?: number
  /** Replaces the status that goes with the code. */
  readonly status?: number
}

/**
 * An error of this package that a caller may want to tell from others: switch on `code`.
 *
 * Messages never contain a secret, token, hint or `auth_req_id` [SEC-11].
 */
export class CibaError extends Error {
  override readonly name: string = 'CibaError'
  readonly code: CibaErrorCode
  /** The HTTP status that fits; Express's own error handler uses it too. */
  readonly status: number
  /** Whether the message may be shown to whoever sent the request. */
  readonly expose: boolean
  /** Seconds after which trying again makes sense, where that is known. */
  declare readonly retryAfter?: number

  constructor(code: CibaErrorCode, message: string, details: CibaErrorDetails = {}) {
    super(message, 'cause' in details ? { cause: details.cause } : undefined)
    this.code = code
    this.status = details.status ?? kinds[code].status
    this.expose = kinds[code].expose ?? true
    if (details.retryAfter !== undefined) this.retryAfter = details.retryAfter
  }

  /** The `error` member of the JSON that the routes answer. */
  get error(): string {
    return kinds[this.code].error
  }
}

/** The OP refused the authentication request (CIBA Core §13): nobody was asked [ERR-2]. */
export class RequestRefusedError extends CibaError {
  override readonly name: string = 'RequestRefusedError'
  readonly #error: string
  readonly #description: string | undefined

  constructor(error: string, description: string | undefined, details?: CibaErrorDetails) {
    super('ERR_CIBA_REQUEST_REFUSED', `the OP refused the authentication request: ${error}`, {
      status: error === 'access_denied' ? 403 : 400,
      ...details,
    })
    this.#error = error
    this.#description = description
  }

  /**
   * The OP's `error_description`: untrusted text, shortened, without control characters [ERR-6]. It may quote the
   * hint, so it is not enumerable and stays out of logs [SEC-11].
   */
  get error_description(): string | undefined {
    return this.#description
  }

  /** The OP's `error` code, for example `unknown_user_id`; the set is open. */
  override get error(): string {
    return this.#error
  }
}

/** What a store of ours throws, as the one error that callers know. */
export async function asStoreFailure<Result>(act: () => Promise<Result>): Promise<Result> {
  try {
    return await act()
  } catch (cause) {
    throw storeFailure(cause)
  }
}

/** Nothing new begins any more. */
export function closed(): CibaError {
  return new CibaError('ERR_CIBA_CLOSED', 'the client has been closed')
}

/** What went wrong with the store, as the caller's error. */
export function storeFailure(cause: unknown): CibaError {
  if (cause instanceof CibaError) return cause
  return new CibaError('ERR_CIBA_STORE_FAILED', 'the transaction store failed', { cause })
}

/** A wrong option stops the start: `TypeError` with `code: 'ERR_CIBA_INVALID_OPTION'` and `option`. */
export function invalidOption(option: string, problem: string): TypeError {
  const error = new TypeError(`"${option}" option ${problem}`)
  return Object.assign(error, { code: 'ERR_CIBA_INVALID_OPTION' as const, option })
}
