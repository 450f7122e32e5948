/**
 * The guard of protected routes. Knows nothing of how anybody signs in.
 */

import type { NextFunction, Request, RequestHandler, Response } from 'express'
import { CibaError, invalidOption } from '../errors.ts'
import type { IdTokenClaims, JsonValue } from '../grant.ts'
import { checkOption, func, object, refuseUnknownOptions } from '../option-checks.ts'
import { asError, sendError, sendJson } from './answers.ts'
import type { RequestContext } from './context.ts'
import { linkToLoginPage } from './login-page-place.ts'
import { hasSession, noSession } from './session.ts'

/** What a route asks of whoever is signed in; the names follow express-openid-connect. */
export interface CibaRequirements {
  /** The ID token's `acr` must be one of them (RFC 9470). */
  readonly acrValues?: readonly string[] | undefined
  /** Seconds since the person authenticated at the OP (`auth_time`), at most (RFC 9470). */
  readonly maxAge?: number | undefined
  /** Claims of the ID token with the value that they must have. */
  readonly claimEquals?: Readonly<Record<string, string | number | boolean | null>> | undefined
  /** Claims of the ID token, arrays or space-separated lists, with what must be among their values. */
  readonly claimIncludes?: Readonly<Record<string, Primitive | readonly Primitive[]>> | undefined
  /** A check of your own; may be async. What it throws goes to `next(error)`. */
  readonly claimCheck?: ((req: Request, claims: IdTokenClaims) => boolean | Promise<boolean>) | undefined
}

type Primitive = string | number | boolean

/**
 * Lets a request pass if somebody is signed in, and meets the requirements. Must come after `app.use(ciba(…))`.
 *
 * Sends a browser that somebody sits at, and is not signed in, to the login page and back. Otherwise answers as JSON: 401
 * `unauthenticated`; 401 `insufficient_user_authentication` with the challenge of RFC 9470 §3 where
 * another approval with these `acrValues` and `maxAge` would help; 403 `forbidden` where a claim is missing.
 *
 * @throws TypeError with `code: 'ERR_CIBA_INVALID_OPTION'` for wrong requirements.
 */
export function requireCiba(requirements: CibaRequirements = {}): RequestHandler {
  checkRequirements(requirements)
  const guard = async (req: Request, res: Response, next: NextFunction): Promise<void> => {
    const { ciba } = req as { ciba?: RequestContext }
    if (ciba === undefined) {
      next(new TypeError('requireCiba() needs app.use(ciba(…)) before it'))
      return
    }
    const { user } = ciba
    // Whoever is signed in must not be told to sign in, only because the session store is away.
    if (user === undefined && !hasSession(req)) next(noSession())
    else if (user === undefined) askToSignIn(req, res, next)
    else if (!isStrongEnough(user, requirements)) challenge(res, requirements)
    else if (await isAllowed(req, user, requirements)) next()
    else sendError(res, new CibaError('ERR_CIBA_FORBIDDEN', 'you are not allowed to do this'), next)
  }
  return function cibaGuard(req, res, next): void {
    guard(req, res, next).catch((error: unknown) => next(asError(error)))
  }
}

/** A browser that somebody sits at goes to the login page, and comes back here afterwards. */
function askToSignIn(req: Request, res: Response, next: NextFunction): void {
  const link = isNavigation(req) ? linkToLoginPage(req) : undefined
  res.vary('Sec-Fetch-Mode').vary('Accept')
  if (link === undefined) sendError(res, new CibaError('ERR_CIBA_UNAUTHENTICATED', 'sign in first'), next)
  else res.set('Cache-Control', 'no-store').redirect(302, link)
}

function isNavigation(req: Request): boolean {
  if (req.method !== 'GET' && req.method !== 'HEAD') return false
  const mode = req.get('sec-fetch-mode')
  return mode === undefined ? req.accepts(['json', 'html']) === 'html' : mode === 'navigate'
}

function isStrongEnough({ acr, auth_time }: IdTokenClaims, { acrValues, maxAge }: CibaRequirements): boolean {
  if (acrValues && (acr === undefined || !acrValues.includes(acr))) return false
  return maxAge === undefined || (auth_time !== undefined && Date.now() / 1000 - auth_time <= maxAge)
}

async function isAllowed(
  req: Request,
  claims: IdTokenClaims,
  { claimEquals = {}, claimIncludes = {}, claimCheck }: CibaRequirements,
): Promise<boolean> {
  const equal = Object.entries(claimEquals).every(([name, value]) => own(claims, name) === value)
  const included = Object.entries(claimIncludes).every(([name, values]) =>
    [values].flat().every((value) => valuesOf(own(claims, name)).includes(value as Primitive)),
  )
  return equal && included && (claimCheck === undefined || (await claimCheck(req, claims)) === true)
}

function own(claims: IdTokenClaims, name: string): JsonValue | undefined {
  return Object.hasOwn(claims, name) ? claims[name] : undefined
}

function valuesOf(claim: JsonValue | undefined): readonly JsonValue[] {
  if (Array.isArray(claim)) return claim
  return typeof claim === 'string' ? claim.split(' ') : []
}

/** RFC 9470 §3: says which approval to ask for. */
function challenge(res: Response, { acrValues, maxAge }: CibaRequirements): void {
  const { error, status, message } = new CibaError(
    'ERR_CIBA_INSUFFICIENT_AUTHENTICATION',
    'a stronger or more recent authentication is required',
  )
  const members = {
    error,
    error_description: message,
    ...(acrValues && { acr_values: acrValues.join(' ') }),
    ...(maxAge === undefined ? {} : { max_age: maxAge }),
  }
  const parameters = Object.entries(members).map(([name, value]) => `${name}="${value}"`)
  res.set('WWW-Authenticate', `Bearer ${parameters.join(', ')}`)
  sendJson(res, status, members)
}

function checkRequirements(given: CibaRequirements): void {
  if (object(given) === undefined) throw invalidOption('requireCiba', 'must be an object')
  const known = ['acrValues', 'maxAge', 'claimEquals', 'claimIncludes', 'claimCheck']
  refuseUnknownOptions(given, known, 'requireCiba.')
  const { acrValues, maxAge, claimEquals, claimIncludes, claimCheck } = given
  const isPrimitive = (value: unknown) => ['string', 'number', 'boolean'].includes(typeof value)
  const values = (test: (value: unknown) => boolean) => (value: unknown) =>
    object(value) && Object.values(value as object).every(test) ? value : undefined
  checkOption('requireCiba.acrValues', acrValues, acrList, 'a non-empty array of acr values without spaces')
  checkOption(
    'requireCiba.maxAge',
    maxAge,
    (value) => (Number.isSafeInteger(value) && Number(value) > 0 ? value : undefined),
    'a positive number of whole seconds',
  )
  checkOption(
    'requireCiba.claimEquals',
    claimEquals,
    values((value) => value === null || isPrimitive(value)),
    'an object of claims with a string, number, boolean or null each',
  )
  checkOption(
    'requireCiba.claimIncludes',
    claimIncludes,
    values(
      (value) => isPrimitive(value) || (Array.isArray(value) && value.length > 0 && value.every(isPrimitive)),
    ),
    'an object of claims with one or more strings, numbers or booleans each',
  )
  checkOption('requireCiba.claimCheck', claimCheck, func, 'a function')
}

/** What can stand in the header as it is. */
function acrList(value: unknown): readonly string[] | undefined {
  const isAcr = (one: unknown) => typeof one === 'string' && /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(one)
  return Array.isArray(value) && value.length > 0 && value.every(isAcr) ? value : undefined
}
