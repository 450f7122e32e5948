import type { CibaOptions } from '../../lib/express/options.ts'
import { MemoryTransactionStore } from '../../lib/stores/memory.ts'
import {
  itFollows,
  notBoolean,
  notFunction,
  notObject,
  notSeconds,
  notText,
  type OpOption,
  type Rule,
} from '../support/option-rules.ts'

const longSecrets = ['hunter22-first-secret', 'hunter22-second-secret']
const foreignStore = { read: async () => undefined, write: async () => true, watch: () => () => {} }
const memoryStore = new MemoryTransactionStore()
const limiter = { consume: async () => {} }
const noRoutes = {
  start: false,
  poll: false,
  cancel: false,
  notification: false,
  logout: false,
  login: false,
  clientScript: false,
  jwks: false,
  backchannelLogout: false,
}
const [startParams, afterAuthentication] = [() => ({ loginHint: '' }), () => {}]

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

const rules: Record<Exclude<keyof CibaOptions, OpOption>, Rule> = {
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
    valid: [['poll'], ['ping'], ['push']],
    mustBe: '"poll", "ping" or "push"',
    wrong: [
      ['pign', '"pign"'],
      ['PUSH', '"PUSH"'],
      ['', '""'],
      [null, 'null'],
      [['ping'], 'an array'],
    ],
    beside: { baseURL: 'https://my-app.example.com' },
  },
  authorizationParams: {
    read: ({ client }) => client.authorizationParams,
    byDefault: { scope: 'openid' },
    valid: [
      [{}, { scope: 'openid' }],
      [{ scope: 'openid email', acrValues: ['a'], bindingMessage: 'auto', requestedExpiry: 60, maxAge: 0 }],
      [
        {
          authorizationDetails: [{ type: 'a', actions: ['b'], limit: { value: 1.5, open: null } }],
          resource: ['https://api.example.com', 'urn:example:b'],
          requestContext: { device: 'Kiosk 7' },
          extra: { ui_locales: 'de' },
        },
        {
          scope: 'openid',
          authorizationDetails: [{ type: 'a', actions: ['b'], limit: { value: 1.5, open: null } }],
          resource: ['https://api.example.com', 'urn:example:b'],
          requestContext: { device: 'Kiosk 7' },
          extra: { ui_locales: 'de' },
        },
      ],
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
  allowInsecureRequests: {
    read: ({ client }) => client.op.allowInsecureRequests,
    byDefault: false,
    valid: [[true], [false]],
    mustBe: 'true or false',
    wrong: notBoolean,
  },
  profile: {
    // What it asks for is in `profile.test.ts`.
    read: ({ client }) => client.profile,
    byDefault: undefined,
    valid: [],
    mustBe: '"fapi-ciba-id1"',
    wrong: [
      ['fapi2-ciba', '"fapi2-ciba"'],
      ['', '""'],
      [true, 'true'],
      [null, 'null'],
      [{}, 'object'],
    ],
  },
  client: {
    // What it replaces is in `options-client.test.ts`.
    read: ({ core }) => core,
    byDefault: undefined,
    valid: [],
    mustBe: 'a client of createCibaClient()',
    wrong: [...notObject, [{}, 'object'], [{ start: async () => {}, close: async () => {} }, 'object']],
  },
  routes: {
    read: ({ routes }) => ({ ...routes }),
    byDefault: {
      start: '/ciba/start',
      poll: '/ciba/poll',
      cancel: '/ciba/cancel',
      notification: '/ciba/notification',
      logout: '/ciba/logout',
      login: '/ciba/login',
      clientScript: '/ciba/client.js',
      jwks: false,
      backchannelLogout: false,
    },
    valid: [
      [{ ...noRoutes, start: '/s', poll: '/a/b.c~d-e_f', login: '/l', clientScript: '/c.js' }],
      [{ ...noRoutes, jwks: '/.well-known/jwks.json', backchannelLogout: '/logged-out' }],
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
  idpLogout: {
    read: ({ idpLogout }) => idpLogout,
    byDefault: false,
    valid: [[true], [false]],
    mustBe: 'true or false',
    wrong: notBoolean,
  },
  loginPage: {
    // More of it in `page-options.test.ts`.
    read: ({ loginPage }) => (loginPage ? loginPage.title : false),
    byDefault: 'Sign in',
    valid: [[false], [{}, 'Sign in'], [{ title: 'Bank' }, 'Bank']],
    mustBe: 'an object, or false',
    wrong: [...notObject.filter(([value]) => (value as unknown) !== false), [true, 'true']],
  },
  postLogoutRedirect: {
    read: ({ postLogoutRedirect }) => postLogoutRedirect,
    byDefault: '/',
    valid: [['/'], ['/bye?from=here#top'], ['https://www.example.com'], ['https://www.example.com/bye?a=b']],
    mustBe: 'a path such as "/", or an https URL',
    wrong: [
      ['', '""'],
      ['bye', '"bye"'],
      ['//www.example.com', '"//www.example.com"'],
      ['/\\www.example.com', JSON.stringify('/\\www.example.com')],
      ['/a b', '"/a b"'],
      ['/a\n', JSON.stringify('/a\n')],
      ['http://www.example.com', '"http://www.example.com"'],
      [' https://www.example.com', '" https://www.example.com"'],
      ['https://www.example.com/\r\nX: y', JSON.stringify('https://www.example.com/\r\nX: y')],
      ['https://', '"https://"'],
      ['javascript:alert(1)', '"javascript:alert(1)"'],
      ['data:text/html,x', '"data:text/html,x"'],
      [false, 'false'],
      [null, 'null'],
      [new URL('https://www.example.com'), 'object'],
    ],
  },
}

describe('resolveOptions()', () => {
  itFollows(rules)
})
