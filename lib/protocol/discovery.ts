/**
 * The OP's metadata: fetched when first needed, kept, refreshed in the background. Knows nothing of what it is
 * used for, except the checks that it is handed.
 */

import * as oauth from 'oauth4webapi'
import { CibaError } from '../errors.ts'
import { type CustomFetch, retryAfterSeconds, retrying, unreachable } from './transport.ts'

/** What {@link discovery} needs. */
export interface DiscoveryOptions {
  readonly issuer: URL
  readonly fetch: CustomFetch
  readonly allowInsecureRequests: boolean
  readonly timeoutMs: number
  /** Throws when the metadata does not fit the configuration. Called once for each new set. */
  readonly check: (server: oauth.AuthorizationServer) => void
}

const refreshAfterMs = 3_600_000
/** How soon a failed refresh is tried again. */
const refreshPauseMs = 60_000

/**
 * Returns a function that gives the OP's metadata: one request for many callers, tried anew at the next call
 * after a failure, so that a sleeping OP never stops the app from booting [CFG-1]. It returns the same object as
 * long as the metadata stays the same: oauth4webapi's JWKS cache hangs on it.
 */
export function discovery(options: DiscoveryOptions): () => Promise<oauth.AuthorizationServer> {
  let known: { server: oauth.AuthorizationServer; text: string; refreshAt: number } | undefined
  let underWay: Promise<oauth.AuthorizationServer> | undefined

  async function refresh(): Promise<oauth.AuthorizationServer> {
    const server = await fetchMetadata(options)
    const text = JSON.stringify(server)
    const refreshAt = Date.now() + refreshAfterMs
    if (known?.text === text) known = { ...known, refreshAt }
    else {
      options.check(server)
      known = { server, text, refreshAt }
    }
    return known.server
  }

  return async () => {
    if (known === undefined) {
      underWay ??= refresh().finally(() => {
        underWay = undefined
      })
      return underWay
    }
    if (Date.now() >= known.refreshAt && underWay === undefined) {
      known.refreshAt = Date.now() + refreshPauseMs
      // What is known goes on serving, also while the OP cannot be reached or publishes nonsense.
      const settled = () => {
        underWay = undefined
      }
      underWay = refresh()
      underWay.then(settled, settled)
    }
    return known.server
  }
}

async function fetchMetadata(options: DiscoveryOptions): Promise<oauth.AuthorizationServer> {
  const { issuer, allowInsecureRequests, timeoutMs } = options
  let response: Response
  try {
    response = await oauth.discoveryRequest(issuer, {
      [oauth.customFetch]: retrying(options.fetch),
      [oauth.allowInsecureRequests]: allowInsecureRequests,
      signal: AbortSignal.timeout(timeoutMs),
    })
  } catch (cause) {
    throw unreachable(cause)
  }
  if (response.status !== 200) {
    throw new CibaError('ERR_CIBA_OP_FAILED', `the OP answered ${response.status} to discovery`, {
      retryAfter: retryAfterSeconds,
    })
  }
  try {
    return await oauth.processDiscoveryResponse(issuer, response)
  } catch (cause) {
    const mismatch = (cause as { code?: unknown }).code === oauth.JSON_ATTRIBUTE_COMPARISON
    throw new CibaError(
      'ERR_CIBA_INVALID_OP_METADATA',
      mismatch
        ? 'the OP publishes another "issuer" than the "issuerBaseURL" option says; an issuer with a path needs its exact trailing slash'
        : 'the OP did not answer discovery with its metadata',
      { cause },
    )
  }
}
