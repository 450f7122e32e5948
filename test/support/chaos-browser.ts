/**
 * A person's browser: starts a login, follows it through whatever happens, and looks whether it is signed in. Knows nothing
 * but what it is answered.
 */
import type { Border } from './chaos-border.ts'
import type { Answer, Ask } from './chaos-http.ts'
import type { Instance } from './chaos-instance.ts'

/** How a login ended, as the browser was told; `unknown`: 404. `never`: it was not told in time. */
export interface Told {
  readonly transaction: string
  readonly status: string
  readonly error?: unknown
}

/** Where it is. */
export interface Surroundings {
  readonly border: Border
  /** Any process that takes requests, as the balancer sees it. */
  anyInstance(): Instance | undefined
  /** Whether requests overlap that are not about one login: with rolling cookies the last answer would win. */
  readonly overlaps: boolean
  /** Somebody else's transaction. */
  foreign(person: string): string | undefined
  report(rule: string, about: string, what: string): void
}

const patienceMs = 1_200_000

export class Browser {
  readonly person: string
  /** The ids of all sessions whose cookie has come here. */
  readonly sessions = new Set<string>()
  readonly transactions: string[] = []
  readonly told: Told[] = []
  /** Who it is signed in as in the end, and with what. */
  signedIn: { readonly sub: string; readonly accessToken: string } | undefined
  isDone = false
  #cookie: string | undefined
  readonly #around: Surroundings

  constructor(person: string, around: Surroundings) {
    this.person = person
    this.#around = around
  }

  /** The id of the session that it has. */
  get session(): string | undefined {
    return this.#cookie && idOf(this.#cookie)
  }

  async run(startSpreadMs: number, stormMs: number): Promise<void> {
    const { border } = this.#around
    const { dice, time } = border
    await time.sleep(dice.between(0, startSpreadMs))
    await this.#begin()
    if (dice.chance(border.weather.startTwice) && this.#around.overlaps) await this.#begin()
    const told = await Promise.all(this.transactions.map((transaction) => this.#follow(transaction)))
    this.told.push(...told)
    if (border.passedMs < stormMs) await time.sleep(stormMs - border.passedMs)
    // What a failing store kept the first visit from doing, the next one does.
    for (let visit = 0; visit < 2; visit++) {
      this.signedIn = await this.#look()
      await time.sleep(1_000)
    }
    this.isDone = true
  }

  get #dice() {
    return this.#around.border.dice
  }

  async #begin(): Promise<void> {
    const { border } = this.#around
    while (border.passedMs < patienceMs / 2) {
      const answer = await this.#send('POST', '/ciba/start', { loginHint: this.person })
      const { transaction } = answer?.body ?? {}
      if (answer?.status === 202 && typeof transaction === 'string') {
        this.transactions.push(transaction)
        return
      }
      await border.time.sleep(this.#dice.between(200, 5_000))
    }
  }

  /** Polls until it is over. */
  async #follow(transaction: string): Promise<Told> {
    const { border } = this.#around
    const { dice, time } = border
    let notFound = 0
    let unfulfilled = 0
    while (border.passedMs < patienceMs) {
      const { weather } = border
      if (dice.chance(weather.browserPollsTwice)) void this.#pollInAnotherWindow(transaction)
      if (dice.chance(weather.browserAborts / 3) && this.#around.overlaps) void this.#send('GET', '/slow')
      if (dice.chance(0.02)) await this.#snoop()
      const before = this.session
      const answer = await this.#poll(transaction)
      const { status, error } = answer?.body ?? {}
      if (answer?.status === 404) {
        // Another window may have brought the new cookie while this one came with the old.
        if (this.session === before) notFound += 1
        if (!border.isStorm && notFound > 3) return { transaction, status: 'unknown' }
        await time.sleep(1_000)
      } else if (answer?.status === 200 && status === 'complete') {
        if (await this.#look()) return { transaction, status }
        unfulfilled += 1
        this.#around.report('I4', this.person, 'was told complete, and is not signed in')
        if (!border.isStorm && unfulfilled > 3) return { transaction, status: 'complete, but not signed in' }
        await time.sleep(500)
      } else if (answer?.status === 200 && status !== 'pending') {
        return { transaction, status: String(status), error }
      } else if (answer?.status === 200) {
        await time.sleep(
          dice.chance(weather.browserIsLate) ? dice.between(0, 40_000) : dice.between(0, 1_500),
        )
      } else {
        await time.sleep(dice.between(100, 2_000))
      }
    }
    return { transaction, status: 'never' }
  }

  async #poll(transaction: string): Promise<Answer | undefined> {
    return this.#send('POST', '/ciba/poll', { transaction, wait: this.#dice.pick([0, 3, 25, 25]) })
  }

  /** One that goes where it is sent, if nobody closes it. */
  async #pollInAnotherWindow(transaction: string): Promise<void> {
    const answer = await this.#poll(transaction)
    const isClosed = this.#dice.chance(this.#around.border.weather.browserIsLate)
    if (answer?.body['status'] === 'complete' && !isClosed) await this.#send('GET', '/me')
  }

  /** What belongs to others does not exist here. */
  async #snoop(): Promise<void> {
    const transaction = this.#around.foreign(this.person)
    if (transaction === undefined) return
    const answer = await this.#send('POST', '/ciba/poll', { transaction })
    if (answer && answer.status < 500 && answer.status !== 404) {
      this.#around.report(
        'I3',
        this.person,
        `was answered ${answer.status} for a transaction of somebody else`,
      )
    }
  }

  /** Who is signed in; asks again until it is told. */
  async #look(): Promise<Browser['signedIn']> {
    const { border } = this.#around
    for (;;) {
      const before = this.session
      const answer = await this.#send('GET', '/me')
      if (answer?.status === 200) {
        const { sub, accessToken } = answer.body as unknown as NonNullable<Browser['signedIn']>
        if (sub !== this.person) this.#around.report('I3', this.person, `is signed in as ${sub}`)
        return { sub, accessToken }
      }
      // Another window may have brought a new cookie meanwhile.
      const isTold = answer?.status === 401 && this.session === before
      if (isTold || border.passedMs > patienceMs) return undefined
      await border.time.sleep(this.#dice.between(100, 1_000))
    }
  }

  async #send(method: Ask['method'], path: string, body?: object): Promise<Answer | undefined> {
    const { border } = this.#around
    const instance = this.#around.anyInstance()
    await border.time.sleep(this.#dice.between(0.1, 10))
    if (!instance?.isAlive) return undefined
    const what = `${method} ${path}${body ? ` ${JSON.stringify(body)}` : ''}`
    border.note(
      `${what} with ${this.session?.slice(0, 4) ?? 'no session'}`,
      this.person,
      `browser → ${instance.name}`,
    )
    const exchange = instance.ask({ method, path, cookie: this.#cookie, ...(body && { body }) }, this.person)
    if (this.#dice.chance(border.weather.browserAborts)) {
      border.time.after(this.#dice.between(0, 8_000), exchange.abort)
    }
    const answer = await exchange.answer
    if (answer?.cookie !== undefined) {
      this.#cookie = answer.cookie
      this.sessions.add(idOf(answer.cookie))
    }
    const cookie = answer?.cookie === undefined ? '' : `, with ${idOf(answer.cookie).slice(0, 4)}`
    const said = answer ? `${answer.status} ${JSON.stringify(answer.body)}${cookie}` : 'no answer'
    border.note(`${path}: ${said}`, this.person, 'browser')
    return answer
  }
}

function idOf(cookie: string): string {
  return decodeURIComponent(cookie).match(/s:([^.]+)\./)?.[1] ?? ''
}
