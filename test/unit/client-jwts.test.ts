/** How the scripted OP reads what a client has signed: a test that blames a client must be able to trust it. */
import { createHash } from 'node:crypto'
import { expect } from 'chai'
import { calculateJwkThumbprint, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose'
import { clientAssertionOf, dpopProofOf, requestObjectOf } from '../support/client-jwts.ts'
import { type Call, type ScriptedOp, startScriptedOp } from '../support/scripted-op.ts'

const assertionType = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'
const failure = (promise: Promise<unknown>): Promise<string> => promise.then(() => 'none', String)

describe('reading what a client has signed', () => {
  let op: ScriptedOp
  let keys: Awaited<ReturnType<typeof generateKeyPair>>
  let jwk: JWK

  before(async () => {
    keys = await generateKeyPair('ES256', { extractable: true })
    jwk = await exportJWK(keys.publicKey)
  })

  beforeEach(async () => {
    op = await startScriptedOp()
  })

  afterEach(() => op.stop())

  async function call(path: string, init: RequestInit): Promise<Call> {
    await fetch(op.issuer + path, init)
    return op.calls.at(-1)!
  }
  const post = (form: Record<string, string>): Promise<Call> =>
    call('/token', { method: 'POST', body: new URLSearchParams(form) })
  const signed = (claims: object, header: object = {}): Promise<string> =>
    new SignJWT({ ...claims }).setProtectedHeader({ alg: 'ES256', ...header }).sign(keys.privateKey)

  describe('clientAssertionOf()', () => {
    it('verifies the signature [AUTH-2]', async () => {
      const client_assertion = await signed({ iss: 'client' }, { kid: 'a' })
      const asked = await post({ client_assertion, client_assertion_type: assertionType })
      const { header, claims } = await clientAssertionOf(asked, jwk)
      expect([header.kid, claims]).to.deep.equal(['a', { iss: 'client' }])
      const stranger = await generateKeyPair('ES256')
      expect(await failure(clientAssertionOf(asked, stranger.publicKey))).to.contain('signature')
    })

    it('takes the client secret, too', async () => {
      const secret = Buffer.from(op.clientSecret)
      const client_assertion = await new SignJWT({}).setProtectedHeader({ alg: 'HS256' }).sign(secret)
      const asked = await post({ client_assertion, client_assertion_type: assertionType })
      expect((await clientAssertionOf(asked, secret)).header.alg).to.equal('HS256')
    })

    it('refuses what is no assertion', async () => {
      const without = await post({})
      expect(await failure(clientAssertionOf(without, jwk))).to.contain('client_assertion_type')
      const bare = await post({ client_assertion_type: assertionType })
      expect(await failure(clientAssertionOf(bare, jwk))).to.contain('no client_assertion')
    })
  })

  it('requestObjectOf() verifies a signed authentication request [SIG-1]', async () => {
    const asked = await post({ request: await signed({ scope: 'openid' }, { typ: 'oauth-authz-req+jwt' }) })
    expect((await requestObjectOf(asked, jwk)).claims).to.deep.equal({ scope: 'openid' })
    expect(await failure(requestObjectOf(await post({ scope: 'openid' }), jwk))).to.contain('no request')
  })

  describe('dpopProofOf() [AUTH-7]', () => {
    const ath = createHash('sha256').update('token').digest('base64url')
    const claimsFor = (htu: string) => ({
      htm: 'POST',
      htu: op.issuer + htu,
      iat: Math.floor(Date.now() / 1000),
      jti: crypto.randomUUID(),
    })
    const prove = async (claims: object, header: object = {}, authorization?: string): Promise<Call> =>
      call(authorization ? '/resource?query' : '/token', {
        method: 'POST',
        headers: {
          dpop: await signed(claims, { typ: 'dpop+jwt', jwk, ...header }),
          ...(authorization && { authorization }),
        },
      })

    it('tells the key and the nonce', async () => {
      const asked = await prove({ ...claimsFor('/token'), nonce: 'n' })
      const { jkt, nonce } = await dpopProofOf(asked, op.calls)
      expect([jkt, nonce]).to.deep.equal([await calculateJwkThumbprint(jwk), 'n'])
    })

    it('binds the proof to the access token', async () => {
      const proven = await prove({ ...claimsFor('/resource'), ath }, {}, 'DPoP token')
      expect(await dpopProofOf(proven, op.calls)).to.have.property('jkt')
    })

    const defects: [string, string, () => Promise<Call>][] = [
      ['no proof', 'no DPoP proof', () => post({})],
      ['another typ', 'typ', () => prove(claimsFor('/token'), { typ: 'JWT' })],
      ['another method', 'htm', () => prove({ ...claimsFor('/token'), htm: 'GET' })],
      ['another URL', 'htu', () => prove(claimsFor('/other'))],
      [
        'a URL with its query',
        'htu',
        () => prove({ ...claimsFor('/resource?query'), ath }, {}, 'DPoP token'),
      ],
      ['an old proof', 'iat', () => prove({ ...claimsFor('/token'), iat: 1 })],
      ['no jti', 'jti', () => prove({ ...claimsFor('/token'), jti: undefined })],
      ['no ath', 'ath', () => prove(claimsFor('/resource'), {}, 'DPoP token')],
      ['ath of another token', 'ath', () => prove({ ...claimsFor('/resource'), ath }, {}, 'DPoP other')],
      ['Bearer', 'scheme', () => prove({ ...claimsFor('/resource'), ath }, {}, 'Bearer token')],
    ]
    for (const [what, reason, make] of defects) {
      it(`refuses ${what}`, async () => {
        const asked: Call = await make()
        expect(await failure(dpopProofOf(asked, op.calls))).to.match(new RegExp(`${reason}(:|$)`))
      })
    }

    it('refuses a proof that was used before', async () => {
      const claims = claimsFor('/token')
      await prove(claims)
      expect(await failure(dpopProofOf(await prove(claims), op.calls))).to.contain('jti:')
    })

    it('refuses a signature by another key, and a private key in the header', async () => {
      const stranger = await generateKeyPair('ES256')
      const foreign = await prove(claimsFor('/token'), { jwk: await exportJWK(stranger.publicKey) })
      expect(await failure(dpopProofOf(foreign, op.calls))).to.contain('signature')
      const leaking = await prove(claimsFor('/token'), { jwk: await exportJWK(keys.privateKey) })
      expect(await failure(dpopProofOf(leaking, op.calls))).to.not.equal('none')
    })
  })
})
