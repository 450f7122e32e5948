/** What a push of the OP comes to (CIBA Core §10.3.1, §12). */
import { expect } from 'chai'
import type { Expectations } from '../../lib/grant.ts'
import { connect } from '../../lib/protocol/connection.ts'
import { type Push, type PushAnswer, parsePush, processPush } from '../../lib/protocol/push.ts'
import type { OpConfig } from '../../lib/protocol/registration.ts'
import type { CustomFetch } from '../../lib/protocol/transport.ts'
import { signingKeys } from '../support/id-tokens.ts'
import { halfHash } from '../support/signing-keys.ts'
import { goodPush, type ResponseOverrides, type TokenContext } from '../support/token-response.ts'

// CIBA Core §10.3.1: the token delivery that is printed there; its ID token is RS256.
const printed = {
  auth_req_id: '1c266114-a1be-4252-8ad1-04986c5b9ac1',
  access_token: 'G5kXH2wHvUra0sHlDy1iTkDJgsgUO1bN',
  token_type: 'Bearer',
  refresh_token: '4bwc0ESC_IAhflf-ACC_vjD_ltc11ne-8gFPfA2Kx16',
  expires_in: 120,
} as const
const printedHashes = {
  at_hash: 'Wt0kVFXMacqvnHeyU0001w',
  'urn:openid:params:jwt:claim:rt_hash': 'sHahCuSpXCRg5mkDDvvr4w',
  'urn:openid:params:jwt:claim:auth_req_id': printed.auth_req_id,
} as const

