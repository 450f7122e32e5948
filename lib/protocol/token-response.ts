/**
 * Processes the OP's answer to a token request: oauth4webapi's own function, made as strict as CIBA needs it.
 * Must never know what becomes of the tokens, nor ask the OP for anything but its keys.
 */

import * as oauth from 'oauth4webapi'
import {
  checkExpectations,
  checkInvariants,
  checkTokenHashes,
  clockOf,
  type IdTokenExpectations,
  requirePushClaims,
  signingAlgOf,
  verifyMac,
} from './id-token.ts'

/**
 * What to check beyond oauth4webapi; without any of it the two functions are one. An option that carries an
 * expected value counts with or without `strict`.
 */
export interface ProcessGrantResponseOptions
  extends oauth.ProcessTokenResponseOptions,
    oauth.ValidateSignatureOptions,
    IdTokenExpectations {
  /**
   * Checks everything that needs no expected value: there is an ID token, its signature verifies with the
   * OP's keys, its algorithm is asymmetric, no foreign `azp` or `aud`, a sound `sub`, no `iat` in the future,
   * no `nonce` that nobody sent, matching `at_hash` and `rt_hash` where present, the token type asked for
   * (OpenID Connect Core §3.1.3.7, §3.1.3.8; CIBA Core §10.1.1). With the client metadata
   * `id_token_encrypted_response_alg` a token that was not encrypted is refused, and `default_max_age`
   * stands in for `maxAge`.
   *
   * @default false
   */
  readonly strict?: boolean
  /**
   * The only acceptable signing algorithms of the ID token, whatever the metadata say; never `none`, and `HS…` only
   * with `clientSecret` (OpenID Connect Core §3.1.3.7 items 7 and 8).
   *
   * @default when strict: the client's `id_token_signed_response_alg`, else the OP's list, else RS256; none of them
   *   `HS…`
   */
  readonly idTokenSigningAlgs?: readonly string[]
  /** Verifies ID tokens with HS256, HS384 or HS512, where `idTokenSigningAlgs` names that. */
  readonly clientSecret?: string
  /**
   * The response was pushed, not asked for: requires the claims `at_hash` and `auth_req_id`, and `rt_hash` beside a
   * refresh token (CIBA Core §10.3.1). Needs `strict`.
   *
   * @default false
   */
  readonly pushed?: boolean
  /**
   * The only acceptable `token_type` (RFC 6749 §7.1, RFC 9449 §5).
   *
   * @default 'bearer' when strict
   */
  readonly tokenType?: 'bearer' | 'dpop'
}

/**
 * Processes the OP's answer to a CIBA token request (CIBA Core §10.1.1, §11). Drop-in for the function of the
 * same name in oauth4webapi: same result, same errors, and `getValidatedIdTokenClaims(result)` as well as
 * `validateApplicationLevelSignature(as, response)` work afterwards.
 *
 * Nothing is returned before every check has passed; a refusal is an `OperationProcessingError` with
 * oauth4webapi's codes. The HTTP options, as well as `jwksCache`, serve the request for the OP's keys.
 *
 * @throws TypeError for a nonsensical option, before `response` is read.
 */
export async function processBackchannelAuthenticationGrantResponse(
  as: oauth.AuthorizationServer,
  client: oauth.Client,
  response: Response,
  options?: ProcessGrantResponseOptions,
): Promise<oauth.TokenEndpointResponse> {
  const { result } = await processTokenResponse(as, client, response, options)
  return result
}

/** A processed token response. */
export interface ProcessedTokenResponse {
  readonly result: oauth.TokenEndpointResponse
  readonly claims: oauth.IDToken | undefined
  /** The ID token as the signed JWT, also where it came encrypted [REQ-6]. */
  readonly jws: string | undefined
}

/**
 * As {@link processBackchannelAuthenticationGrantResponse}, and gives the JWS. A refreshed token needs no ID token
 * (OpenID Connect Core §12.2).
 */
