import { inspect } from 'node:util'
import { expect } from 'chai'
import { type CibaOptions, type ResolvedOptions, resolveOptions } from '../../lib/express/options.ts'
import { MemoryTransactionStore } from '../../lib/stores/memory.ts'

type Option = keyof CibaOptions

const required = {
  issuerBaseURL: 'https://op.example.com',
  clientID: 'the-client',
  clientSecret: 'the-client-secret',
}
const longSecrets = ['hunter22-first-secret', 'hunter22-second-secret']
const foreignStore = { read: async () => undefined, write: async () => true, watch: () => () => {} }
const memoryStore = new MemoryTransactionStore()
const limiter = { consume: async () => {} }
const [fetch, startParams, afterAuthentication] = [
  async () => new Response(),
  () => ({ loginHint: '' }),
  () => {},
]

const resolve = (options: object, env: NodeJS.ProcessEnv = {}) =>
  resolveOptions({ ...required, ...options } as CibaOptions, env)

function refusal(options: object, env: NodeJS.ProcessEnv = {}): TypeError & { code: string; option: string } {
  try {
    resolve(options, env)
  } catch (error) {
    expect(error).to.be.instanceOf(TypeError)
    expect(error).to.have.property('code', 'ERR_CIBA_INVALID_OPTION')
    return error as TypeError & { code: string; option: string }
  }
  return expect.fail('accepted')
}

