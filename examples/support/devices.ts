/**
 * What waits for a decision on people's phones: the pending requests of one OP, their expiry, and those who wait for
 * the next one to arrive. Knows neither oidc-provider nor HTTP.
 */

/** An authentication request as a person's phone shows it. */
export interface DeviceRequest {
  readonly authReqId: string
  readonly accountId: string
  readonly clientId: string
  readonly bindingMessage?: string
  readonly scope?: string
  readonly acrValues?: string[]
  /** Epoch milliseconds. */
  readonly createdAt: number
  /** Epoch milliseconds. */
  readonly expiresAt: number
}

interface Waiter {
  readonly accountId: string | undefined
  resolve(request: DeviceRequest): void
  reject(reason: Error): void
}

export class Devices {
  readonly #requests = new Map<string, DeviceRequest>()
  readonly #timers = new Map<string, NodeJS.Timeout>()
  readonly #handedOut = new Set<string>()
  readonly #waiters = new Set<Waiter>()
  #closed = false

  /** Neither decided nor expired, by auth_req_id, oldest first. */
  get requests(): ReadonlyMap<string, DeviceRequest> {
    return this.#requests
  }

  /** A request arrives: it waits here until `remove` or its expiry. */
  add(request: DeviceRequest): void {
    if (this.#closed) return
    const { authReqId } = request
    this.#requests.set(authReqId, request)
    this.#timers.set(
      authReqId,
      setTimeout(() => this.remove(authReqId), Math.max(0, request.expiresAt - Date.now())),
    )
    for (const waiter of this.#waiters) {
      if (waiter.accountId !== undefined && waiter.accountId !== request.accountId) continue
      this.#waiters.delete(waiter)
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

  /** The oldest request that nobody was given yet, or else the next to arrive. Rejects on `close()`. */
  next(accountId?: string): Promise<DeviceRequest> {
    if (this.#closed) return Promise.reject(new Error('The OP is closed'))
    for (const request of this.#requests.values()) {
      if (this.#handedOut.has(request.authReqId)) continue
      if (accountId !== undefined && accountId !== request.accountId) continue
      this.#handedOut.add(request.authReqId)
      return Promise.resolve(request)
    }
    const promise = new Promise<DeviceRequest>((resolve, reject) => {
      this.#waiters.add({ accountId, resolve, reject })
    })
    // Whoever waits hears of the rejection; a wait that was given up must not end the process.
    promise.catch(() => {})
    return promise
  }

  close(): void {
    this.#closed = true
    for (const authReqId of [...this.#requests.keys()]) this.remove(authReqId)
    for (const waiter of this.#waiters) waiter.reject(new Error('The OP was closed before a request arrived'))
    this.#waiters.clear()
  }
}