export async function processTokenResponse(
  as: oauth.AuthorizationServer,
  client: oauth.Client,
  response: Response,
  options?: ProcessGrantResponseOptions,
  idToken: 'required' | 'optional' = 'required',
): Promise<ProcessedTokenResponse> {
  assertOptions(options)
  const strict = options?.strict === true
  const algs = acceptedAlgs(as, client, options)
  const decryption = captureJws(options)
  const result = await oauth.processBackchannelAuthenticationGrantResponse(
    algs ? { ...as, id_token_signing_alg_values_supported: algs } : as,
    algs ? withoutSigningAlg(client) : client,
    response,
    decryption.options,
  )
  const claims = oauth.getValidatedIdTokenClaims(result)
  const jws = decryption.jws() ?? result.id_token
  if (!options) return { result, claims, jws }

  assertTokenType(result, options)
  if (jws === undefined || claims === undefined) {
    if (idToken === 'required' && (strict || needsIdToken(options))) throw invalid('must be a string')
    return { result, claims, jws }
  }
  const clock = clockOf(client, Date.now())
  checkExpectations(claims, client.client_id, strict ? strictly(options, client) : options, clock)
  if (strict) {
    const encrypted = decryption.jws() !== undefined
    if (!encrypted && typeof client['id_token_encrypted_response_alg'] === 'string') {
      throw invalid('must be encrypted') // as registered [TOK-19]
    }
    const alg = signingAlgOf(jws)
    checkInvariants(claims, client.client_id, options.nonce !== undefined, clock)
    if (options.pushed) requirePushClaims(claims, result)
    checkTokenHashes(claims, result, alg)
    if (isMac(alg)) verifyMac(jws, options.clientSecret as string)
    // Last, as it may cost a request; with the original `as`, whose identity keys the JWKS cache [TOK-9].
    else await verifySignature(as, response, options)
  }
  return { result, claims, jws }
}

/** Where the keys of an OP come from since they were fetched anew: oauth4webapi's cache hangs on the object. */
const keySources = new WeakMap<oauth.AuthorizationServer, { as: oauth.AuthorizationServer; since: number }>()
/** Unknown keys cause no more requests than one in this time. */
const keySourceMs = 5_000

/**
 * Verifies the signature of a processed response with the OP's keys. oauth4webapi asks again for a key that it does not
 * know, but not within a minute; an OP that rotates its keys in that minute must not cost anybody the login [TOK-22].
 */
export async function verifySignature(
  as: oauth.AuthorizationServer,
  response: Response,
  options?: oauth.ValidateSignatureOptions,
): Promise<void> {
  const source = keySources.get(as)
  try {
    await oauth.validateApplicationLevelSignature(source?.as ?? as, response, options)
  } catch (error) {
    if ((error as { code?: unknown }).code !== oauth.KEY_SELECTION) throw error
    let fresh = keySources.get(as)
    if (fresh === source) {
      if (source && Date.now() - source.since < keySourceMs) throw error
      fresh = { as: { ...as }, since: Date.now() }
      keySources.set(as, fresh)
    }
    // A cache of the caller's would bring the old keys back.
    const { [oauth.jwksCache]: _, ...anew } = options ?? {}
    await oauth.validateApplicationLevelSignature(fresh?.as ?? as, response, anew)
  }
}

/**
 * The algorithms to hold the ID token to, or `undefined` to leave the choice to oauth4webapi, which would
 * take an unsigned token from an OP that lists `none` [CFG-8, TOK-8].
 */
export function acceptedAlgs(
  as: oauth.AuthorizationServer,
  client: oauth.Client,
  options?: ProcessGrantResponseOptions,
): string[] | undefined {
  if (options?.idTokenSigningAlgs) return [...options.idTokenSigningAlgs]
  if (!options?.strict) return undefined
  const registered = client?.id_token_signed_response_alg
  if (registered !== undefined) return [registered].filter(isAsymmetric)
  const listed: unknown = as?.id_token_signing_alg_values_supported
  return (Array.isArray(listed) ? listed : ['RS256']).filter(isAsymmetric)
}

function isAsymmetric(alg: string): boolean {
  return !/^(?:none$|HS)/i.test(alg)
}

function isMac(alg: string): boolean {
  return /^HS(?:256|384|512)$/.test(alg)
}

/** oauth4webapi asks the client's metadata first, then the OP's list, which is where ours is. */
function withoutSigningAlg(client: oauth.Client): oauth.Client {
  if (client?.id_token_signed_response_alg === undefined) return client
  const { id_token_signed_response_alg: _, ...rest } = client
  return rest
}

