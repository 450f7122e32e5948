/**
 * The end of a login, as far as the OP has a part in it: revocation (RFC 7009), RP-Initiated Logout, and the logout
 * tokens of Back-Channel Logout. Knows nothing of sessions.
 */

import createDebug from 'debug'
import {
  createRemoteJWKSet,
  customFetch,
  decodeJwt,
  decodeProtectedHeader,
  type JWTPayload,
  type JWTVerifyGetKey,
  jwtVerify,
  type RemoteJWKSet,
} from 'jose'
import * as oauth from 'oauth4webapi'
import type { TokenSet } from '../grant.ts'
import type { Connection } from './connection.ts'
import { acceptedAlgs } from './token-response.ts'
import { unreachable } from './transport.ts'

const debug = createDebug('express-ciba:op')

/** Makes the tokens worthless, as far as the OP offers it. Never rejects: the login ends in any case. */
export async function revoke(connection: Connection, tokens: TokenSet): Promise<void> {
  const { client, clientAuth } = connection
  const { accessToken, refreshToken } = tokens
  const failed = (error: Error) => debug('not revoked: %s', error.message)
  const server = await connection.discover().catch(failed)
  if (typeof server?.revocation_endpoint !== 'string' || !isIssuerOf(server, tokens)) return
  const one = async (token: string, hint: string) => {
    const options = { ...connection.http(), additionalParameters: { token_type_hint: hint } }
    const response = await oauth.revocationRequest(server, client, clientAuth, token, options)
    await oauth.processRevocationResponse(response)
  }
  // The refresh token first: the access token often goes with it (RFC 7009 §2.1).
  if (refreshToken !== undefined) await one(refreshToken, 'refresh_token').catch(failed)
  await one(accessToken, 'access_token').catch(failed)
}

/**
 * Where a browser ends its session at the OP (OpenID Connect RP-Initiated Logout §2); `undefined` if the OP has no such
 * place, or cannot be asked.
 */
export async function endSessionURL(
  connection: Connection,
  tokens: TokenSet,
  postLogoutRedirect: string | undefined,
): Promise<string | undefined> {
  const server = await connection.discover().catch(() => undefined)
  const endpoint = server?.end_session_endpoint
  if (typeof endpoint !== 'string' || !URL.canParse(endpoint) || !isIssuerOf(server, tokens)) return undefined
  const url = new URL(endpoint)
  const isPlain = url.protocol === 'http:' && connection.config.allowInsecureRequests
  if (url.protocol !== 'https:' && !isPlain) return undefined
  url.searchParams.set('id_token_hint', tokens.idToken)
  url.searchParams.set('client_id', connection.client.client_id)
  if (postLogoutRedirect !== undefined) {
    url.searchParams.set('post_logout_redirect_uri', postLogoutRedirect)
  }
  return url.href
}

/** No OP gets the tokens of another: a session may come from a second `ciba()` in the same app. */
function isIssuerOf(server: oauth.AuthorizationServer | undefined, { idToken }: TokenSet): boolean {
  try {
    return decodeJwt(idToken).iss === server?.issuer
  } catch {
    return false
  }
}

/** Whom a logout token is about. */
export interface LogoutToken {
  readonly iss: string
  readonly jti: string
  /** One session at the OP, by its `sid`; otherwise all logins of the person. */
  readonly sid?: string
  readonly sub?: string
  /** Until when the same token could be sent again, epoch milliseconds. */
  readonly validUntil: number
}

const eventType = 'http://schemas.openid.net/event/backchannel-logout'
const oldestSeconds = 300
/** How soon an unknown key may cause another request. */
const keysCooldownMs = 5_000
const keySets = new WeakMap<oauth.AuthorizationServer, RemoteJWKSet>()

/** A logout token that is none, as opposed to an OP whose keys cannot be had. */
export class InvalidLogoutToken extends Error {}

/**
 * Verifies a logout token (OpenID Connect Back-Channel Logout §2.6).
 *
 * Rejects with {@link InvalidLogoutToken}, or with a `CibaError` where the OP's metadata or keys cannot be had.
 */
