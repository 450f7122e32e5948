/**
 * `startCiba()`: starts a transaction from a browser and follows it to its outcome, over sleeping phones and lost
 * connections. Runs wherever `fetch` does. Knows nothing of pages, and never sees a token.
 */

/** A transaction that waits for the person. */
export interface CibaPending {
  readonly status: 'pending'
  /** The handle: worthless without the session that started it. */
  readonly transaction: string
  /** Seconds until the OP gives up. */
  readonly expiresIn: number
  /** Seconds between polls that do not wait. */
  readonly interval: number
  /** What the person should see on both devices, if there is a binding message. */
  readonly bindingMessage?: string
}

/** How a transaction ended. */
export type CibaOutcome =
  | {
      readonly status: 'complete'
      readonly transaction: string
      /** Where the start asked to go: a path of this origin. */
      readonly returnTo?: string
    }
  | {
      readonly status: 'denied' | 'expired' | 'failed' | 'cancelled'
      readonly transaction: string
      /** The code of the OP or of the middleware: untrusted, show it as text only. */
      readonly error: string
    }

/** How a transaction stands. */
export type CibaState = CibaPending | CibaOutcome

/** How to follow a transaction. */
export interface StartCibaOptions {
  /** Ends everything on this side; the promise rejects with its reason. The person's device may still show the request. */
  readonly signal?: AbortSignal
  /** The handle of a transaction of this session that is under way: goes on with it instead of starting another. */
  readonly transaction?: string
  /** Where to start: the start route, or a route of the app that starts an approval. @default '/ciba/start' */
  readonly start?: string
  /** @default '/ciba/poll' */
  readonly poll?: string
  /** @default '/ciba/cancel' */
  readonly cancel?: string
  /** More headers for all requests, against CSRF for example. */
  readonly headers?: Readonly<Record<string, string>>
  /** Seconds that the server may hold a poll. @default 25 */
  readonly wait?: number
  /** Called when a poll gets no answer, with the reason, and with nothing as soon as one gets an answer again. */
  readonly onTrouble?: (error?: unknown) => void
}

/**
 * A transaction on its way: a promise of the outcome, and an async iterable of the states, the outcome last. Either may
 * be left alone. Leaving a loop early ends the loop only: use the signal.
 */
export interface CibaRun extends Promise<CibaOutcome>, AsyncIterable<CibaState> {
  /** The handle, once the server has given one: keep it to go on after a reload. */
  readonly transaction: string | undefined
  /** Asks the server at once instead of waiting for the next time. */
  checkNow(): void
  /**
   * Tells the server to stop waiting; the outcome then is `cancelled`, unless another one came first. Rejects when the server
   * cannot be told.
   */
  cancel(): Promise<void>
}

/** A request that was refused, or a start that got no answer. */
export class CibaRequestError extends Error {
  override readonly name: string = 'CibaRequestError'
  /** Of HTTP; 0 without an answer. */
  declare readonly status: number
  /** The server's code, or `no_answer`. */
  declare readonly error: string
  /** Seconds after which trying again makes sense, if the server says so. */
  declare readonly retryAfter: number | undefined

  constructor(status: number, error: string, message: string = error, retryAfter?: number) {
    super(message)
    Object.assign(this, { status, error, retryAfter })
  }
}

/** Seconds past the deadline after which an unreachable server counts as expiry. */
const grace = 30
/** Seconds between looks of a page that nobody sees. */
const hiddenInterval = 5
/** Milliseconds in which an answer that is on its way may still arrive before its request is taken for lost. */
const patience = 2_000

/**
 * Starts a transaction with `body`, for example `{ loginHint: 'alice' }`, and polls until it has an outcome. Nothing is
 * started twice: a start that fails rejects. Polls that get no answer are repeated.
 *
 * Rejects with a {@link CibaRequestError} when the start, or a poll for good, is refused (404 `unknown_transaction` among
 * them), and with the reason of `signal`. Denial, expiry and the like are outcomes, not errors.
 */
