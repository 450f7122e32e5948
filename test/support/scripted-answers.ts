/**
 * What passes between the scripted OP and its clients: a request as it is kept, an answer as a test writes it down.
 * Knows nothing of servers.
 */
import type { IncomingMessage } from 'node:http'
import { decodeJwt } from 'jose'

type Json = Record<string, unknown>

export type Endpoint = 'discovery' | 'jwks' | 'backchannel' | 'token' | 'other'

/** One request to the OP; what became of it is filled in as it happens. */
export interface Call {
  readonly endpoint: Endpoint
  readonly method: string
  readonly path: string
  /** Arrival, epoch milliseconds, as the other times. */
  readonly at: number
  readonly headers: IncomingMessage['headers']
  /** The form body. */
  readonly params: URLSearchParams
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

/** The parameters of an authentication request, plain or signed (CIBA Core §7.1.1). */
export function authenticationRequest(call: Call): Json {
  const signed = call.params.get('request')
  return signed === null ? Object.fromEntries(call.params) : decodeJwt(signed)
}

export const paths: Record<string, Endpoint> = {
  '/.well-known/openid-configuration': 'discovery',
  '/jwks': 'jwks',
  '/backchannel': 'backchannel',
  '/token': 'token',
}

/** What a well-behaved OP publishes about itself. */
export const metadataOf = (issuer: string): Json => ({
  issuer,
  jwks_uri: `${issuer}/jwks`,
  token_endpoint: `${issuer}/token`,
  backchannel_authentication_endpoint: `${issuer}/backchannel`,
  backchannel_token_delivery_modes_supported: ['poll', 'ping'],
  backchannel_authentication_request_signing_alg_values_supported: ['ES256', 'PS256'],
  backchannel_user_code_parameter_supported: true,
  grant_types_supported: ['urn:openid:params:grant-type:ciba', 'refresh_token'],
  id_token_signing_alg_values_supported: ['ES256', 'RS256'],
  response_types_supported: [],
  subject_types_supported: ['public'],
})
