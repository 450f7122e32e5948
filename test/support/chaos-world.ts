/**
 * One run: an app of three processes, an OP and many browsers in a storm of faults, and what must be true all the same. The
 * seed decides everything.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { SessionData } from 'express-session'
import type { LoginMessage } from '../../lib/events.ts'
import type { StoredRecord } from '../../lib/store.ts'
import { isOpen, shortId, type Transaction } from '../../lib/transaction.ts'
import { Border } from './chaos-border.ts'
import { Browser } from './chaos-browser.ts'
import { Dice } from './chaos-dice.ts'
import { Instance, sharedSealer } from './chaos-instance.ts'
import { judge, type Known } from './chaos-judge.ts'
import { ChaosOp } from './chaos-op.ts'
import type { Prompt } from './chaos-prompts.ts'
import { ChaosSessions, SharedRecords } from './chaos-stores.ts'
import { here, type Place, VirtualTime } from './chaos-time.ts'
import { describeWeather, weatherOf } from './chaos-weather.ts'

/** A rule that was broken, and by whose login. */
export interface Violation {
  readonly rule: string
  readonly about: string
  readonly what: string
  readonly at: number
}

export interface Outcome {
  readonly seed: number
  readonly violations: readonly Violation[]
  /** What happened when and where; the same for the same seed. */
  readonly timeline: string
  /** How often what happened. */
  readonly counts: Readonly<Record<string, number>>
  /** Everything that happened to one person's login, and to everybody's. */
  trace(about: string): string
}

const instances = 3
const stormMs = 150_000
const startSpreadMs = 80_000
const mostMs = 1_500_000
const closeMs = 200_000

class World {
  readonly time = new VirtualTime()
  readonly violations: Violation[] = []
  readonly counts: Record<string, number> = {}
  readonly border: Border
  readonly records: SharedRecords
  readonly op: ChaosOp
  readonly mode: 'poll' | 'ping' | 'push'
  readonly browsers: Browser[]
  readonly #seed: number
  readonly #instances: Instance[] = []
  readonly #closing: Promise<void>[] = []
  readonly #sessions = new Map<string, string>()
  readonly #transactions = new Map<string, Known>()
  readonly #signedIn = new Map<string, number>()
  /** Sessions that have ended, and those of them that a slow request has written back. */
  readonly #ended = new Set<string>()
  readonly #broughtBack = new Set<string>()
  #born = 0
  readonly weather: string
  readonly #leavesLeases: boolean
  /** Whether every answer sets the cookie again. */
  readonly #rolls: boolean

