/**
 * Checks the options of the client: what it needs to speak with the OP, with or without Express. Knows nothing of routes
 * and sessions.
 */

import { randomBytes } from 'node:crypto'
import type { CibaClientOptions } from './client-options.ts'
import { invalidOption } from './errors.ts'
import { resolveOp } from './op-options.ts'
import {
  alternatives,
  bool,
  checkOption,
  checkSecretOption,
  either,
  missing,
  numberBetween,
  object,
  oneOf,
  type Parse,
  url,
} from './option-checks.ts'
import { type Profile, underProfile } from './profile.ts'
import {
  type AuthenticationRequestParameters,
  checkAuthenticationRequest,
  hintNames,
} from './protocol/authentication-request.ts'
import type { OpConfig } from './protocol/registration.ts'
import type { TransactionStore } from './store.ts'
import { MemoryTransactionStore } from './stores/memory.ts'
import type { DeliveryMode } from './transaction.ts'

/** Checked options with every default in place. */
export interface ResolvedClientOptions {
  readonly op: OpConfig
  readonly profile?: Profile
  readonly baseURL?: URL
  /** A path of this app as its URL; `undefined` without a `baseURL`. What is a URL already stays so. */
  readonly absolute: (pathOrURL: string) => string | undefined
  readonly secrets: readonly [string, ...string[]]
  readonly authorizationParams: AuthenticationRequestParameters
  readonly store: TransactionStore
  /** Where logouts at the OP are remembered: in the memory of this process they must not take the places of logins. */
  readonly marksStore: TransactionStore
  /** Whether the stores were made here, so that closing them is up to us. */
  readonly ownsStore: boolean
  /** Whether `store` is the one that keeps the objects it is given, and nothing else. */
  readonly recordsStayHere: boolean
  readonly tokenTimeoutMs: number
}

const deliveryModes = ['poll', 'ping', 'push'] as const
const profiles = ['fapi-ciba-id1'] as const
const leastTokenTimeout = 30

/**
 * Checks the options, and reads those from `env` that are absent.
 *
 * @throws TypeError `ERR_CIBA_INVALID_OPTION`, naming the option and the remedy.
 */
export function resolveClientOptions(
  options: CibaClientOptions,
  env: NodeJS.ProcessEnv,
): ResolvedClientOptions {
  const allowInsecureRequests =
    checkOption('allowInsecureRequests', options.allowInsecureRequests, bool, 'true or false') ?? false
  const deliveryMode =
    checkOption('deliveryMode', options.deliveryMode, oneOf(deliveryModes), alternatives(deliveryModes)) ??
    'poll'
  const httpTimeout = checkOption(
    'httpTimeout',
    options.httpTimeout,
    numberBetween(1, 300),
    'a number of seconds from 1 to 300',
  )
  const baseURL = resolveBaseURL(
    either(options.baseURL, env['BASE_URL']),
    deliveryMode,
    allowInsecureRequests,
  )
  const store = checkOption(
    'store',
    options.store,
    transactionStore,
    'a TransactionStore: read, write and watch',
  )
  const profile = checkOption('profile', options.profile, oneOf(profiles), alternatives(profiles))
  const timeoutMs = (httpTimeout ?? 10) * 1000
  const given = resolveOp(options, env, { allowInsecureRequests, deliveryMode, timeoutMs })
  const op = profile ? underProfile(given) : given
  return Object.freeze({
    op: Object.freeze(op),
    ...(profile && { profile }),
    ...(baseURL && { baseURL }),
    absolute: (path: string) => {
      if (!path.startsWith('/')) return path
      return baseURL && `${baseURL.href.replace(/\/$/, '')}${path}`
    },
    secrets: resolveSecrets(either(options.secret, env['SECRET']), store),
    authorizationParams: resolveAuthorizationParams(options.authorizationParams),
    store: store ?? new MemoryTransactionStore(),
    marksStore: store ?? new MemoryTransactionStore(),
    ownsStore: store === undefined,
    recordsStayHere: store === undefined || isPlainMemory(store),
    tokenTimeoutMs: Math.max(leastTokenTimeout, httpTimeout ?? 60) * 1000,
  })
}

function resolveBaseURL(value: unknown, deliveryMode: DeliveryMode, allowHttp: boolean): URL | undefined {
  const mustBe = allowHttp ? 'the public URL of this app' : 'the public https URL of this app'
  const baseURL = checkOption('baseURL', value, url(allowHttp), mustBe)
  if (baseURL === undefined && deliveryMode !== 'poll') {
    throw missing(
      'baseURL',
      'BASE_URL',
      `with "deliveryMode" ${deliveryMode} the OP must be able to call this app`,
    )
  }
  return baseURL
}

function resolveSecrets(value: unknown, store: TransactionStore | undefined): readonly [string, ...string[]] {
  const mustBe = 'a string of at least 8 characters, or a non-empty array of such strings'
  const secrets = checkSecretOption('secret', value, secretStrings, mustBe)
  if (secrets) return secrets
  if (store !== undefined && !(store instanceof MemoryTransactionStore)) {
    throw missing('secret', 'SECRET', 'all instances that share a "store" need the same one')
  }
  return [randomBytes(32).toString('base64url')]
}

function resolveAuthorizationParams(value: unknown): AuthenticationRequestParameters {
  const params = checkOption('authorizationParams', value, object, 'an object') ?? {}
  for (const hint of hintNames) {
    if (hint in params)
      throw invalidOption('authorizationParams', `must not contain "${hint}": who is asked differs each time`)
  }
  if ('userCode' in params) {
    throw invalidOption('authorizationParams', 'must not contain "userCode", which is asked for each time') // [REQ-9]
  }
  try {
    checkAuthenticationRequest({ ...params, loginHint: 'somebody' })
  } catch (error) {
    throw invalidOption('authorizationParams', `is not valid: ${(error as Error).message}`)
  }
  return Object.freeze(structuredClone({ scope: 'openid', ...params }))
}

const secretStrings: Parse<readonly [string, ...string[]]> = (value) => {
  const strings: readonly unknown[] = Array.isArray(value) ? value : [value]
  const sound = strings.length > 0 && strings.every((one) => typeof one === 'string' && one.length >= 8)
  return sound ? ([...strings] as unknown as readonly [string, ...string[]]) : undefined
}

/** Ours as it is: somebody's own reading or writing may need more of a record than the object that it was. */
function isPlainMemory(store: TransactionStore): boolean {
  const isOurs = Object.getPrototypeOf(store) === MemoryTransactionStore.prototype
  return isOurs && !['read', 'write'].some((method) => Object.hasOwn(store, method))
}

const transactionStore: Parse<TransactionStore> = (value) => {
  const store = object(value) as TransactionStore | undefined
  const methods = [store?.read, store?.write, store?.watch, store?.now ?? (() => 0)]
  return methods.every((method) => typeof method === 'function') ? store : undefined
}
