import { generateKeyPairSync } from 'node:crypto'
import { expect } from 'chai'
import { calculateJwkThumbprint, decodeJwt, decodeProtectedHeader, EmbeddedJWK, jwtVerify } from 'jose'
import * as oauth from 'oauth4webapi'
import { signingKey } from '../../lib/protocol/client-keys.ts'
import { createDpop, type Dpop, type DpopKey, proofFor } from '../../lib/protocol/dpop.ts'

const client = { client_id: 'rp' }
const as = { issuer: 'https://op.test' }

/** Sends a request with a proof to `url`, which answers with `nonce`; gives the proof. */
async function send(dpop: Dpop, key: DpopKey | undefined, url: string, nonce?: string): Promise<string> {
  let proof = ''
  const fetch = dpop.noting(async (_, { headers }) => {
    proof = headers['dpop'] ?? ''
    return new Response('{}', { headers: nonce === undefined ? {} : { 'dpop-nonce': nonce } })
  })
  await oauth.refreshTokenGrantRequest({ ...as, token_endpoint: url }, client, oauth.None(), 'token', {
    [oauth.customFetch]: (to, init) => fetch(to, init as never),
    DPoP: await dpop.handle(key),
  })
  return proof
}

const nonceOf = (proof: string) => decodeJwt(proof)['nonce']
const url = 'https://op.test/token'

describe('createDpop()', () => {
  context('without a shared key', () => {
    const dpop = createDpop(client)

    it('makes private keys that survive JSON, each another [AUTH-7]', async () => {
      const [one, other] = [await dpop.newKey(), await dpop.newKey()]
      expect(one).to.have.all.keys('kty', 'crv', 'x', 'y', 'd')
      expect(one?.['d']).to.not.equal(other?.['d'])
      const [proof, again] = [
        await send(dpop, one, url),
        await send(dpop, JSON.parse(JSON.stringify(one)) as DpopKey, url),
      ]
      const jwks = await Promise.all(
        [proof, again].map(async (jwt) => (await jwtVerify(jwt, EmbeddedJWK)).protectedHeader.jwk),
      )
      expect(jwks[0]).to.deep.equal({ kty: 'EC', crv: 'P-256', x: one?.['x'], y: one?.['y'] })
      expect(jwks[1]).to.deep.equal(jwks[0])
    })

    it('makes one handle for one key, however often it is asked [AUTH-7]', async () => {
      const key = await dpop.newKey()
      expect(await dpop.handle(key)).to.equal(await dpop.handle(key))
      expect(await dpop.handle(await dpop.newKey())).to.not.equal(await dpop.handle(key))
    })

    it('has no handle without a key [AUTH-7]', async () => {
      const error = await dpop.handle(undefined).catch((reason: Error) => reason)
      expect(error).to.be.instanceOf(TypeError).with.property('message', 'the DPoP key is missing')
    })
  })

  for (const [alg, pair] of [
    ['PS256', generateKeyPairSync('rsa', { modulusLength: 2048 })],
    ['ES512', generateKeyPairSync('ec', { namedCurve: 'P-521' })],
    ['EdDSA', generateKeyPairSync('ed25519')],
  ] as const) {
    it(`signs with the shared key, ${alg}, and makes none [AUTH-7]`, async () => {
      const dpop = createDpop(client, signingKey(pair.privateKey))
      expect(await dpop.newKey()).to.equal(undefined)
      const proof = await send(dpop, undefined, url)
      const { protectedHeader } = await jwtVerify(proof, EmbeddedJWK)
      expect(protectedHeader).to.include({ alg, typ: 'dpop+jwt' })
      const jkt = await calculateJwkThumbprint(pair.publicKey.export({ format: 'jwk' }) as never)
      expect(await calculateJwkThumbprint(protectedHeader.jwk as never)).to.equal(jkt)
      expect(protectedHeader.jwk).to.not.have.any.keys('d', 'kid', 'use')
    })
  }

  it('goes on with the key of a transaction from before there was a shared one [AUTH-7]', async () => {
    const key = await createDpop(client).newKey()
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const header = decodeProtectedHeader(await send(createDpop(client, signingKey(privateKey)), key, url))
    expect(header.alg).to.equal('ES256')
    expect(header.jwk).to.have.property('x', key?.['x'])
  })

  context('nonces', () => {
    it('go to every key, the newest first, and to the server that gave them alone [AUTH-7]', async () => {
      const dpop = createDpop(client)
      const [one, other] = [await dpop.newKey(), await dpop.newKey()]
      expect(nonceOf(await send(dpop, one, url, 'n1'))).to.equal(undefined)
      expect(nonceOf(await send(dpop, other, `${url}/elsewhere`, 'n2'))).to.equal('n1')
      expect(nonceOf(await send(dpop, one, url))).to.equal('n2')
      expect(nonceOf(await send(dpop, one, 'https://op.test:8443/token', 'n3'))).to.equal(undefined)
      expect(nonceOf(await send(dpop, other, url))).to.equal('n2')
      expect(nonceOf(await send(dpop, other, 'https://op.test:8443/token'))).to.equal('n3')
    })

    it('are not taken from answers to requests without a proof [AUTH-7]', async () => {
      const dpop = createDpop(client)
      const fetch = dpop.noting(async () => new Response('', { headers: { 'dpop-nonce': 'n' } }))
      await fetch(url, { method: 'GET', headers: {}, redirect: 'manual' })
      expect(nonceOf(await send(dpop, await dpop.newKey(), url))).to.equal(undefined)
    })

    it('are forgotten where there are too many servers, the oldest first [SEC-13]', async () => {
      const dpop = createDpop(client)
      const at = (index: number) => `https://host-${index}.test/token`
      const key = await dpop.newKey()
      for (let index = 0; index <= 100; index++) await send(dpop, key, at(index), `n${index}`)
      const fresh = await dpop.newKey()
      const nonces = [0, 1, 100].map(async (index) => nonceOf(await send(dpop, fresh, at(index))))
      expect(await Promise.all(nonces)).to.deep.equal([undefined, 'n1', 'n100'])
    })
  })
})

describe('proofFor()', () => {
  const tokens = { accessToken: 'a', scope: 'openid', idToken: 'i' }
  const dpopTokens = { ...tokens, tokenType: 'dpop' } as const

  it('gives none for bearer tokens, even with DPoP [AUTH-7]', async () => {
    const dpop = createDpop(client)
    const grant = { tokens: { ...tokens, tokenType: 'bearer' } as const }
    expect(await proofFor(dpop, grant)).to.equal(undefined)
  })

  it('gives the handle of the key that the tokens are bound to [AUTH-7]', async () => {
    const dpop = createDpop(client)
    const dpopKey = (await dpop.newKey()) as DpopKey
    expect(await proofFor(dpop, { tokens: dpopTokens, dpopKey })).to.equal(await dpop.handle(dpopKey))
  })

  it('says that tokens without their key are worthless [AUTH-7]', async () => {
    for (const dpop of [createDpop(client), undefined]) {
      const error = await proofFor(dpop, { tokens: dpopTokens }).catch((reason: Error) => reason)
      expect(error).to.include({ code: 'ERR_CIBA_INVALID_TOKEN', status: 401 })
    }
  })
})
