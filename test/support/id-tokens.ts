/**
 * One token response for every defect a client has to refuse, and the same for pushes. Knows nothing of HTTP.
 */
import { createHmac } from 'node:crypto'
import { encode, halfHash, signingKeys, withForeignKey } from './signing-keys.ts'
import {
  cibaClaim,
  goodClaims,
  goodTokenResponse,
  type Issue,
  type ResponseOverrides,
  random,
  seconds,
  type TokenContext,
} from './token-response.ts'

export { signingKeys } from './signing-keys.ts'
export {
  goodTokenResponse,
  type ResponseOverrides,
  seconds,
  type TokenContext,
} from './token-response.ts'

type Json = Record<string, unknown>

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
type Change<T = ResponseOverrides> = (context: TokenContext) => T | Promise<T>
type Parts = { readonly [part in 'header' | 'payload' | 'signature']: string }
type Forge = (jwt: Parts, context: TokenContext) => string

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

/** Takes the good JWT apart for `forge` to make another out of its parts. */
export function forge(jwt: unknown, by: Forge, context: TokenContext): string {
  const [header = '', payload = '', signature = ''] = String(jwt).split('.')
  return by({ header, payload, signature }, context)
}

/** Ways to break a JWT, whatever is in it. */
export const forgeries = { unsigned, hmacSigned, bitsFlipped }

const jweHeader = encode({ alg: 'RSA-OAEP-256', enc: 'A256GCM' })
const fiveParts = [jweHeader, random(256), random(12), random(200), random(16)].join('.')
const listsNone = { metadata: { id_token_signing_alg_values_supported: ['ES256', 'RS256', 'none'] } }
const pinsES256 = { idTokenSigningAlg: 'ES256' } as const
const asksAcr = { acrValues: ['urn:example:silver', 'urn:example:gold'] }
const day = 24 * 3600

/** The ways of writing down a defect of what is good in every other respect. */
export function defectsOf(good: Issue) {
  /** Good but for what is replaced. */
  const changed = (id: string, what: string, change: Change, needs?: Needs): TokenDefect => ({
    id,
    what,
    ...(needs && { needs }),
    make: async (context) => good(context, await change(context)),
  })
  return {
    changed,
    members: (id: string, what: string, response: Json) => changed(id, what, () => ({ response })),
    claims: (id: string, what: string, change: Change<Json>, needs?: Needs) =>
      changed(id, what, async (context) => ({ claims: await change(context) }), needs),
    /** Good but for an ID token made out of the parts of the good one. */
    forged: (id: string, what: string, by: Forge, needs?: Needs): TokenDefect => ({
      id,
      what,
      ...(needs && { needs }),
      async make(context) {
        const response = await good(context)
        return { ...response, id_token: forge(response['id_token'], by, context) }
      },
    }),
    /** Good but for the key that signed the ID token. */
    foreignKey: (id: string, what: string, header: Json) =>
      changed(id, what, async () => ({ header, keys: await withForeignKey(await signingKeys()) })),
  }
}

/** Every defect of a token response named in requirements TOK-1 to TOK-19, one at a time. */
export function tokenDefects(good: Issue): readonly TokenDefect[] {
  const { changed, members, claims, forged, foreignKey } = defectsOf(good)
  return [
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
    changed(
      'TOK-8',
      'RS256 by a published key, ES256 pinned',
      () => ({ header: { alg: 'RS256' } }),
      pinsES256,
    ),
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
}

export const defectiveIdTokens = tokenDefects(goodTokenResponse)
