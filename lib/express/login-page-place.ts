/**
 * Where the login page is, for those who send people there. Beside `req.ciba` and not in it: apps have no use for it.
 */

import type { Request } from 'express'
import { relativeLink, withQuery } from './page-links.ts'
import { returnToOf } from './return-to.ts'

interface Place {
  /** Where the middleware is mounted, as this server sees it. */
  readonly mount: string
  /** The path of the page below that. */
  readonly route: string
  readonly baseURL: URL | undefined
}

/** On the request itself: a WeakMap that every request enters makes work for the garbage collector. */
const placeOf = Symbol('login page')
type PlacedRequest = Request & { [placeOf]?: Place }

/**
 * The middleware says where its page is: `route`, below where it is mounted. A `baseURL` has the path of the mount as
 * browsers see it.
 */
export function setLoginPage(req: Request, route: string, baseURL: URL | undefined): void {
  // No more than that: every request comes by here.
  ;(req as PlacedRequest)[placeOf] = { mount: req.baseUrl, route, baseURL }
}

/** What a proxy takes away. */
function prefixOf({ mount, baseURL }: Place): string {
  const seen = baseURL?.pathname.replace(/\/$/, '') ?? ''
  return seen.endsWith(mount) ? seen.slice(0, seen.length - mount.length) : ''
}

/** `path` of this app, as browsers see it. */
export function asSeenByBrowser(req: Request, path: string): string {
  const place = (req as PlacedRequest)[placeOf]
  return place ? prefixOf(place) + path : path
}

/** From this request to the login page, and from there back to this request; `undefined` if there is no such page. */
export function linkToLoginPage(req: Request): string | undefined {
  const place = (req as PlacedRequest)[placeOf]
  const [path = ''] = req.originalUrl.split('?', 1)
  if (!place || !path.startsWith('/')) return undefined
  const prefix = prefixOf(place)
  const page = place.mount + place.route
  // At its root, a browser behind a proxy may or may not have a slash at the end: nothing is relative to that.
  const link = path === '/' && prefix ? prefix + page : relativeLink(path, page)
  return withQuery(link, { returnTo: returnToOf(prefix + req.originalUrl) })
}
