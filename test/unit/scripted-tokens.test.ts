/** What the scripted OP issues: good tokens of every kind, and defects that are what they say and nothing else. */
import { constants, createDecipheriv, privateDecrypt } from 'node:crypto'
import { expect } from 'chai'
import {
  compactDecrypt,
  createLocalJWKSet,
  createRemoteJWKSet,
  exportJWK,
  generateKeyPair,
  type JSONWebKeySet,
  type JWTPayload,
  jwtVerify,
} from 'jose'
import { defectiveEncryption, defectiveHmacs } from '../support/defective-encryption.ts'
import { defectiveLogoutTokens, goodLogoutToken } from '../support/logout-tokens.ts'
import { defectivePushes } from '../support/pushes.ts'
import { type Answer, type ScriptedOp, startScriptedOp } from '../support/scripted-op.ts'
import { halfHash, signingKeys } from '../support/signing-keys.ts'
import { cibaClaim, goodPush, goodTokenResponse, type TokenContext } from '../support/token-response.ts'

const context: TokenContext = {
  issuer: 'https://op.test',
  clientId: 'client',
  clientSecret: 'a client secret of 64 bytes, which is what HS512 wants, at least',
  authReqId: 'id',
}

const published = async () => createLocalJWKSet((await signingKeys()).jwks as JSONWebKeySet)
const verifies = async (jwt: unknown): Promise<boolean> =>
  jwtVerify(String(jwt), await published(), { clockTolerance: '10 years' }).then(
    () => true,
    (error) => error.code === 'ERR_JWT_CLAIM_VALIDATION_FAILED' || error.code === 'ERR_JWT_EXPIRED',
  )
const bodyOf = (answer: Answer) => (answer as { json: Record<string, string> }).json

describe('goodTokenResponse()', () => {
  for (const alg of ['ES256', 'RS256', 'PS256', 'ES384', 'ES512', 'EdDSA', 'Ed25519']) {
    it(`signs with ${alg}, and hashes as that says`, async () => {
      const { id_token, access_token } = await goodTokenResponse(context, { header: { alg } })
      const { payload, protectedHeader } = await jwtVerify(String(id_token), await published())
      expect(protectedHeader).to.include({ alg, kid: `${alg.toLowerCase()}-1` })
      expect(payload['at_hash']).to.equal(halfHash(String(access_token), alg))
    })
  }

  for (const [alg, bytes] of [
    ['HS256', 16],
    ['HS384', 24],
    ['HS512', 32],
  ] as const) {
    it(`signs with the client secret: ${alg}`, async () => {
      const { id_token } = await goodTokenResponse(context, { header: { alg } })
      const { payload } = await jwtVerify(String(id_token), Buffer.from(context.clientSecret), {
        algorithms: [alg],
      })
      expect(Buffer.from(String(payload['at_hash']), 'base64url')).to.have.length(bytes)
    })
  }

  for (const alg of ['RSA-OAEP-256', 'ECDH-ES']) {
    it(`encrypts by ${alg}`, async () => {
      const { publicKey, privateKey } = await generateKeyPair(alg)
      const jwk = { ...(await exportJWK(publicKey)), kid: 'enc' }
      const { id_token } = await goodTokenResponse(context, { encrypt: { jwk } })
      const { plaintext, protectedHeader } = await compactDecrypt(String(id_token), privateKey)
      expect(protectedHeader).to.include({ alg, enc: 'A256GCM', kid: 'enc', cty: 'JWT' })
      expect(await verifies(Buffer.from(plaintext))).to.equal(true)
    })
  }

  it('encrypts by RSA1_5, which is sound but for the algorithm', async () => {
    const { publicKey, privateKey } = await generateKeyPair('RSA-OAEP-256', { extractable: true })
    const encrypt = { jwk: await exportJWK(publicKey), alg: 'RSA1_5' }
    const { id_token } = await goodTokenResponse(context, { encrypt })
    const [header = '', ...parts] = String(id_token).split('.')
    const [key, iv, ciphertext, tag] = parts.map((part) => Buffer.from(part, 'base64url'))
    const jwk = await exportJWK(privateKey)
    const padded = privateDecrypt(
      { key: { ...jwk }, format: 'jwk', padding: constants.RSA_NO_PADDING } as never,
      key as Buffer,
    )
    expect([padded[0], padded[1], padded.at(-33)]).to.deep.equal([0, 2, 0])
    const decipher = createDecipheriv('aes-256-gcm', padded.subarray(-32), iv as Buffer)
    decipher.setAAD(Buffer.from(header)).setAuthTag(tag as Buffer)
    const plaintext = Buffer.concat([decipher.update(ciphertext as Buffer), decipher.final()])
    expect(await verifies(plaintext)).to.equal(true)
  })
})

