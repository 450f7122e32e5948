/**
 * ID tokens and the token responses around them: the good one, and one for every defect a client has to refuse.
 * Signs by hand, because a signing library would refuse most of what is made here. Knows nothing of HTTP.
 */
import { createHash, createHmac, generateKeyPair, type KeyObject, randomBytes, sign } from 'node:crypto'
import { promisify } from 'node:util'

type Json = Record<string, unknown>

/** Who issues the tokens, and for which request. */
export interface TokenContext {
  readonly issuer: string
  readonly clientId: string
  readonly clientSecret: string
  readonly authReqId: string
  /** @default 'alice' */
  readonly subject?: string
  /** Given when `acr_values` were sent. */
  readonly acr?: string
}

type SigningKey = { readonly kid: string; readonly privateKey: KeyObject }

export interface SigningKeys {
  readonly ES256: SigningKey
  readonly RS256: SigningKey
  /** Both public keys with `kid`, `alg` and `use`. */
  readonly jwks: { readonly keys: readonly Json[] }
}

const generate = promisify(generateKeyPair)
let keysOfThisProcess: Promise<SigningKeys> | undefined

/** The two keys that the scripted OP publishes: made once per process, on first use. */
export function signingKeys(): Promise<SigningKeys> {
  keysOfThisProcess ??= generateKeys()
  return keysOfThisProcess
}

async function generateKeys(): Promise<SigningKeys> {
  const [ec, rsa] = await Promise.all([
    generate('ec', { namedCurve: 'P-256' }),
    generate('rsa', { modulusLength: 2048 }),
  ])
  return {
    ES256: { kid: 'es256-1', privateKey: ec.privateKey },
    RS256: { kid: 'rs256-1', privateKey: rsa.privateKey },
    jwks: {
      keys: [
        { ...ec.publicKey.export({ format: 'jwk' }), kid: 'es256-1', alg: 'ES256', use: 'sig' },
        { ...rsa.publicKey.export({ format: 'jwk' }), kid: 'rs256-1', alg: 'RS256', use: 'sig' },
      ],
    },
  }
}

/** Seconds since the epoch, `offset` seconds from now. */
export const seconds = (offset = 0): number => Math.floor(Date.now() / 1000) + offset

/** `at_hash` or `rt_hash` of a token: the left half of its SHA-256 (OpenID Connect Core §3.1.3.6). */
const halfHash = (token: string): string =>
  createHash('sha256').update(token).digest().subarray(0, 16).toString('base64url')

const random = (bytes: number): string => randomBytes(bytes).toString('base64url')
const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')

/** The claims of an ID token that a client must accept; an override of `undefined` leaves the claim out. */
function goodClaims(context: TokenContext, overrides: Json = {}): Json {
  return {
    iss: context.issuer,
    sub: context.subject ?? 'alice',
    aud: context.clientId,
    iat: seconds(),
    exp: seconds(300),
    auth_time: seconds(),
    acr: context.acr,
    ...overrides,
  }
}

/** Signs with the key that `header.alg` names, ES256 unless told. `claims` may be any JSON value. */
function signIdToken(keys: SigningKeys, claims: unknown, header: Json = {}): string {
  const key = header['alg'] === 'RS256' ? keys.RS256 : keys.ES256
  const input = `${encode({ alg: 'ES256', kid: key.kid, ...header })}.${encode(claims)}`
  const signature = sign('sha256', Buffer.from(input), { key: key.privateKey, dsaEncoding: 'ieee-p1363' })
  return `${input}.${signature.toString('base64url')}`
}

/** What to replace in a good token response; `undefined` leaves a member out. */
export interface ResponseOverrides {
  readonly claims?: Json
  readonly header?: Json
  readonly response?: Json
  /** Instead of the published ones. */
  readonly keys?: SigningKeys
}

/** The token response that a client must accept: fresh access token, ES256 ID token with `at_hash`. */
export async function goodTokenResponse(
  context: TokenContext,
  overrides: ResponseOverrides = {},
): Promise<Json> {
  const accessToken = String(overrides.response?.['access_token'] ?? random(16))
  const claims = goodClaims(context, { at_hash: halfHash(accessToken), ...overrides.claims })
  const idToken = signIdToken(overrides.keys ?? (await signingKeys()), claims, overrides.header)
  const response = { access_token: accessToken, token_type: 'Bearer', expires_in: 300, id_token: idToken }
  return { ...response, ...overrides.response }
}

