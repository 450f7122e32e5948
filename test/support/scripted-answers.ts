/**
 * What passes between the scripted OP and its clients: a request as it is kept, an answer as a test writes it down.
 * Knows nothing of servers.
 */
import type { IncomingMessage } from 'node:http'
import { decodeJwt } from 'jose'

type Json = Record<string, unknown>

export type Endpoint =
  | 'discovery'
  | 'jwks'
  | 'backchannel'
  | 'token'
  | 'userinfo'
  | 'revocation'
  | 'resource'
  | 'other'

/** One request to the OP; what became of it is filled in as it happens. */
export interface Call {
  readonly endpoint: Endpoint
  readonly method: string
  readonly path: string
  /** All of it, with the origin that the client went to and the query. */
  readonly url: string
  /** The port it came to: the OP's own, or the one of `mtls_endpoint_aliases`. */
  readonly via: 'main' | 'mtls'
  /** SHA-256 fingerprint of the client's certificate, if it showed one. */
  readonly certificate?: string
  /** Arrival, epoch milliseconds, as the other times. */
  readonly at: number
  readonly headers: IncomingMessage['headers']
  /** The form body; empty if it was JSON. */
  readonly params: URLSearchParams
  /** The body as it came. */
  readonly body: string
  /** When the whole answer was handed to the socket. */
  answeredAt?: number
  /** When the exchange was over: answered, reset, or given up by the client. */
  endedAt?: number
  /** Status and JSON body of the whole answer. */
  status?: number
  answer?: Json
}

/** What to answer; a computed answer may take its time. */
export type Answer =
  | { status?: number; json?: unknown; body?: string; headers?: Record<string, string>; delayMs?: number }
  | { hang: true }
  | { reset: 'before-answer' | 'mid-body'; delayMs?: number }
  | ((call: Call) => Answer | Promise<Answer>)

export const tokenError = (error: string, status = 400, headers: Record<string, string> = {}): Answer => ({
  status,
  json: { error },
  headers,
})
export const pending = (): Answer => tokenError('authorization_pending')
export const slowDown = (): Answer => tokenError('slow_down')
export const html = (status: number): Answer => ({
  status,
  body: '<!doctype html><title>Oops</title><p>Something went wrong.',
  headers: { 'content-type': 'text/html' },
})
export const redirect = (location: string, status = 302): Answer => ({ status, headers: { location } })
export const unavailable = (retryAfter?: string, status = 503): Answer => ({
  status,
  body: 'try again later',
  headers: { 'content-type': 'text/plain', ...(retryAfter !== undefined && { 'retry-after': retryAfter }) },
})

const nonceWanted = 'use_dpop_nonce'
/** The nonce challenge of an authorization server (RFC 9449 §8). */
export const useDpopNonce = (nonce: string): Answer => tokenError(nonceWanted, 400, { 'dpop-nonce': nonce })
/** The nonce challenge of a resource server (RFC 9449 §9). */
export const resourceUseDpopNonce = (nonce: string): Answer =>
  resourceError(nonceWanted, { scheme: 'DPoP', headers: { 'dpop-nonce': nonce } })

interface Challenge {
  /** @default 401 */
  readonly status?: number
  /** @default 'Bearer' */
  readonly scheme?: 'Bearer' | 'DPoP'
  readonly headers?: Record<string, string>
}

/** How a resource, userinfo included, refuses an access token (RFC 6750 §3): `invalid_token` for example. */
export const resourceError = (error: string, challenge: Challenge = {}): Answer => {
  const { status = 401, scheme = 'Bearer', headers } = challenge
  return {
    status,
    json: { error },
    headers: { 'www-authenticate': `${scheme} error="${error}"`, ...headers },
  }
}

/** The parameters of an authentication request, plain or signed (CIBA Core §7.1.1). */
export function authenticationRequest(call: Call): Json {
  const signed = call.params.get('request')
  return signed === null ? Object.fromEntries(call.params) : decodeJwt(signed)
}

/** What an approval of an authentication request owes to it: the same for all tokens of the transaction. */
export function approvalOf(call: Call): {
  acr?: string
  nonce?: string
  authorizationDetails?: unknown[]
  authTime: number
} {
  const { acr_values: acr, nonce, authorization_details: details } = authenticationRequest(call)
  const wanted = typeof details === 'string' ? JSON.parse(details) : details
  return {
    authTime: Math.floor(call.at / 1000),
    ...(typeof acr === 'string' && { acr: acr.split(' ')[0] ?? '' }),
    ...(typeof nonce === 'string' && { nonce }),
    ...(Array.isArray(wanted) && { authorizationDetails: wanted }),
  }
}

const paths: Record<string, Endpoint> = {
  '/.well-known/openid-configuration': 'discovery',
  '/jwks': 'jwks',
  '/backchannel': 'backchannel',
  '/token': 'token',
  '/userinfo': 'userinfo',
  '/revocation': 'revocation',
}

/** Everything below `/resource` is the resource. */
export const endpointOf = (path: string): Endpoint =>
  paths[path] ?? (/^\/resource(\/|$)/.test(path) ? 'resource' : 'other')

const signingAlgs = ['ES256', 'PS256', 'EdDSA', 'Ed25519']

const clientEndpointsOf = (origin: string): Json => ({
  token_endpoint: `${origin}/token`,
  backchannel_authentication_endpoint: `${origin}/backchannel`,
  userinfo_endpoint: `${origin}/userinfo`,
  revocation_endpoint: `${origin}/revocation`,
})

/**
 * What a well-behaved OP publishes about itself.
 *
 * @param aliasOrigin - of the port for clients with certificates
 */
export const metadataOf = (issuer: string, aliasOrigin?: string): Json => ({
  issuer,
  jwks_uri: `${issuer}/jwks`,
  ...clientEndpointsOf(issuer),
  end_session_endpoint: `${issuer}/end-session`,
  ...(aliasOrigin && { mtls_endpoint_aliases: clientEndpointsOf(aliasOrigin) }),
  backchannel_token_delivery_modes_supported: ['poll', 'ping', 'push'],
  backchannel_authentication_request_signing_alg_values_supported: signingAlgs,
  backchannel_user_code_parameter_supported: true,
  backchannel_logout_supported: true,
  dpop_signing_alg_values_supported: signingAlgs,
  grant_types_supported: ['urn:openid:params:grant-type:ciba', 'refresh_token'],
  id_token_signing_alg_values_supported: ['ES256', 'RS256', 'PS256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'],
  response_types_supported: [],
  subject_types_supported: ['public'],
})