export async function verifyLogoutToken(connection: Connection, token: string): Promise<LogoutToken> {
  const { client, config } = connection
  requireForm(token)
  const server = await connection.discover()
  const { [oauth.jweDecrypt]: decrypt, ...validation } = connection.validation
  const algorithms = acceptedAlgs(server, client, validation) ?? []
  let unavailable: unknown
  try {
    // As registered for ID tokens (§2.6 item 1).
    const jws = decrypt ? await decrypt(token) : token
    const options = {
      issuer: server.issuer,
      audience: client.client_id,
      algorithms,
      clockTolerance: config.clockTolerance,
      requiredClaims: ['iat', 'jti', 'events'],
      maxTokenAge: oldestSeconds,
    }
    const keys = keySet(connection, server)
    const findKey: JWTVerifyGetKey = async (header, input) => {
      // Only where that is pinned, and then there is a secret.
      if (header.alg.startsWith('HS')) return new TextEncoder().encode(config.clientSecret)
      return keys(header, input).catch((reason: unknown) => {
        if (!isWithoutKey(reason)) unavailable = reason
        throw reason
      })
    }
    const { payload, protectedHeader } = await jwtVerify(jws, findKey, options)
    const typ = protectedHeader.typ?.toLowerCase().replace(/^application\//, '')
    if (typ !== undefined && typ !== 'jwt' && typ !== 'logout+jwt') throw new Error('it is of another type')
    return checkClaims(payload, config.clockTolerance)
  } catch (reason) {
    if (unavailable !== undefined) throw unreachable(unavailable)
    throw new InvalidLogoutToken((reason as Error).message)
  }
}

/** What is no token at all must not make us ask the OP for anything. */
function requireForm(token: string): void {
  try {
    decodeProtectedHeader(token)
  } catch (reason) {
    throw new InvalidLogoutToken((reason as Error).message)
  }
}

function checkClaims(claims: JWTPayload, clockTolerance: number): LogoutToken {
  const { iss = '', jti, sid, sub, events, nonce, iat = 0 } = claims
  const event = isObject(events) && (events as Record<string, unknown>)[eventType]
  if (!isObject(event)) throw new Error('it has no back-channel logout event')
  if (nonce !== undefined) throw new Error('it has a nonce, as if it were an ID token')
  if (typeof jti !== 'string' || jti === '') throw new Error('its "jti" is not a string')
  const isName = (value: unknown) => value === undefined || (typeof value === 'string' && value !== '')
  if (!isName(sid) || !isName(sub)) throw new Error('its "sid" or "sub" is not a string')
  if (sid === undefined && sub === undefined) throw new Error('it has neither "sid" nor "sub"')
  return {
    iss,
    jti,
    ...(typeof sid === 'string' && { sid }),
    ...(sub !== undefined && { sub }),
    // jose counts whole seconds.
    validUntil: (iat + oldestSeconds + clockTolerance + 1) * 1000,
  }
}

/** jose keeps the keys, and asks again for one that it does not know; as long as the metadata stay the same. */
function keySet({ keysFetch, config }: Connection, server: oauth.AuthorizationServer): RemoteJWKSet {
  const known = keySets.get(server)
  if (known) return known
  const keys = createRemoteJWKSet(new URL(server.jwks_uri as string), {
    timeoutDuration: config.timeoutMs,
    cooldownDuration: keysCooldownMs,
    [customFetch]: (url, { signal }) =>
      keysFetch(url, { method: 'GET', headers: { accept: 'application/json' }, redirect: 'manual', signal }),
  })
  keySets.set(server, keys)
  return keys
}

/** The OP answered, and has no such key. */
function isWithoutKey(error: unknown): boolean {
  const { code } = error as { code?: unknown }
  return ['ERR_JWKS_NO_MATCHING_KEY', 'ERR_JWKS_MULTIPLE_MATCHING_KEYS', 'ERR_JOSE_NOT_SUPPORTED'].includes(
    String(code),
  )
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
