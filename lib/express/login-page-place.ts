/**
 * Where the login page is, for those who send people there. Beside `req.ciba` and not in it: apps have no use for it.
 */

import type { Request } from 'express'
import { relativeLink, withQuery } from './page-links.ts'
import { returnToOf } from './return-to.ts'

interface Place {
  /** The path of the page as this server sees it: with the mount, without what a proxy takes away. */
  readonly path: string
  /** What a proxy takes away. */
  readonly prefix: string
}

const places = new WeakMap<Request, Place>()

/**
 * The middleware says where its page is: `route`, below where it is mounted. A `baseURL` has the path of the mount as
 * browsers see it.
 */
export function setLoginPage(req: Request, route: string, baseURL: URL | undefined): void {
  const mount = req.baseUrl
  const seen = baseURL?.pathname.replace(/\/$/, '') ?? ''
  const prefix = seen.endsWith(mount) ? seen.slice(0, seen.length - mount.length) : ''
  places.set(req, { path: mount + route, prefix })
}

/** `path` of this app, as browsers see it. */
export function asSeenByBrowser(req: Request, path: string): string {
  return (places.get(req)?.prefix ?? '') + path
}

/** From this request to the login page, and from there back to this request; `undefined` if there is no such page. */
export function linkToLoginPage(req: Request): string | undefined {
  const place = places.get(req)
  const [path = ''] = req.originalUrl.split('?', 1)
  if (!place || !path.startsWith('/')) return undefined
  // At its root, a browser behind a proxy may or may not have a slash at the end: nothing is relative to that.
  const link = path === '/' && place.prefix ? place.prefix + place.path : relativeLink(path, place.path)
  return withQuery(link, { returnTo: returnToOf(place.prefix + req.originalUrl) })
}
