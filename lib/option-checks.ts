/**
 * How options are checked: one wording for all messages. Knows no option by name.
 */

import { invalidOption } from './errors.ts'

/** What a checker makes of a value that passes; it returns `undefined` for one that does not. */
export type Parse<Value> = (value: unknown) => Value | undefined

/** The value of `option` as `parse` reads it; `undefined` counts as absent. */
export function checkOption<Value>(
  option: string,
  value: unknown,
  parse: Parse<Value>,
  mustBe: string,
): Value | undefined {
  return checkSecretOption(option, value, parse, `${mustBe}, received ${shown(value)}`)
}

/** As {@link checkOption}, but never shows the value: for secrets and keys. */
export function checkSecretOption<Value>(
  option: string,
  value: unknown,
  parse: Parse<Value>,
  mustBe: string,
): Value | undefined {
  if (value === undefined) return undefined
  const parsed = parse(value)
  if (parsed === undefined) throw invalidOption(option, `must be ${mustBe}`)
  return parsed
}

/** Options beat the environment; `null` is a wrong option, not an absent one. */
export function either(option: unknown, variable: string | undefined): unknown {
  return option === undefined ? variable : option
}

/** What to throw where an option is absent that may also come from the environment. */
export function missing(option: string, variable: string, why: string): TypeError {
  return invalidOption(option, `(or the environment variable ${variable}) is required: ${why}`)
}

/** Refuses names that nobody knows, with the nearest known one. */
export function refuseUnknownOptions(given: object, known: readonly string[], prefix = ''): void {
  for (const name of Object.keys(given)) {
    if (known.includes(name)) continue
    const nearest = nearestOf(name, known)
    const hint = nearest === undefined ? '' : `, did you mean "${prefix}${nearest}"?`
    throw invalidOption(`${prefix}${name}`, `is unknown${hint}`)
  }
}

export const text: Parse<string> = (value) =>
  typeof value === 'string' && value.trim() !== '' ? value : undefined

export const bool: Parse<boolean> = (value) => (typeof value === 'boolean' ? value : undefined)

export const object: Parse<object> = (value) =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined

// biome-ignore lint/suspicious/noExplicitAny: any function will do, its types were checked by the compiler
export function func<Fn extends (...args: any[]) => unknown>(value: unknown): Fn | undefined {
  return typeof value === 'function' ? (value as Fn) : undefined
}

export function oneOf<const Value extends string>(values: readonly Value[]): Parse<Value> {
  return (value) => values.find((one) => one === value)
}

export function numberBetween(least: number, most: number): Parse<number> {
  return (value) => (typeof value === 'number' && value >= least && value <= most ? value : undefined)
}

/** An absolute URL without query, fragment, user name and password; plain http only where that is allowed. */
export function url(allowHttp: boolean): Parse<URL> {
  return (value) => {
    if (typeof value !== 'string' || !URL.canParse(value)) return undefined
    const parsed = new URL(value)
    const fits = parsed.protocol === 'https:' || (allowHttp && parsed.protocol === 'http:')
    const isBare = [parsed.search, parsed.hash, parsed.username, parsed.password].every((part) => part === '')
    return fits && isBare ? parsed : undefined
  }
}

/** The wording for {@link oneOf}: `"poll" or "ping"`. */
export function alternatives(values: readonly string[]): string {
  const quoted = values.map((value) => JSON.stringify(value))
  return quoted.length < 2 ? quoted.join() : `${quoted.slice(0, -1).join(', ')} or ${quoted.at(-1)}`
}

function shown(value: unknown): string {
  if (typeof value === 'string') {
    // What stands before an @ may be a password; and a key may be given where its algorithm belongs.
    if (value.includes('PRIVATE KEY')) return 'a key'
    return value.includes('@') ? 'a string with an @' : JSON.stringify(value)
  }
  if (typeof value === 'number' || typeof value === 'boolean' || value === null) return String(value)
  return Array.isArray(value) ? 'an array' : typeof value
}

function nearestOf(name: string, known: readonly string[]): string | undefined {
  const ranked = known
    .map((candidate) => ({ candidate, distance: distance(name.toLowerCase(), candidate.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance)
  const [best] = ranked
  return best && best.distance <= Math.max(2, Math.ceil(name.length / 3)) ? best.candidate : undefined
}

/** Levenshtein's: how many letters to insert, remove or replace. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1]
    for (const [j, other] of [...b].entries()) {
      const replaced = (row[j] ?? 0) + (letter === other ? 0 : 1)
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1))
    }
    row = next
  }
  return row.at(-1) ?? 0
}
