/**
 * Runs oidc-provider with people's phones beside it: requests arrive there and are decided. Knows neither how
 * oidc-provider is configured nor how the servers were started.
 */
import type { RequestListener, Server } from 'node:http'
import { type BackchannelAuthenticationRequest, errors, type Provider } from 'oidc-provider'
import { devicePage } from './device-page.ts'
import { type DeviceRequest, Devices } from './devices.ts'
import type { OpHooks } from './op-configuration.ts'
import { stop } from './servers.ts'

export interface Approval {
  acr?: string
  /** Seconds since the epoch, as in the `auth_time` claim. */
  authTime?: number
}

/** How many requests the OP received, and how many pings it sent. */
export interface OpCounts {
  backchannel: number
  token: number
  ping: number
  jwks: number
  discovery: number
}

export interface EmbeddedOp {
  /** `http://127.0.0.1:PORT` */
  readonly issuer: string
  /** Where the pending requests can be approved and denied by hand. */
  readonly devicePage: string
  /** Pending on people's phones, by auth_req_id: neither decided nor expired. */
  readonly requests: ReadonlyMap<string, DeviceRequest>
  /** The oldest pending request that was not handed out yet, or else the next to arrive; rejects on `close()`. */
  nextRequest(accountId?: string): Promise<DeviceRequest>
  /**
   * Resolves when the ping, if there is one, was delivered or has failed; a failed ping does not reject. A second
   * call pings again. Rejects for an unknown or expired request.
   */
  approve(authReqId: string, approval?: Approval): Promise<void>
  /** As `approve`, with the opposite outcome. */
  deny(authReqId: string): Promise<void>
  readonly counts: OpCounts
  readonly provider: Provider
  /** Ends connections, timers and pings under way. */
  close(): Promise<void>
}

export interface EmbedOptions {
  readonly issuer: string
  /** Already listening: the issuer contains the port. */
  readonly servers: readonly Server[]
  makeProvider(hooks: OpHooks): Promise<Provider>
  /** Awaited before the acknowledgement is sent. */
  onRequest?(request: DeviceRequest): void | Promise<void>
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
  const counts: OpCounts = { backchannel: 0, token: 0, ping: 0, jwks: 0, discovery: 0 }
  const hooks: OpHooks = {
    async trigger(_ctx, { jti }) {
      const deviceRequest = toDeviceRequest(await findRequest(jti))
      devices.add(deviceRequest)
      await options.onRequest?.(deviceRequest)
    },
    async callClient(url, init) {
      const signal = AbortSignal.any([closing.signal, ...(init.signal ? [init.signal] : [])])
      const calling = fetch(url, { ...init, signal })
      if (!isPing(init)) return calling
      counts.ping++
      const response = await calling.catch(() => undefined)
      await response?.body?.cancel()
      // The decision is saved by now, and a lost ping is no reason for whoever decided to see an error.
      return new Response(null, { status: 204 })
    },
  }
  let provider = await options.makeProvider(hooks).catch(async (error: unknown) => {
    await Promise.all(servers.map(stop))
    throw error
  })
  let serveProvider = provider.callback()

  async function findRequest(authReqId: string): Promise<BackchannelAuthenticationRequest> {
    const request = await provider.BackchannelAuthenticationRequest.find(authReqId)
    // find() forgives what expired less than a clock tolerance ago.
    if (!request || request.isExpired) throw new Error('No such authentication request, or it has expired')
    return request
  }

  const op: EmbeddedOp = {
    issuer,
    devicePage: `${issuer}/device`,
    requests: devices.requests,
    nextRequest: (accountId) => devices.next(accountId),
    async approve(authReqId, approval = {}) {
      const request = await findRequest(authReqId)
      const { clientId, accountId, scope, resource } = request
      const grant = new provider.Grant({ clientId, accountId })
      if (scope) {
        grant.addOIDCScope(scope)
        for (const identifier of [resource ?? []].flat()) grant.addResourceScope(identifier, scope)
      }
      await grant.save()
      devices.remove(authReqId)
      await provider.backchannelResult(request, grant, approval)
    },
    async deny(authReqId) {
      const request = await findRequest(authReqId)
      devices.remove(authReqId)
      await provider.backchannelResult(request, new errors.AccessDenied())
    },
    counts,
    get provider() {
      return provider
    },
    async close() {
      closing.abort()
      devices.close()
      await Promise.all(servers.map(stop))
    },
  }

  const listener = route(counts, devicePage(op), (req, res) => serveProvider(req, res))
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

const COUNTED: Readonly<Record<string, keyof OpCounts>> = {
  '/backchannel': 'backchannel',
  '/token': 'token',
  '/jwks': 'jwks',
  '/.well-known/openid-configuration': 'discovery',
}

function route(counts: OpCounts, device: RequestListener, provider: RequestListener): RequestListener {
  return (req, res) => {
    const path = req.url?.split('?', 1)[0] ?? '/'
    const counted = COUNTED[path]
    if (counted) counts[counted]++
    return path === '/device' || path.startsWith('/device/') ? device(req, res) : provider(req, res)
  }
}

function toDeviceRequest(request: BackchannelAuthenticationRequest): DeviceRequest {
  const { binding_message: bindingMessage, acr_values: acrValues } = request.params ?? {}
  return {
    authReqId: request.jti,
    accountId: request.accountId as string,
    clientId: request.clientId as string,
    ...(typeof bindingMessage === 'string' && { bindingMessage }),
    ...(request.scope !== undefined && { scope: request.scope }),
    ...(typeof acrValues === 'string' && { acrValues: acrValues.split(' ') }),
    createdAt: Date.now(),
    expiresAt: Number(request.exp) * 1000,
  }
}