describe('a scripted OP', () => {
  let op: ScriptedOp

  beforeEach(async () => {
    op = await startScriptedOp()
  })

  afterEach(() => op.stop())

  const start = (form: Record<string, string>) =>
    fetch(`${op.issuer}/backchannel`, { method: 'POST', body: new URLSearchParams(form) })
  const claimsOf = async (jwt: string | undefined): Promise<JWTPayload> =>
    (await jwtVerify(jwt ?? '', createRemoteJWKSet(new URL(`${op.issuer}/jwks`)))).payload

  it('grants what was asked for, and stays with it in a refresh', async () => {
    const details = [{ type: 'payment', amount: '5' }]
    await start({ nonce: 'n', acr_values: 'gold silver', authorization_details: JSON.stringify(details) })
    const tokens = bodyOf(await op.tokens())
    expect(tokens['authorization_details']).to.deep.equal(details)
    const { auth_time, ...claims } = await claimsOf(tokens['id_token'])
    expect(claims).to.include({ nonce: 'n', acr: 'gold' })
    const refreshed = bodyOf(await op.refreshed({ response: { expires_in: 5 } }))
    expect(refreshed).to.include({ expires_in: 5 }).and.to.have.property('refresh_token')
    const later = await claimsOf(refreshed['id_token'])
    expect(later).to.include({ auth_time, sub: 'alice', acr: 'gold' }).and.not.to.have.property('nonce')
  })

  it('rotates its keys', async () => {
    const old = bodyOf(await op.tokens())['id_token']
    op.keys = { published: [1, 2], signing: 2 }
    const rotated = bodyOf(await op.tokens())['id_token']
    for (const token of [old, rotated]) expect(await claimsOf(token)).to.include({ sub: 'alice' })
    op.keys = { published: [2], signing: 2 }
    expect(await claimsOf(rotated)).to.include({ sub: 'alice' })
    expect(await claimsOf(old).catch((error) => error.code)).to.equal('ERR_JWKS_NO_MATCHING_KEY')
  })

  it('signs userinfo', async () => {
    op.onUserinfo(await op.signedUserinfo({ claims: { email: 'alice@example.com' } }))
    const answer = await fetch(`${op.issuer}/userinfo`)
    expect(answer.headers.get('content-type')).to.equal('application/jwt')
    const { sub, email } = await claimsOf(await answer.text())
    expect({ sub, email }).to.deep.equal({ sub: 'alice', email: 'alice@example.com' })
  })
})

/** Every table: names that tell the rows apart, and rows that can be made. */
function testTable<Row extends { id: string; what: string; make: (of: TokenContext) => Promise<unknown> }>(
  rows: readonly Row[],
): void {
  expect(new Set(rows.map(({ what }) => what)).size).to.equal(rows.length)
}

describe('goodPush()', () => {
  it('confirms auth_req_id, access token and refresh token [PUSH-4, PUSH-5, PUSH-6]', async () => {
    const push = await goodPush(context, { header: { alg: 'EdDSA' }, response: { refresh_token: 'r' } })
    const { payload } = await jwtVerify(String(push['id_token']), await published())
    expect(push).to.include({ auth_req_id: 'id', token_type: 'Bearer' })
    expect(payload).to.include({
      at_hash: halfHash(String(push['access_token']), 'EdDSA'),
      [`${cibaClaim}auth_req_id`]: 'id',
      [`${cibaClaim}rt_hash`]: halfHash('r', 'EdDSA'),
    })
    const { id_token } = await goodPush(context)
    expect((await jwtVerify(String(id_token), await published())).payload).to.not.have.property(
      `${cibaClaim}rt_hash`,
    )
  })
})

