/** A client of the OP for tests, made of oauth4webapi: what a client sees that is not the library. Asserts nothing. */
import { createServer } from 'node:http'
import * as jose from 'jose'
import * as oauth from 'oauth4webapi'
import { Agent, type RequestInit as UndiciInit, fetch as undiciFetch } from 'undici'
import { listen, stop } from '../../lib/testing/servers.ts'
import { type Identity, testCertificates } from './certificates.ts'
import { type FullApproval, type FullOp, type FullOpOptions, startFullOp } from './full-op.ts'
import type { ResourceAnswer } from './resource-server.ts'

/** The secret of {@link basicClient}. */
export const CLIENT_SECRET = 'a client secret of more than 32 bytes'

/** What the registrations have in common. */
export const anyClient = {
  client_id: 'app',
  grant_types: ['urn:openid:params:grant-type:ciba', 'refresh_token'],
  response_types: [],
  redirect_uris: [],
  backchannel_token_delivery_mode: 'poll',
}

/** A registration for client_secret_basic. */
export const basicClient = { ...anyClient, client_secret: CLIENT_SECRET }

/** Parameters of an authentication request; for alice, and `scope=openid`, unless they say otherwise. */
export type Form = Record<string, string> | (readonly [string, string])[]

export interface OauthClientOptions {
  /** @default client_secret_basic */
  readonly auth?: oauth.ClientAuth
  /** On top of `client_id` and the use of mTLS aliases. */
  readonly metadata?: object
  /** The certificate it presents. */
  readonly identity?: Identity
  readonly dpop?: oauth.DPoPHandle
}

export class OauthClient {
  /** Presents the certificate, and trusts the OP's. */
  readonly fetch: (url: string, init: object) => Promise<Response>
  /** The OP's, fetched when needed. */
  readonly keys: jose.JWTVerifyGetKey
  readonly as: oauth.AuthorizationServer
  readonly #op: FullOp
  readonly #client: oauth.Client
  readonly #auth: oauth.ClientAuth
  readonly #http: object
  readonly #bound: object

  private constructor(
    op: FullOp,
    as: oauth.AuthorizationServer,
    fetch: OauthClient['fetch'],
    options: OauthClientOptions,
  ) {
    this.fetch = fetch
    this.as = as
    this.keys = jose.createRemoteJWKSet(new URL(String(as.jwks_uri)), { [jose.customFetch]: fetch })
    this.#op = op
    this.#client = { client_id: 'app', use_mtls_endpoint_aliases: true, ...options.metadata }
    this.#auth = options.auth ?? oauth.ClientSecretBasic(CLIENT_SECRET)
    this.#http = httpOptions(fetch)
    this.#bound = { ...this.#http, ...(options.dpop && { DPoP: options.dpop }) }
  }

  static async of(op: FullOp, dispatcher: Agent, options: OauthClientOptions): Promise<OauthClient> {
    const fetch: OauthClient['fetch'] = (url, init) =>
      undiciFetch(url, { ...(init as UndiciInit), dispatcher }) as unknown as Promise<Response>
    const issuer = new URL(op.issuer)
    const response = await oauth.discoveryRequest(issuer, httpOptions(fetch))
    return new OauthClient(op, await oauth.processDiscoveryResponse(issuer, response), fetch, options)
  }

  /** Resolves with the `auth_req_id`. */
  async ask(form: Form = {}): Promise<string> {
    const all = new URLSearchParams(form as Record<string, string>)
    for (const [name, value] of [['login_hint', 'alice'] as const, ['scope', 'openid'] as const]) {
      if (!all.has('request') && !all.has(name)) all.set(name, value)
    }
    const { as } = this
    const response = await oauth.backchannelAuthenticationRequest(
      as,
      this.#client,
      this.#auth,
      all,
      this.#http,
    )
    const answer = await oauth.processBackchannelAuthenticationResponse(as, this.#client, response)
    return answer.auth_req_id
  }

  /** A request object; `more` replaces its claims. */
  sign(key: oauth.PrivateKey, form: Record<string, string> = {}, more: object = {}): Promise<string> {
    const parameters = { login_hint: 'alice', scope: 'openid', ...form }
    return oauth.issueRequestObject(this.as, this.#client, parameters, key, {
      [oauth.modifyAssertion]: (_header, claims) => {
        Object.assign(claims, more)
      },
    })
  }