/** Lets oauth4webapi decrypt, but keeps the JWS inside: its header names the hash of `at_hash` [TOK-13]. */
function captureJws(options?: ProcessGrantResponseOptions): {
  readonly options: oauth.ProcessTokenResponseOptions | undefined
  readonly jws: () => string | undefined
} {
  let jws: string | undefined
  const decrypt = options?.[oauth.jweDecrypt]
  if (!options?.strict || decrypt === undefined) return { options, jws: () => undefined }
  const capture: oauth.JweDecryptFunction = async (jwe) => {
    jws = await decrypt(jwe)
    return jws
  }
  return { options: { ...options, [oauth.jweDecrypt]: capture }, jws: () => jws }
}

function strictly(options: ProcessGrantResponseOptions, client: oauth.Client): IdTokenExpectations {
  const maxAge = options.maxAge ?? client.default_max_age
  return {
    ...options,
    trustedAudiences: options.trustedAudiences ?? [],
    ...(maxAge !== undefined && { maxAge }),
  }
}

/** Without an ID token these could never be met; the others speak of claims that may be absent anyway. */
function needsIdToken({ acrValues, maxAge, expectedSubject, nonce }: ProcessGrantResponseOptions): boolean {
  return Boolean(acrValues?.length || nonce) || [maxAge, expectedSubject].some((value) => value !== undefined)
}

function assertTokenType(result: oauth.TokenEndpointResponse, options: ProcessGrantResponseOptions): void {
  const expected = options.tokenType ?? (options.strict ? 'bearer' : undefined)
  if (expected === undefined || result.token_type === expected) return
  throw new oauth.OperationProcessingError(
    '"response" body "token_type" property does not match the expected value',
    { code: oauth.JSON_ATTRIBUTE_COMPARISON, cause: { attribute: 'token_type' } },
  )
}

function invalid(mustBe: string): oauth.OperationProcessingError {
  return new oauth.OperationProcessingError(`"response" body "id_token" property ${mustBe}`, {
    code: oauth.INVALID_RESPONSE,
    cause: { attribute: 'id_token' },
  })
}

/** A misspelt expectation must not turn into a check that always passes: `NaN` is never too old. */
function assertOptions(options?: ProcessGrantResponseOptions): void {
  if (!options) return
  const { strict, idTokenSigningAlgs: algs, clientSecret, pushed, tokenType, requestedAt, maxAge } = options
  assertOption(strict === undefined || typeof strict === 'boolean', 'strict', 'must be a boolean')
  const mayMac = strict === true && typeof clientSecret === 'string' && clientSecret !== ''
  const isAcceptable = (alg: string) => isAsymmetric(alg) || (mayMac && isMac(alg))
  assertOption(
    algs === undefined || (isStringArray(algs) && algs.length > 0 && algs.every(isAcceptable)),
    'idTokenSigningAlgs',
    'must be a non-empty array of JWS algorithms, asymmetric ones unless "strict" and "clientSecret" are given',
  )
  assertOption(
    pushed === undefined || pushed === false || (pushed === true && strict === true),
    'pushed',
    'needs "strict"',
  )
  const types: unknown[] = [undefined, 'bearer', 'dpop']
  assertOption(types.includes(tokenType), 'tokenType', 'must be "bearer" or "dpop"')
  for (const name of ['trustedAudiences', 'acrValues'] as const) {
    assertOption(
      options[name] === undefined || isStringArray(options[name]),
      name,
      'must be an array of strings',
    )
  }
  for (const name of ['authReqId', 'expectedSubject', 'nonce'] as const) {
    const value: unknown = options[name]
    assertOption(
      value === undefined ||
        (typeof value === 'string' && value !== '') ||
        (name === 'nonce' && value === false),
      name,
      'must be a non-empty string',
    )
  }
  assertOption(requestedAt === undefined || Number.isFinite(requestedAt), 'requestedAt', 'must be a number')
  assertOption(
    maxAge === undefined || (Number.isFinite(maxAge) && maxAge >= 0),
    'maxAge',
    'must be a non-negative number',
  )
}

function isStringArray(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}

function assertOption(condition: boolean, name: string, mustBe: string): void {
  if (condition) return
  throw Object.assign(new TypeError(`"options.${name}" ${mustBe}`), { code: 'ERR_INVALID_ARG_VALUE' })
}
