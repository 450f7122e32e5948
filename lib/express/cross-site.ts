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
  if (host !== baseURL?.host && host !== req.get('host')) throw refusal()
}

function refusal(): CibaError {
  return new CibaError('ERR_CIBA_CROSS_SITE_REQUEST', 'this route takes no requests from other sites')
}
