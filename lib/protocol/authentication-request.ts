/**
 * The authentication request (CIBA Core §7.1): from the application's words to the standard's parameters. Knows
 * nothing of the OP that it goes to.
 */

import { randomInt } from 'node:crypto'
import { CibaError } from '../errors.ts'
import type { AuthorizationDetail, Expectations, JsonValue } from '../grant.ts'
import { subjectOfIdTokenHint } from './id-token.ts'

/** Says who shall approve: exactly one of three hints (CIBA Core §7.1) [REQ-3]. */
export type Hint =
  | {
      /** The person's name at the OP: e-mail address, phone number, account. */
      readonly loginHint: string
      readonly loginHintToken?: undefined
      readonly idTokenHint?: undefined
    }
  | {
      /** A token that names the person, issued by the OP or somebody it trusts; opaque here [REQ-7]. */
      readonly loginHintToken: string
      readonly loginHint?: undefined
      readonly idTokenHint?: undefined
    }
  | {
      /** An ID token of the person, as the signed JWT; it may be expired [REQ-6]. */
      readonly idTokenHint: string
      readonly loginHint?: undefined
      readonly loginHintToken?: undefined
    }

/** The parameters of an authentication request besides the hint. */
export interface AuthenticationRequestParameters {
  /** Space-separated, with `openid` among them. @default 'openid' */
  readonly scope?: string | undefined
  /** In order of preference; the ID token's `acr` must then be one of them [REQ-5, TOK-15]. */
  readonly acrValues?: readonly string[] | undefined
  /**
   * Shown on both devices, so that the person can compare. `'auto'` makes a random one such as `KXM-4F7` [REQ-8].
   */
  readonly bindingMessage?: string | undefined
  /** The person's secret code, if the OP asks for one; never stored [REQ-9]. */
  readonly userCode?: string | undefined
  /** Seconds until the request shall expire, a positive integer [REQ-10]. */
  readonly requestedExpiry?: number | undefined
  /** Seconds since the person last authenticated at the OP, at most [TOK-16]. */
  readonly maxAge?: number | undefined
  /** The `sub` that the ID token must have; by default that of `idTokenHint` [TOK-18]. */
  readonly expectedSubject?: string | undefined
  /** What exactly shall be allowed, each with its `type` (RFC 9396) [REQ-12]. */
  readonly authorizationDetails?: readonly AuthorizationDetail[] | undefined
  /** Where the access token is for: absolute URIs without fragment (RFC 8707); sent with the token request too [REQ-11]. */
  readonly resource?: string | readonly string[] | undefined
  /**
   * What the OP may weigh or show (FAPI-CIBA §5.3). An object, or its JSON text for an OP that takes only text in a signed
   * request [REQ-13].
   */
  readonly requestContext?: Readonly<Record<string, JsonValue>> | string | undefined
  /**
   * Parameters of extensions, under their names on the wire. Those that this package sets itself are refused [REQ-14]; a
   * `nonce` is then expected in the ID token [TOK-17].
   */
  readonly extra?: Readonly<Record<string, string>> | undefined
}

/** What to ask of the OP, and of whom. */
export type AuthenticationRequest = Hint & AuthenticationRequestParameters

/** Parameters by their names on the wire; only `resource` may be there several times [REQ-15]. */
export type RequestParameters = Readonly<Record<string, string | readonly string[]>>

/** A checked authentication request, in the standard's words. */
export interface CheckedRequest {
  /** Everything that is sent, but for what client authentication and delivery mode add. */
  readonly parameters: RequestParameters
  readonly expectations: Omit<Expectations, 'requestedAt'>
  /** Who is asked, for limiters: the subject of an ID token, or the hint. */
  readonly hint: string
  /** `requestContext` was given as text and stays text in a signed request. */
  readonly isContextText: boolean
  readonly bindingMessage?: string
}

/** The members that are hints. */
export const hintNames: readonly ['loginHint', 'loginHintToken', 'idTokenHint'] = [
  'loginHint',
  'loginHintToken',
  'idTokenHint',
]

const knownNames: ReadonlySet<string> = new Set([
  ...hintNames,
  'scope',
  'acrValues',
  'bindingMessage',
  'userCode',
  'requestedExpiry',
  'maxAge',
  'expectedSubject',
  'authorizationDetails',
  'resource',
  'requestContext',
  'extra',
] satisfies (keyof Hint | keyof AuthenticationRequestParameters)[])

