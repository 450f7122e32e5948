/**
 * Where a login leads: what a link or a form of a stranger may say about it. Knows nothing of the login itself.
 */

import type { Request } from 'express'

const longestReturnTo = 2_000

/**
 * A place to go to after a login: a path of this origin, with query and fragment. `undefined` for whatever else a stranger
 * may have put into a link: `//host`, `/\host`, and what browsers cut out of addresses.
 */
export function returnToOf(value: unknown): string | undefined {
  if (typeof value !== 'string' || value.length > longestReturnTo) return undefined
  // As it goes into a header; half a character cannot be written there.
  if (!value.isWellFormed() || encodeURI(value).length > longestReturnTo) return undefined
  // Control characters and backslashes anywhere; a browser reads "/<tab>/host" as "//host".
  if (!/^\/(?!\/)[^\\\p{Cc}]*$/u.test(value) || !URL.canParse(value, 'https://app.invalid')) return undefined
  const { origin, pathname } = new URL(value, 'https://app.invalid')
  // "/.//host" is a path here, and a host once somebody has resolved it.
  return origin === 'https://app.invalid' && !pathname.startsWith('//') ? value : undefined
}

const ofForm = new WeakMap<Request, string>()

/** Takes `returnTo` out of a parsed body, so that it is no parameter of the request to the OP; a wrong one does not count. */
export function takeReturnTo(req: Request): string | undefined {
  const { returnTo: given, ...rest } = req.body as Record<string, unknown>
  if (given === undefined) return undefined
  req.body = rest
  const returnTo = returnToOf(given)
  if (returnTo !== undefined) ofForm.set(req, returnTo)
  return returnTo
}

/** That of the link that led here, or of the form. */
export function wantedReturnTo(req: Request): string | undefined {
  return returnToOf(parametersOf(req).get('returnTo')) ?? ofForm.get(req)
}

/** The query, whatever "query parser" the app has set. */
export function parametersOf({ originalUrl }: Request): URLSearchParams {
  const start = originalUrl.indexOf('?')
  return new URLSearchParams(start < 0 ? '' : originalUrl.slice(start + 1))
}
