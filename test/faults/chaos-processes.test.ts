/**
 * Hundreds of logins over three real processes on a real Redis, both killed and frozen at random, with an OP that loses
 * answers. The same must be true as in `chaos.test.ts`; time is real here, and no run is like another.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'chai'
import { Dice } from '../support/chaos-dice.ts'
import { Monkey } from '../support/chaos-monkey.ts'
import { type Asked, ChaosScript } from '../support/chaos-script.ts'
import { faultStage, type Stage, Visitor } from '../support/fault-stage.ts'
import { until } from '../support/web.ts'

const { SEED, PROCESS_LOGINS } = process.env
const logins = Number(PROCESS_LOGINS ?? 80)
const seed = Number(SEED ?? 1)
const stormMs = Math.max(12_000, logins * 100)
/** Longer than any lease: the token request's 30 seconds, the checks' 6, and 5 more. */
const leaseSeconds = 45
/** How long after a kill its process may have had tokens in its hands, or tried to record them. */
const inHandMs = 12_000

/** One person's browser in the storm. */
class Person {
  readonly name: string
  transaction = ''
  status = 'none'
  error: unknown
  readonly sessions = new Set<string>()
  readonly #visitor: Visitor
  readonly #monkey: Monkey
  readonly #dice: Dice

  constructor(name: string, monkey: Monkey, dice: Dice) {
    this.name = name
    this.#monkey = monkey
    this.#dice = dice
    this.#visitor = new Visitor(monkey.any()!)
  }

  /** `undefined`: no answer, or one that says to come again. */
  async #send(method: string, path: string, body?: object): Promise<Record<string, unknown> | undefined> {
    const { signal, abort } = this.#patience()
    try {
      const instance = this.#monkey.any()
      if (!instance) return undefined
      this.#visitor.moveTo(instance)
      const answer = await this.#visitor.send(method, path, body, signal)
      if (this.#visitor.sessionId) this.sessions.add(this.#visitor.sessionId)
      return answer.status < 500 ? { code: answer.status, ...answer.body } : undefined
    } catch {
      return undefined
    } finally {
      abort()
    }
  }

  /** Some browsers go away before they are answered. */
  #patience(): { signal: AbortSignal; abort: () => void } {
    const controller = new AbortController()
    const ms = this.#dice.chance(0.1) ? this.#dice.between(0, 1_500) : 8_000
    const timer = setTimeout(() => controller.abort(), ms)
    return { signal: controller.signal, abort: () => clearTimeout(timer) }
  }

  async start(): Promise<void> {
    while (this.transaction === '') {
      const answer = await this.#send('POST', '/ciba/start', { loginHint: this.name })
      if (answer?.['code'] === 202) this.transaction = String(answer['transaction'])
      else await sleep(this.#dice.between(50, 500))
    }
  }

  /** Polls until it is over, or `isOver`. */
  async follow(isOver: () => boolean): Promise<void> {
    while (!this.isDone && !isOver()) {
      const wait = this.#dice.pick([0, 1, 2])
      const body = { transaction: this.transaction, wait }
      if (this.#dice.chance(0.1)) void this.#send('POST', '/ciba/poll', body)
      const answer = await this.#send('POST', '/ciba/poll', body)
      if (answer?.['code'] === 404 && (await this.user()) === this.name) this.status = 'complete'
      else if (answer?.['code'] === 200) {
        this.status = String(answer['status'])
        this.error = answer['error']
        if (this.status === 'complete' && (await this.user()) === undefined)
          this.status = 'complete, not signed in'
      } else if (answer) this.status = `answered ${answer['code']}`
      await sleep(this.#dice.between(0, 400))
    }
  }

  get isDone(): boolean {
    return ['complete', 'denied', 'expired', 'failed', 'cancelled'].includes(this.status)
  }

  /** Who is signed in here. */
  async user(): Promise<unknown> {
    for (;;) {
      const answer = await this.#send('GET', '/me')
      if (answer) return answer['sub']
      await sleep(100)
    }
  }
}

for (const mode of ['poll', 'ping'] as const) {
  describe(`hundreds of logins over processes that are killed, in ${mode} mode`, function () {
    this.timeout(60_000 + 2 * stormMs)

    const stage = faultStage({ keepsData: true })

    it(`keep every promise: ${logins} of them`, async () => {
      const dice = new Dice(seed)
      const monkey = new Monkey(dice.fork(), stage.redis, () => {
        return stage.instance({ deliveryMode: mode, httpTimeout: 3, baseURL: 'http://app.test' })
      })
      await monkey.add(3)
      const url = mode === 'ping' ? () => monkey.any()?.notificationUrl : undefined
      const script = new ChaosScript(stage.op, dice.fork(), url)
      const people = Array.from({ length: logins }, (_, n) => new Person(`person-${n}`, monkey, dice.fork()))
      const from = performance.now()
      let isStorm = true
      const following = people.map(async (person) => {
        await sleep(dice.between(0, stormMs * 0.8))
        await person.start()
        await person.follow(() => !isStorm)
      })
      await monkey.rage(stormMs)
      isStorm = false
      script.calm()
      await Promise.all(following)
      // What killed processes held is free again after a while: let it pass, with no request under way.
      await until('nobody asks', () => !script.isBusy)
      await sleep(1_500)
      await stage.travel(leaseSeconds)
      const lateAt = performance.now() + 20_000
      await Promise.all(people.map((person) => person.follow(() => performance.now() > lateAt)))
      for (const person of people) if (person.status === 'complete') await person.user()
      const kills = monkey.harm['processes killed'].map(({ at }) => at - from)
      expect(await complaints(stage, people, script.asked, kills)).to.deep.equal([])
      expect(people.filter(({ status }) => status === 'complete').length).to.be.above(logins * 0.6)
      for (const [what, times] of Object.entries(monkey.harm)) expect(times, what).not.to.have.length(0)
    })
  })
}

async function complaints(
  stage: Stage,
  people: readonly Person[],
  asked: ReadonlyMap<string, Asked>,
  kills: readonly number[],
): Promise<string[]> {
  const found = stage.op.violations()
  const sessions = await stage.sessions()
  for (const person of people) {
    const { name, status, error, transaction } = person
    const record = await stage.transaction(transaction)
    const about = asked.get(String(record?.authReqId))
    const end = `${name} was told ${status}${error === undefined ? '' : ` (${error})`}`
    const user = status === 'complete' ? await person.user() : undefined
    const held = sessions.filter(({ login, id }) => login === transaction && person.sessions.has(id))
    if (held.length > 1) found.push(`${name} has ${held.length} sessions`)
    if (held.some((one) => one.user !== name)) found.push(`${name} has a session of somebody else`)
    if (!about || about.person !== name) found.push(`${end}, and was not asked`)
    else if (status === 'complete') {
      if (user !== name) found.push(`${end}, and is signed in as ${user}`)
      if (about.verdict !== 'approve') found.push(`${end}, and has not approved`)
    } else if (about.verdict === 'deny') {
      if (status !== 'denied') found.push(`${end}, and had denied`)
    } else {
      const at = about.consumedAt ?? Number.NEGATIVE_INFINITY
      const mayBeLost = about.isLost || kills.some((kill) => kill >= at - 1_000 && kill - at < inHandMs)
      const isSaid = status === 'failed' && error === 'outcome_unknown' && about.consumedAt !== undefined
      if (!isSaid || !mayBeLost)
        found.push(`${end}, and had approved${mayBeLost ? '; the tokens are lost' : ''}`)
    }
  }
  return found
}
