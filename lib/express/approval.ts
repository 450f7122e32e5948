/**
 * Approvals of single actions: what a session may ask for, and how it uses what was approved. Knows nothing of how the OP
 * is asked.
 */

import type { Request } from 'express'
import { actionDigest } from '../canonical.ts'
import type { Core } from '../core.ts'
import { CibaError } from '../errors.ts'
import { publish } from '../events.ts'
import type { AuthorizationDetail, Grant, IdTokenClaims, JsonValue, TokenSet } from '../grant.ts'
import type {
  AuthenticationRequest,
  AuthenticationRequestParameters,
} from '../protocol/authentication-request.ts'
import { type PendingStatus, unknownTransaction } from '../status.ts'
import { type ApprovalTerms, shortId } from '../transaction.ts'
import { loginOf, ownerOf, storedLoginOf } from './session.ts'
import { type ContextParts, startTransaction } from './start.ts'

/** Who is asked to approve, and how. */
export interface ApprovalParameters extends AuthenticationRequestParameters {
  /**
   * At most one hint. Without one it is the ID token of whoever is signed in; with one, `expectedSubject` still defaults to
   * that person's `sub`.
   */
  readonly loginHint?: string | undefined
  readonly loginHintToken?: string | undefined
  readonly idTokenHint?: string | undefined
  /**
   * Asks somebody who need not be signed in here, as a call centre asks a customer: a hint is required, and `expectedSubject`
   * has no default.
   *
   * @default false
   */
  readonly anotherPerson?: boolean | undefined
}

/** An action that shall be approved. */
export interface ApprovalRequest extends ApprovalParameters {
  /**
   * What shall be done, in your words: any JSON value that says it all, such as `{ pay: '9.99', to: 'ACME' }`. The person does
   * not see it: say the same in `bindingMessage` or `authorizationDetails`.
   */
  readonly action: JsonValue
}

/** What an approval brought. */
export interface Approval {
  /** The claims of the ID token of who approved. */
  readonly user: IdTokenClaims
  readonly tokens: TokenSet
  /** What was granted of the request's `authorizationDetails`, in the OP's words (RFC 9396 §7). */
  readonly authorizationDetails?: readonly AuthorizationDetail[]
  /** As `req.ciba.fetch()`, with the access token of this approval. */
  fetch(url: string | URL, init?: RequestInit): Promise<globalThis.Response>
}

/** See `req.ciba.requestApproval()`; `isForBrowser`: what the OP says of unknown persons is not for anonymous ones [ERR-5]. */
export async function requestApproval(
  parts: ContextParts,
  req: Request,
  request: ApprovalRequest,
  isForBrowser = false,
): Promise<PendingStatus> {
  const { action, anotherPerson = false, ...parameters } = request
  if (typeof anotherPerson !== 'boolean') {
    // The text "false" of a form must not open anything.
    throw new CibaError('ERR_CIBA_INVALID_REQUEST', '"anotherPerson" must be true or false')
  }
  const terms = termsOf(req, action)
  const asked = anotherPerson ? parameters : aboutWhoIsSignedIn(parts.core, req, parameters)
  // Whether there is a hint, and only one, is checked with the rest.
  const started = await startTransaction(parts, req, asked as AuthenticationRequest, {
    approval: terms,
    hideUnknownUser: isForBrowser && parts.hideUnknownUser && terms.requester === undefined,
  })
  publish('express-ciba:approval', () => ({
    transaction: shortId(started.transaction),
    action: terms.action,
    ...(terms.requester && { requester: terms.requester.sub }),
    event: 'requested',
  }))
  return started
}

function aboutWhoIsSignedIn(
  { options }: Core,
  req: Request,
  parameters: Omit<ApprovalParameters, 'anotherPerson'>,
) {
  const login = loginOf(req)
  // No OP gets to see what another has issued, and the same `sub` is somebody else there.
  if (!login || !URL.canParse(login.user.iss) || new URL(login.user.iss).href !== options.op.issuer.href) {
    throw new CibaError(
      'ERR_CIBA_UNAUTHENTICATED',
      'nobody is signed in: sign in first, or ask with "anotherPerson"',
    )
  }
  const { loginHint, loginHintToken, idTokenHint, expectedSubject = login.user.sub } = parameters
  const isHinted = loginHint ?? loginHintToken ?? idTokenHint
  const hint = isHinted === undefined ? { idTokenHint: login.tokens.idToken } : {}
  return { ...parameters, ...hint, expectedSubject }
}

/** See `req.ciba.useApproval()`. */
export async function useApproval(
  { core, flow }: ContextParts,
  req: Request,
  transaction: string,
  action: JsonValue,
): Promise<Approval> {
  const terms = termsOf(req, action)
  // Whoever owns nothing is somebody else, and told of as one.
  const owner = ownerOf(req) ?? ''
  // Signed out meanwhile, by another request of this session.
  const isStillAllowed = async () => !terms.requester || (await storedLoginOf(req)) !== undefined
  const use = await flow.useApproval(transaction, owner, terms, isStillAllowed)
  switch (use.verdict) {
    case 'used':
      return approvalOf(use.grant, (url, init) => core.tokens.fetch(use.grant, url, init))
    case 'unknown':
      throw unknownTransaction()
    case 'wrongAction':
      throw new CibaError('ERR_CIBA_WRONG_ACTION', 'another action was asked for')
    case 'pending':
      throw new CibaError('ERR_CIBA_APPROVAL_PENDING', 'the person has not decided yet', {
        retryAfter: use.interval,
      })
    case 'refused':
      throw new CibaError('ERR_CIBA_APPROVAL_REFUSED', `the approval was not given: ${use.state}`)
    case 'alreadyUsed':
      throw new CibaError('ERR_CIBA_APPROVAL_USED', 'the approval has been used already')
  }
}

function termsOf(req: Request, action: JsonValue): ApprovalTerms {
  const digest = actionDigest(action)
  const user = loginOf(req)?.user
  return { action: digest, ...(user && { requester: { iss: user.iss, sub: user.sub } }) }
}

function approvalOf({ claims, tokens }: Grant, fetch: Approval['fetch']): Approval {
  const { authorizationDetails } = tokens
  return { user: claims, tokens, ...(authorizationDetails && { authorizationDetails }), fetch }
}
