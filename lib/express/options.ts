/**
 * The options of the middleware: those of the client, and what concerns routes, requests and sessions.
 */

import type { Request } from 'express'
import { type CibaClient, coreOf } from '../client.ts'
import { type CibaClientOptions, clientOptionNames } from '../client-options.ts'
import type { Core } from '../core.ts'
import { invalidOption } from '../errors.ts'
import type { IdTokenClaims, TokenSet } from '../grant.ts'
import {
  bool,
  checkOption,
  func,
  numberBetween,
  object,
  oneOf,
  type Parse,
  refuseUnknownOptions,
} from '../option-checks.ts'
import { type ResolvedClientOptions, resolveClientOptions } from '../options.ts'
import type { AuthenticationRequest } from '../protocol/authentication-request.ts'
import {
  type LoginPageOptions,
  type ResolvedLoginPage,
  refuseUselessPage,
  resolveLoginPage,
} from './login-page-options.ts'

/** Where the routes are, relative to where the middleware is mounted; `false` switches one off. */
export interface CibaRoutes {
  /** @default '/ciba/start' */
  readonly start?: string | false | undefined
  /** @default '/ciba/poll' */
  readonly poll?: string | false | undefined
  /** @default '/ciba/cancel' */
  readonly cancel?: string | false | undefined
  /** Where the OP pings (CIBA Core §9). @default '/ciba/notification' */
  readonly notification?: string | false | undefined
  /** @default '/ciba/logout' */
  readonly logout?: string | false | undefined
  /** The login page. @default '/ciba/login' */
  readonly login?: string | false | undefined
  /** The script for browsers, also to be had as `express-ciba/browser`. @default '/ciba/client.js' */
  readonly clientScript?: string | false | undefined
  /** Publishes our public keys (RFC 7517); register it as `jwks_uri`. @default false */
  readonly jwks?: string | false | undefined
  /**
   * Where the OP says that somebody is logged out (OpenID Connect Back-Channel Logout §2.5); register it as
   * `backchannel_logout_uri`. Every request of a signed-in session then costs a look into `store`.
   *
   * @default false
   */
  readonly backchannelLogout?: string | false | undefined
}

/** A limiter of rate-limiter-flexible, or anything with the same `consume`. */
export interface StartLimiter {
  /** Resolves if the key may go on; rejects with an object that has `msBeforeNext` if not. */
  consume(key: string, points?: number): Promise<unknown>
}

/** Limits per person and per session; an absent one keeps its default. */
export interface StartLimiters {
  readonly hint?: StartLimiter | undefined
  readonly session?: StartLimiter | undefined
}

/** What a login brings. */
export interface AuthenticationResult {
  /** The handle of the transaction. */
  readonly transaction: string
  /** The claims of the validated ID token. */
  readonly user: IdTokenClaims
  readonly tokens: TokenSet
}

