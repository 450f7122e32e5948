/**
 * The guard of routes that do what somebody has to approve. Knows nothing of how anybody is asked.
 */

import type { NextFunction, Request, RequestHandler, Response } from 'express'
import { actionDigest } from '../canonical.ts'
import { CibaError, invalidOption } from '../errors.ts'
import type { JsonValue } from '../grant.ts'
import { checkOption, func, object, refuseUnknownOptions } from '../option-checks.ts'
import { asError, sendError, sendJson } from './answers.ts'
import { type ApprovalParameters, requestApproval } from './approval.ts'
import { partsOf, type RequestContext, setApproval } from './context.ts'
import { refuseCrossSite } from './cross-site.ts'
import { hasSession, noSession } from './session.ts'

/** How {@link requireApproval} gets its approvals. */
export interface ApprovalGuardOptions {
  /**
   * With it the guard asks by itself: a request that names no approval is answered 202 like a start, and the browser sends it
   * again once the person has approved. Without it, and for GET, such a request is answered 403 `approval_required`.
   */
  readonly request?:
    | ApprovalParameters
    | ((req: Request) => ApprovalParameters | Promise<ApprovalParameters>)
    | undefined
  /**
   * Where a request names its approval.
   *
   * @default the header `CIBA-Approval`, else the member `approval` of a parsed body
   */
  readonly transaction?: ((req: Request) => string | undefined) | undefined
}

/**
 * Lets a request pass if a person has approved this very `action`, and uses the approval up: `req.ciba.approval` is what it
 * brought. Must come after `app.use(ciba(…))`, and after the parser of the body that the action is made from.
 *
 * Answers as JSON what {@link RequestContext.useApproval} and {@link RequestContext.requestApproval} reject with.
 *
 * @throws TypeError with `code: 'ERR_CIBA_INVALID_OPTION'` for wrong options.
 */
export function requireApproval(
  action: JsonValue | ((req: Request) => JsonValue | Promise<JsonValue>),
  options: ApprovalGuardOptions = {},
): RequestHandler {
  checkOptions(action, options)
  const { request, transaction: transactionOf = namedApproval } = options
  const guard = async (req: Request, res: Response, next: NextFunction): Promise<void> => {
    const { ciba } = req as { ciba?: RequestContext }
    if (ciba === undefined) throw new TypeError('requireApproval() needs app.use(ciba(…)) before it')
    if (!hasSession(req)) throw noSession()
    if (req.method === 'HEAD') {
      // Express sends it to GET handlers: nobody would see what the approval was used for.
      res.set('Allow', 'GET, POST, PUT, PATCH, DELETE')
      throw new CibaError('ERR_CIBA_METHOD_NOT_ALLOWED', 'an approval is not for HEAD')
    }
    const what = typeof action === 'function' ? await action(req) : action
    const transaction = transactionOf(req)
    if (transaction !== undefined) {
      setApproval(ciba, await ciba.useApproval(transaction, what))
      next()
      return
    }
    // A link, or an image of another site, must not ask anybody.
    if (request === undefined || req.method === 'GET') {
      throw new CibaError(
        'ERR_CIBA_APPROVAL_REQUIRED',
        'this needs an approval: the header CIBA-Approval names it',
      )
    }
    const parts = partsOf(ciba)
    refuseCrossSite(req, parts.core.options.baseURL)
    const parameters = typeof request === 'function' ? await request(req) : request
    sendJson(res, 202, await requestApproval(parts, req, { ...parameters, action: what }, true))
  }
  return function cibaApprovalGuard(req, res, next): void {
    guard(req, res, next).catch((error: unknown) => sendError(res, asError(error), next))
  }
}

function namedApproval(req: Request): string | undefined {
  const header = req.get('ciba-approval')
  if (header !== undefined) return header
  const { approval } = (object(req.body) ?? {}) as { approval?: unknown }
  return typeof approval === 'string' ? approval : undefined
}

function checkOptions(action: unknown, given: ApprovalGuardOptions): void {
  try {
    if (typeof action !== 'function') actionDigest(action as JsonValue)
  } catch {
    throw invalidOption('requireApproval.action', 'must be a JSON value, or a function that returns one')
  }
  if (object(given) === undefined) throw invalidOption('requireApproval', 'must be an object')
  refuseUnknownOptions(given, ['request', 'transaction'], 'requireApproval.')
  const { request, transaction } = given
  checkOption(
    'requireApproval.request',
    request,
    (value) => func(value) ?? object(value),
    'an object, or a function that returns one',
  )
  checkOption('requireApproval.transaction', transaction, func, 'a function that returns a handle')
}
