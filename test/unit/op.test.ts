import { generateKeyPairSync } from 'node:crypto'
import { expect } from 'chai'
import { decodeJwt } from 'jose'
import { CibaError, RequestRefusedError } from '../../lib/errors.ts'
import {
  type AuthenticationRequest,
  checkAuthenticationRequest,
} from '../../lib/protocol/authentication-request.ts'
import { signingKey } from '../../lib/protocol/client-keys.ts'
import { connect } from '../../lib/protocol/connection.ts'
import { createOp, type Op } from '../../lib/protocol/op.ts'
import type { OpConfig } from '../../lib/protocol/registration.ts'
import type { CustomFetchInit } from '../../lib/protocol/transport.ts'
import { goodTokenResponse, signingKeys } from '../support/id-tokens.ts'

const issuer = 'https://op.test'
const metadata = {
  issuer,
  backchannel_authentication_endpoint: `${issuer}/backchannel`,
  token_endpoint: `${issuer}/token`,
  jwks_uri: `${issuer}/jwks`,
  id_token_signing_alg_values_supported: ['ES256'],
}
const acknowledged = { auth_req_id: 'id', expires_in: 120, interval: 2 }
const checked = checkAuthenticationRequest({ loginHint: 'alice' })
const expectations = { requestedAt: Date.now(), scope: 'openid' }

