/**
 * Requests with an access token: protected resources (RFC 6750, RFC 9449 §7) and the UserInfo endpoint (OpenID Connect
 * Core §5.3). Knows nothing of sessions or of refreshing.
 */

import { randomUUID } from 'node:crypto'
import * as oauth from 'oauth4webapi'
import { CibaError } from '../errors.ts'
import type { Grant, JsonValue } from '../grant.ts'
import type { Connection } from './connection.ts'
import { answerChallenge, proofFor } from './dpop.ts'
import { acceptedAlgs, verifySignature } from './token-response.ts'
import { type CustomFetchInit, retryAfterSeconds, unreachable, wasNeverSent } from './transport.ts'

/** What the UserInfo endpoint says of a person (OpenID Connect Core §5.1). */
export interface UserInfo {
  readonly sub: string
  readonly [claim: string]: JsonValue | undefined
}

const interactionId = 'x-fapi-interaction-id'

/**
 * Sends a request with the access token in the `Authorization` header, and nowhere else [FAPI-7]; redirects come back as
 * they are. Rejects as `fetch` does, and with a `TypeError` for anything but an https URL.
 */
export async function fetchResource(
  connection: Connection,
  grant: Pick<Grant, 'tokens' | 'dpopKey'>,
  url: string | URL,
  init: RequestInit = {},
  isFapi = false,
): Promise<Response> {
  const { config, resourceFetch } = connection
  const target = new URL(url)
  if (target.protocol !== 'https:' && !(target.protocol === 'http:' && config.allowInsecureRequests)) {
    throw new TypeError('an access token is only sent to an https URL')
  }
  const { method = 'GET', signal } = init
  const headers = new Headers(init.headers)
  headers.delete('authorization')
  headers.delete('dpop') // it would make the token a DPoP one
  const body = await bodyOf(init, headers)
  if (isFapi && !headers.has(interactionId)) headers.set(interactionId, randomUUID()) // [FAPI-6]
  const DPoP = await proofFor(connection.dpop, grant)
  const send = () =>
    oauth.protectedResourceRequest(
      grant.tokens.accessToken,
      method.toUpperCase(),
      target,
      headers,
      body as oauth.ProtectedResourceRequestBody,
      {
        [oauth.customFetch]: (url, sent) =>
          resourceFetch(url, { ...(sent as CustomFetchInit), ...(isStream(body) && { duplex: 'half' }) }),
        [oauth.allowInsecureRequests]: config.allowInsecureRequests,
        ...(signal && { signal }),
        ...(DPoP && { DPoP }),
      },
    )
  try {
    return await send()
  } catch (error) {
    if (!(error instanceof oauth.WWWAuthenticateChallengeError)) throw error
    // A challenge is an answer like any other to whoever asked.
    if (!DPoP || !oauth.isDPoPNonceError(error) || isStream(body)) return error.response
    await error.response.body?.cancel()
    answerChallenge(DPoP)
    return send().catch((again: unknown) => {
      if (again instanceof oauth.WWWAuthenticateChallengeError) return again.response
      throw again
    })
  }
}

/** undici does not know the FormData of Node.js for what it is. */
async function bodyOf({ body }: RequestInit, headers: Headers): Promise<RequestInit['body']> {
  if (!(body instanceof FormData)) return body
  const encoded = new Response(body)
  headers.set('content-type', encoded.headers.get('content-type') as string)
  return encoded.arrayBuffer()
}

/** It has been read, and cannot be sent again. */
function isStream(body: unknown): boolean {
  return (
    body instanceof ReadableStream ||
    (typeof body === 'object' && body !== null && Symbol.asyncIterator in body)
  )
}

/**
 * Asks the UserInfo endpoint, and checks that the answer is about the same person [TOK-24]. Rejects with a
 * {@link CibaError}.
 */
export async function fetchUserInfo(connection: Connection, grant: Grant): Promise<UserInfo> {
  const { client, validation } = connection
  const server = await connection.discover()
  if (typeof server.userinfo_endpoint !== 'string') {
    throw new CibaError('ERR_CIBA_INVALID_OP_METADATA', 'the OP has no "userinfo_endpoint" in its metadata')
  }
  if (grant.claims.iss !== server.issuer) {
    throw new CibaError('ERR_CIBA_INVALID_TOKEN', 'the access token is of another OP')
  }
  // What it lists for ID tokens, where it lists nothing for this.
  const { signingAlgs } = connection.config
  const userinfo_signing_alg_values_supported = (
    server.userinfo_signing_alg_values_supported ??
    acceptedAlgs(server, client, validation) ??
    []
  ).filter((alg) => signingAlgs?.includes(alg) !== false)
  const listed = { ...server, userinfo_signing_alg_values_supported }
  const DPoP = await proofFor(connection.dpop, grant)
  const ask = async (): Promise<UserInfo> => {
    const options = { ...connection.http(), ...(DPoP && { DPoP }) }
    const response = await oauth.userInfoRequest(server, client, grant.tokens.accessToken, options)
    const claims = await oauth.processUserInfoResponse(listed, client, grant.claims.sub, response, validation)
    if (response.headers.get('content-type')?.split(';')[0] === 'application/jwt') {
      await verifySignature(server, response, validation)
    }
    return claims as UserInfo
  }
  try {
    return await ask().catch((error: unknown) => {
      if (!DPoP || !oauth.isDPoPNonceError(error)) throw error
      answerChallenge(DPoP)
      return ask()
    })
  } catch (cause) {
    throw userInfoFailure(cause)
  }
}

function userInfoFailure(cause: unknown): CibaError {
  // Not every OP sends a challenge with it.
  const isChallenge = cause instanceof oauth.WWWAuthenticateChallengeError
  const answer = isChallenge ? cause : (cause as Error).cause
  if ((answer as { status?: unknown } | undefined)?.status === 401) {
    return new CibaError('ERR_CIBA_INVALID_TOKEN', 'the UserInfo endpoint does not take the access token')
  }
  if (wasNeverSent(cause)) return unreachable(cause)
  // Its own cause may hold the claims, and the messages of others anything [SEC-11].
  const known = [oauth.OperationProcessingError, oauth.UnsupportedOperationError]
  const why = known.some((kind) => cause instanceof kind) ? (cause as Error).message : 'the request failed'
  return new CibaError('ERR_CIBA_OP_FAILED', `the UserInfo endpoint did not answer as it should: ${why}`, {
    retryAfter: retryAfterSeconds,
  })
}
