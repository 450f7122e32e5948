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
  signingAlgOf,
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
   * The only acceptable signing algorithms of the ID token, whatever the metadata say; never `none` or `HS…`
   * (OpenID Connect Core §3.1.3.7 item 7).
   *
   * @default when strict: the client's `id_token_signed_response_alg`, else the OP's list, else RS256
   */
  readonly idTokenSigningAlgs?: readonly string[]
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
  if (!options) return result

  assertTokenType(result, options)
  const claims = oauth.getValidatedIdTokenClaims(result)
  if (result.id_token === undefined || claims === undefined) {
    if (strict || needsIdToken(options)) throw invalid('must be a string')
    return result
  }
  const clock = clockOf(client, Date.now())
  checkExpectations(claims, client.client_id, strict ? strictly(options, client) : options, clock)
  if (strict) {
    const encrypted = decryption.jws() !== undefined
    if (!encrypted && typeof client['id_token_encrypted_response_alg'] === 'string') {
      throw invalid('must be encrypted') // as registered [TOK-19]
    }
    checkInvariants(claims, client.client_id, options.nonce !== undefined, clock)
    checkTokenHashes(claims, result, signingAlgOf(decryption.jws() ?? result.id_token))
    // Last, as it may cost a request; with the original `as`, whose identity keys the JWKS cache [TOK-9].
    await oauth.validateApplicationLevelSignature(as, response, options)
  }
  return result
}

/**
 * The algorithms to hold the ID token to, or `undefined` to leave the choice to oauth4webapi, which would
 * take an unsigned token from an OP that lists `none` [CFG-8, TOK-8].
 */
function acceptedAlgs(
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
  return Boolean(acrValues?.length) || [maxAge, expectedSubject, nonce].some((value) => value !== undefined)
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
  const { strict, idTokenSigningAlgs: algs, tokenType, requestedAt, maxAge } = options
  assertOption(strict === undefined || typeof strict === 'boolean', 'strict', 'must be a boolean')
  assertOption(
    algs === undefined || (isStringArray(algs) && algs.length > 0 && algs.every(isAsymmetric)),
    'idTokenSigningAlgs',
    'must be a non-empty array of asymmetric JWS algorithms',
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
      value === undefined || (typeof value === 'string' && value !== ''),
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
