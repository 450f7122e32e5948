/**
 * A real OP (oidc-provider) on loopback, with CIBA poll and ping and a page that stands in for people's phones
 * (`/device`). For the examples and the integration tests: everything lives in memory and ends with `close()`.
 */
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type BackchannelAuthenticationRequest, errors, Provider } from 'oidc-provider'
import { devicePage } from './device-page.ts'
import { type DeviceRequest, Devices } from './devices.ts'
import { type OpClient, opConfiguration } from './op-configuration.ts'

export type { DeviceRequest } from './devices.ts'
export { type OpClient, USER_CODE } from './op-configuration.ts'

export interface OpOptions {
  clients: OpClient[]
  /** 0 for a free one. @default 0 */
  port?: number
  /** Account ids; `login_hint` is one of them, or one of them with `@example.com`. @default ['alice', 'bob'] */
  accounts?: string[]
  /** Seconds until a request expires when the client does not say. @default 120 */
  expiresIn?: number
  /**
   * Awaited before the acknowledgement is sent, so that a decision made here overtakes it. A rejection makes the OP
   * answer 500.
   */
  onRequest?: (request: DeviceRequest) => void | Promise<void>
}

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

/** Starts an OP. Rejects when the port is in use. */
export async function startOp(options: OpOptions): Promise<EmbeddedOp> {
  const { clients, port = 0, accounts = ['alice', 'bob'], expiresIn = 120, onRequest } = options
  const devices = new Devices()
  const closing = new AbortController()
  const counts: OpCounts = { backchannel: 0, token: 0, ping: 0, jwks: 0, discovery: 0 }

  const configuration = await opConfiguration({
    clients,
    accounts,
    expiresIn,
    async trigger(_ctx, { jti }) {
      const deviceRequest = toDeviceRequest(await findRequest(jti))
      devices.add(deviceRequest)
      await onRequest?.(deviceRequest)
    },
    async ping(url, init) {
      counts.ping++
      const signal = AbortSignal.any([closing.signal, ...(init.signal ? [init.signal] : [])])
      const response = await fetch(url, { ...init, signal }).catch(() => undefined)
      await response?.body?.cancel()
      // The decision is saved by now, and a lost ping is no reason for whoever decided to see an error.
      return new Response(null, { status: 204 })
    },
  })

  // The issuer contains the port, so the server listens before the provider exists.
  const server = createServer()
  const issuer = `http://127.0.0.1:${await listen(server, port)}`
  const provider = new Provider(issuer, configuration)

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
      const { clientId, accountId, scope } = request
      const grant = new provider.Grant({ clientId, accountId })
      if (scope) grant.addOIDCScope(scope)
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
    provider,
    async close() {
      closing.abort()
      devices.close()
      if (!server.listening) return
      await new Promise<void>((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      })
    },
  }

  server.on('request', route(counts, devicePage(op), provider.callback()))
  return op
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

function listen(server: Server, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', () => {
      server.off('error', reject)
      resolve((server.address() as AddressInfo).port)
    })
  })
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