  constructor(seed: number, logins: number) {
    this.#seed = seed
    const dice = new Dice(seed)
    this.mode = dice.pick(['poll', 'poll', 'ping', 'ping', 'push'])
    const storm = weatherOf(dice.fork(), stormMs)
    this.weather = describeWeather(storm)
    this.#leavesLeases = storm.kill + storm.storeFailsAfterEffect > 0 || storm.storeAway.length > 0
    this.#rolls = dice.chance(0.3)
    this.border = new Border(this.time, dice, storm, stormMs)
    this.border.kill = (place, why) => this.#kill(place, why)
    this.border.retire = (place) => this.#retire(place as Instance)
    this.records = new SharedRecords(this.border, (record) => this.#onWrite(record))
    const report = this.report.bind(this)
    this.op = new ChaosOp(this.border, this.mode, (prompt, body) => this.#notify(prompt, body), report)
    const around = {
      border: this.border,
      anyInstance: () => this.#anyInstance(),
      overlaps: !this.#rolls,
      foreign: (person: string) =>
        dice.pick(this.browsers.filter((other) => other.person !== person))?.transactions[0],
      report,
    }
    const person = (n: number) => `${dice.chance(0.03) ? 'nobody' : 'person'}-${n}`
    this.browsers = Array.from({ length: logins }, (_, n) => new Browser(person(n), around))
  }

  report(rule: string, about: string, what: string): void {
    this.border.note(`VIOLATION ${rule}: ${what}`, about, 'observer')
    this.violations.push({ rule, about, what, at: this.border.passedMs })
  }

  count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1
  }

  async run(): Promise<void> {
    const uninstall = this.time.install(this.border.dice.fork())
    const onLogin = (message: unknown) => this.#onLogin(message as LoginMessage)
    const onRejection = (reason: unknown) => this.report('I6', '', `unhandled rejection: ${reason}`)
    subscribe('express-ciba:login', onLogin)
    process.on('unhandledRejection', onRejection)
    try {
      for (let n = 0; n < instances; n++) this.#start()
      for (const browser of this.browsers) {
        browser
          .run(startSpreadMs, stormMs)
          .catch((error: Error) => this.report('I6', browser.person, String(error.stack)))
      }
      const isDone = () => this.browsers.every((browser) => browser.isDone)
      await this.time.run(() => isDone() || this.border.passedMs > mostMs)
      for (const { isDone, person } of this.browsers)
        if (!isDone) this.report('I6', person, 'is never answered')
      await this.#end()
      judge(
        {
          mode: this.mode,
          browsers: this.browsers,
          prompts: this.op.prompts,
          transactions: this.#transactions,
          sessions: this.#sessions,
          broughtBack: this.#broughtBack,
          leavesLeases: this.#leavesLeases,
          signedIn: this.#signedIn,
        },
        this,
      )
    } finally {
      process.off('unhandledRejection', onRejection)
      unsubscribe('express-ciba:login', onLogin)
      uninstall()
    }
  }

  trace(about: string): string {
    const { happenings } = this.border
    const own = happenings.filter((happening) => happening.about === about || happening.about === '')
    const lines = own.map(
      ({ at, where, what }) => `${(at / 1000).toFixed(3).padStart(9)} ${where.padEnd(16)} ${what}`,
    )
    return [
      `seed ${this.#seed}, ${this.mode}${this.#rolls ? ', rolling cookies' : ''}, ${about}`,
      this.weather,
      ...lines,
    ].join('\n')
  }

  #start(): void {
    const { border, records, op, mode: deliveryMode } = this
    // Two clocks are apart by the skew at most.
    const skewMs = Math.round(border.dice.between(-0.5, 0.5) * border.weather.skewMs)
    this.#born += 1
    const sessions = new ChaosSessions(border, this.#sessions, (id, data) => this.#onSession(id, data))
    const parts = { border, op: op.seen, store: records.seen(), sessions, deliveryMode, rolls: this.#rolls }
    const instance = new Instance(`app-${this.#born}`, skewMs, parts)
    border.note(`starts, its clock is off by ${skewMs} ms`, '', instance.name)
    this.#instances.push(instance)
  }

  #kill(place: Place, why: string): void {
    const instance = place as Instance
    const { border, time } = this
    if (!instance.isAlive) return
    this.count('processes killed')
    border.note(`KILLED ${why}`, '', instance.name)
    border.note(`KILLED ${why} of this`)
    instance.die()
    this.op.hasDied(instance)
    this.#instances.splice(this.#instances.indexOf(instance), 1)
    time.after(border.dice.between(200, 8_000), () => this.#start())
  }

  #anyInstance(): Instance | undefined {
    const { dice, weather } = this.border
    const ready = this.#instances.filter(({ isRetired }) => !isRetired)
    const instance = dice.pick(ready)
    if (instance && dice.chance(weather.retire)) this.#retire(instance)
    return instance
  }

  #retire(instance: Instance): void {
    if (instance.isRetired || !instance.isAlive) return
    this.border.note('CLOSES', '', instance.name)
    this.count('processes closed')
    this.#start()
    this.#closing.push(this.#close(instance))
  }

