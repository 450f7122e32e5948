/**
 * Simulated time for everything in this process: the clock stands still while anything can run, and jumps to the next timer
 * when nothing can. Timers belong to the place where they were set, which may be a process that has died. Knows nothing
 * of what is simulated.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import type { Dice } from './chaos-dice.ts'

/** What plays a process: what runs in its name sees its clock, and its timers end with it. */
export interface Place {
  readonly name: string
  /** How far its clock is off. */
  readonly skewMs: number
  readonly isAlive: boolean
}

/** In whose name something runs; `about` is for the trace. */
export interface Here {
  readonly place: Place
  readonly about: string
}

export const here = new AsyncLocalStorage<Here>()

/** What never comes back to a place that has died. */
export const never: Promise<never> = new Promise(() => {})

interface Timer {
  readonly at: number
  readonly number: number
  readonly from: Here | undefined
  callback: (() => void) | undefined
}

export class VirtualTime {
  /** True time, epoch milliseconds: that of no place. */
  now = 1_800_000_000_000
  readonly #heap: Timer[] = []
  #count = 0
  #undo: (() => void) | undefined

  /** Calls back in `ms`, whatever happens to the place. */
  after(ms: number, callback: () => void): void {
    this.#add(ms, callback, undefined)
  }

  /** Resolves in `ms`, whatever happens to the place. */
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.after(ms, resolve))
  }

  /** How many timers are set at places that live. */
  get timers(): number {
    return this.#heap.filter(({ callback, from }) => callback && from?.place.isAlive).length
  }

  /** Lets time pass until `isOver`; `false`: nothing was left that could happen. */
  async run(isOver: () => boolean): Promise<boolean> {
    await settle()
    while (!isOver()) {
      const timer = this.#first()
      if (!timer) return false
      this.now = Math.max(this.now, timer.at)
      const { callback, from } = timer
      timer.callback = undefined
      if (!callback || from?.place.isAlive === false) continue
      if (from) here.run(from, callback)
      else callback()
      await settle()
    }
    return true
  }

  /** Takes the place of the real time, and of chance, until the function that it returns is called. */
  install(dice: Dice): () => void {
    const { setTimeout, clearTimeout } = globalThis
    const { now } = Date
    const { random } = Math
    const set = (callback: (...args: unknown[]) => void, ms = 0, ...args: unknown[]) => {
      const timer = this.#add(Math.max(1, ms), () => callback(...args), here.getStore())
      const handle = { timer, ref: () => handle, unref: () => handle, hasRef: () => true }
      return handle
    }
    const clear = (handle?: { readonly timer?: Timer }) => {
      if (handle?.timer) handle.timer.callback = undefined
    }
    Object.assign(globalThis, { setTimeout: set, clearTimeout: clear })
    Date.now = () => Math.floor(this.now + (here.getStore()?.place.skewMs ?? 0))
    Math.random = dice.next
    this.#undo = () => {
      Object.assign(globalThis, { setTimeout, clearTimeout })
      Date.now = now
      Math.random = random
      this.#undo = undefined
    }
    return () => this.#undo?.()
  }

  #add(ms: number, callback: () => void, from: Here | undefined): Timer {
    this.#count += 1
    const timer: Timer = { at: this.now + Math.max(0, ms), number: this.#count, from, callback }
    const heap = this.#heap
    let index = heap.push(timer) - 1
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (isBefore(heap[parent] as Timer, timer)) break
      heap[index] = heap[parent] as Timer
      index = parent
    }
    heap[index] = timer
    return timer
  }

  #first(): Timer | undefined {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (!last || last === first) return first
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Timer, heap[child] as Timer)) child += 1
      if (isBefore(last, heap[child] as Timer)) break
      heap[index] = heap[child] as Timer
      index = child
    }
    heap[index] = last
    return first
  }
}

function isBefore(one: Timer, other: Timer): boolean {
  return one.at < other.at || (one.at === other.at && one.number < other.number)
}

/** Streams, express-session and Express put things off by a turn of the event loop now and then. */
const turns = 2
const nextTurn = setImmediate

function settle(): Promise<void> {
  return new Promise((resolve) => {
    let left = turns
    const turn = () => {
      left -= 1
      if (left > 0) nextTurn(turn)
      else resolve()
    }
    nextTurn(turn)
  })
}