/** The options of `ciba()`. Options beat environment variables. */
export interface CibaOptions extends CibaClientOptions {
  /**
   * A client of `createCibaClient()`, instead of the options that concern the OP and the store: its transactions and those of
   * browsers share the notification route. Closing it is up to who made it.
   */
  readonly client?: CibaClient | undefined
  /** Paths of the routes. */
  readonly routes?: CibaRoutes | undefined
  /**
   * Turns a start request into an authentication request: the only door from a browser into it. `req.body` is
   * parsed. May be async; throw an error with a 4xx `status` to refuse.
   *
   * @default reads `loginHint` and `userCode` of the body
   */
  readonly startParams?:
    | ((req: Request) => AuthenticationRequest | Promise<AuthenticationRequest>)
    | undefined
  /**
   * Limits the starts. One limiter counts persons and sessions alike, under different keys; hints reach it as
   * pseudonyms only. `false` switches the limits off.
   *
   * @default 5 starts in 5 minutes per person, 20 per session, in memory
   */
  readonly startLimiter?: StartLimiter | StartLimiters | false | undefined
  /**
   * What a browser learns at the start route when the OP does not know the person. `'hide'`: nothing, the start
   * looks like any other and expires. `'reveal'`: 400 `unknown_user_id`.
   *
   * @default 'hide'
   */
  readonly unknownUser?: 'hide' | 'reveal' | undefined
  /** Seconds, 0 to 300: the longest a poll with `wait` may hold a browser. @default 25 */
  readonly longPollTimeout?: number | undefined
  /**
   * Runs after every check, in the new session, before it is saved. Write to `req.session` to enrich it; throw an
   * error with a 4xx `status` to refuse the login, which ends as `failed` with `login_refused`. Any other error
   * goes to `next(err)`, and the browser's next poll tries again.
   */
  readonly afterAuthentication?:
    | ((req: Request, result: AuthenticationResult) => void | Promise<void>)
    | undefined
  /**
   * Sends a browser that logs out on to the OP's `end_session_endpoint` (OpenID Connect RP-Initiated Logout). The ID token
   * passes through the browser then.
   *
   * @default false
   */
  readonly idpLogout?: boolean | undefined
  /**
   * Where a browser goes after a logout by form, and after that at the OP: a path of this app, or an https URL. Without a
   * `baseURL` the OP cannot be told of a path, and keeps the browser.
   *
   * @default '/'
   */
  readonly postLogoutRedirect?: string | undefined
  /** How the login page looks and speaks; `false` switches it off. @default {} */
  readonly loginPage?: LoginPageOptions | false | undefined
}

/** Checked options with every default in place. */
export interface ResolvedOptions {
  readonly client: ResolvedClientOptions
  /** What the `client` option is made of. */
  readonly core?: Core
  readonly routes: Readonly<Record<keyof CibaRoutes, string | false>>
  readonly startParams: NonNullable<CibaOptions['startParams']>
  readonly startLimiters: StartLimiters | false
  readonly hideUnknownUser: boolean
  readonly longPollTimeoutMs: number
  readonly afterAuthentication: CibaOptions['afterAuthentication']
  readonly idpLogout: boolean
  readonly postLogoutRedirect: string
  readonly loginPage: ResolvedLoginPage | false
}

const defaultRoutes = {
  start: '/ciba/start',
  poll: '/ciba/poll',
  cancel: '/ciba/cancel',
  notification: '/ciba/notification',
  logout: '/ciba/logout',
  login: '/ciba/login',
  clientScript: '/ciba/client.js',
  jwks: false,
  backchannelLogout: false,
} as const satisfies Record<keyof CibaRoutes, string | false>

const optionNames: readonly string[] = [
  ...clientOptionNames,
  ...Object.keys({
    client: true,
    routes: true,
    startParams: true,
    startLimiter: true,
    unknownUser: true,
    longPollTimeout: true,
    afterAuthentication: true,
    idpLogout: true,
    postLogoutRedirect: true,
    loginPage: true,
  } satisfies Record<Exclude<keyof CibaOptions, keyof CibaClientOptions>, true>),
]

/**
 * Checks the options of `ciba()`.
 *
 * @throws TypeError `ERR_CIBA_INVALID_OPTION`, naming the option and the remedy.
 */
export function resolveOptions(options: CibaOptions, env: NodeJS.ProcessEnv): ResolvedOptions {
  if (object(options) === undefined) throw invalidOption('options', 'must be an object')
  refuseUnknownOptions(options, optionNames)
  const core = resolveClient(options)
  const client = core?.options ?? resolveClientOptions(options, env)
  const startParams = checkOption<ResolvedOptions['startParams']>(
    'startParams',
    options.startParams,
    func,
    'a function that returns an authentication request',
  )
  const unknownUser = checkOption(
    'unknownUser',
    options.unknownUser,
    oneOf(['hide', 'reveal']),
    '"hide" or "reveal"',
  )
  const longPollTimeout = checkOption(
    'longPollTimeout',
    options.longPollTimeout,
    numberBetween(0, 300),
    'a number of seconds from 0 to 300',
  )
  const idpLogout = checkOption('idpLogout', options.idpLogout, bool, 'true or false') ?? false
  const postLogoutRedirect =
    checkOption(
      'postLogoutRedirect',
      options.postLogoutRedirect,
      redirectTarget(client.op.allowInsecureRequests),
      'a path such as "/", or an https URL',
    ) ?? '/'
  return Object.freeze({
    client,
    ...(core && { core }),
    routes: resolveRoutes(options.routes),
    startParams: startParams ?? startParamsOfBody,
    startLimiters: resolveLimiters(options.startLimiter),
    hideUnknownUser: unknownUser !== 'reveal',
    longPollTimeoutMs: (longPollTimeout ?? 25) * 1000,
    afterAuthentication: checkOption<NonNullable<CibaOptions['afterAuthentication']>>(
      'afterAuthentication',
      options.afterAuthentication,
      func,
      'a function',
    ),
    idpLogout,
    postLogoutRedirect,
    loginPage: resolveLoginPage(options.loginPage),
  })
}

