import { generateKeyPairSync } from 'node:crypto'
import type { ResolvedOptions } from '../../lib/express/options.ts'
import {
  itFollows,
  notBoolean,
  notFunction,
  notObject,
  type OpOption,
  type Rule,
} from '../support/option-rules.ts'

const fetch = async () => new Response()
const validateIdTokenClaims = () => {}
const { privateKey: p256 } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const { privateKey: p384 } = generateKeyPairSync('ec', { namedCurve: 'P-384' })
const { privateKey: ed25519 } = generateKeyPairSync('ed25519')
const { privateKey: x25519 } = generateKeyPairSync('x25519')
const pem = p256.export({ format: 'pem', type: 'pkcs8' }).toString()
const secretOf = (bytes: number) => 'é'.repeat(bytes / 2)

type KeyList = 'clientAssertionKeys' | 'requestObjectKeys'
const kidsAndAlgs =
  (keys: KeyList) =>
  ({ client }: ResolvedOptions) =>
    client.op[keys]?.map(({ kid, alg }) => `${kid} ${alg}`)
const firstAlg =
  (keys: KeyList) =>
  ({ client }: ResolvedOptions) =>
    client.op[keys]?.[0]?.alg

const aKey = 'a private key: JWK, KeyObject, CryptoKey, PEM, or { key, kid }'
const noKey: Rule['wrong'] = [
  ['hunter22'],
  [''],
  [7],
  [true],
  [null],
  [{}],
  [[{}]],
  [{ key: p256 }],
  [{ kid: 'hunter22', key: { key: p256, kid: 'a' } }],
  [{ kty: 'EC', crv: 'P-256', d: 'hunter22' }],
  [{ kty: 'oct', k: 'hunter22' }],
  [pem.replace(/\n.+\n/, '\nhunter22\n')],
]
const signingKeyRule = (keys: KeyList): Rule => ({
  read: kidsAndAlgs(keys),
  byDefault: undefined,
  valid: [
    [{ key: p256, kid: 'a' }, ['a ES256']],
    [{ key: pem, kid: 'a' }, ['a ES256']],
    [{ ...p384.export({ format: 'jwk' }), kid: 'b' }, ['b ES384']],
    [
      [
        { key: ed25519, kid: 'new' },
        { key: p256, kid: 'old' },
      ],
      ['new EdDSA', 'old ES256'],
    ],
  ],
  mustBe: aKey,
  wrong: noKey,
})
const signingAlgRule = (keys: KeyList): Rule => ({
  read: firstAlg(keys),
  byDefault: undefined,
  valid: [['EdDSA'], ['Ed25519']],
  mustBe: 'an asymmetric JWS algorithm such as "ES256"',
  wrong: [
    ['HS256', '"HS256"'],
    ['none', '"none"'],
    ['ES25', '"ES25"'],
    ['', '""'],
    [['EdDSA'], 'an array'],
    [null, 'null'],
    [pem, 'a key'],
  ],
  beside: { clientAssertionSigningKey: ed25519, requestObjectSigningKey: ed25519 },
})