/** One reason to refuse a token response that is good in every other respect. */
export interface TokenDefect {
  /** The requirement that asks for the refusal. */
  readonly id: string
  readonly what: string
  /** What the client must have been told, or the OP must publish, for this to be a defect. */
  readonly needs?: {
    readonly acrValues?: readonly string[]
    readonly maxAge?: number
    readonly expectedSubject?: string
    readonly idTokenSigningAlg?: 'ES256'
    /** To be merged into the OP's metadata. */
    readonly metadata?: Json
  }
  /** The whole token response. */
  make(context: TokenContext): Promise<Json>
}

type Needs = TokenDefect['needs']
type Change<T = ResponseOverrides> = (context: TokenContext) => T

/** A good response but for what is replaced. */
const changed = (id: string, what: string, change: Change, needs?: Needs): TokenDefect => ({
  id,
  what,
  ...(needs && { needs }),
  make: (context) => goodTokenResponse(context, change(context)),
})

const members = (id: string, what: string, response: Json): TokenDefect =>
  changed(id, what, () => ({ response }))

const claims = (id: string, what: string, change: Change<Json>, needs?: Needs): TokenDefect =>
  changed(id, what, (context) => ({ claims: change(context) }), needs)

type Parts = { readonly [part in 'header' | 'payload' | 'signature']: string }
type Forge = (jwt: Parts, context: TokenContext) => string

/** A good response but for an ID token made out of the parts of the good one. */
const forged = (id: string, what: string, forge: Forge, needs?: Needs): TokenDefect => ({
  id,
  what,
  ...(needs && { needs }),
  async make(context) {
    const good = await goodTokenResponse(context)
    const [header = '', payload = '', signature = ''] = String(good['id_token']).split('.')
    return { ...good, id_token: forge({ header, payload, signature }, context) }
  },
})

/** A good response but for the key that signed the ID token. */
const foreignKey = (id: string, what: string, header: Json): TokenDefect => ({
  id,
  what,
  async make(context) {
    const published = await signingKeys()
    const { privateKey } = await generate('ec', { namedCurve: 'P-256' })
    const keys = { ...published, ES256: { ...published.ES256, privateKey } }
    return goodTokenResponse(context, { header, keys })
  },
})

const unsigned: Forge = ({ payload }) => `${encode({ alg: 'none' })}.${payload}.`

const hmacSigned: Forge = ({ payload }, { clientSecret }) => {
  const input = `${encode({ alg: 'HS256' })}.${payload}`
  return `${input}.${createHmac('sha256', clientSecret).update(input).digest('base64url')}`
}

const bitsFlipped: Forge = ({ header, payload, signature }) => {
  const bytes = Buffer.from(signature, 'base64url')
  bytes[10] = (bytes[10] ?? 0) ^ 0xff
  return `${header}.${payload}.${bytes.toString('base64url')}`
}

const otherPayload: Forge = ({ header, signature }, context) =>
  `${header}.${encode(goodClaims(context, { sub: 'mallory' }))}.${signature}`

const jweHeader = encode({ alg: 'RSA-OAEP-256', enc: 'A256GCM' })
const fiveParts = [jweHeader, random(256), random(12), random(200), random(16)].join('.')
const listsNone = { metadata: { id_token_signing_alg_values_supported: ['ES256', 'RS256', 'none'] } }
const pinsES256 = { idTokenSigningAlg: 'ES256' } as const
const asksAcr = { acrValues: ['urn:example:silver', 'urn:example:gold'] }
const cibaClaim = 'urn:openid:params:jwt:claim:'
const day = 24 * 3600

