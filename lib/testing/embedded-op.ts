/**
 * Runs oidc-provider with people's phones beside it: requests arrive there and are decided. Knows neither how
 * oidc-provider is configured nor how the servers were started.
 */

import type { RequestListener, Server } from 'node:http'
import type { BackchannelAuthenticationRequest, Provider } from 'oidc-provider'
import { Devices } from './devices.ts'
import { loadOidcProvider } from './oidc-provider.ts'
import type { OpHooks } from './op-configuration.ts'
import { PingSender } from './pings.ts'
import { stop } from './servers.ts'
import type { Pings, TestApproval, TestCounts, TestProvider, TestRequest } from './types.ts'

/** As oidc-provider takes it: nothing is made up. */
export interface Approval extends Pick<TestApproval, 'acr' | 'amr' | 'authTime'> {
  /** The `authorization_details` that are granted. */
  readonly rar?: readonly object[]
}

export interface EmbeddedOp
  extends Pick<TestProvider, 'issuer' | 'requests' | 'counts' | 'pings' | 'releasePings' | 'close'> {
  /** Of one person, the oldest pending request, whether or not somebody waited for it. */
  oldestRequest(accountId: string): TestRequest | undefined
  /** As in {@link TestProvider}, but for an account's id. */
  waitForRequest(accountId?: string, options?: { readonly timeoutMs?: number }): Promise<TestRequest>
  /** As in {@link TestProvider}. */
  approve(authReqId: string, approval?: Approval): Promise<void>
  deny(authReqId: string): Promise<void>
  expire(authReqId: string): Promise<void>
  readonly provider: Provider
}

export interface EmbedOptions {
  readonly issuer: string
  /** Already listening: the issuer contains the port. */
  readonly servers: readonly Server[]
  makeProvider(hooks: OpHooks): Promise<Provider>
  /** Seconds for the acknowledgement. @default oidc-provider says none, which means 5 */
  readonly interval?: number
  /** @default 'once' */
  readonly pings?: Pings
  /**
   * Awaited before the acknowledgement is sent.
   *
   * @param acknowledged - resolves when it was sent, or could not be
   */
  onRequest?(request: TestRequest, acknowledged: Promise<void>): void | Promise<void>
  /** Serves `/device`. */
  readonly device?: RequestListener
}

/** An OP, and a way to make its provider anew. */
export interface Embedded {
  readonly op: EmbeddedOp
  /** Takes another provider from `makeProvider`; what waits on phones goes on waiting. */
  reload(): Promise<void>
}

