/**
 * The scripted OP: answers whatever a test tells it to, and keeps a record of who asked what and when. For
 * everything that a real OP never does. Knows the wire only, nothing of the client under test.
 */
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { decodeJwt } from 'jose'
import { goodTokenResponse, type ResponseOverrides, signingKeys, type TokenContext } from './id-tokens.ts'

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

export interface ScriptedOpOptions {
  /** @default 'client' */
  clientId?: string
  clientSecret?: string
}

export interface PingOptions {
  /** Instead of the token of the backchannel call; `''` sends no Authorization header. */
  token?: string
  /** Whose token to send, and what to name. The most recent call if nothing was acknowledged with it (yet). */
  authReqId?: string
  /** The whole body, e.g. of a push. */
  body?: string
  /** `''` sends no Content-Type header. */
  contentType?: string
  method?: string
  /** Added last; an array is sent as several header lines. */
  headers?: Record<string, string | readonly string[]>
}

export interface Pong {
  readonly status: number
  readonly headers: Headers
  readonly text: string
}

interface Ping {
  readonly at: number
  readonly token: string
  readonly authReqId: unknown
  answeredAt?: number
  status?: number
}

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

const paths: Record<string, Endpoint> = {
  '/.well-known/openid-configuration': 'discovery',
  '/jwks': 'jwks',
  '/backchannel': 'backchannel',
  '/token': 'token',
}

/** The parameters of an authentication request, plain or signed (CIBA Core §7.1.1). */
export function authenticationRequest(call: Call): Json {
  const signed = call.params.get('request')
  return signed === null ? Object.fromEntries(call.params) : decodeJwt(signed)
}

