/**
 * The border around what plays a process: whatever goes out and comes back may be late, fail, take effect and fail all the
 * same, or find its process dead. Knows nothing of what crosses it.
 */
import type { Dice } from './chaos-dice.ts'
import { here, never, type Place, type VirtualTime } from './chaos-time.ts'
import { calm, type Stretch, type Weather } from './chaos-weather.ts'

/** One thing that happened. */
export interface Happening {
  readonly at: number
  readonly where: string
  /** The person whose login it is about; empty: everybody. */
  readonly about: string
  readonly what: string
}

/** How often a crossing fails, and in which stretches it does. */
export interface Trouble {
  readonly fails: number
  readonly failsAfterEffect: number
  readonly isSlow: number
  readonly away: readonly Stretch[]
}

export class Border {
  readonly time: VirtualTime
  readonly dice: Dice
  readonly happenings: Happening[] = []
  /** Kills the process in whose name something runs. */
  kill: (place: Place, why: string) => void = () => {}
  /** Tells it to close. */
  retire: (place: Place) => void = () => {}
  readonly #storm: Weather
  readonly #from: number
  readonly #stormMs: number

  constructor(time: VirtualTime, dice: Dice, storm: Weather, stormMs: number) {
    this.time = time
    this.dice = dice
    this.#storm = storm
    this.#from = time.now
    this.#stormMs = stormMs
  }

  /** Since the beginning. */
  get passedMs(): number {
    return this.time.now - this.#from
  }

  get isStorm(): boolean {
    return this.passedMs < this.#stormMs
  }

  get weather(): Weather {
    return this.isStorm ? this.#storm : calm
  }

  note(
    what: string,
    about = here.getStore()?.about ?? '',
    where = here.getStore()?.place.name ?? 'OP',
  ): void {
    this.happenings.push({ at: this.passedMs, where, about, what })
  }

  /** Goes out, does its work there and comes back, if it does. */
  async cross<Result>(
    name: string,
    trouble: Trouble,
    act: () => Result,
    describe: (result: Result) => string = String,
  ): Promise<Result> {
    const { dice, time } = this
    await this.alive(`before ${name}`)
    const out =
      dice.next() < trouble.isSlow ? dice.between(0, 4_000) : dice.next() < 0.3 ? dice.next() * 8 : 0
    const back = dice.next() < trouble.isSlow ? dice.between(0, 2_000) : 0
    if (out > 0) await time.sleep(out)
    await this.#untilThere(name, trouble.away)
    if (isDead()) return never
    if (dice.chance(trouble.fails)) {
      this.note(`${name}: FAILS, no effect`)
      throw new Error('it is down')
    }
    const result = act()
    const failsNow = dice.chance(trouble.failsAfterEffect)
    this.note(`${name}: ${describe(result)}${failsNow ? ', then FAILS' : ''}`)
    await this.alive(`after ${name}`)
    if (back > 0) await time.sleep(back)
    if (isDead()) return never
    if (failsNow) throw new Error('the connection was lost')
    return result
  }

  /** Where a process may be killed; does not come back to a dead one. */
  async alive(where: string): Promise<void> {
    const place = here.getStore()?.place
    if (this.dice.chance(this.weather.kill) && place?.isAlive) this.kill(place, where)
    if (isDead()) await never
  }

  async #untilThere(name: string, away: readonly Stretch[]): Promise<void> {
    for (;;) {
      const passed = this.passedMs
      const stretch = away.find(({ from, to }) => passed >= from && passed < to)
      if (!stretch) return
      if (!stretch.freezes) {
        this.note(`${name}: AWAY`)
        throw new Error('it is away')
      }
      await this.time.sleep(stretch.to - passed + 1)
    }
  }
}

export function isDead(): boolean {
  return here.getStore()?.place.isAlive === false
}