describe('processPush()', () => {
  const op: TokenContext = {
    issuer: 'https://op.test',
    clientId: 'client',
    clientSecret: 'a client secret of 32 bytes or more',
    authReqId: printed.auth_req_id,
  }
  let asked: string[]
  /** By what the paths end with. */
  let answers: Record<'openid-configuration' | 'jwks', () => Response | Promise<Response>>

  beforeEach(() => {
    asked = []
    answers = {
      'openid-configuration': () =>
        Response.json({
          issuer: op.issuer,
          backchannel_authentication_endpoint: `${op.issuer}/backchannel`,
          jwks_uri: `${op.issuer}/jwks`,
          id_token_signing_alg_values_supported: ['ES256', 'RS256'],
        }),
      jwks: async () => Response.json((await signingKeys()).jwks),
    }
  })

  const customFetch: CustomFetch = async (url) => {
    const name = url.split('/').at(-1) as keyof typeof answers
    asked.push(name)
    if (!answers[name]) throw new Error(`nobody is at ${url}`)
    return answers[name]()
  }

  /** Each time to a client that knows nothing of the OP yet. */
  function take(
    push: Push,
    more: Partial<Expectations> = {},
    config: Partial<OpConfig> = {},
  ): Promise<PushAnswer> {
    const connection = connect({
      issuer: new URL(op.issuer),
      clientID: op.clientId,
      clientSecret: op.clientSecret,
      clientAuthMethod: 'client_secret_basic',
      deliveryMode: 'push',
      clockTolerance: 30,
      timeoutMs: 1_000,
      allowInsecureRequests: false,
      customFetch,
      ...config,
    })
    return processPush(connection, push, { requestedAt: Date.now(), scope: 'openid email', ...more })
  }

  async function made(overrides: ResponseOverrides = {}): Promise<Push> {
    return parsePush(await goodPush(op, overrides)) ?? expect.fail('no push')
  }

  context('the OP pushes an error', () => {
    const errors = {
      access_denied: 'denied',
      expired_token: 'expired',
      transaction_failed: 'failed',
      server_error: 'failed',
    }
    for (const [error, type] of Object.entries(errors)) {
      it(`says ${type} for ${error}, and asks nobody (PUSH-7)`, async () => {
        const answer = await take({ authReqId: 'id', error, body: {} })
        expect(answer).to.deep.equal({ type, error })
        expect(asked).to.deep.equal([])
      })
    }
  })

  context('the OP pushes tokens', () => {
    it('accepts what the standard prints, and its hashes (PUSH-4, PUSH-5, PUSH-6)', async () => {
      const push = await made({ header: { alg: 'RS256' }, claims: printedHashes, response: printed })
      const sentAt = Date.now()
      const answer = await take(push)
      if (answer.type !== 'granted') return expect.fail(answer.type)
      const { tokens, claims } = answer.grant
      expect(tokens).to.include({
        accessToken: printed.access_token,
        refreshToken: printed.refresh_token,
        tokenType: 'bearer',
        scope: 'openid email',
      })
      expect(tokens.expiresAt).to.be.within(sentAt + 120_000, Date.now() + 120_000)
      expect(tokens.idToken).to.equal((push.body as Record<string, unknown>)['id_token'])
      expect(claims).to.include({ sub: 'alice', ...printedHashes })
    })

    for (const name of Object.keys(printedHashes)) {
      it(`refuses what the standard prints without its ${name}, or with one character changed`, async () => {
        for (const value of [undefined, `${printedHashes.at_hash.slice(0, -1)}A`]) {
          const claims = { ...printedHashes, [name]: value }
          const push = await made({ header: { alg: 'RS256' }, claims, response: printed })
          expect(await take(push), String(value)).to.deep.equal({ type: 'invalid' })
        }
      })
    }

    it('needs no rt_hash where no refresh token came, and no expires_in (PUSH-6, TOK-20)', async () => {
      const push = await made({ response: { expires_in: undefined, scope: 'openid' } })
      const answer = await take(push)
      if (answer.type !== 'granted') return expect.fail(answer.type)
      expect(answer.grant.tokens).to.include({ scope: 'openid' })
      expect(answer.grant.tokens).to.not.have.any.keys('refreshToken', 'expiresAt')
    })

    it('refuses an rt_hash whose refresh token was taken out (PUSH-6, TOK-14)', async () => {
      const claims = { 'urn:openid:params:jwt:claim:rt_hash': halfHash('gone') }
      expect(await take(await made({ claims }))).to.deep.equal({ type: 'invalid' })
    })

    it('refuses what was confirmed for another request than the body says (PUSH-4)', async () => {
      const push = await made()
      expect((await take({ ...push, authReqId: `${push.authReqId}1` })).type).to.equal('invalid')
    })

    const wanted: [string, Partial<Expectations>, ResponseOverrides][] = [
      ['acr', { acrValues: ['gold'] }, { claims: { acr: 'gold' } }],
      ['auth_time', { maxAge: 60 }, {}],
      ['sub', { expectedSubject: 'bob' }, { claims: { sub: 'bob' } }],
      ['nonce', { nonce: 'n' }, { claims: { nonce: 'n' } }],
    ]
    for (const [claim, expectations, overrides] of wanted) {
      it(`holds it to what was asked for: ${claim} (PUSH-3)`, async () => {
        expect(await take(await made(overrides), expectations)).to.have.property('type', 'granted')
        const push = await made({ claims: { [claim]: claim === 'auth_time' ? 1 : 'another' } })
        expect(await take(push, expectations)).to.deep.equal({ type: 'invalid' })
      })
    }

    it('refuses tokens from before the request (TOK-11)', async () => {
      const requestedAt = Date.now() + 60_000
      expect(await take(await made(), { requestedAt })).to.deep.equal({ type: 'invalid' })
    })

    it('refuses authorization_details of a type that was not asked for (TOK-20)', async () => {
      const push = await made({ response: { authorization_details: [{ type: 'payment' }] } })
      expect(await take(push, { authorizationTypes: ['payment'] })).to.have.property('type', 'granted')
      expect(await take(push, { authorizationTypes: ['account'] })).to.deep.equal({ type: 'invalid' })
    })

    it("asks the application's own check last, which is not a refresh (PUSH-9)", async () => {
      const checks: unknown[] = []
      const validateIdTokenClaims: OpConfig['validateIdTokenClaims'] = ({ sub }, { isRefresh }) => {
        checks.push([sub, isRefresh])
        throw new Error('not she')
      }
      expect(await take(await made(), {}, { validateIdTokenClaims })).to.deep.equal({ type: 'invalid' })
      const forged = await made({ claims: { at_hash: 'wrong' } })
      expect(await take(forged, {}, { validateIdTokenClaims })).to.deep.equal({ type: 'invalid' })
      expect(checks).to.deep.equal([['alice', false]])
    })

    it('asks for nothing but metadata and keys, and for no keys before all claims are right (PUSH-8)', async () => {
      await take(await made({ claims: { at_hash: 'wrong' } }))
      expect(asked).to.deep.equal(['openid-configuration'])
      await take(await made())
      expect(asked).to.deep.equal(['openid-configuration', 'openid-configuration', 'jwks'])
    })
  })

  context('the keys of the OP cannot be had', () => {
    const broken = () =>
      new Response(
        new ReadableStream({
          start(controller) {
            controller.enqueue(Buffer.from('{"keys":['))
            controller.error(new Error('broke off'))
          },
        }),
      )
    const troubles: [string, () => Response | Promise<Response>][] = [
      ['no connection', () => Promise.reject(new TypeError('fetch failed'))],
      ['503', () => new Response('', { status: 503 })],
      ['404', () => new Response('', { status: 404 })],
      ['302', () => new Response(null, { status: 302, headers: { location: '/' } })],
      ['a page of a proxy', () => new Response('<html>', { headers: { 'content-type': 'text/html' } })],
      ['JSON without keys', () => Response.json({ error: 'try_later' })],
      ['an answer that breaks off', broken],
    ]
    for (const [what, answer] of troubles) {
      it(`is unavailable, not invalid: ${what} (PUSH-9)`, async () => {
        answers.jwks = answer
        const taken = await take(await made())
        expect(taken.type).to.equal('unavailable')
        expect(taken).to.have.property('cause').that.is.instanceOf(Error)
      })
    }

    for (const [what, answer] of troubles.slice(0, 2)) {
      it(`is unavailable, too, where the metadata are missing: ${what}`, async () => {
        answers['openid-configuration'] = answer
        expect(await take(await made())).to.have.property('type', 'unavailable')
      })
    }

    it('gives up when the time is over', async () => {
      const hanging: CustomFetch = (url, { signal }) => {
        if (!url.endsWith('jwks')) return customFetch(url, {} as never)
        return new Promise((_, reject) => {
          signal?.addEventListener('abort', () => reject(signal.reason as Error))
        })
      }
      const answer = await take(await made(), {}, { customFetch: hanging, timeoutMs: 50 })
      expect(answer).to.have.property('type', 'unavailable')
    })

    it('tries again before it gives up, since a login hangs on it', async () => {
      const { jwks } = answers
      let attempts = 0
      answers.jwks = () => {
        attempts += 1
        return attempts < 3 ? new Response('', { status: 503 }) : jwks()
      }
      expect(await take(await made())).to.have.property('type', 'granted')
      expect(attempts).to.equal(3)
    })

    it('is invalid where the claims are wrong anyway', async () => {
      answers.jwks = () => Promise.reject(new TypeError('fetch failed'))
      expect(await take(await made({ claims: { at_hash: 'wrong' } }))).to.deep.equal({ type: 'invalid' })
    })

    it('is invalid where the OP has keys, but not this one (PUSH-3)', async () => {
      answers.jwks = () => Response.json({ keys: [] })
      expect(await take(await made())).to.deep.equal({ type: 'invalid' })
    })
  })
})
