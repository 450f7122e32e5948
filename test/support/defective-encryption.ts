/**
 * One token response for every defect of encryption, and of signing with the client secret. Knows nothing of HTTP.
 */
import { createHash } from 'node:crypto'
import { exportJWK, type JWK } from 'jose'
import type { Encryption } from './encryption.ts'
import { defectsOf, forge, forgeries, type TokenDefect } from './id-tokens.ts'
import { encode, generate } from './signing-keys.ts'
import { goodClaims, goodTokenResponse, type TokenContext } from './token-response.ts'

const { changed, forged } = defectsOf(goodTokenResponse)

type Change = Partial<Encryption>

async function strangersKey({ kty, crv, kid }: JWK): Promise<JWK> {
  const { publicKey } = await (kty === 'RSA'
    ? generate('rsa', { modulusLength: 2048 })
    : generate('ec', { namedCurve: crv ?? 'P-256' }))
  return { ...(await exportJWK(publicKey)), ...(kid && { kid }) }
}

/** The key of `dir` (OpenID Connect Core §10.2). */
const secretKey = ({ clientSecret }: TokenContext): JWK => ({
  kty: 'oct',
  k: createHash('sha256').update(clientSecret).digest('base64url'),
})

async function idTokenOf(context: TokenContext): Promise<string> {
  return String((await goodTokenResponse(context))['id_token'])
}

/**
 * Every reason to refuse an ID token that should be encrypted to this public key, its client's only one [TOK-19].
 * Those of RSA1_5 are for RSA keys alone.
 */
export function defectiveEncryption(jwk: JWK): readonly TokenDefect[] {
  const encrypted = (what: string, change: (context: TokenContext) => Change | Promise<Change>) =>
    changed('TOK-19', what, async (context) => ({ encrypt: { jwk, ...(await change(context)) } }))
  const broken = (what: string, part: number, change: (part: Buffer) => string): TokenDefect => ({
    id: 'TOK-19',
    what,
    async make(context) {
      const response = await goodTokenResponse(context, { encrypt: { jwk } })
      const parts = String(response['id_token']).split('.')
      parts[part] = change(Buffer.from(parts[part] ?? '', 'base64url'))
      return { ...response, id_token: parts.join('.') }
    },
  })
  const flip = (bytes: Buffer): string => {
    bytes[3] = (bytes[3] ?? 0) ^ 0xff
    return bytes.toString('base64url')
  }
  return [
    changed('TOK-19', 'not encrypted', () => ({})),
    encrypted('encrypted to the key of another client', async () => ({ jwk: await strangersKey(jwk) })),
    encrypted('encrypted under an unknown kid, to another key', async () => ({
      jwk: { ...(await strangersKey(jwk)), kid: 'unknown' },
    })),
    ...(jwk.kty === 'RSA' ? [encrypted('encrypted by RSA1_5', () => ({ alg: 'RSA1_5' }))] : []),
    encrypted('encrypted by dir with the client secret', (context) => ({
      jwk: secretKey(context),
      alg: 'dir',
    })),
    encrypted('encrypted but signed by nobody', async (context) => ({
      plaintext: forge(await idTokenOf(context), forgeries.unsigned, context),
    })),
    encrypted('encrypted with flipped signature bits', async (context) => ({
      plaintext: forge(await idTokenOf(context), forgeries.bitsFlipped, context),
    })),
    encrypted('encrypted claims without a JWT', (context) => ({
      plaintext: JSON.stringify(goodClaims(context)),
    })),
    encrypted('encrypted nonsense', () => ({ plaintext: 'not a jwt' })),
    encrypted('encrypted nothing', () => ({ plaintext: '' })),
    encrypted('critical header that nobody knows', () => ({ header: { crit: ['urn:x'], 'urn:x': true } })),
    broken('header of another encryption', 0, (header) =>
      encode({ ...JSON.parse(header.toString()), enc: 'A128GCM' }),
    ),
    broken('flipped bits of the ciphertext', 3, flip),
    broken('flipped bits of the tag', 4, flip),
    broken('a short tag', 4, (tag) => tag.subarray(0, 4).toString('base64url')),
  ]
}

/** Every reason to refuse an ID token that should be signed with the client secret by this algorithm [TOK-8]. */
export function defectiveHmacs(alg: 'HS256' | 'HS384' | 'HS512'): readonly TokenDefect[] {
  const another = alg === 'HS256' ? 'HS512' : 'HS256'
  const header = { alg }
  return [
    changed('TOK-8', 'ES256 by a published key', () => ({})),
    changed('TOK-8', `${another} with the client secret`, () => ({ header: { alg: another } })),
    forged('TOK-8', 'alg none', forgeries.unsigned),
    ...[
      ['another secret', (secret: string) => `${secret}1`],
      ['an empty secret', () => ''],
    ].map(([what, secret]) => ({
      id: 'TOK-9',
      what: `${alg} with ${what}`,
      make: (context: TokenContext) =>
        goodTokenResponse(
          { ...context, clientSecret: (secret as (known: string) => string)(context.clientSecret) },
          { header },
        ),
    })),
    {
      id: 'TOK-9',
      what: `${alg} with flipped signature bits`,
      async make(context) {
        const response = await goodTokenResponse(context, { header })
        return { ...response, id_token: forge(response['id_token'], forgeries.bitsFlipped, context) }
      },
    },
  ]
}
