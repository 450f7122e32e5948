/**
 * A real OP (oidc-provider) with everything that a CIBA client may use, over http or TLS on loopback: the test
 * provider's, configured by `full-op-configuration.ts`, beside a protected resource. Knows nothing of the library.
 */
import { randomUUID } from 'node:crypto'
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { Configuration, KoaContextWithOIDC } from 'oidc-provider'
import { type Approval, type EmbeddedOp, embedOp } from '../../lib/testing/embedded-op.ts'
import type { TestCounts, TestRequest } from '../../lib/testing/index.ts'
import { memoryAdapter } from '../../lib/testing/memory-adapter.ts'
import { loadOidcProvider } from '../../lib/testing/oidc-provider.ts'
import { listen, stop } from '../../lib/testing/servers.ts'
import { testCertificates } from './certificates.ts'
import { fullOpConfiguration } from './full-op-configuration.ts'
import { type ClientRegistration, OpClients } from './op-clients.ts'
import { type LogoutTokenOptions, opKeys, signLogoutToken } from './op-keys.ts'
import { resourceServer } from './resource-server.ts'

export interface FullOpOptions {
  /** As for {@link FullOp.register}. @default [] */
  readonly clients?: readonly ClientRegistration[]
  /** @default ['alice', 'bob'] */
  readonly accounts?: readonly string[]
  /** Seconds until a request expires when the client does not say. @default 120 */
  readonly expiresIn?: number
  /** Seconds. @default 3600 */
  readonly accessTokenExpiresIn?: number
  /** For whom there are refresh tokens; they rotate. @default 'offline_access' */
  readonly refreshTokens?: 'offline_access' | 'always' | 'never'
  /** DPoP proofs need a nonce, one for the OP's endpoints and another one for the resource. @default false */
  readonly dpopNonce?: boolean
  /** https, and clients are asked for a certificate, which they need not have. @default false */
  readonly tls?: boolean
  /** As `tls`, but the OP asks for certificates at `mtlsOrigin` only. @default false */
  readonly mtlsAliases?: boolean
  /** Awaited before the acknowledgement is sent. */
  readonly onRequest?: (request: TestRequest) => void | Promise<void>
  /** Has the last word on what oidc-provider is told. */
  readonly configure?: (configuration: Configuration) => Configuration
}

export interface FullApproval extends Omit<Approval, 'rar'> {
  /** What is granted of the `authorization_details`. @default all that was asked for */
  readonly authorizationDetails?: readonly object[]
  /** For the ID token. */
  readonly sid?: string
}

export interface FullOpCounts extends TestCounts {
  /** Those among the token requests. */
  refresh: number
  revocation: number
  userinfo: number
  introspection: number
  endSession: number
  resource: number
}

/** A request to an endpoint of oidc-provider, other than for metadata and keys. */
export interface ReceivedRequest {
  /** oidc-provider's word, for example `backchannel_authentication`, `token`, `revocation`, `userinfo`. */
  readonly route: string
  /** Tells aliases apart. */
  readonly host: string
  readonly headers: IncomingHttpHeaders
  /** oidc-provider adds `client_id` to backchannel authentication requests. */
  readonly form: Readonly<Record<string, unknown>>
  readonly status: number
  readonly answer: unknown
}

export interface FullOp extends Omit<EmbeddedOp, 'approve' | 'counts'> {
  /** Where clients present their certificates, with `mtlsAliases`. */
  readonly mtlsOrigin: string | undefined
  /** A protected resource at an origin of its own: takes any method, and is asked for certificates with TLS. */
  readonly resource: string
  readonly counts: FullOpCounts
  /** Answered requests, oldest first. */
  readonly received: readonly ReceivedRequest[]
  /** Adds a client, or replaces it; rejects for metadata that oidc-provider refuses. */
  register(client: ClientRegistration): Promise<void>
  /** As in `EmbeddedOp`. */
  approve(authReqId: string, approval?: FullApproval): Promise<void>
  /** Signs with new keys from now on. The old ones stay published with `keep`. */
  rotateKeys(options?: { readonly keep?: boolean }): Promise<void>
  /** Sends logout tokens; rejects when a client with a `backchannel_logout_uri` answers neither 200 nor 204. */
  backchannelLogout(sub: string, sid?: string): Promise<void>
  /** A logout token that nobody has sent yet. */
  logoutToken(options: LogoutTokenOptions): Promise<string>
  /** Whether an access or refresh token (not a JWT) could still be used. */
  isActive(token: string): Promise<boolean>
}

