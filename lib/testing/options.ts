/**
 * Checks the options of the test provider, and says what was meant where one is wrong. Knows nothing of
 * oidc-provider.
 */

import type { RegisteredClient } from './op-configuration.ts'
import type { AutoApprove, Pings, TestAccount, TestClient, TestProviderOptions } from './types.ts'

/** {@link TestProviderOptions} with nothing left to default. */
export interface ResolvedOptions
  extends Required<Omit<TestProviderOptions, 'baseURL' | 'deliveryMode' | 'notificationEndpoint' | 'device'>>,
    Pick<TestProviderOptions, 'baseURL' | 'device'> {
  /** At least one. */
  readonly clients: readonly [RegisteredClient, ...RegisteredClient[]]
}

type Known<Options> = { readonly [Name in keyof Required<Options>]: (value: unknown) => boolean }

const isText = (value: unknown): boolean => typeof value === 'string' && value !== ''
const isBoolean = (value: unknown): boolean => typeof value === 'boolean'
const isFunction = (value: unknown): boolean => typeof value === 'function'
const isPositive = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) > 0
const isPort = (value: unknown): boolean =>
  Number.isInteger(value) && Number(value) >= 0 && Number(value) <= 65535
const isDeliveryMode = (value: unknown): boolean => value === 'poll' || value === 'ping'
// They are called by plain http, and a mistaken https one might be the real thing.
const isHttpUrl = (value: unknown): boolean => isText(value) && /^http:\/\/[^/]/.test(String(value))
const isList = (value: unknown, isGood: (one: unknown) => boolean): boolean =>
  Array.isArray(value) && value.every(isGood)

const optionRules: Known<TestProviderOptions> = {
  baseURL: isHttpUrl,
  deliveryMode: isDeliveryMode,
  notificationEndpoint: isHttpUrl,
  clients: (value) => isList(value, (one) => typeof one === 'object' && one !== null) && length(value) > 0,
  accounts: (value) => isList(value, isAccount) && length(value) > 0,
  expiresIn: isPositive,
  interval: isPositive,
  authorizationDetailsTypes: (value) => isList(value, isText),
  pings: isPings,
  autoApprove: isAutoApprove,
  port: isPort,
  device: isFunction,
}

const clientRules: Known<TestClient> = {
  clientID: isText,
  clientSecret: isText,
  deliveryMode: isDeliveryMode,
  notificationEndpoint: isHttpUrl,
  clientAuthMethod: (value) => value === 'client_secret_basic' || value === 'client_secret_post',
  userCode: isBoolean,
  idTokenSigningAlg: (value) => ['RS256', 'ES256', 'EdDSA'].includes(String(value)),
}

const must: Readonly<Record<string, string>> = {
  baseURL: 'the http URL of the app under test',
  deliveryMode: '"poll" or "ping"',
  notificationEndpoint: 'an http URL',
  clients: 'a list of at least one client',
  accounts: 'a list of at least one id, or object with a "sub"',
  expiresIn: 'a positive number of whole seconds',
  interval: 'a positive number of whole seconds',
  authorizationDetailsTypes: 'a list of texts',
  pings: '"once", "twice", "never", "held", "early" or { afterMs }',
  autoApprove: 'true, false or a function',
  port: 'a port, or 0 for a free one',
  device: 'a function',
  clientID: 'a text',
  clientSecret: 'a text',
  clientAuthMethod: '"client_secret_basic" or "client_secret_post"',
  userCode: 'true or false',
  idTokenSigningAlg: '"RS256", "ES256" or "EdDSA"',
}

const DEFAULT_CLIENT: TestClient = { clientID: 'test-client' }
const CLIENT_SECRET = 'the secret of a client that exists in tests only'

/** @throws TypeError that names the option and the remedy. */
export function resolveOptions(given: TestProviderOptions): ResolvedOptions {
  checkAll(given, optionRules)
  const { clients = [DEFAULT_CLIENT], baseURL } = given
  const [first = DEFAULT_CLIENT, ...others] = clients
  return {
    clients: [resolveClient(first, given), ...others.map((client) => resolveClient(client, given))],
    accounts: given.accounts ?? ['alice', 'bob'],
    expiresIn: given.expiresIn ?? 120,
    interval: given.interval ?? 1,
    authorizationDetailsTypes: given.authorizationDetailsTypes ?? [],
    pings: given.pings ?? 'once',
    autoApprove: given.autoApprove ?? false,
    port: given.port ?? 0,
    ...(baseURL !== undefined && { baseURL }),
    ...(given.device && { device: given.device }),
  }
}

function resolveClient(client: TestClient, given: TestProviderOptions): RegisteredClient {
  checkAll(client, clientRules)
  if (client.clientID === undefined) throw new TypeError('"clientID" is required of every client')
  const { baseURL } = given
  const notificationEndpoint =
    client.notificationEndpoint ??
    given.notificationEndpoint ??
    (baseURL === undefined ? undefined : `${baseURL.replace(/\/$/, '')}/ciba/notification`)
  const deliveryMode = client.deliveryMode ?? given.deliveryMode ?? (notificationEndpoint ? 'ping' : 'poll')
  if (deliveryMode === 'ping' && notificationEndpoint === undefined) {
    throw new TypeError(
      `The client ${client.clientID} is pinged: "baseURL" (or "notificationEndpoint") must say where`,
    )
  }
  return {
    clientSecret: CLIENT_SECRET,
    clientAuthMethod: 'client_secret_basic',
    userCode: false,
    idTokenSigningAlg: 'RS256',
    ...client,
    deliveryMode,
    ...(notificationEndpoint !== undefined && { notificationEndpoint }),
  }
}

/** For `pings` of a running provider. */
export function checkPings(value: unknown): Pings {
  checkAll({ pings: value ?? null }, { pings: isPings })
  return value as Pings
}

/** For `autoApprove` of a running provider. */
export function checkAutoApprove(value: unknown): AutoApprove {
  checkAll({ autoApprove: value ?? null }, { autoApprove: isAutoApprove })
  return value as AutoApprove
}

function checkAll(given: object, rules: Readonly<Record<string, (value: unknown) => boolean>>): void {
  for (const [name, value] of Object.entries(given)) {
    const rule = Object.hasOwn(rules, name) ? rules[name] : undefined
    if (!rule) throw new TypeError(`"${name}" is no option; there are ${Object.keys(rules).join(', ')}`)
    if (value !== undefined && !rule(value)) {
      throw new TypeError(`"${name}" must be ${must[name]}, received ${shown(value)}`)
    }
  }
}

function isPings(value: unknown): boolean {
  if (typeof value === 'string') return ['once', 'twice', 'never', 'held', 'early'].includes(value)
  const { afterMs } = (value ?? {}) as { afterMs?: unknown }
  return typeof afterMs === 'number' && afterMs >= 0
}

function isAutoApprove(value: unknown): boolean {
  return isBoolean(value) || isFunction(value)
}

function isAccount(value: unknown): value is TestAccount {
  return isText(typeof value === 'object' && value !== null ? (value as { sub?: unknown }).sub : value)
}

function length(value: unknown): number {
  return (value as readonly unknown[]).length
}

function shown(value: unknown): string {
  return typeof value === 'function' ? 'a function' : (JSON.stringify(value) ?? String(value))
}
