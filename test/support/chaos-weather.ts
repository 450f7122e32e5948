/** How bad it gets in one run: which faults there are, and how often. Knows nothing of what they do. */
import type { Dice } from './chaos-dice.ts'

/** The rate of each fault, for each occasion. */
export interface Rates {
  /** The process is killed just before, or just after, what it does at one of its borders. */
  readonly kill: number
  /** It is told to close, as by a rolling restart, whenever the balancer looks. */
  readonly retire: number
  /** Reads and writes of the transaction store. */
  readonly storeFails: number
  readonly storeFailsAfterEffect: number
  readonly storeIsSlow: number
  /** Wake-ups. */
  readonly watchIsLost: number
  readonly watchIsLate: number
  readonly sessionFails: number
  readonly sessionFailsAfterEffect: number
  readonly sessionIsSlow: number
  /** What the OP is asked. */
  readonly opIsDown: number
  readonly opResetsBefore: number
  readonly opAnswerIsLost: number
  readonly opIsBusy: number
  readonly opGateway: number
  readonly opSaysSlowDown: number
  readonly opIsSlow: number
  /** What the OP says by itself. */
  readonly pingIsEarly: number
  readonly pingIsLate: number
  readonly pingIsRepeated: number
  readonly pingIsLost: number
  readonly pushFails: number
  /** Browsers and their connections. */
  readonly browserAborts: number
  readonly browserIsLate: number
  readonly browserPollsTwice: number
  readonly answerIsLost: number
  readonly answerBreaks: number
  readonly startTwice: number
  readonly hookIsSlow: number
  readonly hookFails: number
}

export interface Weather extends Rates {
  /** How far clocks are off: two of them may be apart by as much. */
  readonly skewMs: number
  /** Stretches in which a store is away, each [from, to] in milliseconds from the beginning. */
  readonly storeAway: readonly Stretch[]
  readonly sessionsAway: readonly Stretch[]
}

/** `freezes`: what is asked meanwhile is answered afterwards; else it fails at once. */
export interface Stretch {
  readonly from: number
  readonly to: number
  readonly freezes: boolean
}

/** The highest rate of each fault. */
const worst: Rates = {
  kill: 0.006,
  retire: 0.01,
  storeFails: 0.1,
  storeFailsAfterEffect: 0.1,
  storeIsSlow: 0.1,
  watchIsLost: 0.6,
  watchIsLate: 0.4,
  sessionFails: 0.1,
  sessionFailsAfterEffect: 0.1,
  sessionIsSlow: 0.1,
  opIsDown: 0.15,
  opResetsBefore: 0.15,
  opAnswerIsLost: 0.12,
  opIsBusy: 0.2,
  opGateway: 0.08,
  opSaysSlowDown: 0.25,
  opIsSlow: 0.15,
  pingIsEarly: 0.3,
  pingIsLate: 0.4,
  pingIsRepeated: 0.4,
  pingIsLost: 0.4,
  pushFails: 0.3,
  browserAborts: 0.3,
  browserIsLate: 0.3,
  browserPollsTwice: 0.4,
  answerIsLost: 0.15,
  answerBreaks: 0.1,
  startTwice: 0.2,
  hookIsSlow: 0.3,
  hookFails: 0.2,
}

/** Clocks that are apart by five seconds are to be lived with. */
const worstSkewMs = 5_000

/** Each kind of fault is there in some runs only: what one hides, another run shows. */
export function weatherOf(dice: Dice, stormMs: number): Weather {
  const severity = dice.pick([0.15, 0.5, 1])
  const share = dice.pick([0.15, 0.4, 0.8])
  const rates = Object.entries(worst).map(([name, rate]): [string, number] => {
    const level = dice.between(0.2, 1) * severity
    return [name, dice.chance(share) ? rate * level : 0]
  })
  const away = (): Stretch[] =>
    Array.from({ length: dice.chance(share / 2) ? 2 : 0 }, () => {
      const from = dice.between(0, stormMs * 0.8)
      return { from, to: from + dice.between(500, 20_000 * severity), freezes: dice.chance(0.5) }
    })
  return {
    ...(Object.fromEntries(rates) as unknown as Rates),
    skewMs: dice.chance(share) ? worstSkewMs * severity : 0,
    storeAway: away(),
    sessionsAway: away(),
  }
}

/** No fault at all, as it is once the storm is over. */
export const calm: Weather = {
  ...(Object.fromEntries(Object.keys(worst).map((name) => [name, 0])) as unknown as Rates),
  skewMs: 0,
  storeAway: [],
  sessionsAway: [],
}

/** What is not harmless, for the head of a trace. */
export function describeWeather({ skewMs, storeAway, sessionsAway, ...rates }: Weather): string {
  const there = Object.entries(rates).filter(([, rate]) => rate > 0)
  const stretches = (name: string, list: readonly Stretch[]) =>
    list.map(
      ({ from, to, freezes }) =>
        `${name} ${freezes ? 'frozen' : 'away'} ${(from / 1000).toFixed(1)}…${(to / 1000).toFixed(1)} s`,
    )
  return [
    ...there.map(([name, rate]) => `${name} ${rate.toFixed(3)}`),
    ...(skewMs > 0 ? [`clocks ${skewMs} ms apart`] : []),
    ...stretches('store', storeAway),
    ...stretches('sessions', sessionsAway),
  ].join(', ')
}
