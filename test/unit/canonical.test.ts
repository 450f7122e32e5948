import { createHash } from 'node:crypto'
import { runInNewContext } from 'node:vm'
import { expect } from 'chai'
import { actionDigest } from '../../lib/canonical.ts'
import type { JsonValue } from '../../lib/grant.ts'

const digestOf = (canonical: string) => createHash('sha256').update(canonical).digest('base64url')

/** RFC 8785, appendix B: a number by its bits, and its form. */
const numbers: readonly (readonly [bits: string, form: string])[] = [
  ['0000000000000000', '0'],
  ['8000000000000000', '0'],
  ['0000000000000001', '5e-324'],
  ['8000000000000001', '-5e-324'],
  ['7fefffffffffffff', '1.7976931348623157e+308'],
  ['ffefffffffffffff', '-1.7976931348623157e+308'],
  ['4340000000000000', '9007199254740992'],
  ['c340000000000000', '-9007199254740992'],
  ['4430000000000000', '295147905179352830000'],
  ['44b52d02c7e14af5', '9.999999999999997e+22'],
  ['44b52d02c7e14af6', '1e+23'],
  ['44b52d02c7e14af7', '1.0000000000000001e+23'],
  ['444b1ae4d6e2ef4e', '999999999999999700000'],
  ['444b1ae4d6e2ef4f', '999999999999999900000'],
  ['444b1ae4d6e2ef50', '1e+21'],
  ['3eb0c6f7a0b5ed8c', '9.999999999999997e-7'],
  ['3eb0c6f7a0b5ed8d', '0.000001'],
  ['41b3de4355555553', '333333333.3333332'],
  ['41b3de4355555554', '333333333.33333325'],
  ['41b3de4355555555', '333333333.3333333'],
  ['41b3de4355555556', '333333333.3333334'],
  ['41b3de4355555557', '333333333.33333343'],
  ['becbf647612f3696', '-0.0000033333333333333333'],
  ['43143ff3c1cb0959', '1424953923781206.2'],
]
const numberOf = (bits: string) => Buffer.from(bits, 'hex').readDoubleBE()

/** RFC 8785 §3.2.2. */
const sample = String.raw`{
  "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
  "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
  "literals": [null, true, false]
}`
/** Its UTF-8 (§3.2.4). */
const sampleBytes = `
7b 22 6c 69 74 65 72 61 6c 73 22 3a 5b 6e 75 6c 6c 2c 74 72 75 65 2c 66 61 6c 73 65 5d 2c 22 6e 75 6d 62 65 72
73 22 3a 5b 33 33 33 33 33 33 33 33 33 2e 33 33 33 33 33 33 33 2c 31 65 2b 33 30 2c 34 2e 35 2c 30 2e 30 30 32
2c 31 65 2d 32 37 5d 2c 22 73 74 72 69 6e 67 22 3a 22 e2 82 ac 24 5c 75 30 30 30 66 5c 6e 41 27 42 5c 22 5c 5c
5c 5c 5c 22 2f 22 7d`

/** So many arrays, one in the other. */
function nested(depth: number): JsonValue {
  let value: JsonValue = 1
  for (let level = 0; level < depth; level++) value = [value]
  return value
}