export async function startFullOp(options: FullOpOptions = {}): Promise<FullOp> {
  const { tls = false, mtlsAliases = false, onRequest } = options
  const own = await startServer(tls || mtlsAliases, !mtlsAliases)
  const alias = mtlsAliases ? await startServer(true) : undefined
  const adapter = memoryAdapter()
  const received: ReceivedRequest[] = []
  let keys = await opKeys()
  let generation = 0
  const { op, reload } = await embedOp({
    issuer: own.origin,
    servers: alias ? [own.server, alias.server] : [own.server],
    ...(onRequest && { onRequest }),
    async makeProvider(hooks) {
      const setup = { ...DEFAULTS, ...options, issuer: own.origin, mtlsOrigin: alias?.origin, adapter, keys }
      const configuration = await fullOpConfiguration(setup, hooks)
      const { Provider } = await loadOidcProvider()
      const provider = new Provider(own.origin, options.configure?.(configuration) ?? configuration)
      provider.use(async (ctx, next) => {
        await next()
        const { oidc } = ctx as Partial<KoaContextWithOIDC>
        if (!oidc || oidc.route === 'discovery' || oidc.route === 'jwks') return
        const { route, body: form = {} } = oidc
        const { host, headers, status, body: answer } = ctx
        count(counts, route, form)
        received.push({ route, host, headers, form, status, answer })
      })
      return provider
    },
  })
  const counts: FullOpCounts = Object.assign(op.counts, moreCounts())
  const clients = new OpClients(adapter, () => op.provider)
  const resources = await startServer(tls || mtlsAliases)
  const nonce = options.dpopNonce ? randomUUID() : undefined
  const provider = () => op.provider
  resources.server.on('request', () => counts.resource++)
  resources.server.on('request', resourceServer({ issuer: op.issuer, provider, keys: () => keys, nonce }))

  const { approve, close } = op
  const full: FullOp = Object.assign(op, {
    mtlsOrigin: alias?.origin,
    resource: `${resources.origin}/resource`,
    counts,
    received,
    register: (client: ClientRegistration) => clients.register(client),
    async approve(authReqId: string, { authorizationDetails, ...approval }: FullApproval = {}) {
      const request = await op.provider.BackchannelAuthenticationRequest.find(authReqId)
      const asked = request?.params?.['authorization_details']
      const rar = authorizationDetails ?? (typeof asked === 'string' ? JSON.parse(asked) : undefined)
      await approve(authReqId, { ...approval, ...(rar && { rar }) })
    },
    async rotateKeys({ keep = false } = {}) {
      keys = [...(await opKeys(++generation)), ...(keep ? keys : [])]
      await reload()
    },
    backchannelLogout: (sub: string, sid?: string) => clients.backchannelLogout(sub, sid),
    logoutToken: (token: LogoutTokenOptions) => signLogoutToken(keys, op.issuer, token),
    async isActive(token: string) {
      const { AccessToken, RefreshToken } = op.provider
      const found = (await AccessToken.find(token)) ?? (await RefreshToken.find(token))
      return found?.isValid ?? false
    },
    async close() {
      await Promise.all([close(), stop(resources.server)])
    },
  })
  await Promise.all((options.clients ?? []).map(full.register)).catch(async (error: unknown) => {
    await full.close()
    throw error
  })
  return full
}

const DEFAULTS = {
  accounts: ['alice', 'bob'],
  expiresIn: 120,
  accessTokenExpiresIn: 3600,
  refreshTokens: 'offline_access',
  dpopNonce: false,
} as const

const moreCounts = () => ({
  refresh: 0,
  revocation: 0,
  userinfo: 0,
  introspection: 0,
  endSession: 0,
  resource: 0,
})

function count(counts: FullOpCounts, route: string, form: Readonly<Record<string, unknown>>): void {
  if (route === 'token' && form['grant_type'] === 'refresh_token') counts.refresh++
  else if (route === 'revocation' || route === 'userinfo' || route === 'introspection') counts[route]++
  else if (route === 'end_session') counts.endSession++
}

interface Started {
  readonly server: Server
  readonly origin: string
}

async function startServer(tls: boolean, requestCert = true): Promise<Started> {
  const server = tls ? await makeTlsServer(requestCert) : createServer()
  return { server, origin: `${tls ? 'https' : 'http'}://127.0.0.1:${await listen(server, 0)}` }
}

async function makeTlsServer(requestCert: boolean): Promise<Server> {
  const { server, ca } = await testCertificates()
  return createTlsServer({ ...server, ca, requestCert, rejectUnauthorized: false })
}