export class ScriptedOp {
  /** Every request, in order of arrival. */
  readonly calls: Call[] = []
  /** What discovery answers by default; change it at will. */
  readonly metadata: Json = {}
  readonly clientId: string
  readonly clientSecret: string
  // Each answer is used once, in order; then the default answer applies again.
  readonly onDiscovery = this.#enqueue('discovery')
  readonly onJwks = this.#enqueue('jwks')
  readonly onBackchannel = this.#enqueue('backchannel')
  readonly onToken = this.#enqueue('token')
  readonly onOther = this.#enqueue('other')
  readonly #server = createServer((req, res) => this.#receive(req, res))
  readonly #queues = new Map<Endpoint, Answer[]>()
  readonly #defaults: { readonly [endpoint in Endpoint]: Answer } = {
    discovery: () => ({ json: this.metadata }),
    jwks: async () => ({ json: (await signingKeys()).jwks }),
    backchannel: () => ({ json: { auth_req_id: randomUUID(), expires_in: 120, interval: 1 } }),
    token: pending(),
    other: tokenError('not_found', 404),
  }
  readonly #pings: Ping[] = []
  readonly #waiters = new Set<(failure?: string) => void>()
  readonly #stopping = new AbortController()
  #port = 0

  constructor(options: ScriptedOpOptions) {
    this.clientId = options.clientId ?? 'client'
    this.clientSecret = options.clientSecret ?? 'a client secret of more than 32 bytes'
    // An idle connection must not end between two polls: the client could not tell it from a lost request.
    Object.assign(this.#server, { keepAliveTimeout: 600_000, requestTimeout: 0 })
  }

  get issuer(): string {
    return `http://127.0.0.1:${this.#port}`
  }

  callsTo(endpoint: Endpoint): readonly Call[] {
    return this.calls.filter((call) => call.endpoint === endpoint)
  }

  /** Listens again, on the same port. */
  async up(): Promise<void> {
    this.#server.listen(this.#port, '127.0.0.1')
    await once(this.#server, 'listening')
    this.#port = (this.#server.address() as AddressInfo).port
  }

  /** Ends all connections and refuses new ones. */
  async down(): Promise<void> {
    if (!this.#server.listening) return
    const closed = once(this.#server, 'close')
    this.#server.close()
    this.#server.closeAllConnections()
    await closed
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    for (const check of this.#waiters) check('stopped')
    await this.down()
  }

  /** The `count`th call to the endpoint, as soon as it has arrived; it may not be answered yet. */
  waitForCall(endpoint: Endpoint, count = 1, timeoutMs = 5000): Promise<Call> {
    return new Promise((resolve, reject) => {
      const check = (failure?: string) => {
        const call = this.callsTo(endpoint)[count - 1]
        if (!call && !failure) return
        clearTimeout(timer)
        this.#waiters.delete(check)
        if (call) return resolve(call)
        reject(new Error(`${failure}: ${this.callsTo(endpoint).length} of ${count} calls to ${endpoint}`))
      }
      const timer = setTimeout(check, timeoutMs, `after ${timeoutMs} ms`)
      this.#waiters.add(check)
      check()
    })
  }

  /** Sends a ping, or with `body` a push. It may overtake the acknowledgement if `authReqId` is given. */
  async ping(url: string, options: PingOptions = {}): Promise<Pong> {
    const call = this.#backchannelCall(options.authReqId)
    const token = options.token ?? (call && authenticationRequest(call)['client_notification_token'])
    const authReqId = options.authReqId ?? call?.answer?.['auth_req_id']
    const body = options.body ?? JSON.stringify({ auth_req_id: authReqId })
    if (typeof token !== 'string') throw new Error('no client_notification_token to ping with')
    if (body === '{}') throw new Error('not acknowledged yet: ping with an authReqId')
    const headers = {
      ...(token && { authorization: `Bearer ${token}` }),
      ...(options.contentType !== '' && { 'content-type': options.contentType ?? 'application/json' }),
      ...options.headers,
    }
    const ping: Ping = { at: Date.now(), token, authReqId: parse(body)?.['auth_req_id'] }
    this.#pings.push(ping)
    try {
      const { method = 'POST' } = options
      const sent = request(url, { method, agent: false, signal: this.#stopping.signal })
      sent.on('error', () => {}) // after the answer, e.g. to a body that was not read to its end
      for (const [name, value] of Object.entries(headers)) sent.setHeader(name, value)
      sent.end(body)
      const [res] = (await once(sent, 'response')) as [IncomingMessage]
      const lines = Object.entries(res.headersDistinct).flatMap(([name, values = []]) =>
        values.map((value): [string, string] => [name, value]),
      )
      ping.status = res.statusCode ?? 0
      return { status: ping.status, headers: new Headers(lines), text: await text(res) }
    } finally {
      ping.answeredAt = Date.now()
    }
  }

  /** For and from the most recent backchannel call, or the one acknowledged with `authReqId`. */
  context(authReqId?: string): TokenContext {
    const call = this.#backchannelCall(authReqId)
    const acr = call && authenticationRequest(call)['acr_values']
    return {
      issuer: this.issuer,
      clientId: this.clientId,
      clientSecret: this.clientSecret,
      authReqId: authReqId ?? String(call?.answer?.['auth_req_id']),
      ...(typeof acr === 'string' && { acr: acr.split(' ')[0] ?? '' }),
    }
  }

  /** A good token response for {@link context}. */
  async tokens(overrides: ResponseOverrides & { authReqId?: string } = {}): Promise<Answer> {
    return { json: await goodTokenResponse(this.context(overrides.authReqId), overrides) }
  }

  /**
   * Names each token request that overlapped another of the same `auth_req_id`, came too early, or came after the
   * deadline. Early is sooner than `interval` (5 s if not given), plus 5 s for each `slow_down`, after the last answer,
   * or after the arrival of a request that got none. Excused: the first, one for each ping, and a DPoP nonce retry.
   */
  violations(authReqId?: string): string[] {
    const ids = new Set(this.callsTo('token').flatMap((call) => call.params.get('auth_req_id') ?? []))
    return [...ids].filter((id) => id === (authReqId ?? id)).flatMap((id) => this.#violationsOf(id))
  }

  #violationsOf(id: string): string[] {
    const asked = this.callsTo('token').filter((call) => call.params.get('auth_req_id') === id)
    const start = this.callsTo('backchannel').findLast((call) => call.answer?.['auth_req_id'] === id)
    const deadline = start ? start.at + Number(start.answer?.['expires_in']) * 1000 : Number.NaN
    const interval = Number(start?.answer?.['interval'] ?? 5)
    const token = start && authenticationRequest(start)['client_notification_token']
    const pings = new Set(this.#pings.filter((ping) => ping.authReqId === id && ping.token === token))
    return asked.flatMap((call, index) => {
      const earlier = asked.slice(0, index)
      const name = `token request ${index + 1} for ${id}`
      const late = call.at > deadline ? [`${name} came ${call.at - deadline} ms after the deadline`] : []
      const running = earlier.findIndex((other) => (other.endedAt ?? Infinity) > call.at)
      if (running >= 0) return [...late, `${name} overlaps request ${running + 1}`]
      const previous = earlier.at(-1)
      if (!previous || previous.answer?.['error'] === 'use_dpop_nonce') return late
      const slowDowns = earlier.filter((other) => other.answer?.['error'] === 'slow_down').length
      const last = Math.max(...earlier.map((other) => other.answeredAt ?? other.at))
      const tooEarly = last + (interval + 5 * slowDowns) * 1000 - call.at
      if (!(tooEarly > 0)) return late
      const excuse = [...pings].find(
        (ping) =>
          (ping.status ?? 0) < 300 && ping.at <= call.at && previous.at <= (ping.answeredAt ?? Infinity),
      )
      return excuse && pings.delete(excuse) ? late : [...late, `${name} came ${tooEarly} ms early`]
    })
  }

  #enqueue(endpoint: Endpoint): (...answers: Answer[]) => void {
    return (...answers) => {
      this.#queues.set(endpoint, [...(this.#queues.get(endpoint) ?? []), ...answers])
    }
  }

  #backchannelCall(authReqId?: string): Call | undefined {
    const calls = this.callsTo('backchannel')
    return calls.findLast((call) => call.answer?.['auth_req_id'] === authReqId) ?? calls.at(-1)
  }

  #receive(req: IncomingMessage, res: ServerResponse): void {
    const { method = '', url = '', headers } = req
    const path = new URL(url, this.issuer).pathname
    const seen = { endpoint: paths[path] ?? 'other', method, path, at: Date.now(), headers }
    text(req)
      .then((body) => this.#answer({ ...seen, params: new URLSearchParams(body) }, res))
      .catch((error) => {
        // Also when the client is gone or the OP stops; then nobody reads it.
        if (!res.headersSent) res.writeHead(500, { 'content-type': 'text/plain' })
        res.end(`the script failed: ${error}`)
      })
  }

  async #answer(call: Call, res: ServerResponse): Promise<void> {
    this.calls.push(call)
    res.once('close', () => {
      call.endedAt ??= Date.now()
    })
    for (const check of this.#waiters) check()
    let answer = this.#queues.get(call.endpoint)?.shift() ?? this.#defaults[call.endpoint]
    while (typeof answer === 'function') answer = await answer(call)
    if ('hang' in answer) return
    if (answer.delayMs) await delay(answer.delayMs, undefined, { signal: this.#stopping.signal })
    if (res.destroyed) return // the client gave up: it must not count as answered
    if ('reset' in answer) return reset(res, answer.reset)
    const { status = 200, json, body = JSON.stringify(json) ?? '', headers } = answer
    res.statusCode = status
    const defaults = { 'content-type': 'application/json', 'cache-control': 'no-store' }
    for (const [name, value] of Object.entries({ ...defaults, ...headers })) res.setHeader(name, value)
    const answeredAt = Date.now()
    Object.assign(call, { status, answer: parse(body), answeredAt, endedAt: answeredAt })
    res.end(body)
  }
}

function parse(body: string): Json | undefined {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}

function reset(res: ServerResponse, when: 'before-answer' | 'mid-body'): void {
  if (when === 'before-answer') return void res.socket?.resetAndDestroy()
  res.writeHead(200, { 'content-type': 'application/json', 'content-length': 1000 })
  res.write('{"access_token":"', () => res.destroy())
}

export async function startScriptedOp(options: ScriptedOpOptions = {}): Promise<ScriptedOp> {
  const op = new ScriptedOp(options)
  await op.up()
  Object.assign(op.metadata, {
    issuer: op.issuer,
    jwks_uri: `${op.issuer}/jwks`,
    token_endpoint: `${op.issuer}/token`,
    backchannel_authentication_endpoint: `${op.issuer}/backchannel`,
    backchannel_token_delivery_modes_supported: ['poll', 'ping'],
    backchannel_authentication_request_signing_alg_values_supported: ['ES256', 'PS256'],
    backchannel_user_code_parameter_supported: true,
    grant_types_supported: ['urn:openid:params:grant-type:ciba', 'refresh_token'],
    id_token_signing_alg_values_supported: ['ES256', 'RS256'],
    response_types_supported: [],
    subject_types_supported: ['public'],
  })
  return op
}
