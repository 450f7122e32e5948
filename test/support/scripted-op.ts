/**
 * The scripted OP: answers whatever a test tells it to, and keeps a record of who asked what and when. For
 * everything that a real OP never does. Knows the wire only, nothing of the client under test.
 */
import { randomUUID } from 'node:crypto'
import { once, setMaxListeners } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { goodTokenResponse, type ResponseOverrides, signingKeys, type TokenContext } from './id-tokens.ts'
import { type PingOptions, type Pong, send } from './ping-sender.ts'
import {
  type Answer,
  authenticationRequest,
  type Call,
  type Endpoint,
  metadataOf,
  paths,
  pending,
  tokenError,
} from './scripted-answers.ts'
import { type Ping, violationsOf } from './token-request-pacing.ts'

export type { PingOptions, Pong } from './ping-sender.ts'
export {
  type Answer,
  type Call,
  type Endpoint,
  html,
  pending,
  redirect,
  slowDown,
  tokenError,
  unavailable,
} from './scripted-answers.ts'

type Json = Record<string, unknown>

export interface ScriptedOpOptions {
  /** @default 'client' */
  clientId?: string
  clientSecret?: string
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
    setMaxListeners(0, this.#stopping.signal) // one listener for each ping and delay under way
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
      const pong = await send(url, { method, headers, body, signal: this.#stopping.signal })
      ping.status = pong.status
      return pong
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
    return [...ids]
      .filter((id) => id === (authReqId ?? id))
      .flatMap((id) => violationsOf(id, this.calls, this.#pings))
  }

  #enqueue(endpoint: Endpoint): (...answers: Answer[]) => void {
    return (...answers) => {
      this.#queues.set(endpoint, [...(this.#queues.get(endpoint) ?? []), ...answers])
    }
  }

  #backchannelCall(authReqId?: string): Call | undefined {
    const calls = this.callsTo('backchannel')
    const named = calls.findLast((call) => authReqId && call.answer?.['auth_req_id'] === authReqId)
    return named ?? calls.at(-1)
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
  Object.assign(op.metadata, metadataOf(op.issuer))
  return op
}
