/**
 * What waits for a decision on people's phones: the pending requests of one OP, their expiry, and those who wait for
 * the next one to arrive. Knows neither oidc-provider nor HTTP.
 */

import type { TestRequest } from './types.ts'

interface Waiter {
  readonly accountId: string | undefined
  readonly timer: NodeJS.Timeout
  resolve(request: TestRequest): void
  reject(reason: Error): void
}

/** How long a test waits for a request that its app should have sent. */
const patienceMs = 5_000

export class Devices {
  readonly #requests = new Map<string, TestRequest>()
  readonly #timers = new Map<string, NodeJS.Timeout>()
  readonly #handedOut = new Set<string>()
  readonly #waiters = new Set<Waiter>()
  #closed = false

  /** Neither decided nor expired, by auth_req_id, oldest first. */
  get requests(): ReadonlyMap<string, TestRequest> {
    return this.#requests
  }

  /** A request arrives: it waits here until `remove` or its expiry. */
  add(request: TestRequest): void {
    if (this.#closed) return
    const { authReqId } = request
    this.#requests.set(authReqId, request)
    this.#timers.set(
      authReqId,
      setTimeout(() => this.remove(authReqId), Math.max(0, request.expiresAt - Date.now())),
    )
    for (const waiter of this.#waiters) {
      if (waiter.accountId !== undefined && waiter.accountId !== request.accountId) continue
      this.#leave(waiter)
      this.#handedOut.add(authReqId)
      waiter.resolve(request)
      return
    }
  }

  /** Decided, or expired. */
  remove(authReqId: string): void {
    clearTimeout(this.#timers.get(authReqId))
    this.#timers.delete(authReqId)
    this.#requests.delete(authReqId)
    this.#handedOut.delete(authReqId)
  }

  /** The oldest request of one person, whether or not somebody was given it. */
  oldest(accountId: string): TestRequest | undefined {
    return [...this.#requests.values()].find((request) => request.accountId === accountId)
  }

  /** The oldest request that nobody was given yet, or else the next to arrive. Rejects on `close()`, or too late. */
  next(accountId?: string, timeoutMs: number = patienceMs): Promise<TestRequest> {
    if (this.#closed) return Promise.reject(new Error('The test provider is closed'))
    for (const request of this.#requests.values()) {
      if (this.#handedOut.has(request.authReqId)) continue
      if (accountId !== undefined && accountId !== request.accountId) continue
      this.#handedOut.add(request.authReqId)
      return Promise.resolve(request)
    }
    const promise = new Promise<TestRequest>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#leave(waiter)
        const whose = accountId === undefined ? '' : ` for ${accountId}`
        reject(new Error(`No authentication request${whose} arrived within ${timeoutMs} ms`))
      }, timeoutMs)
      const waiter: Waiter = { accountId, timer, resolve, reject }
      this.#waiters.add(waiter)
    })
    // Whoever waits hears of the rejection; a wait that was given up must not end the process.
    promise.catch(() => {})
    return promise
  }

  close(): void {
    this.#closed = true
    for (const authReqId of [...this.#requests.keys()]) this.remove(authReqId)
    for (const waiter of this.#waiters) {
      this.#leave(waiter)
      waiter.reject(new Error('The test provider was closed before a request arrived'))
    }
  }

  #leave(waiter: Waiter): void {
    clearTimeout(waiter.timer)
    this.#waiters.delete(waiter)
  }
}
