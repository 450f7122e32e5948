/**
 * Publishes our public keys (RFC 7517), for an OP that knows us by `jwks_uri`. Knows nothing of what they are for.
 */

import type { Request, RequestHandler, Response } from 'express'
import type { PublicJwk } from '../protocol/client-keys.ts'
import { takesOnly } from './answers.ts'
import { freezeSession } from './session.ts'

/** An OP may keep the set for a while; it asks again for a key that it does not know. */
const cacheControl = 'public, max-age=300'

/** Answers GET and HEAD. Needs no session. */
export function jwksHandler(keys: readonly PublicJwk[]): RequestHandler {
  // To text Express would add a charset, which this type does not have.
  const body = Buffer.from(JSON.stringify({ keys }))
  return function cibaJwks(req: Request, res: Response): void {
    freezeSession(req)
    if (!takesOnly(['GET', 'HEAD'], req, res)) return
    res.set('Cache-Control', cacheControl).type('application/jwk-set+json').send(body)
  }
}