/** No vowels, no look-alikes: neither words nor doubts. 27^6 values. */
const bindingAlphabet = 'BCDFGHJKMNPQRSTVWXZ23456789'

/**
 * Checks a request and translates it; a member that is `undefined` counts as absent.
 *
 * @throws CibaError `ERR_CIBA_INVALID_REQUEST`; the message names the member, never its value.
 */
export function checkAuthenticationRequest(request: AuthenticationRequest): CheckedRequest {
  if (typeof request !== 'object' || request === null)
    throw invalid('the authentication request must be an object')
  for (const name of Object.keys(request)) {
    if (!knownNames.has(name)) throw invalid(`"${name}" is not a member of an authentication request`)
  }
  const [hintName, hint] = checkHint(request)
  checkBounds(request)
  const bindingMessage = request.bindingMessage === 'auto' ? randomBindingMessage() : request.bindingMessage
  const { scope = 'openid', acrValues, maxAge, userCode, requestedExpiry, extra } = request
  const { authorizationDetails, requestContext } = request
  const subject = subjectOfHint(request) // also finds out what is no hint [REQ-6]
  const expectedSubject = request.expectedSubject ?? subject
  const resource = request.resource && Object.freeze([request.resource].flat())
  return {
    hint: subject ?? hint,
    parameters: withoutUndefined({
      ...extra,
      scope,
      [wireNames[hintName]]: hint,
      acr_values: acrValues?.join(' '),
      binding_message: bindingMessage,
      user_code: userCode,
      requested_expiry: requestedExpiry?.toString(),
      max_age: maxAge?.toString(),
      authorization_details: authorizationDetails && JSON.stringify(authorizationDetails),
      request_context: typeof requestContext === 'object' ? JSON.stringify(requestContext) : requestContext,
      resource,
    }),
    expectations: withoutUndefined({
      scope,
      acrValues: acrValues && Object.freeze([...acrValues]),
      maxAge,
      expectedSubject,
      resource,
      authorizationTypes: authorizationDetails && [...new Set(authorizationDetails.map(({ type }) => type))],
      nonce: extra?.['nonce'],
    }) as CheckedRequest['expectations'],
    isContextText: typeof requestContext === 'string',
    ...(bindingMessage === undefined ? {} : { bindingMessage }),
  }
}

const wireNames = {
  loginHint: 'login_hint',
  loginHintToken: 'login_hint_token',
  idTokenHint: 'id_token_hint',
}

function checkHint(request: AuthenticationRequest): ['loginHint' | 'loginHintToken' | 'idTokenHint', string] {
  const given = hintNames.filter((name) => request[name] !== undefined)
  const [name] = given
  if (name === undefined || given.length > 1) {
    throw invalid('exactly one of "loginHint", "loginHintToken" and "idTokenHint" must be given')
  }
  const hint: unknown = request[name]
  if (typeof hint !== 'string' || hint.trim() === '') throw invalid(`"${name}" must be a non-empty string`)
  return [name, hint]
}

