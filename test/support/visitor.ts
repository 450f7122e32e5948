/** A browser that speaks JSON and keeps its cookie, wherever it is sent. Asserts nothing. */
import { setTimeout as sleep } from 'node:timers/promises'

export interface VisitorAnswer {
  readonly status: number
  readonly headers: Headers
  readonly body: Readonly<Record<string, unknown>>
}

export class Visitor {
  origin: string
  cookie = ''

  constructor(origin: string) {
    this.origin = origin
  }

  post(path: string, json: object = {}, signal?: AbortSignal): Promise<VisitorAnswer> {
    return this.#send(path, { method: 'POST', body: JSON.stringify(json), ...(signal && { signal }) })
  }

  get(path: string): Promise<VisitorAnswer> {
    return this.#send(path, {})
  }

  async begin(loginHint = 'alice'): Promise<string> {
    const { status, body } = await this.post('/ciba/start', { loginHint })
    if (status !== 202) throw new Error(`the start was answered ${status}: ${JSON.stringify(body)}`)
    return String(body['transaction'])
  }

  poll(transaction: string, wait = 0): Promise<VisitorAnswer> {
    return this.post('/ciba/poll', { transaction, wait })
  }

  /** Who is signed in. */
  async user(): Promise<unknown> {
    const { user } = (await this.get('/me')).body as { user?: { sub: string } }
    return user?.sub
  }

  async #send(path: string, init: RequestInit): Promise<VisitorAnswer> {
    const headers = { 'content-type': 'application/json', ...(this.cookie && { cookie: this.cookie }) }
    const response = await fetch(this.origin + path, { ...init, headers })
    const text = await response.text()
    this.cookie = response.headers.getSetCookie().at(-1)?.split(';', 1)[0] ?? this.cookie
    return { status: response.status, headers: response.headers, body: text === '' ? {} : JSON.parse(text) }
  }
}

/** Waits until `check` holds; fails after 15 seconds. */
export async function until(what: string, check: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 15_000
  while (!(await check())) {
    if (Date.now() > deadline) throw new Error(`it never happened: ${what}`)
    await sleep(20)
  }
}
