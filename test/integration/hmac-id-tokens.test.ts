/** ID tokens that the OP signs with the client secret (OpenID Connect Core §3.1.3.7 item 8) [TOK-8, TOK-9]. */
import { createHmac } from 'node:crypto'
import { expect } from 'chai'
import { exportSPKI, importJWK } from 'jose'
import { defectiveHmacs } from '../support/defective-encryption.ts'
import { debugLines, type Scene, scenes } from '../support/scenes.ts'
import type { ScriptedOp } from '../support/scripted-op.ts'
import { encode, halfHash, signingKeys } from '../support/signing-keys.ts'
import { goodClaims } from '../support/token-response.ts'

const clientSecret = 'a client secret of 64 bytes, which is what HS512 wants, at least'
const algs = ['HS256', 'HS384', 'HS512'] as const
const refused = { status: 'failed', error: 'invalid_token_response' }
const listed = 'id_token_signing_alg_values_supported'

describe('ciba({ idTokenSigningAlg })', () => {
  const set = scenes()
  const lines = debugLines()

  /** @param pinned - `undefined` pins nothing */
  async function pinning(pinned: string | string[] | undefined): Promise<Scene> {
    const scene = await set({
      op: { clientSecret },
      ciba: { clientSecret, ...(pinned && { idTokenSigningAlg: pinned }) },
    })
    scene.op.metadata[listed] = ['ES256', 'RS256', 'none', ...algs]
    return scene
  }

  async function expectRefused({ op, app, browser }: Scene, make: () => Promise<object>): Promise<void> {
    const transaction = await browser.begin()
    op.onToken({ json: await make() })
    await op.ping(app.notificationUrl)
    expect(await browser.outcome(transaction)).to.deep.equal({ transaction, ...refused })
    expect(await browser.user()).to.equal(undefined)
    expect(op.callsTo('token')).to.have.length(1)
    expect(lines.join('\n'))
      .to.match(/failed/)
      .and.not.include(clientSecret)
  }

  for (const alg of algs) {
    context(`is ${alg}`, () => {
      it('signs in with that, at_hash included, and asks for no keys [TOK-9, TOK-13]', async () => {
        const { op, login, browser } = await pinning(alg)
        expect(await login(() => op.tokens({ header: { alg } }))).to.have.property('status', 'complete')
        expect(await browser.user()).to.equal('alice')
        expect(op.callsTo('jwks')).to.have.length(0)
      })

      it('holds it to its at_hash, by the hash that the algorithm names [TOK-13]', async () => {
        const { op, login } = await pinning(alg)
        for (const at_hash of [halfHash('another', alg), 'none']) {
          const defect = { header: { alg }, claims: { at_hash } }
          expect(await login(() => op.tokens(defect))).to.include(refused)
        }
        const other = alg === 'HS256' ? 'HS512' : 'HS256'
        const mixed = {
          header: { alg },
          response: { access_token: 'the token' },
          claims: { at_hash: halfHash('the token', other) },
        }
        expect(await login(() => op.tokens(mixed))).to.include(refused)
      })

      for (const { id, what, make } of defectiveHmacs(alg)) {
        it(`fails and signs nobody in: ${what} [${id}, TOK-21]`, async () => {
          const scene = await pinning(alg)
          await expectRefused(scene, () => make(scene.op.context()))
        })
      }
    })
  }

  context('names several', () => {
    it('takes each of them by its own key [TOK-8, TOK-9]', async () => {
      const { op, login } = await pinning(['HS256', 'ES256'])
      for (const alg of ['ES256', 'HS256']) {
        expect(await login(() => op.tokens({ header: { alg } })), alg).to.have.property('status', 'complete')
      }
      for (const alg of ['HS384', 'RS256']) {
        expect(await login(() => op.tokens({ header: { alg } })), alg).to.include(refused)
      }
    })
  })

  context('does not name it', () => {
    for (const pinned of [undefined, 'ES256', ['ES256', 'RS256']]) {
      for (const alg of algs) {
        it(`refuses ${alg} with our secret, although the OP lists it: ${pinned ?? 'nothing'} pinned [TOK-8]`, async () => {
          const { op, login } = await pinning(pinned)
          expect(await login(() => op.tokens({ header: { alg } }))).to.include(refused)
        })
      }
    }
  })

  context('an attacker signs with what everybody knows', () => {
    /** The published ES256 key, in every form in which a careless client would take it for a secret. */
    async function publicForms(): Promise<Record<string, string>> {
      const { jwks } = await signingKeys()
      const jwk = jwks.keys.find(({ alg }) => alg === 'ES256') ?? {}
      const pem = await exportSPKI((await importJWK(jwk, 'ES256')) as never)
      return {
        JWK: JSON.stringify(jwk),
        PEM: pem,
        'PEM without its last line end': pem.trim(),
        x: String(jwk['x']),
      }
    }

    const forged = (op: ScriptedOp, alg: string, secret: string) => {
      const context = op.context()
      const kid = 'es256-1'
      const input = `${encode({ alg, kid })}.${encode(goodClaims(context))}`
      const mac = createHmac(`sha${alg.slice(2)}`, secret)
        .update(input)
        .digest('base64url')
      return { access_token: 'a', token_type: 'Bearer', expires_in: 300, id_token: `${input}.${mac}` }
    }

    for (const form of ['JWK', 'PEM', 'PEM without its last line end', 'x']) {
      for (const pinned of [undefined, 'ES256', ['ES256', 'HS256'], 'HS256']) {
        it(`refuses HS256 with the public key as the secret: ${form}, ${pinned ?? 'nothing'} pinned [TOK-8, TOK-9]`, async () => {
          const scene = await pinning(pinned)
          const secret = (await publicForms())[form]
          expect(secret).to.be.a('string').with.length.above(20)
          await expectRefused(scene, async () => forged(scene.op, 'HS256', secret ?? ''))
        })
      }
    }

    it('would be taken with our own secret: the forgery is sound but for that [TOK-9]', async () => {
      const { op, login } = await pinning('HS256')
      const good = await login(async () => ({ json: forged(op, 'HS256', clientSecret) }))
      expect(good).to.have.property('status', 'complete')
    })
  })
})
