/**
 * Tables of options: how each is read, what it means by default, what it may be, and what is said about everything
 * else. Knows no option but those that every client needs.
 */
import { inspect } from 'node:util'
import { expect } from 'chai'
import { type CibaOptions, type ResolvedOptions, resolveOptions } from '../../lib/express/options.ts'

export const required = {
  issuerBaseURL: 'https://op.example.com',
  clientID: 'the-client',
  clientSecret: 'the-client-secret',
}

export const resolve = (options: object, env: NodeJS.ProcessEnv = {}): ResolvedOptions =>
  resolveOptions({ ...required, ...options } as CibaOptions, env)

export interface InvalidOption extends TypeError {
  readonly code: 'ERR_CIBA_INVALID_OPTION'
  readonly option: string
}

/** What is thrown at `options`, on top of what is {@link required}. */
export function refusal(options: object, env: NodeJS.ProcessEnv = {}): InvalidOption {
  try {
    resolve(options, env)
  } catch (error) {
    expect(error).to.be.instanceOf(TypeError)
    expect(error).to.have.property('code', 'ERR_CIBA_INVALID_OPTION')
    return error as InvalidOption
  }
  return expect.fail('accepted')
}

/** How an option is read, what it means by default, what it may be, and what is said about everything else. */
export interface Rule {
  /** Where to find it in the result. */
  readonly read: (resolved: ResolvedOptions) => unknown
  /** Absent, explicitly `undefined`: this. Not given for what is required. */
  readonly byDefault?: unknown
  /** Values, and what they are read as if not as themselves. */
  readonly valid: readonly (readonly [value: unknown, readAs?: unknown])[]
  readonly mustBe?: string
  /** Values, and how the message shows them; without the latter it shows nothing. */
  readonly wrong: readonly (readonly [value: unknown, shown?: string])[]
  /** What else it needs to be valid. */
  readonly beside?: CibaOptions
}

export const notText = [
  [7, '7'],
  ['', '""'],
  [' ', '" "'],
  [{}, 'object'],
  [[], 'an array'],
  [true, 'true'],
] as const
export const notObject = [
  ['x', '"x"'],
  [null, 'null'],
  [[], 'an array'],
  [() => {}, 'function'],
] as const
export const notFunction = [
  ['x', '"x"'],
  [null, 'null'],
  [{}, 'object'],
  [false, 'false'],
] as const
export const notBoolean = [
  ['true', '"true"'],
  [1, '1'],
  [null, 'null'],
  [{}, 'object'],
] as const
export const notSeconds = [
  ['10', '"10"'],
  [Number.NaN, 'NaN'],
  [null, 'null'],
  [301, '301'],
  [-1, '-1'],
] as const

/** Who we are to the OP: the options of `op-options.test.ts`; the others are in `options.test.ts`. */
export type OpOption =
  | 'clientSecret'
  | 'clientAuthMethod'
  | 'clientAssertionSigningKey'
  | 'clientAssertionSigningAlg'
  | 'requestObjectSigningKey'
  | 'requestObjectSigningAlg'
  | 'idTokenSigningAlg'
  | 'idTokenDecryptionKey'
  | 'idTokenChecks'
  | 'validateIdTokenClaims'
  | 'mtls'
  | 'dpop'
  | 'userCodeParameter'
  | 'customFetch'

const shortly = (value: unknown) => inspect(value, { depth: 1, breakLength: Number.POSITIVE_INFINITY })

/** Makes the tests of a table. */
export function itFollows(rules: Readonly<Partial<Record<keyof CibaOptions, Rule>>>): void {
  for (const [option, { read, valid, mustBe, wrong, beside, ...rest }] of Object.entries(rules)) {
    context(`"${option}"`, () => {
      if ('byDefault' in rest) {
        it('has its default when absent, or explicitly undefined', () => {
          expect(read(resolve({}))).to.deep.equal(rest.byDefault)
          expect(read(resolve({ [option]: undefined }))).to.deep.equal(rest.byDefault)
        })
      }
      for (const [value, readAs = value] of valid) {
        it(`may be ${shortly(value)}`, () => {
          expect(read(resolve({ ...beside, [option]: value }))).to.deep.equal(readAs)
        })
      }
      for (const [value, shown] of wrong) {
        it(`must not be ${shortly(value)}`, () => {
          const error = refusal({ ...beside, [option]: value })
          const received = shown === undefined ? '' : `, received ${shown}`
          expect(error.message).to.equal(`"${option}" option must be ${mustBe}${received}`)
          expect(error.option).to.equal(option)
        })
      }
    })
  }
}