describe('createOp()', () => {
  interface Sent {
    readonly url: string
    readonly init: CustomFetchInit
  }
  let sent: Sent[]
  /** By path; the defaults are those of a good OP that waits for the person. */
  let answers: Record<string, (init: CustomFetchInit) => Response | Promise<Response>>

  beforeEach(() => {
    sent = []
    answers = {
      '/.well-known/openid-configuration': () => Response.json(metadata),
      '/backchannel': () => Response.json(acknowledged),
      '/token': () => Response.json({ error: 'authorization_pending' }, { status: 400 }),
      '/jwks': async () => Response.json((await signingKeys()).jwks),
    }
  })

  function open(config: Partial<OpConfig> = {}): Op {
    return createOp(
      connect({
        issuer: new URL(issuer),
        clientID: 'a client',
        clientSecret: 'a+secret: with %',
        clientAuthMethod: 'client_secret_basic',
        deliveryMode: 'poll',
        clockTolerance: 30,
        timeoutMs: 1_000,
        allowInsecureRequests: false,
        async customFetch(url, init) {
          sent.push({ url, init })
          const answer = answers[new URL(url).pathname]
          if (!answer) throw new Error(`nobody is at ${url}`)
          return answer(init)
        },
        ...config,
      }),
    )
  }

  const sentTo = (path: string) => sent.filter(({ url }) => new URL(url).pathname === path)
  const bodyOf = (one: Sent | undefined) => Object.fromEntries((one?.init.body ?? []) as URLSearchParams)
  const failure = async (promise: Promise<unknown>): Promise<CibaError> => {
    try {
      await promise
    } catch (error) {
      if (error instanceof CibaError) return error
      throw error
    }
    throw new Error('it did not fail')
  }

  context('authenticate()', () => {
    it('posts the parameters as a form, with client_secret_basic [REQ-1, AUTH-1]', async () => {
      const answer = await open().authenticate(checked)
      expect(answer).to.deep.equal({ authReqId: 'id', expiresIn: 120, interval: 2 })
      const [request, ...others] = sentTo('/backchannel')
      expect(others).to.have.length(0)
      expect(request?.init).to.include({ method: 'POST', redirect: 'manual' })
      expect(request?.init.signal).to.be.instanceOf(AbortSignal)
      expect(bodyOf(request)).to.deep.equal({ scope: 'openid', login_hint: 'alice', client_id: 'a client' })
      // RFC 6749 §2.3.1: both halves are form-encoded before they are joined.
      const credentials = `${new URLSearchParams({ 'a client': '' })}:${new URLSearchParams({ 'a+secret: with %': '' })}`
      expect(request?.init.headers['authorization']).to.equal(
        `Basic ${Buffer.from(credentials.replaceAll('=', '')).toString('base64')}`,
      )
    })

    it('sends the secret in the form with client_secret_post, at both endpoints [AUTH-1]', async () => {
      const op = open({ clientAuthMethod: 'client_secret_post' })
      await op.authenticate(checked)
      await op.requestTokens({ authReqId: 'id', expectations }, 30_000)
      for (const path of ['/backchannel', '/token']) {
        const [request] = sentTo(path)
        expect(bodyOf(request)).to.include({ client_id: 'a client', client_secret: 'a+secret: with %' })
        expect(request?.init.headers).to.not.have.property('authorization')
      }
    })

    it('writes the issuer into assertion and signed request to the letter [AUTH-2, SIG-2]', async () => {
      const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
      const tenant = `${issuer}/tenant/`
      answers['/tenant/.well-known/openid-configuration'] = () =>
        Response.json({
          ...metadata,
          issuer: tenant,
          backchannel_authentication_request_signing_alg_values_supported: ['ES256'],
        })
      const op = open({
        issuer: new URL(tenant),
        clientAuthMethod: 'private_key_jwt',
        clientAssertionKeys: [signingKey(privateKey)],
        requestObjectKeys: [signingKey(privateKey)],
      })
      await op.authenticate(checked)
      await op.requestTokens({ authReqId: 'id', expectations }, 30_000)
      const [asked, polled] = [bodyOf(sentTo('/backchannel')[0]), bodyOf(sentTo('/token')[0])]
      for (const jwt of [asked['client_assertion'], asked['request'], polled['client_assertion']]) {
        expect(decodeJwt(jwt ?? '')).to.have.property('aud', tenant)
      }
    })

    it('sends a notification token if it is given one [REQ-4]', async () => {
      await open({ deliveryMode: 'ping' }).authenticate(checked, 'a-token')
      expect(bodyOf(sentTo('/backchannel')[0])).to.have.property('client_notification_token', 'a-token')
    })

    const refusals: [string, Response, string, number, string][] = [
      ['400', Response.json({ error: 'unknown_user_id' }, { status: 400 }), 'unknown_user_id', 400, 'ERR-2'],
      ['403', Response.json({ error: 'access_denied' }, { status: 403 }), 'access_denied', 403, 'ERR-2'],
      [
        '401 with a challenge',
        Response.json({ error: 'invalid_client' }, { status: 401, headers: { 'www-authenticate': 'Basic' } }),
        'invalid_client',
        400,
        'ERR-1',
      ],
    ]
    for (const [what, response, error, status, id] of refusals) {
      it(`rejects with ${error}, which the OP says under ${what} [${id}]`, async () => {
        answers['/backchannel'] = () => response
        const refusal = await failure(open().authenticate(checked))
        expect(refusal).to.be.instanceOf(RequestRefusedError)
        expect(refusal).to.include({ code: 'ERR_CIBA_REQUEST_REFUSED', error, status })
      })
    }

    it('cleans the description of the OP, and keeps it out of message and JSON [ERR-6, SEC-11]', async () => {
      const error_description = 'alice\r\n\u0000<b>'
      answers['/backchannel'] = () =>
        Response.json({ error: 'invalid_scope', error_description }, { status: 400 })
      const refusal = (await failure(open().authenticate(checked))) as RequestRefusedError
      expect(refusal.error_description).to.equal('alice <b>')
      expect(refusal.message + JSON.stringify(refusal)).to.not.include('alice')
    })

    const coded = (code: string) => Object.assign(new Error(code), { code })
    const faults: [string, () => Response | Promise<Response>, string, number | undefined][] = [
      ['a refused connection', () => Promise.reject(coded('ECONNREFUSED')), 'ERR_CIBA_OP_UNREACHABLE', 5],
      ['a lost connection', () => Promise.reject(coded('ECONNRESET')), 'ERR_CIBA_OP_FAILED', undefined],
      ['429', () => new Response(null, { status: 429 }), 'ERR_CIBA_OP_UNREACHABLE', 5],
      [
        '429 and Retry-After',
        () => new Response(null, { status: 429, headers: { 'retry-after': '9' } }),
        'ERR_CIBA_OP_UNREACHABLE',
        9,
      ],
      ['503', () => new Response(null, { status: 503 }), 'ERR_CIBA_OP_FAILED', undefined],
      [
        '503 and Retry-After',
        () => new Response(null, { status: 503, headers: { 'retry-after': '9' } }),
        'ERR_CIBA_OP_FAILED',
        9,
      ],
      ['302', () => new Response(null, { status: 302 }), 'ERR_CIBA_OP_FAILED', undefined],
      ['HTML', () => new Response('<html>'), 'ERR_CIBA_OP_FAILED', undefined],
      ['no auth_req_id', () => Response.json({ expires_in: 1 }), 'ERR_CIBA_OP_FAILED', undefined],
    ]
    for (const [what, answer, code, retryAfter] of faults) {
      it(`rejects with ${code} after ${what}, and sends nothing again [REQ-16]`, async () => {
        answers['/backchannel'] = answer
        const error = await failure(open().authenticate(checked))
        expect(error.code).to.equal(code)
        expect(error.retryAfter).to.equal(retryAfter)
        expect(sentTo('/backchannel')).to.have.length(1)
      })
    }

    it('gives up after its timeout [REQ-16]', async () => {
      answers['/backchannel'] = ({ signal }) =>
        new Promise((_, reject) => {
          signal?.addEventListener('abort', () => reject(signal.reason as Error))
        })
      const alive = setTimeout(() => {}, 5_000) // the timeout alone does not keep the process running
      try {
        const error = await failure(open({ timeoutMs: 30 }).authenticate(checked))
        expect(error).to.have.property('code', 'ERR_CIBA_OP_FAILED')
        expect(error.cause).to.have.property('name', 'TimeoutError')
      } finally {
        clearTimeout(alive)
      }
    })
  })

  context('requestTokens()', () => {
    it('asks with the CIBA grant [POLL-1]', async () => {
      const answer = await open().requestTokens({ authReqId: 'an id+&', expectations }, 30_000)
      expect(answer).to.deep.equal({ type: 'stillPending' })
      const [request] = sentTo('/token')
      expect(bodyOf(request)).to.deep.equal({
        auth_req_id: 'an id+&',
        grant_type: 'urn:openid:params:grant-type:ciba',
      })
      expect(request?.init.headers['authorization']).to.match(/^Basic /)
    })

    it('sends nothing where discovery fails, and does not reject [POLL-10]', async () => {
      answers['/.well-known/openid-configuration'] = () => new Response(null, { status: 404 })
      const answer = await open().requestTokens({ authReqId: 'id', expectations }, 30_000)
      expect(answer).to.include({ type: 'unanswered', sent: false })
      expect(sentTo('/token')).to.have.length(0)
    })

    it('tries the keys of the OP again, never the tokens [TOK-9, TOK-22]', async () => {
      const context = { issuer, clientId: 'a client', clientSecret: '', authReqId: 'id' }
      answers['/token'] = async () => Response.json(await goodTokenResponse(context))
      let failures = 2
      const keys = answers['/jwks']
      answers['/jwks'] = (init) =>
        failures-- > 0 ? new Response(null, { status: 503 }) : (keys?.(init) as Response)
      const op = open()
      expect(await op.requestTokens({ authReqId: 'id', expectations }, 30_000)).to.have.property(
        'type',
        'granted',
      )
      expect([sentTo('/token').length, sentTo('/jwks').length]).to.deep.equal([1, 3])
      expect(await op.requestTokens({ authReqId: 'id', expectations }, 30_000)).to.have.property(
        'type',
        'granted',
      )
      expect(sentTo('/jwks'), 'the second time').to.have.length(3)
      expect(sentTo('/.well-known/openid-configuration')).to.have.length(1)
    })

    it('takes only the algorithms that are pinned [CFG-8, TOK-8]', async () => {
      const context = { issuer, clientId: 'a client', clientSecret: '', authReqId: 'id' }
      answers['/token'] = async () => Response.json(await goodTokenResponse(context))
      answers['/.well-known/openid-configuration'] = () =>
        Response.json({ ...metadata, id_token_signing_alg_values_supported: ['ES256', 'PS256'] })
      const op = open({ idTokenSigningAlgs: ['PS256'] })
      expect(await op.requestTokens({ authReqId: 'id', expectations }, 30_000)).to.include({
        type: 'failed',
        error: 'invalid_token_response',
      })
    })
  })

  context('prepare()', () => {
    const withCode = checkAuthenticationRequest({
      loginHint: 'alice',
      userCode: '1234',
    } as AuthenticationRequest)

    it('finds what does not fit before anybody is asked [CFG-2]', async () => {
      answers['/.well-known/openid-configuration'] = () =>
        Response.json({ ...metadata, token_endpoint: undefined })
      expect(await failure(open().prepare(checked))).to.have.property('code', 'ERR_CIBA_INVALID_OP_METADATA')
      expect(sent).to.have.length(1)
    })

    const takesCodes = () => Response.json({ ...metadata, backchannel_user_code_parameter_supported: true })

    it('refuses a user code where the OP does not say that it takes one [CFG-7]', async () => {
      const error = await failure(open({ userCodeParameter: true }).prepare(withCode))
      expect(error).to.have.property('code', 'ERR_CIBA_INVALID_REQUEST')
      expect(error.message)
        .to.match(/the OP takes none/)
        .and.not.include('1234')
    })

    it('refuses a user code where we have not registered that we send one [CFG-7]', async () => {
      answers['/.well-known/openid-configuration'] = takesCodes
      for (const config of [{}, { userCodeParameter: false }]) {
        const error = await failure(open(config).prepare(withCode))
        expect(error).to.have.property('code', 'ERR_CIBA_INVALID_REQUEST')
        expect(error.message)
          .to.match(/"userCodeParameter"/)
          .and.not.include('1234')
      }
    })

    it('takes a user code where both say so [CFG-7]', async () => {
      answers['/.well-known/openid-configuration'] = takesCodes
      expect(await open({ userCodeParameter: true }).prepare(withCode)).to.deep.equal({})
      expect(sentTo('/backchannel')).to.have.length(0)
    })

    it('makes a new DPoP key for each transaction, and none where one serves all [AUTH-7]', async () => {
      const op = open({ dpop: 'perTransaction' })
      const [{ dpopKey: one }, { dpopKey: other }] = [await op.prepare(checked), await op.prepare(checked)]
      expect(one).to.include({ kty: 'EC', crv: 'P-256' }).and.have.property('d')
      expect(other?.['d']).to.be.a('string').and.not.equal(one?.['d'])
      const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
      expect(await open({ dpop: signingKey(privateKey) }).prepare(checked)).to.deep.equal({})
      expect(await open().prepare(checked)).to.deep.equal({})
    })
  })
})
