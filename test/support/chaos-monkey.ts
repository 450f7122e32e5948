/**
 * Does harm at random to the processes of an app and to their Redis, until it is told to stop: kills, freezes, restarts.
 * Asserts nothing.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Dice } from './chaos-dice.ts'
import type { Instance } from './instances.ts'
import type { RedisServer } from './redis-server.ts'

/** How often it did what. */
export type Harm = Record<
  'processes killed' | 'processes frozen' | 'Redis killed' | 'Redis frozen',
  { readonly at: number }[]
>

export class Monkey {
  readonly harm: Harm = {
    'processes killed': [],
    'processes frozen': [],
    'Redis killed': [],
    'Redis frozen': [],
  }
  readonly #dice: Dice
  readonly #redis: RedisServer
  readonly #newInstance: () => Promise<Instance>
  readonly #instances: Instance[] = []
  #underWay: Promise<unknown>[] = []
  #isOver = false

  constructor(dice: Dice, redis: RedisServer, newInstance: () => Promise<Instance>) {
    this.#dice = dice
    this.#redis = redis
    this.#newInstance = newInstance
  }

  /** As a balancer sees it that has not noticed yet who is frozen. */
  any(): Instance | undefined {
    return this.#dice.pick(this.#instances)
  }

  async add(count: number): Promise<void> {
    for (let n = 0; n < count; n++) this.#instances.push(await this.#newInstance())
  }

  /** Goes on for `ms`; in the end everything runs. */
  async rage(ms: number): Promise<void> {
    const until = performance.now() + ms
    while (performance.now() < until) {
      await sleep(this.#dice.between(100, 700))
      await this.#act()
    }
    this.#isOver = true
    await Promise.all(this.#underWay)
  }

  async #act(): Promise<void> {
    const what = this.#dice.next()
    if (what < 0.4) this.#underWay.push(this.#killOne())
    else if (what < 0.7) this.#underWay.push(this.#freezeOne())
    else if (what < 0.85) await this.#freezeRedis()
    else await this.#killRedis()
  }

  #note(what: keyof Harm): void {
    this.harm[what].push({ at: performance.now() })
  }

  async #killOne(): Promise<void> {
    const victim = this.any()
    if (!victim || this.#instances.length < 2 || this.#isOver) return
    this.#instances.splice(this.#instances.indexOf(victim), 1)
    this.#note('processes killed')
    await victim.kill()
    await this.add(1)
  }

  async #freezeOne(): Promise<void> {
    const victim = this.any()
    if (!victim || victim.isFrozen) return
    this.#note('processes frozen')
    victim.freeze()
    await sleep(this.#dice.between(200, 2_500))
    victim.thaw()
  }

  async #freezeRedis(): Promise<void> {
    this.#note('Redis frozen')
    this.#redis.freeze()
    await sleep(this.#dice.between(100, 1_500))
    this.#redis.release()
  }

  async #killRedis(): Promise<void> {
    this.#note('Redis killed')
    await this.#redis.kill()
    await sleep(this.#dice.between(0, 1_000))
    await this.#redis.start()
  }
}
