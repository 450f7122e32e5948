/**
 * From one path of this app to another, as browsers see them: below an Express mount, and behind a proxy that takes a
 * prefix away, which nobody here knows of. Knows no route.
 */

/** A path as Express matches it by default: in any case, with or without a slash at the end. */
export function routeKey(path: string): string {
  const lower = path.toLowerCase()
  return lower.length > 1 && lower.endsWith('/') ? lower.slice(0, -1) : lower
}

/**
 * The reference that leads from the page at `from` to `to`, both paths as this server sees them. The same for every prefix
 * that they share.
 */
export function relativeLink(from: string, to: string): string {
  const folders = from.split('/').slice(1, -1)
  const target = to.split('/').slice(1)
  let shared = 0
  while (shared < folders.length && shared < target.length - 1 && folders[shared] === target[shared]) shared++
  const up = '../'.repeat(folders.length - shared)
  const down = target.slice(shared).join('/')
  return up === '' ? `./${down}` : up + down
}

/** `link` with those parameters that have a value. */
export function withQuery(link: string, parameters: Readonly<Record<string, string | undefined>>): string {
  const given = Object.entries(parameters).filter(
    (entry): entry is [string, string] => entry[1] !== undefined,
  )
  const query = new URLSearchParams(given).toString()
  return query === '' ? link : `${link}?${query}`
}