/** How an option is read, what it means by default, what it may be, and what is said about everything else. */
interface Rule {
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

const notText = [
  [7, '7'],
  ['', '""'],
  [' ', '" "'],
  [{}, 'object'],
  [[], 'an array'],
  [true, 'true'],
] as const
const notObject = [
  ['x', '"x"'],
  [null, 'null'],
  [[], 'an array'],
  [() => {}, 'function'],
] as const
const notFunction = [
  ['x', '"x"'],
  [null, 'null'],
  [{}, 'object'],
  [false, 'false'],
] as const
const notURL = [
  ['op.example.com', '"op.example.com"'],
  ['', '""'],
  ['https://', '"https://"'],
  ['ftp://op.example.com', '"ftp://op.example.com"'],
  ['http://op.example.com', '"http://op.example.com"'],
  ['https://op.example.com/?a=b', '"https://op.example.com/?a=b"'],
  ['https://op.example.com/#a', '"https://op.example.com/#a"'],
  [new URL('https://op.example.com'), 'object'],
  [7, '7'],
] as const
const notSeconds = [
  ['10', '"10"'],
  [Number.NaN, 'NaN'],
  [null, 'null'],
  [301, '301'],
  [-1, '-1'],
] as const

const rules: Record<Option, Rule> = {
  issuerBaseURL: {
    read: ({ client }) => client.op.issuer.href,
    valid: [['https://op.example.com/tenant/'], ['https://op.example.com:8443/a']],
    mustBe: "the OP's issuer, an https URL",
    wrong: notURL,
  },
  clientID: {
    read: ({ client }) => client.op.clientID,
    valid: [['another-client'], [' a b ']],
    mustBe: 'a non-empty string',
    wrong: notText,
  },
  clientSecret: {
    read: ({ client }) => client.op.clientSecret,
    valid: [['x'], ['a b']],
    mustBe: 'a non-empty string',
    wrong: [[''], [' '], [7], [['hunter22']], [{ secret: 'hunter22' }]],
  },
  baseURL: {
    read: ({ client }) => client.baseURL?.href,
    byDefault: undefined,
    valid: [
      ['https://my-app.example.com', 'https://my-app.example.com/'],
      ['https://my-app.example.com/sub'],
    ],
    mustBe: 'the public https URL of this app',
    wrong: notURL,
  },
  secret: {
    read: ({ client }) => client.secrets,
    valid: [['12345678', ['12345678']], [longSecrets]],
    mustBe: 'a string of at least 8 characters, or a non-empty array of such strings',
    wrong: [['hunter2'], [''], [[]], [['hunter22-long-enough', 'hunter2']], [12345678], [[12345678]], [{}]],
  },
  deliveryMode: {
    read: ({ client }) => client.op.deliveryMode,
    byDefault: 'poll',
    valid: [['poll'], ['ping']],
    mustBe: '"poll" or "ping"',
    wrong: [
      ['pign', '"pign"'],
      ['push', '"push"'],
      ['', '""'],
      [null, 'null'],
      [['ping'], 'an array'],
    ],
    beside: { baseURL: 'https://my-app.example.com' },
  },
  clientAuthMethod: {
    read: ({ client }) => client.op.clientAuthMethod,
    byDefault: 'client_secret_basic',
    valid: [['client_secret_basic'], ['client_secret_post']],
    mustBe: '"client_secret_basic" or "client_secret_post"',
    wrong: [
      ['none', '"none"'],
      ['private_key_jwt', '"private_key_jwt"'],
      [null, 'null'],
    ],
  },
  idTokenSigningAlg: {
    read: ({ client }) => client.op.idTokenSigningAlgs,
    byDefault: undefined,
    valid: [['ES256', ['ES256']], [['PS256', 'EdDSA', 'Ed25519', 'RS512']]],
    mustBe: 'an asymmetric JWS algorithm such as "ES256", or an array of them',
    wrong: [
      ['none', '"none"'],
      ['HS256', '"HS256"'],
      [['ES256', 'none'], 'an array'],
      [[], 'an array'],
      [7, '7'],
    ],
  },
  authorizationParams: {
    read: ({ client }) => client.authorizationParams,
    byDefault: { scope: 'openid' },
    valid: [
      [{}, { scope: 'openid' }],
      [{ scope: 'openid email', acrValues: ['a'], bindingMessage: 'auto', requestedExpiry: 60, maxAge: 0 }],
    ],
    mustBe: 'an object',
    wrong: notObject,
  },
  store: {
    read: ({ client }) => client.store,
    valid: [[memoryStore], [foreignStore]],
    mustBe: 'a TransactionStore: read, write and watch',
    wrong: [
      ...notObject,
      [{ ...foreignStore, watch: undefined }, 'object'],
      [{ ...foreignStore, read: 1 }, 'object'],
    ],
    beside: { secret: longSecrets },
  },
  httpTimeout: {
    read: ({ client }) => [client.op.timeoutMs, client.tokenTimeoutMs],
    byDefault: [10_000, 60_000],
    valid: [
      [1, [1_000, 30_000]],
      [29.5, [29_500, 30_000]],
      [31, [31_000, 31_000]],
      [300, [300_000, 300_000]],
    ],
    mustBe: 'a number of seconds from 1 to 300',
    wrong: [...notSeconds, [0, '0'], [0.9, '0.9']],
  },
  clockTolerance: {
    read: ({ client }) => client.op.clockTolerance,
    byDefault: 30,
    valid: [[0], [300]],
    mustBe: 'a number of seconds from 0 to 300',
    wrong: notSeconds,
  },
  customFetch: {
    read: ({ client }) => client.op.customFetch,
    byDefault: undefined,
    valid: [[fetch]],
    mustBe: 'a function like fetch',
    wrong: notFunction,
  },
  allowInsecureRequests: {
    read: ({ client }) => client.op.allowInsecureRequests,
    byDefault: false,
    valid: [[true], [false]],
    mustBe: 'true or false',
    wrong: [
      ['true', '"true"'],
      [1, '1'],
      [null, 'null'],
    ],
  },
  routes: {
    read: ({ routes }) => ({ ...routes }),
    byDefault: {
      start: '/ciba/start',
      poll: '/ciba/poll',
      cancel: '/ciba/cancel',
      notification: '/ciba/notification',
      logout: '/ciba/logout',
    },
    valid: [
      [
        { start: '/s', poll: '/a/b.c~d-e_f', cancel: false, notification: false, logout: false },
        { start: '/s', poll: '/a/b.c~d-e_f', cancel: false, notification: false, logout: false },
      ],
    ],
    mustBe: 'an object of paths',
    wrong: notObject,
  },
  startParams: {
    read: (resolved) => resolved.startParams,
    valid: [[startParams]],
    mustBe: 'a function that returns an authentication request',
    wrong: notFunction,
  },
  startLimiter: {
    read: ({ startLimiters }) => startLimiters,
    byDefault: {},
    valid: [
      [false],
      [limiter, { hint: limiter, session: limiter }],
      [{}, { hint: undefined, session: undefined }],
      [{ hint: limiter }, { hint: limiter, session: undefined }],
      [{ session: limiter }, { hint: undefined, session: limiter }],
    ],
    mustBe: 'a limiter of rate-limiter-flexible, { hint, session } of them, or false',
    wrong: [...notObject, [true, 'true'], [0, '0']],
  },
  unknownUser: {
    read: ({ hideUnknownUser }) => hideUnknownUser,
    byDefault: true,
    valid: [
      ['hide', true],
      ['reveal', false],
    ],
    mustBe: '"hide" or "reveal"',
    wrong: [
      ['show', '"show"'],
      [true, 'true'],
      [null, 'null'],
    ],
  },
  longPollTimeout: {
    read: ({ longPollTimeoutMs }) => longPollTimeoutMs,
    byDefault: 25_000,
    valid: [
      [0, 0],
      [300, 300_000],
    ],
    mustBe: 'a number of seconds from 0 to 300',
    wrong: notSeconds,
  },
  afterAuthentication: {
    read: (resolved) => resolved.afterAuthentication,
    byDefault: undefined,
    valid: [[afterAuthentication]],
    mustBe: 'a function',
    wrong: notFunction,
  },
}

describe('resolveOptions()', () => {
  for (const [option, { read, valid, mustBe, wrong, beside, ...rest }] of Object.entries(rules)) {
    context(`"${option}"`, () => {
      if ('byDefault' in rest) {
        it('has its default when absent, or explicitly undefined', () => {
          expect(read(resolve({}))).to.deep.equal(rest.byDefault)
          expect(read(resolve({ [option]: undefined }))).to.deep.equal(rest.byDefault)
        })
      }
      for (const [value, readAs = value] of valid) {
        it(`may be ${inspect(value, { depth: 1, breakLength: Number.POSITIVE_INFINITY })}`, () => {
          expect(read(resolve({ ...beside, [option]: value }))).to.deep.equal(readAs)
        })
      }
      for (const [value, shown] of wrong) {
        it(`must not be ${inspect(value, { depth: 1, breakLength: Number.POSITIVE_INFINITY })}`, () => {
          const error = refusal({ ...beside, [option]: value })
          const received = shown === undefined ? '' : `, received ${shown}`
          expect(error.message).to.equal(`"${option}" option must be ${mustBe}${received}`)
          expect(error.option).to.equal(option)
        })
      }
    })
  }
})
