/**
 * The scripted OP: answers whatever a test tells it to, and keeps a record of who asked what and when. For
 * everything that a real OP never does. Knows the wire only, nothing of the client under test.
 */
import { randomUUID } from 'node:crypto'
import { Listener, type TlsOptions } from './listener.ts'
import { type PingOptions, type Pong, send } from './ping-sender.ts'
import {
  type Answer,
  approvalOf,
  authenticationRequest,
  type Call,
  type Endpoint,
  metadataOf,
  pending,
  tokenError,
} from './scripted-answers.ts'
import { parse, ScriptedEndpoints } from './scripted-endpoints.ts'
import { ScriptedIssuer, type TransactionOverrides } from './scripted-issuer.ts'
import { type Ping, violationsOf } from './token-request-pacing.ts'
import { goodPush, type JwtOverrides, type TokenContext } from './token-response.ts'

export type { TlsOptions } from './listener.ts'
export type { PingOptions, Pong } from './ping-sender.ts'
export {
  type Answer,
  type Call,
  type Endpoint,
  html,
  pending,
  redirect,
  resourceError,
  resourceUseDpopNonce,
  slowDown,
  tokenError,
  unavailable,
  useDpopNonce,
} from './scripted-answers.ts'

type Json = Record<string, unknown>

export interface ScriptedOpOptions {
  /** @default 'client' */
  clientId?: string
  clientSecret?: string
  /** Serves by TLS. */
  tls?: TlsOptions
  /** Serves on a second port as well, which `mtls_endpoint_aliases` names; it asks for certificates unless told. */
  mtls?: TlsOptions
}

