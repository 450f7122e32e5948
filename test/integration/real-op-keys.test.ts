/** Keys that change: those of a real OP between logins, and ours, which it fetches from the running app. */
import type { JsonWebKey } from 'node:crypto'
import { expect } from 'chai'
import { decodeProtectedHeader } from 'jose'
import type { CibaOptions } from '../../lib/index.ts'
import type { FullOp } from '../support/full-op.ts'
import { privateJwk, scenes, timeTravel } from '../support/real-op.ts'

describe('ciba(), keys at a real OP', function () {
  this.timeout(20_000)

  const scene = scenes()
  const pass = timeTravel()

  context('the OP rotates its keys', () => {
    for (const keep of [true, false]) {
      it(`fetches them again, the old ones ${keep ? 'staying' : 'going'} [TOK-22]`, async () => {
        const { op, app, login, get } = await scene({ options: { idTokenSigningAlg: 'ES256' } })
        await login()
        await op.rotateKeys({ keep })
        pass(61)
        const other = app.browser()
        expect(await login({ by: other })).to.have.property('status', 'complete')
        const { idToken } = await get<{ idToken: string }>('/tokens', other)
        expect(decodeProtectedHeader(idToken)).to.include({ kid: 'es256-1' })
        expect(op.counts).to.include({ jwks: 2, discovery: 1 })
      })
    }

    it('loses no login either when the OP gives its clients no time [TOK-22]', async () => {
      const { op, app, login } = await scene({ options: { idTokenSigningAlg: 'ES256' } })
      await login()
      await op.rotateKeys()
      pass(30)
      expect(await login({ by: app.browser() })).to.have.property('status', 'complete')
      expect(op.counts, 'nothing but the keys is asked for twice').to.include({ backchannel: 2, jwks: 2 })
    })

    it('takes a refreshed ID token with a new key [TOK-22, TOK-23]', async () => {
      const { op, login, get } = await scene({
        op: { accessTokenExpiresIn: 120 },
        options: { authorizationParams: { scope: 'openid offline_access' } },
      })
      await login()
      const before = await get('/token')
      await op.rotateKeys()
      pass(100)
      expect(await get('/token')).not.to.equal(before)
      const { idToken } = await get<{ idToken: string }>('/tokens')
      expect(decodeProtectedHeader(idToken)).to.include({ kid: 'rs256-1' })
      expect(op.counts).to.include({ refresh: 1, jwks: 2 })
    })
  })

  context('it knows ours by "routes.jwks"', () => {
    const routes = { jwks: '/ciba/jwks' }

    it('fetches them from the running app: for assertions, requests and encryption [CFG-11]', async () => {
      let fetched = 0
      const { op, app, login, get, metadata } = await scene({
        options: {
          routes,
          clientSecret: undefined,
          clientAssertionSigningKey: privateJwk('PS256'),
          requestObjectSigningKey: privateJwk('ES256'),
          idTokenDecryptionKey: privateJwk('ECDH-ES'),
        },
        // The app counts who asks, ahead of everything else.
        before: (express) => {
          express.use(routes.jwks, (_req, _res, next) => {
            fetched++
            next()
          })
        },
      })
      expect(metadata)
        .to.include({ jwks_uri: `${app.origin}/ciba/jwks` })
        .and.not.have.property('jwks')
      expect(await login()).to.have.property('status', 'complete')
      expect(fetched).to.equal(1)
      const sent = op.received.at(-1)?.answer as { id_token: string }
      expect(sent.id_token.split('.')).to.have.length(5)
      const { idToken } = await get<{ idToken: string }>('/tokens')
      expect(idToken.split('.')).to.have.length(3)
    })

    it('takes the next key, which was published beside the one before [CFG-10]', async () => {
      const [oldKey, newKey] = [privateJwk('ES256'), privateJwk('ES256')]
      const withKeys = (...clientAssertionSigningKey: JsonWebKey[]): CibaOptions => ({
        routes,
        clientSecret: undefined,
        clientAssertionSigningKey,
      })
      const first = await scene({ options: withKeys(oldKey, newKey) })
      expect(await first.login()).to.have.property('status', 'complete')
      // The OP goes on with what it has fetched: from the first app, and nowhere else.
      const { op, metadata } = first
      const registration = { jwks_uri: metadata.jwks_uri }
      const second = await scene({ op, options: withKeys(newKey, oldKey), registration })
      expect(await second.login()).to.have.property('status', 'complete')
      expect(kidsIn(op)).to.have.length(2)
      const stranger = await scene({ op, options: withKeys(privateJwk('ES256'), newKey), registration })
      expect((await stranger.browser.start()).body).to.include({ error: 'invalid_client' })
    })
  })
})

/** Of the client assertions. */
function kidsIn({ received }: FullOp): unknown[] {
  const assertions = received.map(({ form }) => String(form['client_assertion']))
  return [...new Set(assertions.map((assertion) => decodeProtectedHeader(assertion).kid))]
}
