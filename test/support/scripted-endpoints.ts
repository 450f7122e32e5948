/**
 * The endpoints of the scripted OP: who asked what and when, and what comes next as an answer. Knows nothing of what
 * the answers mean.
 */
import { setMaxListeners } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { fingerprintOf } from './listener.ts'
import { type Answer, type Call, type Endpoint, endpointOf } from './scripted-answers.ts'

type Json = Record<string, unknown>

export class ScriptedEndpoints {
  /** Every request, in order of arrival. */
  readonly calls: Call[] = []
  readonly #defaults: { readonly [endpoint in Endpoint]: Answer }
  readonly #queues = new Map<Endpoint, Answer[]>()
  readonly #waiters = new Set<(failure?: string) => void>()
  readonly #stopping = new AbortController()

  constructor(defaults: { readonly [endpoint in Endpoint]: Answer }) {
    this.#defaults = defaults
    setMaxListeners(0, this.#stopping.signal) // one listener for each ping and delay under way
  }

  /** Aborted when the OP stops. */
  get stopping(): AbortSignal {
    return this.#stopping.signal
  }

  /** What puts answers into the queue of the endpoint. */
  queue(endpoint: Endpoint): (...answers: Answer[]) => void {
    return (...answers) => {
      this.#queues.set(endpoint, [...(this.#queues.get(endpoint) ?? []), ...answers])
    }
  }

  to(endpoint: Endpoint): readonly Call[] {
    return this.calls.filter((call) => call.endpoint === endpoint)
  }

  waitFor(endpoint: Endpoint, count: number, timeoutMs: number): Promise<Call> {
    return new Promise((resolve, reject) => {
      const check = (failure?: string) => {
        const call = this.to(endpoint)[count - 1]
        if (!call && !failure) return
        clearTimeout(timer)
        this.#waiters.delete(check)
        if (call) return resolve(call)
        reject(new Error(`${failure}: ${this.to(endpoint).length} of ${count} calls to ${endpoint}`))
      }
      const timer = setTimeout(check, timeoutMs, `after ${timeoutMs} ms`)
      this.#waiters.add(check)
      check()
    })
  }

  stop(): void {
    this.#stopping.abort()
    for (const check of this.#waiters) check('stopped')
  }

  /** @param origin - of the port that the request came to */
  receive(req: IncomingMessage, res: ServerResponse, origin: string, via: Call['via']): void {
    const { method = '', headers } = req
    const url = new URL(req.url ?? '', origin)
    const path = url.pathname
    const certificate = fingerprintOf(req)
    const seen = {
      endpoint: endpointOf(path),
      method,
      path,
      url: url.href,
      via,
      at: Date.now(),
      headers,
      ...(certificate && { certificate }),
    }
    const isJson = /^application\/json\b/i.test(headers['content-type'] ?? '')
    text(req)
      .then((body) => this.#answer({ ...seen, body, params: new URLSearchParams(isJson ? '' : body) }, res))
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
    if (answer.delayMs) await delay(answer.delayMs, undefined, { signal: this.stopping })
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

export function parse(body: string): Json | undefined {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}

function reset(res: ServerResponse, when: 'before-answer' | 'mid-body'): void {
  if (when === 'before-answer') {
    // Within TLS there is no reset to send.
    if (res.socket && 'encrypted' in res.socket) res.socket.destroy()
    else res.socket?.resetAndDestroy()
    return
  }
  res.writeHead(200, { 'content-type': 'application/json', 'content-length': 1000 })
  res.write('{"access_token":"', () => res.destroy())
}