export class ScriptedOp extends ScriptedIssuer {
  /** What discovery answers by default; change it at will. */
  readonly metadata: Json = {}
  readonly clientId: string
  readonly clientSecret: string
  readonly #endpoints = new ScriptedEndpoints({
    discovery: () => ({ json: this.metadata }),
    jwks: async () => ({ json: await this.jwks() }),
    backchannel: () => ({ json: { auth_req_id: randomUUID(), expires_in: 120, interval: 1 } }),
    token: (call) => (call.params.get('grant_type') === 'refresh_token' ? this.#refresh(call) : pending()),
    userinfo: { json: { sub: 'alice', name: 'Alice Example' } },
    revocation: {},
    resource: { json: { resource: 'of Alice' } },
    other: tokenError('not_found', 404),
  })
  /** Every request, in order of arrival. */
  readonly calls = this.#endpoints.calls
  // Each answer is used once, in order; then the default answer applies again.
  readonly onDiscovery = this.#endpoints.queue('discovery')
  readonly onJwks = this.#endpoints.queue('jwks')
  readonly onBackchannel = this.#endpoints.queue('backchannel')
  /** By default it says `pending`, and to a refresh token {@link refreshed} without an ID token. */
  readonly onToken = this.#endpoints.queue('token')
  readonly onUserinfo = this.#endpoints.queue('userinfo')
  readonly onRevocation = this.#endpoints.queue('revocation')
  readonly onResource = this.#endpoints.queue('resource')
  readonly onOther = this.#endpoints.queue('other')
  readonly #main: Listener
  readonly #mtls: Listener | undefined
  readonly #pings: Ping[] = []

  constructor({ tls, mtls, ...options }: ScriptedOpOptions) {
    super()
    this.clientId = options.clientId ?? 'client'
    this.clientSecret = options.clientSecret ?? 'a client secret of more than 32 bytes'
    this.#main = new Listener((req, res) => this.#endpoints.receive(req, res, this.issuer, 'main'), tls)
    this.#mtls =
      mtls &&
      new Listener((req, res) => this.#endpoints.receive(req, res, this.mtlsOrigin ?? '', 'mtls'), {
        requestCert: true,
        ...mtls,
      })
  }

  get issuer(): string {
    return this.#main.origin
  }

  /** Of the second port. */
  get mtlsOrigin(): string | undefined {
    return this.#mtls?.origin
  }

  callsTo(endpoint: Endpoint): readonly Call[] {
    return this.#endpoints.to(endpoint)
  }

  /** Listens again, on the same ports. */
  async up(): Promise<void> {
    await Promise.all([this.#main.up(), this.#mtls?.up()])
  }

  /** Ends all connections and refuses new ones. */
  async down(): Promise<void> {
    await Promise.all([this.#main.down(), this.#mtls?.down()])
  }

  async stop(): Promise<void> {
    this.#endpoints.stop()
    await this.down()
  }

  /** The `count`th call to the endpoint, as soon as it has arrived; it may not be answered yet. */
  waitForCall(endpoint: Endpoint, count = 1, timeoutMs = 5000): Promise<Call> {
    return this.#endpoints.waitFor(endpoint, count, timeoutMs)
  }

  /** Sends a ping, or with `body` whatever a test likes. It may overtake the acknowledgement if `authReqId` is given. */
  async ping(url: string, options: PingOptions = {}): Promise<Pong> {
    const call = this.#backchannelCall(options.authReqId)
    const token = options.token ?? (call && authenticationRequest(call)['client_notification_token'])
    if (typeof token !== 'string') throw new Error('no client_notification_token to ping with')
    const body = options.body ?? JSON.stringify({ auth_req_id: this.#authReqId(options.authReqId) })
    const headers = {
      ...(token && { authorization: `Bearer ${token}` }),
      ...(options.contentType !== '' && { 'content-type': options.contentType ?? 'application/json' }),
      ...options.headers,
    }
    const ping: Ping = { at: Date.now(), token, authReqId: parse(body)?.['auth_req_id'] }
    this.#pings.push(ping)
    try {
      const { method = 'POST' } = options
      const pong = await send(url, { method, headers, body, signal: this.#endpoints.stopping })
      ping.status = pong.status
      return pong
    } finally {
      ping.answeredAt = Date.now()
    }
  }

  /**
   * Sends a good push (CIBA Core §10.3.1) for {@link context}; it may overtake the acknowledgement as a ping may.
   *
   * @param overrides - `payload` replaces the whole body
   * @param options - as for {@link ping}
   */
  async push(
    url: string,
    { payload, ...overrides }: TransactionOverrides & { readonly payload?: unknown } = {},
    options: PingOptions = {},
  ): Promise<Pong> {
    const authReqId = this.#authReqId(overrides.authReqId ?? options.authReqId)
    const json = payload ?? (await this.issue(goodPush, { ...overrides, authReqId }))
    return this.ping(url, { body: JSON.stringify(json), authReqId, ...options })
  }

  /** Pushes an error (CIBA Core §12). */
  pushError(
    url: string,
    error: string,
    { description, ...options }: PingOptions & { readonly description?: string } = {},
  ): Promise<Pong> {
    const auth_req_id = this.#authReqId(options.authReqId)
    const body = JSON.stringify({ auth_req_id, error, error_description: description })
    return this.ping(url, { body, ...options })
  }

  /** Posts a logout token (OpenID Connect Back-Channel Logout §2.5), or with `token` whatever a test likes. */
  async logout(
    url: string,
    { token, ...overrides }: JwtOverrides & { readonly token?: string } = {},
  ): Promise<Pong> {
    const body = new URLSearchParams({
      logout_token: token ?? (await this.logoutToken(overrides)),
    }).toString()
    const headers = { 'content-type': 'application/x-www-form-urlencoded' }
    return send(url, { method: 'POST', headers, body, signal: this.#endpoints.stopping })
  }

  /** What tokens are made from: the most recent backchannel call, or the one acknowledged with `authReqId`. */
  context(authReqId?: string): TokenContext {
    const call = this.#backchannelCall(authReqId)
    return {
      issuer: this.issuer,
      clientId: this.clientId,
      clientSecret: this.clientSecret,
      authReqId: authReqId ?? String(call?.answer?.['auth_req_id']),
      ...(call && approvalOf(call)),
    }
  }

  /**
   * Names each token request that overlapped another of the same `auth_req_id`, came too early, or came after the
   * deadline. Early is sooner than `interval` (5 s if not given), plus 5 s for each `slow_down`, after the last answer,
   * or after the arrival of a request that got none. Excused: the first, one for each ping, and a DPoP nonce retry.
   */
  violations(authReqId?: string): string[] {
    const ids = new Set(this.callsTo('token').flatMap((call) => call.params.get('auth_req_id') ?? []))
    return [...ids]
      .filter((id) => id === (authReqId ?? id))
      .flatMap((id) => violationsOf(id, this.calls, this.#pings))
  }

  #refresh({ headers }: Call): Promise<Answer> {
    return this.refreshed({
      response: { id_token: undefined, ...(headers['dpop'] && { token_type: 'DPoP' }) },
    })
  }

  #authReqId(given?: string): string {
    const authReqId = given ?? this.#backchannelCall()?.answer?.['auth_req_id']
    if (typeof authReqId === 'string') return authReqId
    throw new Error('not acknowledged yet: name an authReqId')
  }

  #backchannelCall(authReqId?: string): Call | undefined {
    const calls = this.callsTo('backchannel')
    const named = calls.findLast((call) => authReqId && call.answer?.['auth_req_id'] === authReqId)
    return named ?? calls.at(-1)
  }
}

export async function startScriptedOp(options: ScriptedOpOptions = {}): Promise<ScriptedOp> {
  const op = new ScriptedOp(options)
  await op.up()
  Object.assign(op.metadata, metadataOf(op.issuer, op.mtlsOrigin))
  return op
}