function checkBounds(request: AuthenticationRequest): void {
  const { scope, acrValues, bindingMessage, userCode, requestedExpiry, maxAge, expectedSubject } = request
  const { authorizationDetails, resource, requestContext, extra } = request
  check('scope', scope, (value) => isText(value) && value.split(' ').includes('openid'), 'contain "openid"')
  check(
    'acrValues',
    acrValues,
    (value) =>
      Array.isArray(value) && value.length > 0 && value.every((acr) => isText(acr) && !acr.includes(' ')),
    'be a non-empty array of strings without spaces',
  )
  check(
    'bindingMessage',
    bindingMessage,
    (value) => isText(value) && value.length <= 300 && !/\p{Cc}/u.test(value),
    'be "auto" or plain text of 1 to 300 characters',
  )
  check('userCode', userCode, isText, 'be a non-empty string')
  check('requestedExpiry', requestedExpiry, (value) => isInteger(value) && value > 0, 'be a positive integer')
  check('maxAge', maxAge, (value) => isInteger(value) && value >= 0, 'be a non-negative integer')
  check('expectedSubject', expectedSubject, isText, 'be a non-empty string')
  check(
    'authorizationDetails',
    authorizationDetails,
    (value) =>
      Array.isArray(value) &&
      value.length > 0 &&
      Array.from(value).every(
        (one) => isObject(one) && isJson(one) && isText((one as AuthorizationDetail).type),
      ),
    'be a non-empty array of objects with a "type"',
  )
  check(
    'resource',
    resource,
    (value) => {
      const all: readonly unknown[] = Array.isArray(value) ? value : [value]
      return all.length > 0 && Array.from(all).every(isResource)
    },
    'be an absolute URI without fragment, or a non-empty array of such URIs',
  )
  check('requestContext', requestContext, isContext, 'be an object, or the JSON text of one')
  check(
    'extra',
    extra,
    (value) => isObject(value) && isJson(value) && Object.values(value).every(isText),
    'be an object of strings',
  )
  for (const name of Object.keys(extra ?? {})) {
    if (ownedNames.has(name))
      throw invalid(`"extra" must not contain "${name}", which this package sets itself`)
  }
  // In a signed request it is an object [SIG-7].
  check('extra', extra?.['claims'], isContext, 'have the JSON text of an object for "claims"')
}

/** What belongs to the protocol, as a parameter or as a claim of a signed request [REQ-14, SIG-8]. */
const ownedNames: ReadonlySet<string> = new Set([
  ...['client_id', 'client_secret', 'client_assertion', 'client_assertion_type', 'client_notification_token'],
  ...['request', 'request_uri', 'grant_type', 'auth_req_id', 'iss', 'aud', 'sub', 'exp', 'iat', 'nbf', 'jti'],
  ...[
    'scope',
    'login_hint',
    'login_hint_token',
    'id_token_hint',
    'acr_values',
    'binding_message',
    'user_code',
  ],
  ...['requested_expiry', 'max_age', 'authorization_details', 'resource', 'request_context', '__proto__'],
])

function check<Value>(
  name: string,
  value: Value,
  test: (value: NonNullable<Value>) => boolean,
  mustBe: string,
): void {
  if (value === undefined) return
  if (value === null || !test(value)) throw invalid(`"${name}" must ${mustBe}`)
}

function subjectOfHint({ idTokenHint }: AuthenticationRequest): string | undefined {
  if (idTokenHint === undefined) return undefined
  try {
    return subjectOfIdTokenHint(idTokenHint)
  } catch (error) {
    throw invalid((error as Error).message)
  }
}

function randomBindingMessage(): string {
  const letters = Array.from({ length: 6 }, () => bindingAlphabet[randomInt(bindingAlphabet.length)])
  return `${letters.slice(0, 3).join('')}-${letters.slice(3).join('')}`
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value.trim() !== ''
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isResource(value: unknown): boolean {
  // RFC 3986 knows neither spaces nor letters beyond ASCII, which the parser would mend.
  return typeof value === 'string' && /^[!-~]+$/.test(value) && !value.includes('#') && URL.canParse(value)
}

function isContext(value: unknown): boolean {
  if (typeof value !== 'string') return isObject(value) && isJson(value)
  try {
    return isObject(JSON.parse(value))
  } catch {
    return false
  }
}

/** Whether the OP gets all of it: a `Date`, a `Map` or a cycle would not survive. */
function isJson(value: unknown, depth = 0): boolean {
  if (value === null || ['string', 'boolean', 'undefined'].includes(typeof value)) return depth < 100
  if (typeof value === 'number') return Number.isFinite(value)
  if (Array.isArray(value))
    return depth < 100 && Array.from(value).every((one) => one !== undefined && isJson(one, depth + 1))
  if (!isObject(value)) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  const isPlain = prototype === null || Object.getPrototypeOf(prototype) === null
  return depth < 100 && isPlain && Object.values(value).every((one) => isJson(one, depth + 1))
}

function isInteger(value: unknown): value is number {
  return Number.isSafeInteger(value)
}

function withoutUndefined<Value>(object: Record<string, Value | undefined>): Record<string, Value> {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as Record<
    string,
    Value
  >
}

function invalid(message: string): CibaError {
  return new CibaError('ERR_CIBA_INVALID_REQUEST', message)
}
