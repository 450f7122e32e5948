/**
 * App instances as processes of their own, seen from outside: what they are told and what they say; they can be killed,
 * frozen and set to another time. Asserts only that none of them has got into trouble.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import type { CibaEvents } from '../../lib/index.ts'
import type { InstanceSettings, Order, Report } from './instance-process.ts'
import type { Trap } from './traps.ts'

type OrderBody = Order extends infer One ? (One extends Order ? Omit<One, 'number'> : never) : never

const program = new URL('./instance-process.ts', import.meta.url).href

/** One instance. */
export class Instance {
  origin = ''
  /** What was said on the channels of `diagnostics_channel`. */
  events: { readonly channel: keyof CibaEvents; readonly message: CibaEvents[keyof CibaEvents] }[] = []
  troubles: string[] = []
  readonly ended: Promise<unknown>
  readonly #child: ChildProcess
  readonly #news = new EventEmitter().setMaxListeners(0)
  readonly #freezing = new Set<string>()
  #trapped: string[] = []
  #orders = 0
  #isReady = false
  #isFrozen = false

  constructor() {
    const code = `(await import(${JSON.stringify(program)})).runInstance()`
    const args = ['--import', 'tsx', '--input-type=module', '--eval', code]
    this.#child = spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    this.ended = once(this.#child, 'exit').then(() => this.#news.emit('end'))
    this.#child.on('message', (report) => this.#take(report as Report))
    this.#child.on('error', () => {}) // an order to who has been killed
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  get notificationUrl(): string {
    return `${this.origin}/ciba/notification`
  }

  /** Ready to be set up. */
  async ready(): Promise<this> {
    await this.#until('it is ready', () => this.#isReady)
    return this
  }

  async setUp(settings: InstanceSettings): Promise<this> {
    this.events = []
    this.troubles = []
    this.#trapped = []
    this.#freezing.clear()
    this.origin = (await this.#tell({ setUp: settings })).origin ?? ''
    return this
  }

  /** Lets go of everything, so that it can be set up again. */
  async takeDown(): Promise<void> {
    await this.#tell({ takeDown: true })
  }

  async trap(point: string, does: Trap['does'], more: Partial<Trap> = {}): Promise<void> {
    if (does === 'freeze') this.#freezing.add(point)
    await this.#tell({ trap: { point, does, ...more } })
  }

  async openTraps(): Promise<void> {
    await this.#tell({ openTraps: true })
  }

  /** Resolves when it has come by a trap. */
  async trapped(point: string, count = 1): Promise<void> {
    await this.#until(`it is trapped at ${point}`, () => {
      return this.#trapped.filter((one) => one === point).length >= count
    })
  }

  /** Whether Redis is there, as far as it knows. */
  async isConnected(): Promise<boolean> {
    return (await this.#tell({ look: true })).isConnected === true
  }

  /** Sets its clock. */
  async clock(aheadMs: number): Promise<void> {
    await this.#tell({ clockMs: aheadMs })
  }

  /** The messages on one channel, up to now. */
  async said<Channel extends keyof CibaEvents>(channel: Channel): Promise<CibaEvents[Channel][]> {
    await this.#tell({ look: true })
    return this.events.filter((one) => one.channel === channel).map(({ message }) => message as never)
  }

  get isFrozen(): boolean {
    return this.#isFrozen
  }

  freeze(): void {
    this.#isFrozen = true
    this.#child.kill('SIGSTOP')
  }

  thaw(): void {
    this.#isFrozen = false
    this.#child.kill('SIGCONT')
  }

  async kill(): Promise<void> {
    if (this.isRunning) this.#child.kill('SIGKILL')
    await this.ended
  }

  async #tell(body: OrderBody): Promise<{ origin?: string; isConnected?: boolean }> {
    this.#orders += 1
    const number = this.#orders
    let report: Extract<Report, { done: number }> | undefined
    const listen = (said: Report) => {
      if ('done' in said && said.done === number) report = said
    }
    this.#news.on('report', listen)
    this.#child.send({ number, ...body })
    try {
      await this.#until(`it does as told: ${Object.keys(body)}`, () => report !== undefined)
    } finally {
      this.#news.off('report', listen)
    }
    if (report?.fault !== undefined) throw new Error(`an instance could not do as told: ${report.fault}`)
    return report ?? {}
  }

  async #until(what: string, check: () => boolean): Promise<void> {
    const late = AbortSignal.timeout(15_000)
    while (!check()) {
      if (!this.isRunning) throw new Error(`an instance has ended before ${what}`)
      const news = [once(this.#news, 'report', { signal: late }), once(this.#news, 'end', { signal: late })]
      await Promise.race(news).catch(() => {
        throw new Error(`never: ${what}`)
      })
    }
  }

  #take(report: Report): void {
    if ('ready' in report) this.#isReady = true
    else if ('trapped' in report) {
      this.#trapped.push(report.trapped)
      this.#isFrozen ||= this.#freezing.has(report.trapped)
    } else if ('trouble' in report) this.troubles.push(report.trouble)
    else if ('channel' in report) this.events.push(report)
    this.#news.emit('report', report)
  }
}

/** Instances for the tests of a suite. */
export interface Instances {
  /** Of this test: set up afresh, and taken down behind it. */
  start(settings: InstanceSettings): Promise<Instance>
  /** The clocks of this process and of all instances jump ahead. */
  travel(seconds: number): Promise<void>
}

/** Keeps processes warm, as a start takes a second: those that a test has left alive serve the next. */
export function instances(): Instances {
  const { now } = Date
  let aheadMs = 0
  const idle: Instance[] = []
  let used: Instance[] = []
  let isOver = false
  /** In the place of each that is killed comes another, while the tests go on. */
  function spare(): void {
    if (isOver) return
    const one = new Instance()
    one.ended.then(spare, () => {})
    idle.push(one)
  }

  before(() => {
    spare()
    spare()
  })
  afterEach(async () => {
    Date.now = now
    aheadMs = 0
    const here = used
    used = []
    for (const one of here) {
      if (!one.isRunning) continue
      one.thaw()
      await one.takeDown()
      idle.push(one)
    }
    const troubles = here.flatMap((one) => one.troubles)
    if (troubles.length > 0) throw new Error(`an instance has got into trouble:\n${troubles.join('\n')}`)
  })
  after(async () => {
    isOver = true
    for (const one of [...idle.splice(0), ...used]) await one.kill()
  })
  return {
    async start(settings) {
      if (idle.length === 0) spare()
      const one = idle.shift() as Instance
      used.push(one)
      await one.ready()
      return one.setUp(settings)
    },
    async travel(seconds) {
      aheadMs += seconds * 1000
      const ahead = aheadMs
      Date.now = () => now() + ahead
      // A frozen one learns it when it goes on: see its trap.
      const running = used.filter((one) => one.isRunning && !one.isFrozen)
      const told = running.map((one) =>
        one.clock(ahead).catch((error: unknown) => {
          // It was killed just now.
          if (one.isRunning) throw error
        }),
      )
      await Promise.all(told)
    },
  }
}