  /** One token request. */
  async tokens(authReqId: string, decrypt: oauth.JWEDecryptOptions = {}) {
    const { as } = this
    const response = await oauth.backchannelAuthenticationGrantRequest(
      as,
      this.#client,
      this.#auth,
      authReqId,
      this.#bound,
    )
    const tokens = await oauth.processBackchannelAuthenticationGrantResponse(
      as,
      this.#client,
      response,
      decrypt,
    )
    return { ...tokens, claims: oauth.getValidatedIdTokenClaims(tokens) as oauth.IDToken }
  }

  /** From the request over the approval to the tokens. */
  async login(form?: Form, approval?: FullApproval) {
    const authReqId = await this.ask(form)
    await this.#op.approve(authReqId, approval)
    return this.tokens(authReqId)
  }

  async refresh(token: unknown) {
    const { as } = this
    const response = await oauth.refreshTokenGrantRequest(
      as,
      this.#client,
      this.#auth,
      String(token),
      this.#bound,
    )
    return oauth.processRefreshTokenResponse(as, this.#client, response)
  }

  /** Resolves with the HTTP status. */
  async revoke(token: unknown): Promise<number> {
    const response = await oauth.revocationRequest(
      this.as,
      this.#client,
      this.#auth,
      String(token),
      this.#http,
    )
    await response.body?.cancel()
    return response.status
  }

  async userinfo(token: string) {
    const response = await oauth.userInfoRequest(this.as, this.#client, token, this.#bound)
    return oauth.processUserInfoResponse(this.as, this.#client, 'alice', response)
  }

  /** POSTs `a body` to the protected resource. */
  async resource(token: string): Promise<ResourceAnswer> {
    const url = new URL(this.#op.resource)
    const response = await oauth.protectedResourceRequest(
      token,
      'POST',
      url,
      undefined,
      'a body',
      this.#bound,
    )
    return (await response.json()) as ResourceAnswer
  }
}

const httpOptions = (fetch: OauthClient['fetch']) => ({
  [oauth.allowInsecureRequests]: true,
  [oauth.customFetch]: fetch,
})

/** What the promise rejects with; oauth4webapi's errors have `error` and `status`. */
export function failure(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => {
      throw new Error('it went well')
    },
    (error: Error) => error,
  )
}

/** What a client serves: `/jwks`, and 204 for everything else. */
export interface ClientEndpoints {
  readonly origin: string
  /** Oldest first. */
  readonly calls: readonly { readonly path: string; readonly body: string }[]
}

/** Starts OPs, clients and their endpoints that end with the test that started them. */
export function fullOps() {
  const cleanup: (() => Promise<unknown>)[] = []
  afterEach(async () => {
    for (const undo of cleanup.splice(0).reverse()) await undo()
  })
  return {
    async start(options?: FullOpOptions): Promise<FullOp> {
      const op = await startFullOp(options)
      cleanup.push(() => op.close())
      return op
    },
    async clientOf(op: FullOp, options: OauthClientOptions = {}): Promise<OauthClient> {
      const { ca } = await testCertificates()
      const dispatcher = new Agent({ connect: { ca, ...options.identity } })
      cleanup.push(() => dispatcher.close())
      return OauthClient.of(op, dispatcher, options)
    },
    async endpoints(jwks: object = { keys: [] }): Promise<ClientEndpoints> {
      const calls: { path: string; body: string }[] = []
      const server = createServer(async (req, res) => {
        let body = ''
        for await (const chunk of req) body += chunk
        calls.push({ path: String(req.url), body })
        if (req.url === '/jwks') res.end(JSON.stringify(jwks))
        else res.writeHead(204).end()
      })
      const origin = `http://127.0.0.1:${await listen(server, 0)}`
      cleanup.push(() => stop(server))
      return { origin, calls }
    },
  }
}
