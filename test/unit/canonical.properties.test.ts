import { isDeepStrictEqual } from 'node:util'
import { expect } from 'chai'
import fc from 'fast-check'
import { actionDigest } from '../../lib/canonical.ts'
import type { JsonValue } from '../../lib/grant.ts'

const any = fc.jsonValue({ stringUnit: 'binary', maxDepth: 4 }) as fc.Arbitrary<JsonValue>

/** So little to choose from that two of them are often equal, or almost. */
const { few } = fc.letrec<{ few: JsonValue }>((tie) => ({
  few: fc.oneof(
    { maxDepth: 2 },
    fc.constantFrom<JsonValue[]>(0, -0, 1, '', '1', 'a', null, true, false),
    fc.array(tie('few'), { maxLength: 2 }),
    fc.dictionary(fc.constantFrom('a', 'b', '1', ''), tie('few'), { maxKeys: 2 }),
  ),
}))

/** What is left on the way through JSON: for it, there is one zero. */
const throughJson = (value: unknown): unknown => JSON.parse(JSON.stringify(value))

/** The same value, with the members of every object in another order. */
function reordered(value: JsonValue, random: () => number): JsonValue {
  if (Array.isArray(value)) return value.map((one) => reordered(one, random))
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value as Record<string, JsonValue>)
    .map((entry) => ({ entry, place: random() }))
    .sort((one, other) => one.place - other.place)
    .map(({ entry: [name, member] }) => [name, reordered(member, random)] as const)
  return Object.fromEntries(entries)
}

/** Changes one thing, somewhere. */
function changed(value: JsonValue, where: number): JsonValue {
  if (Array.isArray(value)) {
    if (value.length === 0 || where === 0) return [...value, null]
    const at = where % value.length
    return value.map((one, index) => (index === at ? changed(one, where >> 1) : one))
  }
  if (typeof value === 'object' && value !== null) {
    const names = Object.keys(value)
    const name = names[where % (names.length + 1)]
    if (name === undefined) return { ...value, 'a name of its own': null }
    const member = (value as Record<string, JsonValue>)[name] as JsonValue
    return Object.fromEntries([...Object.entries(value), [name, changed(member, where >> 1)]])
  }
  return typeof value === 'string' ? `${value}.` : [value]
}

describe('actionDigest() of any value', () => {
  it('is one for equal JSON values, and another for others', () => {
    let equal = 0
    fc.assert(
      fc.property(few, few, (one, other) => {
        const areEqual = isDeepStrictEqual(throughJson(one), throughJson(other))
        if (areEqual) equal += 1
        expect(actionDigest(one) === actionDigest(other)).to.equal(areEqual)
      }),
      { numRuns: 3_000 },
    )
    expect(equal, 'equal ones').to.be.within(30, 2_500)
  })

  it('does not depend on the order of members, or on who parsed it', () => {
    fc.assert(
      fc.property(any, fc.infiniteStream(fc.double({ min: 0, max: 1, noNaN: true })), (value, stream) => {
        const other = reordered(value, () => stream.next().value as number)
        expect(actionDigest(other)).to.equal(actionDigest(value))
        expect(actionDigest(throughJson(other) as JsonValue)).to.equal(actionDigest(value))
      }),
      { numRuns: 500 },
    )
  })

  it('is another one after any change', () => {
    fc.assert(
      fc.property(any, fc.nat(1_000), (value, where) => {
        expect(actionDigest(changed(value, where))).to.not.equal(actionDigest(value))
      }),
      { numRuns: 500 },
    )
  })

  it('fits into a header and a log line', () => {
    fc.assert(
      fc.property(any, (value) => /^[\w-]{43}$/.test(actionDigest(value))),
      { numRuns: 100 },
    )
  })
})
