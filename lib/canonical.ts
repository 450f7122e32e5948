/**
 * One text for equal JSON values: the JSON Canonicalization Scheme (RFC 8785). Knows nothing of what the values mean.
 */

import { createHash } from 'node:crypto'
import type { JsonValue } from './grant.ts'

/**
 * The digest under which an action is approved, remembered and audited: SHA-256 of its canonical form, in base64url. Members
 * that are `undefined` count as absent, as for `JSON.stringify`.
 *
 * @throws TypeError for what JSON cannot express.
 */
export function actionDigest(action: JsonValue): string {
  return createHash('sha256').update(canonical(action, [])).digest('base64url')
}

const deepest = 100

/** `above` are the objects that it is in. */
function canonical(value: unknown, above: readonly object[]): string {
  if (value === null || typeof value === 'boolean') return String(value)
  // ECMAScript's own form of numbers and strings is the canonical one (RFC 8785 §3.2.2).
  if (typeof value === 'number' && Number.isFinite(value)) return JSON.stringify(value)
  if (typeof value === 'string' && value.isWellFormed()) return JSON.stringify(value)
  if (typeof value !== 'object' || above.length >= deepest || above.includes(value)) throw noJson()
  const inside = [...above, value]
  if (Array.isArray(value)) return `[${Array.from(value, (one) => canonical(one, inside)).join(',')}]`
  // A Date or a Map would silently lose what it is about.
  if (!isPlain(value)) throw noJson()
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .sort(([one], [other]) => (one < other ? -1 : 1)) // by UTF-16 code units (§3.2.3)
  return `{${members.map(([name, member]) => `${canonical(name, inside)}:${canonical(member, inside)}`).join(',')}}`
}

/** Also an object of another realm, as test runners make them. */
function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

function noJson(): TypeError {
  return new TypeError(
    '"action" must be a JSON value: strings, finite numbers, booleans, null, arrays and plain objects, not nested too deeply',
  )
}
