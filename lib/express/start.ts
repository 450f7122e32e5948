/**
 * Starts a transaction in the name of a session, within its limits. Knows nothing of routes.
 */

import type { Request } from 'express'
import type { Core } from '../core.ts'
import type { AuthenticationRequest } from '../protocol/authentication-request.ts'
import { type PendingStatus, pendingStatus } from '../status.ts'
import type { ApprovalTerms } from '../transaction.ts'
import type { Holds } from './holds.ts'
import type { CountStart } from './limiter.ts'
import type { LoginParts } from './login.ts'
import { becomeOwner, ownerToBe } from './session.ts'

/** What `req.ciba` needs. */
export interface ContextParts extends LoginParts {
  readonly core: Core
  readonly countStart: CountStart
  readonly longPollTimeoutMs: number
  readonly holds: Holds
  /** What an anonymous browser learns of an unknown person: nothing [ERR-5]. */
  readonly hideUnknownUser: boolean
  /** Where the OP sends browsers back to after a logout there; absent: they are not sent there. */
  readonly atTheOp?: { readonly postLogoutRedirect: string | undefined }
}

/** How to start. */
export interface StartTerms {
  /** For browsers that nobody knows [ERR-5]. */
  readonly hideUnknownUser?: boolean
  readonly returnTo?: string | undefined
  readonly approval?: ApprovalTerms
}

/** Starts for `req.ciba` and for the start route. */
export async function startTransaction(
  { core, flow, countStart }: ContextParts,
  req: Request,
  request: AuthenticationRequest,
  terms: StartTerms,
): Promise<PendingStatus> {
  const checked = core.check(request)
  const owner = ownerToBe(req)
  await countStart(checked.hint, owner)
  await becomeOwner(req, owner)
  return pendingStatus(await flow.start(checked, { owner, ...terms }), flow.now())
}