describe('actionDigest()', () => {
  for (const [bits, form] of numbers) {
    it(`writes the number of the bits ${bits} as ${form} (RFC 8785, appendix B)`, () => {
      expect(actionDigest(numberOf(bits))).to.equal(digestOf(form))
    })
  }

  it("is that of RFC 8785's own example, byte for byte (§3.2.4)", () => {
    const bytes = Buffer.from(sampleBytes.replaceAll(/\s/g, ''), 'hex')
    const expected = createHash('sha256').update(bytes).digest('base64url')
    expect(actionDigest(JSON.parse(sample))).to.equal(expected)
  })

  it('sorts members by UTF-16 code units (RFC 8785 §3.2.3)', () => {
    const action = {
      '\u20ac': 'Euro Sign',
      '\r': 'Carriage Return',
      '\ufb33': 'Hebrew Letter Dalet With Dagesh',
      '1': 'One',
      '\u{1f600}': 'Emoji: Grinning Face',
      '\u0080': 'Control',
      '\u00f6': 'Latin Small Letter O With Diaeresis',
    }
    const sorted =
      '{"\\r":"Carriage Return","1":"One","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis","\u20ac":"Euro Sign","\u{1f600}":"Emoji: Grinning Face","\ufb33":"Hebrew Letter Dalet With Dagesh"}'
    expect(actionDigest(action)).to.equal(digestOf(sorted))
  })

  it('sorts numbers among names as text, at every level', () => {
    expect(actionDigest({ 10: { b: 1, a: 2 }, 9: [], '': 0, 1: {} })).to.equal(
      digestOf('{"":0,"1":{},"10":{"a":2,"b":1},"9":[]}'),
    )
  })

  it('escapes what JSON has to escape, and nothing else (RFC 8785 §3.2.2.2)', () => {
    expect(actionDigest('\b\t\n\f\r"\\/\u0000\u001f\u007f\u2028\u00e9')).to.equal(
      digestOf('"\\b\\t\\n\\f\\r\\"\\\\/\\u0000\\u001f\u007f\u2028\u00e9"'),
    )
  })

  it('leaves the order of arrays as it is, and text as it was typed', () => {
    expect(actionDigest([1, 2])).to.not.equal(actionDigest([2, 1]))
    expect(actionDigest('\u00e9')).to.not.equal(actionDigest('e\u0301')) // no Unicode normalisation (§3.1)
    expect(actionDigest('1')).to.not.equal(actionDigest(1))
    expect(actionDigest(null)).to.not.equal(actionDigest({}))
    expect(actionDigest([])).to.not.equal(actionDigest({}))
  })

  it('counts members that are undefined as absent', () => {
    expect(actionDigest({ a: undefined, b: [{ c: undefined }] })).to.equal(digestOf('{"b":[{}]}'))
  })

  it('takes members of any name, and objects without a prototype or of another realm', () => {
    expect(actionDigest(JSON.parse('{"__proto__":{"a":1},"constructor":2,"toString":3}'))).to.equal(
      digestOf('{"__proto__":{"a":1},"constructor":2,"toString":3}'),
    )
    expect(actionDigest(Object.assign(Object.create(null), { b: 1, a: 2 }))).to.equal(
      digestOf('{"a":2,"b":1}'),
    )
    expect(actionDigest(runInNewContext('({ b: [{}], a: 2 })'))).to.equal(digestOf('{"a":2,"b":[{}]}'))
  })

  it('takes the same object twice, as long as it is not inside itself', () => {
    const part = { a: 1 }
    expect(actionDigest({ x: part, y: [part, part] })).to.equal(
      digestOf('{"x":{"a":1},"y":[{"a":1},{"a":1}]}'),
    )
  })

  it('takes a hundred levels, and no more', () => {
    expect(actionDigest(nested(100))).to.equal(digestOf(`${'['.repeat(100)}1${']'.repeat(100)}`))
    expect(() => actionDigest(nested(101))).to.throw(TypeError, 'not nested too deeply')
    // Neither the stack nor the patience of anybody is at its mercy.
    expect(() => actionDigest(nested(100_000))).to.throw(TypeError, 'not nested too deeply')
  })

  const cycle: Record<string, unknown> = {}
  cycle['inside'] = [cycle]
  const sparse = [1, 2, 3]
  delete sparse[1]
  class Payment {
    readonly amount = 5
  }
  const refused: readonly (readonly [what: string, value: unknown])[] = [
    ['undefined', undefined],
    ['NaN', numberOf('7fffffffffffffff')],
    ['an infinite number', numberOf('7ff0000000000000')],
    ['a lone high surrogate', '\ud83d'],
    ['a lone low surrogate', 'a\ude00b'],
    ['a function', () => {}],
    ['a symbol', Symbol('a')],
    ['a bigint', 5n],
    ['a Date', new Date(0)],
    ['a Map', new Map([['a', 1]])],
    ['a Set', new Set([1])],
    ['a RegExp', /a/],
    ['bytes', Buffer.from('a')],
    ['a boxed number', Object(5)],
    ['an object of a class', new Payment()],
    ['a promise', Promise.resolve(5)],
    ['an array with a hole', sparse],
    ['an array with undefined', [undefined]],
    ['an object inside itself', cycle],
    ['an object with its own idea of JSON', { toJSON: () => 5 }],
  ]
  for (const [what, value] of refused) {
    it(`refuses ${what}, at every level`, () => {
      const values = value === undefined ? [value, [value]] : [value, [value], { a: { b: value } }]
      for (const action of values) {
        expect(() => actionDigest(action as JsonValue)).to.throw(
          TypeError,
          /^"action" must be a JSON value: /,
        )
      }
    })
  }

  it('refuses a name with a lone surrogate', () => {
    expect(() => actionDigest({ '\ud83d': 1 })).to.throw(TypeError, '"action" must be a JSON value')
  })
})
