/**
 * Refuses browsers that another site sends (FAPI 2.0 Security Profile §5.3.3.1 item 12). Knows nothing of what
 * they want.
 */

import type { Request } from 'express'
import { CibaError } from '../errors.ts'

/**
 * @throws CibaError `ERR_CIBA_CROSS_SITE_REQUEST` [SEC-2]. What is no browser sends neither header, and passes.
 */
export function refuseCrossSite(req: Request, baseURL: URL | undefined): void {
  const site = req.get('sec-fetch-site')
  if (site !== undefined) {
    if (site === 'cross-site') throw refusal()
    return
  }
  const origin = req.get('origin')
  if (origin === undefined) return
  if (!URL.canParse(origin)) throw refusal() // "null" among others
  const { host } = new URL(origin)
  if (host !== baseURL?.host && host !== req.get('host') && host !== forwardedHost(req)) throw refusal()
}

/** The host that a trusted proxy was asked for, with its port; Express itself says only what it is called. */
function forwardedHost(req: Request): string | undefined {
  const host = req.get('x-forwarded-host')?.split(',')[0]?.trim()
  if (host === undefined || !URL.canParse(`http://${host}`)) return undefined
  return new URL(`http://${host}`).hostname === req.hostname ? host : undefined
}

function refusal(): CibaError {
  return new CibaError('ERR_CIBA_CROSS_SITE_REQUEST', 'this route takes no requests from other sites')
}