  /** Resolves when it is closed, or dead. */
  async #close(instance: Instance): Promise<void> {
    await Promise.race([instance.close(), instance.dead])
    if (!instance.isAlive) return
    this.border.note('is closed', '', instance.name)
    this.#hasClosed(instance)
    this.#instances.splice(this.#instances.indexOf(instance), 1)
  }

  #hasClosed(instance: Instance): void {
    const inFlight = this.op.inFlight(instance)
    if (inFlight > 0)
      this.report('I6', '', `${instance.name} has closed with ${inFlight} token requests in flight`)
  }

  async #notify(
    { person, notificationToken }: Prompt,
    body: object,
  ): Promise<{ status: number } | undefined> {
    const instance = this.#anyInstance()
    if (!instance?.isAlive) return undefined
    const authorization = `Bearer ${notificationToken}`
    return instance.ask({ method: 'POST', path: '/ciba/notification', authorization, body }, person).answer
  }

  #onWrite(record: StoredRecord): string {
    let transaction: Transaction | undefined
    try {
      transaction = sharedSealer.open(record)
    } catch {}
    if (!transaction) return 'something else'
    const known = this.#transactions.get(transaction.id)
    const wasComplete = transaction.state === 'complete' || known?.wasComplete === true
    this.#transactions.set(transaction.id, { newest: transaction, wasComplete })
    return describe(transaction)
  }

  #onSession(id: string, data: SessionData | undefined): void {
    if (!data) this.#ended.add(id)
    else if (this.#ended.has(id)) this.#broughtBack.add(id)
    const { ciba } = data ?? {}
    const about = here.getStore()?.about
    const sub = ciba?.login?.user.sub
    if (sub !== undefined && sub !== about) this.report('I3', String(about), `has ${sub} in session ${id}`)
  }

  #onLogin({ event, transaction }: LoginMessage): void {
    if (event !== 'signedIn' || here.getStore()?.place.isAlive !== true) return
    this.border.note('signedIn is said')
    const known = [...this.#transactions.values()].find(({ newest }) => shortId(newest.id) === transaction)
    const { claim, arrival } = known?.newest.state === 'complete' ? known.newest : {}
    const said = this.#signedIn.get(transaction) ?? 0
    this.#signedIn.set(transaction, said + 1)
    // Who could not record that an answer has left cannot tell the next one.
    const isKnown = said > 0 && arrival !== undefined && arrival.holder !== claim?.holder
    if (isKnown) this.report('I4', here.getStore()?.about ?? '', 'signedIn is said once more')
  }

  /** Everybody closes, and nothing may be left. */
  async #end(): Promise<void> {
    const { time, records, border } = this
    // What was abandoned ends by itself.
    let isClosed = false
    Promise.all([
      ...this.#closing,
      ...this.#instances.filter(({ isRetired }) => !isRetired).map((one) => this.#close(one)),
    ]).then(
      () => {
        isClosed = true
      },
      (error: Error) => this.report('I6', '', `close() failed: ${error.message}`),
    )
    const until = time.now + closeMs
    time.after(closeMs, () => {})
    await time.run(() => isClosed || time.now >= until)
    if (!isClosed) this.report('I6', '', 'close() does not end')
    if (records.listeners > 0) this.report('I6', '', `${records.listeners} listeners are left`)
    if (time.timers > 0) this.report('I6', '', `${time.timers} timers are left`)
    border.note('all closed', '', 'observer')
  }
}

function describe(transaction: Transaction): string {
  if (!isOpen(transaction)) {
    if (transaction.state !== 'complete') return `${transaction.state} (${transaction.error})`
    const { delivery, claim, arrival } = transaction
    const by = claim ? ` claimed by ${claim.holder.slice(-6)} until ${claim.until % 1e7}` : ''
    const to = arrival
      ? ` arriving in ${arrival.to.slice(0, 4)}${arrival.at === undefined ? ', broken' : ''}`
      : ''
    return `complete, ${delivery}${by}${to}`
  }
  const { state, lease, nextTokenRequestAt, interval, answerLost, failures } = transaction
  const until = lease ? ` leased by ${lease.holder.slice(-6)} until ${lease.until % 1e7}` : ''
  const at = ` next ${nextTokenRequestAt % 1e7} (${interval} s)`
  return `${state}${until}${at}${answerLost ? ' answer lost' : ''}${failures > 0 ? ` ${failures} failures` : ''}`
}

/** Plays one run to its end. */
export async function runWorld(seed: number, logins: number): Promise<Outcome> {
  const world = new World(seed, logins)
  await world.run()
  const { violations, counts, border } = world
  const timeline = border.happenings.map(({ at, where, about }) => `${at} ${where} ${about}`).join('\n')
  return { seed, violations, counts, timeline, trace: (about) => world.trace(about) }
}
