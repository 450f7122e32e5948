/**
 * Signs in at an app over HTTP, as a browser would, and brings the cookie back. Knows the routes of `ciba()`, and
 * nothing of what the app does with a session.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import type { TestApproval, TestProvider } from './types.ts'

/** Options of {@link signIn}. */
export interface SignInOptions {
  /** Who signs in. @default the first account of the test provider */
  readonly loginHint?: string
  /** What the start route gets, for apps with `startParams` of their own. @default { loginHint } */
  readonly body?: object
  readonly approval?: TestApproval
  /** Of the session to sign in, where there is one already: for a step-up. */
  readonly cookie?: string
  /** Sent along with everything, for example `{ 'x-forwarded-proto': 'https' }` for secure cookies. */
  readonly headers?: Readonly<Record<string, string>>
  /** For apps with other `routes`. @default { start: '/ciba/start', poll: '/ciba/poll' } */
  readonly routes?: { readonly start?: string; readonly poll?: string }
  /** @default 15000 */
  readonly timeoutMs?: number
}

/**
 * Signs a person in at the app: starts, approves (unless `provider.autoApprove` does), and polls to the end.
 *
 * Rejects, and says what the app answered, when that is no login.
 *
 * @param baseURL - where the app listens
 * @returns what to send as the `Cookie` header.
 */
export async function signIn(
  baseURL: string,
  provider: TestProvider,
  options: SignInOptions = {},
): Promise<string> {
  const { timeoutMs = 15_000 } = options
  const deadline = AbortSignal.timeout(timeoutMs)
  const app = new AppSession(baseURL, options, deadline)
  try {
    await logIn(app, provider, options)
  } catch (cause) {
    if (!deadline.aborted) throw cause
    const why = 'Does somebody decide, and in ping mode, does "baseURL" lead to the app?'
    throw new Error(`No login within ${timeoutMs} ms. ${why}`, { cause })
  }
  return app.cookie
}

async function logIn(app: AppSession, provider: TestProvider, options: SignInOptions): Promise<void> {
  const { start = '/ciba/start', poll = '/ciba/poll' } = options.routes ?? {}
  const { loginHint = options.body ? undefined : provider.accounts[0] } = options
  const { transaction } = await app.post(start, options.body ?? { loginHint }, 202)
  if (provider.autoApprove === false) {
    // An app with `startParams` of its own may ask anybody.
    await provider.approve(await provider.waitForRequest(loginHint), options.approval)
  }
  for (;;) {
    const { status, error } = await app.post(poll, { transaction, wait: 5 }, 200)
    if (status === 'complete') return
    if (status !== 'pending') throw new Error(`The login ended: ${status} (${error})`)
    await app.pause()
  }
}

type Answer = Readonly<Record<string, unknown>>

class AppSession {
  readonly #baseURL: string
  readonly #headers: Readonly<Record<string, string>>
  readonly #cookies = new Map<string, string>()
  readonly #signal: AbortSignal

  constructor(baseURL: string, { cookie = '', headers = {} }: SignInOptions, signal: AbortSignal) {
    this.#baseURL = baseURL.replace(/\/$/, '')
    this.#headers = headers
    this.#signal = signal
    for (const pair of cookie.split('; ')) this.#keep(pair)
  }

  /** Before the next poll, should the app not wait in it. */
  pause(): Promise<void> {
    return sleep(50, undefined, { signal: this.#signal })
  }

  get cookie(): string {
    return [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; ')
  }

  async post(path: string, body: object, expected: number): Promise<Answer> {
    const { cookie } = this
    const headers = { ...this.#headers, 'content-type': 'application/json' }
    const response = await fetch(this.#baseURL + path, {
      method: 'POST',
      headers: { ...headers, ...(cookie && { cookie }) },
      body: JSON.stringify(body),
      signal: this.#signal,
    })
    for (const set of response.headers.getSetCookie()) this.#keep(set.split(';', 1)[0] ?? '')
    const text = await response.text()
    if (response.status === expected) return JSON.parse(text)
    throw new Error(`The app answered ${response.status} to POST ${path}: ${text}`)
  }

  #keep(pair: string): void {
    const at = pair.indexOf('=')
    if (at > 0) this.#cookies.set(pair.slice(0, at), pair.slice(at + 1))
  }
}