export function startCiba(body: object = {}, options: StartCibaOptions = {}): CibaRun {
  const {
    signal,
    headers,
    onTrouble,
    start = '/ciba/start',
    poll = '/ciba/poll',
    cancel = '/ciba/cancel',
    wait = 25,
  } = options
  const { document: page } = globalThis as { document?: Document }
  const states: CibaState[] = []
  const over = new AbortController()
  let { transaction } = options
  /** Somebody came back or pressed a button: the next poll must not wait. */
  let isWoken = transaction !== undefined
  let isLong = false
  let isCut = false
  let failures = 0
  let rest = 0
  let interval = hiddenInterval
  let deadline = Number.POSITIVE_INFINITY
  let endPause: (() => void) | undefined
  let endRequest: (() => void) | undefined
  /** Of the pause or request under way. */
  let timer: ReturnType<typeof setTimeout> | undefined
  let giveUp: typeof timer
  let news: Promise<void>
  let tell: (() => void) | undefined

  function announce(): void {
    tell?.()
    news = new Promise((resolve) => {
      tell = resolve
    })
  }

  async function send(url: string, message: object, aborted?: AbortSignal): Promise<unknown> {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(message),
      ...(aborted && { signal: aborted }),
    })
    const text = await response.text()
    if (response.ok) return text && JSON.parse(text)
    let said: { error?: string; error_description?: string } = {}
    try {
      said = JSON.parse(text)
    } catch {
      // a proxy's own page
    }
    const retryAfter = Number(response.headers.get('retry-after')) || undefined
    throw new CibaRequestError(response.status, said.error ?? 'refused', said.error_description, retryAfter)
  }

  async function ask(url: string, message: object, seconds?: number): Promise<CibaState> {
    const controller = new AbortController()
    endRequest = () => controller.abort()
    if (seconds) timer = setTimeout(endRequest, seconds * 1000)
    try {
      const state = (await send(url, message, controller.signal)) as CibaState
      // A captive portal answers 200 too.
      if (!state.status) throw new TypeError('no status')
      transaction = state.transaction
      if (state.status === 'pending') {
        interval = state.interval
        deadline = Date.now() + (state.expiresIn + grace) * 1000
      }
      states.push(state)
      return state
    } finally {
      clearTimeout(timer)
      clearTimeout(giveUp)
      endRequest = undefined
      announce()
    }
  }

  async function pause(seconds: number): Promise<void> {
    await new Promise<void>((resolve) => {
      endPause = resolve
      timer = setTimeout(resolve, seconds * 1000)
    })
    clearTimeout(timer)
  }

  function cut(): void {
    isCut = true
    endRequest?.()
  }

  function wake(): void {
    isWoken = true
    failures = Math.min(failures, 1)
    endPause?.()
    clearTimeout(giveUp)
    // A start is never cut short.
    if (transaction && endRequest) giveUp = setTimeout(cut, patience)
  }

  async function begin(): Promise<CibaState | undefined> {
    signal?.throwIfAborted()
    if (transaction) return undefined
    try {
      return await ask(start, body)
    } catch (error) {
      signal?.throwIfAborted()
      throw error instanceof CibaRequestError ? error : new CibaRequestError(0, 'no_answer', String(error))
    }
  }

  /** How many seconds to leave the server alone after a poll without an answer. @throws what refuses it for good */
  function backOff(error: unknown): number {
    signal?.throwIfAborted()
    const { status = 0, retryAfter = 0 } = error as Partial<CibaRequestError>
    if (status >= 400 && status < 500 && status !== 429) throw error
    if (isCut) return 0
    onTrouble?.(error)
    return Math.max(retryAfter, Math.min(15, 2 ** failures++) * (0.5 + Math.random() / 2))
  }

  async function look(): Promise<CibaState | undefined> {
    isLong = !isWoken && !page?.hidden && wait > 0
    isWoken = isCut = false
    const seconds = isLong ? wait : 0
    const askedAt = Date.now()
    try {
      const state = await ask(poll, { transaction, wait: seconds }, seconds + 10)
      if (failures) onTrouble?.()
      failures = 0
      // After an answer that was held, and after a look that was out of turn, comes the next at once.
      rest = wait && !(isLong && Date.now() - askedAt < 1_000) ? 0 : interval
      return state
    } catch (error) {
      rest = backOff(error)
      return undefined
    }
  }

  async function follow(): Promise<CibaOutcome> {
    let state = await begun
    while (!state || state.status === 'pending') {
      if (failures > 3 && Date.now() > deadline) {
        state = { status: 'expired', transaction: transaction as string, error: 'expired_token' }
        states.push(state)
        return state
      }
      if (page?.hidden) rest = Math.max(rest, interval, hiddenInterval)
      if (rest && !isWoken) await pause(Math.min(rest, Math.max(1, (deadline - Date.now()) / 1000)))
      signal?.throwIfAborted()
      state = await look()
    }
    return state
  }

  async function* read(): AsyncGenerator<CibaState, void> {
    for (let next = 0; ; ) {
      const state = states[next]
      if (state) {
        next++
        yield state
      } else if (over.signal.aborted) {
        await outcome
        return
      } else await news
    }
  }

  function listen(
    target: Partial<EventTarget> | undefined,
    event: string,
    act: (event: never) => void,
  ): void {
    target?.addEventListener?.(event, act as (event: Event) => void, { signal: over.signal })
  }

  announce()
  listen(signal, 'abort', () => {
    endPause?.()
    endRequest?.()
  })
  listen(page, 'visibilitychange', () => {
    if (!page?.hidden) wake()
    // A phone that falls asleep in the middle of a long poll would lose the login that it brings.
    else if (isLong) cut()
  })
  listen(globalThis, 'pageshow', ({ persisted }: PageTransitionEvent) => persisted && wake())
  listen(globalThis, 'online', wake)
  const begun = begin()
  const outcome = follow().finally(() => {
    over.abort()
    clearTimeout(giveUp)
    announce()
  })
  // Whoever reads the states only learns of it there.
  outcome.catch(() => {})
  const run = {
    checkNow: wake,
    async cancel() {
      await begun
      if (over.signal.aborted) return
      // Not by the caller's signal: who leaves after it wants it told all the same.
      await send(cancel, { transaction }, AbortSignal.timeout(10_000))
      wake()
    },
    [Symbol.asyncIterator]: read,
  }
  const transactionOf = { get: () => transaction }
  return Object.defineProperty(
    Object.assign(outcome, run),
    'transaction',
    transactionOf,
  ) as unknown as CibaRun
}