function resolveClient(options: CibaOptions): Core | undefined {
  const mustBe = 'a client of createCibaClient()'
  const core = checkOption('client', options.client, (value) => coreOf(object(value) ?? {}), mustBe)
  const twice = core && clientOptionNames.find((name) => options[name] !== undefined)
  if (twice) throw invalidOption(twice, 'belongs to createCibaClient() where there is a "client" option')
  return core
}

function resolveRoutes(value: unknown): ResolvedOptions['routes'] {
  const given = checkOption('routes', value, object, 'an object of paths') ?? {}
  refuseUnknownOptions(given, Object.keys(defaultRoutes), 'routes.')
  const routes: Record<keyof CibaRoutes, string | false> = { ...defaultRoutes }
  for (const [name, path] of Object.entries(given) as [keyof CibaRoutes, unknown][]) {
    routes[name] =
      checkOption(`routes.${name}`, path, route, 'a path such as "/ciba/start", or false') ?? routes[name]
  }
  const paths = Object.values(routes).filter((path) => path !== false)
  const alike = paths.map((path) => path.toLowerCase())
  const twice = paths.find((_, index) => alike.indexOf(alike[index] as string) !== index)
  if (twice !== undefined) throw invalidOption('routes', `must all differ, but "${twice}" is there twice`)
  const isUseless = routes.start === false || routes.poll === false
  if (isUseless && typeof (given as CibaRoutes).login === 'string') refuseUselessPage()
  return Object.freeze(routes)
}

function resolveLimiters(value: unknown): StartLimiters | false {
  if (value === undefined) return {}
  if (value === false) return false
  const mustBe = 'a limiter of rate-limiter-flexible, { hint, session } of them, or false'
  const given = checkOption('startLimiter', value, object, mustBe) ?? {}
  const one = limiter(given)
  if (one) return { hint: one, session: one }
  refuseUnknownOptions(given, ['hint', 'session'], 'startLimiter.')
  const { hint, session } = given as StartLimiters
  return {
    hint: checkOption('startLimiter.hint', hint, limiter, 'a limiter of rate-limiter-flexible'),
    session: checkOption('startLimiter.session', session, limiter, 'a limiter of rate-limiter-flexible'),
  }
}

const route: Parse<string | false> = (value) =>
  value === false || (typeof value === 'string' && /^\/[\w\-./~]*[\w\-.~]$/.test(value)) ? value : undefined

/** `//host` and `/\\host` are no paths to a browser. */
function redirectTarget(allowHttp: boolean): Parse<string> {
  return (value) => {
    // What else the parser would mend on its way.
    if (typeof value !== 'string' || !/^[!-~]+$/.test(value)) return undefined
    if (/^\/(?![/\\])/.test(value)) return value
    const protocol = URL.canParse(value) ? new URL(value).protocol : ''
    return protocol === 'https:' || (allowHttp && protocol === 'http:') ? value : undefined
  }
}

const limiter: Parse<StartLimiter> = (value) => {
  const candidate = object(value) as StartLimiter | undefined
  return typeof candidate?.consume === 'function' ? candidate : undefined
}

/** What is not text stays as it is: the check of the request says what is wrong with it. */
function startParamsOfBody(req: Request): AuthenticationRequest {
  const { loginHint, userCode } = req.body as { loginHint: string; userCode: string | undefined }
  return { loginHint, userCode }
}