describe('defectivePushes', () => {
  it('covers PUSH-2 to PUSH-7 and the defects of any token response, under names of their own', () => {
    testTable(defectivePushes)
    const ids = new Set(defectivePushes.map(({ id }) => id))
    for (const id of ['PUSH-2', 'PUSH-3', 'PUSH-4', 'PUSH-5', 'PUSH-6', 'PUSH-7', 'TOK-1', 'TOK-19']) {
      expect(ids).to.include(id)
    }
  })

  for (const { id, what, make } of defectivePushes.filter((defect) => /PUSH-[2456]/.test(defect.id))) {
    it(`keeps the signature: ${what} [${id}]`, async () => {
      expect(await verifies((await make(context))['id_token'])).to.equal(true)
    })
  }

  for (const { id, what, make } of defectivePushes.filter((defect) => defect.id.startsWith('TOK-'))) {
    it(`confirms the auth_req_id, where there are claims to read: ${what} [${id}]`, async () => {
      const { auth_req_id, id_token } = await make(context)
      expect(auth_req_id).to.equal('id')
      const claims = Buffer.from(String(id_token).split('.')[1] ?? '', 'base64url').toString()
      const readable = !/no id_token|empty id_token|id_token null|another token|parts|no JWT/.test(what)
      const changed = what === 'auth_req_id of another request'
      expect(claims.includes(`${cibaClaim}auth_req_id":"id"`)).to.equal(readable && !changed)
    })
  }
})

describe('defectiveLogoutTokens', () => {
  it('stands beside a token that is good', async () => {
    const { payload, protectedHeader } = await jwtVerify(await goodLogoutToken(context), await published(), {
      issuer: 'https://op.test',
      audience: 'client',
      typ: 'logout+jwt',
    })
    expect(protectedHeader.alg).to.equal('ES256')
    expect(payload).to.have.keys('iss', 'aud', 'iat', 'exp', 'jti', 'events', 'sub')
    testTable(defectiveLogoutTokens)
  })

  for (const { id, what, make } of defectiveLogoutTokens) {
    // Signed by a published key, whatever else is wrong.
    const signed = id === 'BCL-2.4' || /RS256|an ID token/.test(what)
    it(`${signed ? 'keeps' : 'breaks'} the signature: ${what} [${id}]`, async () => {
      expect(await verifies(await make(context))).to.equal(signed)
    })
  }
})

describe('defectiveEncryption()', () => {
  for (const alg of ['RSA-OAEP-256', 'ECDH-ES']) {
    it(`has no row that a client of ${alg} could take`, async () => {
      const { publicKey, privateKey } = await generateKeyPair(alg)
      const jwk = await exportJWK(publicKey)
      const takes = async (jwt: unknown): Promise<boolean> => {
        const decrypted = await compactDecrypt(String(jwt), privateKey, {
          keyManagementAlgorithms: [alg],
        }).catch(() => undefined)
        return decrypted !== undefined && (await verifies(Buffer.from(decrypted.plaintext)))
      }
      const rows = defectiveEncryption(jwk)
      testTable(rows)
      expect(rows.some(({ what }) => what.includes('RSA1_5'))).to.equal(jwk.kty === 'RSA')
      expect(await takes((await goodTokenResponse(context, { encrypt: { jwk } }))['id_token'])).to.equal(true)
      for (const { what, make } of rows) {
        expect(await takes((await make(context))['id_token']), what).to.equal(false)
      }
    })
  }
})

describe('defectiveHmacs()', () => {
  for (const alg of ['HS256', 'HS384', 'HS512'] as const) {
    it(`has no row that a client of ${alg} could take`, async () => {
      const rows = defectiveHmacs(alg)
      testTable(rows)
      for (const { what, make } of rows) {
        const { id_token } = await make(context)
        const verified = jwtVerify(String(id_token), Buffer.from(context.clientSecret), { algorithms: [alg] })
        expect(await verified.catch(() => 'refused'), what).to.equal('refused')
      }
    })
  }
})