/** Every defect of a token response named in requirements TOK-1 to TOK-19, one at a time. */
export const defectiveIdTokens: readonly TokenDefect[] = [
  members('TOK-1', 'no access_token', { access_token: undefined }),
  members('TOK-1', 'empty access_token', { access_token: '' }),
  members('TOK-1', 'access_token that is a number', { access_token: 5 }),
  members('TOK-1', 'no token_type', { token_type: undefined }),
  members('TOK-2', 'foreign token_type', { token_type: 'mac' }),
  members('TOK-2', 'token_type dpop without DPoP', { token_type: 'DPoP' }),
  members('TOK-3', 'no id_token', { id_token: undefined }),
  members('TOK-3', 'empty id_token', { id_token: '' }),
  members('TOK-3', 'id_token null', { id_token: null }),
  claims('TOK-4', 'iss with 1 appended', ({ issuer }) => ({ iss: `${issuer}1` })),
  claims('TOK-4', 'no iss', () => ({ iss: undefined })),
  claims('TOK-5', 'aud with 1 appended', ({ clientId }) => ({ aud: `${clientId}1` })),
  claims('TOK-5', 'no aud', () => ({ aud: undefined })),
  claims('TOK-5', 'empty aud', () => ({ aud: [] })),
  claims('TOK-6', 'extra audience, azp us', ({ clientId }) => ({ aud: [clientId, 'evil'], azp: clientId })),
  claims('TOK-6', 'extra audience, no azp', ({ clientId }) => ({ aud: [clientId, 'evil'] })),
  claims('TOK-7', 'foreign azp, aud us', () => ({ azp: 'evil' })),
  forged('TOK-8', 'alg none, listed by the OP', unsigned, listsNone),
  forged('TOK-8', 'HS256 with the client secret', hmacSigned),
  changed('TOK-8', 'RS256 by a published key, ES256 pinned', () => ({ header: { alg: 'RS256' } }), pinsES256),
  foreignKey('TOK-9', 'foreign key under an unknown kid', { kid: 'unknown' }),
  foreignKey('TOK-9', 'foreign key under the published kid', {}),
  forged('TOK-9', 'flipped signature bits', bitsFlipped),
  forged('TOK-9', 'no signature', ({ header, payload }) => `${header}.${payload}.`),
  forged('TOK-9', 'payload of another token', otherPayload),
  changed('TOK-9', 'unknown critical header', () => ({ header: { crit: ['urn:x'], 'urn:x': true } })),
  forged('TOK-9', 'two parts', () => 'a.b'),
  forged('TOK-9', 'no JWT', () => 'not a jwt'),
  claims('TOK-10', 'expired 6 minutes ago', () => ({ exp: seconds(-360) })),
  claims('TOK-10', 'no exp', () => ({ exp: undefined })),
  claims('TOK-11', 'iat a week ago, exp fresh', () => ({ iat: seconds(-7 * day) })),
  claims('TOK-11', 'iat a year ahead', () => ({ iat: seconds(365 * day), exp: seconds(366 * day) })),
  claims('TOK-11', 'no iat', () => ({ iat: undefined })),
  claims('TOK-12', 'sub that is a number', () => ({ sub: 5 })),
  claims('TOK-12', 'empty sub', () => ({ sub: '' })),
  claims('TOK-12', 'sub of 256 characters', () => ({ sub: 'a'.repeat(256) })),
  claims('TOK-12', 'sub outside ASCII', () => ({ sub: 'jos\u00e9' })),
  claims('TOK-12', 'no sub', () => ({ sub: undefined })),
  claims('TOK-13', 'at_hash of another access token', () => ({ at_hash: halfHash('another') })),
  claims('TOK-14', 'auth_req_id of another request', () => ({ [`${cibaClaim}auth_req_id`]: 'another' })),
  changed('TOK-14', 'rt_hash of another refresh token', () => ({
    claims: { [`${cibaClaim}rt_hash`]: halfHash('another') },
    response: { refresh_token: random(16) },
  })),
  claims('TOK-15', 'no acr', () => ({ acr: undefined }), asksAcr),
  claims('TOK-15', 'acr that was not asked for', () => ({ acr: 'urn:example:bronze' }), asksAcr),
  claims('TOK-16', 'auth_time older than max_age', () => ({ auth_time: seconds(-3600) }), { maxAge: 60 }),
  claims('TOK-16', 'no auth_time', () => ({ auth_time: undefined }), { maxAge: 60 }),
  claims('TOK-17', 'nonce that was not sent', () => ({ nonce: 'unsolicited' })),
  claims('TOK-18', 'another subject', () => ({ sub: 'mallory' }), { expectedSubject: 'alice' }),
  forged('TOK-19', 'five parts, no encryption registered', () => fiveParts),
]