export async function embedOp(options: EmbedOptions): Promise<Embedded> {
  const { issuer, servers } = options
  const devices = new Devices()
  const closing = new AbortController()
  const counts: TestCounts = { backchannel: 0, token: 0, ping: 0, jwks: 0, discovery: 0 }
  const pings = new PingSender(options.pings ?? 'once', counts)
  const hooks: OpHooks = {
    async trigger(ctx, { jti }, _account, client) {
      const { interval } = options
      if (interval !== undefined) Object.assign(ctx.body as object, { interval })
      const request = toTestRequest(await findRequest(jti))
      devices.add(request)
      const acknowledged = new Promise<void>((resolve) => {
        ctx.res.once('close', resolve)
      })
      await options.onRequest?.(request, acknowledged)
      const isOpen = devices.requests.has(jti)
      if (isOpen && pings.mode === 'early' && client.backchannelTokenDeliveryMode === 'ping') {
        await client.backchannelPing(await findRequest(jti))
      }
    },
    async callClient(url, init) {
      if (isPing(init)) {
        await pings.send(url, init)
        // The decision is saved by now, and a lost ping is no reason for whoever decided to see an error.
        return new Response(null, { status: 204 })
      }
      const signal = AbortSignal.any([closing.signal, ...(init.signal ? [init.signal] : [])])
      return fetch(url, { ...init, signal })
    },
  }
  const abandon = async (error: unknown) => {
    await Promise.all(servers.map(stop))
    throw error
  }
  const { errors } = await loadOidcProvider().catch(abandon)
  let provider = await options.makeProvider(hooks).catch(abandon)
  let serveProvider = provider.callback()

  async function findRequest(authReqId: string): Promise<BackchannelAuthenticationRequest> {
    const request = await provider.BackchannelAuthenticationRequest.find(authReqId)
    // find() forgives what expired less than a clock tolerance ago.
    if (!request || request.isExpired) throw new Error('No such authentication request, or it has expired')
    return request
  }

  async function decide(
    request: BackchannelAuthenticationRequest,
    result: Parameters<Provider['backchannelResult']>[1],
    approval: Approval = {},
  ): Promise<void> {
    devices.remove(request.jti)
    await provider.backchannelResult(request, result, approval as object)
  }

  const op: EmbeddedOp = {
    issuer,
    requests: devices.requests,
    counts,
    get pings() {
      return pings.mode
    },
    set pings(mode) {
      pings.mode = mode
    },
    oldestRequest: (accountId) => devices.oldest(accountId),
    waitForRequest: (accountId, { timeoutMs } = {}) => devices.next(accountId, timeoutMs),
    async approve(authReqId, approval) {
      const request = await findRequest(authReqId)
      const { clientId, accountId, scope, resource } = request
      const grant = new provider.Grant({ clientId, accountId })
      if (scope) {
        grant.addOIDCScope(scope)
        for (const identifier of [resource ?? []].flat()) grant.addResourceScope(identifier, scope)
      }
      await grant.save()
      await decide(request, grant, approval)
    },
    async deny(authReqId) {
      await decide(await findRequest(authReqId), new errors.AccessDenied())
    },
    async expire(authReqId) {
      const request = await findRequest(authReqId)
      request.exp = Math.floor(Date.now() / 1000) - 1
      await decide(request, new errors.ExpiredToken())
    },
    releasePings: () => pings.release(),
    get provider() {
      return provider
    },
    async close() {
      closing.abort()
      pings.close()
      devices.close()
      await Promise.all(servers.map(stop))
    },
  }

  const listener = route(counts, options.device, (req, res) => serveProvider(req, res))
  for (const server of servers) server.on('request', listener)
  return {
    op,
    async reload() {
      provider = await options.makeProvider(hooks)
      serveProvider = provider.callback()
    },
  }
}

function isPing({ method, headers }: RequestInit): boolean {
  return method === 'POST' && new Headers(headers).get('content-type') === 'application/json'
}

const COUNTED: Readonly<Record<string, keyof TestCounts>> = {
  '/backchannel': 'backchannel',
  '/token': 'token',
  '/jwks': 'jwks',
  '/.well-known/openid-configuration': 'discovery',
}

function route(
  counts: TestCounts,
  device: RequestListener | undefined,
  provider: RequestListener,
): RequestListener {
  return (req, res) => {
    const path = req.url?.split('?', 1)[0] ?? '/'
    const counted = COUNTED[path]
    if (counted) counts[counted]++
    const isDevice = path === '/device' || path.startsWith('/device/')
    return isDevice && device ? device(req, res) : provider(req, res)
  }
}

function toTestRequest(request: BackchannelAuthenticationRequest): TestRequest {
  const { params = {} } = request
  const { binding_message: bindingMessage, acr_values: acrValues, authorization_details: details } = params
  return {
    authReqId: request.jti,
    accountId: request.accountId as string,
    clientID: request.clientId as string,
    ...(typeof bindingMessage === 'string' && { bindingMessage }),
    ...(request.scope !== undefined && { scope: request.scope }),
    ...(typeof acrValues === 'string' && { acrValues: acrValues.split(' ') }),
    ...(typeof details === 'string' && { authorizationDetails: JSON.parse(details) }),
    createdAt: Date.now(),
    expiresAt: Number(request.exp) * 1000,
  }
}