const rules: Record<OpOption, Rule> = {
  clientSecret: {
    read: ({ client }) => client.op.clientSecret,
    valid: [['x'], ['a b']],
    mustBe: 'a non-empty string',
    wrong: [[''], [' '], [7], [['hunter22']], [{ secret: 'hunter22' }]],
  },
  clientAuthMethod: {
    read: ({ client }) => client.op.clientAuthMethod,
    byDefault: 'client_secret_basic',
    valid: [
      ['client_secret_basic'],
      ['client_secret_post'],
      ['client_secret_jwt'],
      ['private_key_jwt'],
      ['tls_client_auth'],
      ['self_signed_tls_client_auth'],
    ],
    mustBe:
      '"client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "tls_client_auth" or "self_signed_tls_client_auth"',
    wrong: [
      ['none', '"none"'],
      ['', '""'],
      [null, 'null'],
      [['private_key_jwt'], 'an array'],
    ],
    beside: {
      clientSecret: secretOf(32),
      clientAssertionSigningKey: p256,
      mtls: true,
      customFetch: fetch,
    },
  },
  clientAssertionSigningKey: signingKeyRule('clientAssertionKeys'),
  clientAssertionSigningAlg: signingAlgRule('clientAssertionKeys'),
  requestObjectSigningKey: signingKeyRule('requestObjectKeys'),
  requestObjectSigningAlg: signingAlgRule('requestObjectKeys'),
  idTokenSigningAlg: {
    read: ({ client }) => client.op.idTokenSigningAlgs,
    byDefault: undefined,
    valid: [
      ['ES256', ['ES256']],
      [['PS256', 'EdDSA', 'Ed25519', 'RS512']],
      ['HS256', ['HS256']],
      [['HS384', 'HS512', 'ES256']],
    ],
    mustBe: 'a JWS algorithm such as "ES256", but not "none", or an array of them',
    wrong: [
      ['none', '"none"'],
      ['HS1024', '"HS1024"'],
      ['es256', '"es256"'],
      ['', '""'],
      [['ES256', 'none'], 'an array'],
      [['ES256', ['PS256']], 'an array'],
      [[], 'an array'],
      [7, '7'],
      [null, 'null'],
    ],
    beside: { clientSecret: secretOf(64) },
  },
  idTokenDecryptionKey: {
    read: ({ client }) => client.op.idTokenDecryptionKeys?.map(({ kid, algs }) => `${kid} ${algs[0]}`),
    byDefault: undefined,
    valid: [
      [{ key: x25519, kid: 'a' }, ['a ECDH-ES']],
      [{ ...p256.export({ format: 'jwk' }), kid: 'b', alg: 'ECDH-ES+A256KW' }, ['b ECDH-ES+A256KW']],
      [
        [
          { key: x25519, kid: 'new' },
          { key: p256, kid: 'old' },
        ],
        ['new ECDH-ES', 'old ECDH-ES'],
      ],
    ],
    mustBe: aKey,
    wrong: noKey,
  },
  idTokenChecks: {
    read: ({ client }) => client.op.idTokenChecks,
    byDefault: { acr: true, nonce: true },
    valid: [
      [{}, { acr: true, nonce: true }],
      [
        { acr: undefined, nonce: undefined },
        { acr: true, nonce: true },
      ],
      [{ acr: false }, { acr: false, nonce: true }],
      [{ nonce: false }, { acr: true, nonce: false }],
    ],
    mustBe: 'an object',
    wrong: [...notObject, [false, 'false']],
  },
  validateIdTokenClaims: {
    read: ({ client }) => client.op.validateIdTokenClaims,
    byDefault: undefined,
    valid: [[validateIdTokenClaims]],
    mustBe: 'a function',
    wrong: notFunction,
  },
  mtls: {
    // More in `op-options-mtls.test.ts`.
    read: ({ client }) => client.op.mtls,
    byDefault: undefined,
    valid: [[true]],
    mustBe: '{ cert, key, ca?, passphrase? } in PEM',
    wrong: [['hunter22'], [false], [null], [[]], [7]],
    beside: { customFetch: fetch },
  },
  dpop: {
    read: ({ client: { op } }) =>
      typeof op.dpop === 'object' ? { kid: op.dpop.kid, alg: op.dpop.alg } : (op.dpop ?? false),
    byDefault: false,
    valid: [
      [false],
      [true, 'perTransaction'],
      [
        { key: p384, kid: 'a' },
        { kid: 'a', alg: 'ES384' },
      ],
    ],
    mustBe: aKey,
    wrong: [...noKey.filter(([value]) => value !== true), [[]], [[p256]]],
  },
  userCodeParameter: {
    read: ({ client }) => client.op.userCodeParameter,
    byDefault: false,
    valid: [[true], [false]],
    mustBe: 'true or false',
    wrong: notBoolean,
  },
  customFetch: {
    read: ({ client }) => client.op.customFetch,
    byDefault: undefined,
    valid: [[fetch]],
    mustBe: 'a function like fetch',
    wrong: notFunction,
  },
}

describe('resolveOptions(): who we are to the OP', () => {
  itFollows(rules)
})
