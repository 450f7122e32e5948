/**
 * An example as its one command runs it, in a process of its own: what it prints, a browser's cookie, and the phone page's
 * JSON routes. Knows nothing of what the examples are about.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { get } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { TestRequest } from '../../lib/testing/index.ts'

const run = fileURLToPath(new URL('../../examples/run.ts', import.meta.url))

/** What a transaction's routes answer, as far as the stories need it. */
export interface Answer {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
}

export class ExampleProcess {
  readonly process: ChildProcess
  output = ''
  cookie = ''
  /** `news`: something was printed, or it has ended. */
  readonly #events = new EventEmitter()

  constructor(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
    this.process = spawn(process.execPath, ['--import=tsx', run, ...args], {
      env: { ...process.env, PORT: '0', OP_PORT: '0', ...env },
    })
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream?.on('data', (chunk) => {
        this.output += chunk
        this.#events.emit('news')
      })
    }
    this.process.once('close', () => this.#events.emit('news'))
  }

  /** Resolves as soon as it has printed something like this. */
  async printed(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const found = pattern.exec(this.output)
      if (found) return found
      if (this.process.exitCode !== null) throw new Error(`it ended: ${this.output}`)
      await once(this.#events, 'news')
    }
  }

  async app(): Promise<string> {
    return (await this.printed(/The app:\s+(http\S+)/))[1] as string
  }

  async phone(): Promise<string> {
    return (await this.printed(/The phone:\s+(http\S+)/))[1] as string
  }

  /** With the cookie of the one browser that there is. */
  async fetch(path: string, init: RequestInit = {}): Promise<Response> {
    const headers = { cookie: this.cookie, ...init.headers }
    const response = await fetch(new URL(path, await this.app()), { redirect: 'manual', ...init, headers })
    this.cookie = response.headers.getSetCookie()[0]?.split(';')[0] ?? this.cookie
    return response
  }

  /** As a browser goes to a page. The global fetch cannot: it says that it is a script. */
  async navigate(path: string): Promise<{ status: number | undefined; location: string | undefined }> {
    const headers = { cookie: this.cookie, accept: 'text/html', 'sec-fetch-mode': 'navigate' }
    const [response] = await once(get(new URL(path, await this.app()), { headers }), 'response')
    response.resume()
    return { status: response.statusCode, location: response.headers.location }
  }

  async post(path: string, body: object, headers: Record<string, string> = {}): Promise<Answer> {
    const response = await this.fetch(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    })
    const text = await response.text()
    return { status: response.status, body: text === '' ? {} : JSON.parse(text) }
  }

  /** The next request on the phone of `accountId`, within 10 seconds. */
  async request(accountId: string): Promise<TestRequest> {
    for (let tries = 0; tries < 200; tries++) {
      const requests = (await (await fetch(`${await this.phone()}/requests`)).json()) as TestRequest[]
      const found = requests.find((request) => request.accountId === accountId)
      if (found) return found
      await sleep(50)
    }
    throw new Error(`nobody asked ${accountId}: ${this.output}`)
  }

  async decide(accountId: string, decision: 'approve' | 'deny'): Promise<TestRequest> {
    const request = await this.request(accountId)
    await fetch(`${await this.phone()}/requests/${request.authReqId}/${decision}`, { method: 'POST' })
    return request
  }

  /** Polls until there is an outcome. */
  async outcome(transaction: unknown): Promise<Answer['body']> {
    for (;;) {
      const { body } = await this.post('/ciba/poll', { transaction, wait: 20 })
      if (body['status'] !== 'pending') return body
    }
  }

  async signIn(body: object, accountId: string): Promise<Answer['body']> {
    const started = await this.post('/ciba/start', body)
    if (started.status !== 202) throw new Error(`not started: ${JSON.stringify(started)}`)
    await this.decide(accountId, 'approve')
    return this.outcome(started.body['transaction'])
  }

  /** @returns the exit code. */
  async end(signal: NodeJS.Signals): Promise<number | null> {
    if (this.process.exitCode === null && this.process.kill(signal)) await once(this.process, 'exit')
    return this.process.exitCode
  }
}
