/**
 * `startTestProvider()`: a real OP on loopback that does as a test says. Everything lives in memory and ends with
 * `close()`.
 */

import { createServer, type RequestListener } from 'node:http'
import { Accounts } from './accounts.ts'
import { type Approval, type EmbeddedOp, embedOp } from './embedded-op.ts'
import { loadOidcProvider } from './oidc-provider.ts'
import { opConfiguration } from './op-configuration.ts'
import { checkAutoApprove, checkPings, type ResolvedOptions, resolveOptions } from './options.ts'
import { listen } from './servers.ts'
import type {
  AutoApprove,
  Decision,
  TestApproval,
  TestClientOptions,
  TestProvider,
  TestProviderOptions,
  TestRequest,
  Which,
} from './types.ts'

/**
 * Starts oidc-provider, a certified OP, at 127.0.0.1, in CIBA poll or ping mode. People are asked and nobody is
 * there: the test decides for them.
 *
 * Rejects when the package oidc-provider (an optional peer) is not installed, when the port is in use, and with a
 * TypeError for wrong options.
 */
export async function startTestProvider(options: TestProviderOptions = {}): Promise<TestProvider> {
  const resolved = resolveOptions(options)
  const { Provider } = await loadOidcProvider()
  const accounts = new Accounts(resolved.accounts)
  const server = createServer()
  const issuer = `http://127.0.0.1:${await listen(server, resolved.port)}`
  const seen = new Map<string, TestRequest>()
  let device: RequestListener | undefined
  const { op } = await embedOp({
    issuer,
    servers: [server],
    interval: resolved.interval,
    pings: resolved.pings,
    makeProvider: async (hooks) =>
      new Provider(issuer, await opConfiguration({ ...resolved, issuer, accounts }, hooks)),
    async onRequest(request, acknowledged) {
      seen.set(request.authReqId, request)
      await decideByItself(provider, request, acknowledged)
    },
    ...(resolved.device && { device: (req, res) => device?.(req, res) }),
  })
  const provider = controlsOf(op, { accounts, seen, options: resolved })
  device = resolved.device?.(provider)
  return provider
}

interface Surroundings {
  readonly accounts: Accounts
  /** All requests there ever were. */
  readonly seen: ReadonlyMap<string, TestRequest>
  readonly options: ResolvedOptions
}

function controlsOf(op: EmbeddedOp, { accounts, seen, options }: Surroundings): TestProvider {
  let autoApprove: AutoApprove = options.autoApprove
  const accountOf = (name: string): string => {
    const id = accounts.named(name)
    if (id === undefined) throw unknown(name, accounts)
    return id
  }
  const find = async (which: Which): Promise<TestRequest> => {
    if (typeof which !== 'string') return which
    const byId = seen.get(which)
    if (byId) return byId
    const accountId = accountOf(which)
    return op.oldestRequest(accountId) ?? op.waitForRequest(accountId)
  }
  return {
    issuer: op.issuer,
    clientOptions: clientOptionsOf(op.issuer, options),
    accounts: accounts.ids,
    requests: op.requests,
    counts: op.counts,
    get pings() {
      return op.pings
    },
    set pings(value) {
      op.pings = checkPings(value)
    },
    get autoApprove() {
      return autoApprove
    },
    set autoApprove(value) {
      autoApprove = checkAutoApprove(value)
    },
    async waitForRequest(account, limits) {
      return op.waitForRequest(account === undefined ? undefined : accountOf(account), limits)
    },
    async approve(which, approval) {
      const request = await find(which)
      await op.approve(request.authReqId, completed(approval, request))
    },
    async deny(which) {
      await op.deny((await find(which)).authReqId)
    },
    async expire(which) {
      await op.expire((await find(which)).authReqId)
    },
    releasePings: () => op.releasePings(),
    close: () => op.close(),
  }
}

function unknown(name: string, { ids }: Accounts): TypeError {
  return new TypeError(
    `The test provider knows no request and nobody called "${name}", only ${ids.join(', ')}`,
  )
}

function clientOptionsOf(issuer: string, { clients: [client], baseURL }: ResolvedOptions): TestClientOptions {
  return {
    issuerBaseURL: issuer,
    clientID: client.clientID,
    clientSecret: client.clientSecret,
    clientAuthMethod: client.clientAuthMethod,
    deliveryMode: client.deliveryMode,
    ...(baseURL !== undefined && { baseURL }),
    ...(client.userCode && { userCodeParameter: true }),
    allowInsecureRequests: true,
  }
}

/** What a person who does as the app wishes would bring about. */
function completed(approval: TestApproval = {}, request: TestRequest): Approval {
  const { authorizationDetails: rar = request.authorizationDetails, ...said } = approval
  const [acr] = request.acrValues ?? []
  return {
    authTime: Math.floor(Date.now() / 1000),
    ...(acr !== undefined && { acr }),
    ...said,
    ...(rar && { rar }),
  }
}

async function decideByItself(
  provider: TestProvider,
  request: TestRequest,
  acknowledged: Promise<void>,
): Promise<void> {
  const decision = await decisionOf(provider, request)
  if (decision === undefined) return
  const carryOut = () => (decision === 'approve' ? provider.approve(request) : provider.deny(request))
  if (provider.pings === 'early') return carryOut()
  // Decided otherwise meanwhile, or closed.
  acknowledged.then(carryOut).catch(() => {})
}

async function decisionOf({ autoApprove }: TestProvider, request: TestRequest): Promise<Decision> {
  if (typeof autoApprove === 'boolean') return autoApprove ? 'approve' : undefined
  try {
    const decision: unknown = await autoApprove(request)
    if (decision === undefined || decision === 'approve' || decision === 'deny') return decision
    throw new TypeError(`"autoApprove" must return "approve", "deny" or undefined, not ${String(decision)}`)
  } catch (error) {
    // The OP answers 500 and says nothing to the app: without this nobody would ever read the reason.
    process.emitWarning(error instanceof Error ? error : String(error))
    throw error
  }
}
