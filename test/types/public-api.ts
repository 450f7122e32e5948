/**
 * What the compiler has to accept and to refuse of the public surface. Never runs: `npm run check:types` is the test.
 */

import type { Request, RequestHandler } from 'express'
import type session from 'express-session'
import {
  type Approval,
  type ApprovalGuardOptions,
  type ApprovalMessage,
  type ApprovalParameters,
  type ApprovalRequest,
  type AuthenticationResult,
  type AuthorizationDetail,
  type actionDigest,
  CibaError,
  type CibaErrorCode,
  type CibaErrorDetails,
  type CibaEvents,
  type CibaMiddleware,
  type CibaOptions,
  type CibaRequirements,
  type CibaSession,
  ciba,
  type EndedStatus,
  type Hint,
  type IdTokenClaims,
  type IdTokenExpectations,
  type JsonValue,
  type Login,
  type LogoutResult,
  type MemoryTransactionStoreOptions,
  type PendingStatus,
  type ProcessGrantResponseOptions,
  processBackchannelAuthenticationGrantResponse,
  type RequestContext,
  RequestRefusedError,
  requireApproval,
  requireCiba,
  type StoredRecord,
  type TokenSet,
  type TransactionStatus,
  type UserInfo,
} from '../../lib/index.ts'
import { type Equals, sure } from './equals.ts'

// The middleware and the guard

declare const options: CibaOptions
const middleware = ciba(options)
sure<Equals<typeof middleware, CibaMiddleware>>()
sure<Equals<typeof middleware.notification, RequestHandler>>()
sure<Equals<ReturnType<typeof middleware.close>, Promise<void>>>()
export const mountable: RequestHandler = middleware

const guard = requireCiba()
sure<Equals<typeof guard, RequestHandler>>()
sure<Equals<Parameters<typeof requireCiba>, [requirements?: CibaRequirements | undefined]>>()
requireCiba({
  acrValues: ['urn:example:gold'],
  maxAge: 300,
  claimEquals: { email_verified: true, level: 2, tenant: 'a', deleted: null },
  claimIncludes: { roles: ['admin', 'editor'], groups: 'staff' },
  claimCheck: (req, claims) => {
    sure<Equals<typeof req, Request>>()
    sure<Equals<typeof claims, IdTokenClaims>>()
    return true
  },
})
requireCiba({ claimCheck: async () => false })
// @ts-expect-error: a list, not text.
requireCiba({ acrValues: 'urn:example:gold' })
// @ts-expect-error: a claim cannot be compared with an object.
requireCiba({ claimEquals: { address: {} } })
// @ts-expect-error: has to decide.
requireCiba({ claimCheck: () => 'yes' })
// @ts-expect-error: no such requirement.
requireCiba({ roles: ['admin'] })

// req.ciba

export async function handler(req: Request): Promise<void> {
  sure<Equals<typeof req.ciba.user, IdTokenClaims | undefined>>()
  sure<Equals<typeof req.ciba.tokens, TokenSet | undefined>>()

  const subject = req.ciba.user?.sub
  sure<Equals<typeof subject, string | undefined>>()
  const accessToken = req.ciba.tokens?.accessToken
  sure<Equals<typeof accessToken, string | undefined>>()
  const signedIn = req.ciba.isAuthenticated()
  sure<Equals<typeof signedIn, boolean>>()

  // @ts-expect-error: nobody may be signed in.
  req.ciba.user.sub
  // @ts-expect-error: nobody may be signed in.
  req.ciba.tokens.accessToken
  // @ts-expect-error: who is signed in is not for the app to write.
  req.ciba.user = undefined

  sure<Equals<typeof req.ciba, RequestContext>>()
  const details = req.ciba.tokens?.authorizationDetails
  sure<Equals<typeof details, readonly AuthorizationDetail[] | undefined>>()
  const token = await req.ciba.getAccessToken()
  sure<Equals<typeof token, string>>()
  const info = await req.ciba.fetchUserInfo()
  sure<Equals<typeof info, UserInfo>>()
  sure<Equals<typeof info.sub, string>>()
  sure<Equals<(typeof info)['email'], JsonValue | undefined>>()
  const answer = await req.ciba.fetch(new URL('https://api.example.com'), { method: 'POST', body: 'a' })
  sure<Equals<typeof answer, globalThis.Response>>()
  const left = await req.ciba.logout()
  sure<Equals<typeof left, LogoutResult>>()
  sure<Equals<typeof left.endSessionURL, string | undefined>>()

  const started = await req.ciba.start({ loginHint: 'ada' })
  sure<Equals<typeof started, PendingStatus>>()
  sure<Equals<typeof started.status, 'pending'>>()
  sure<Equals<typeof started.bindingMessage, string | undefined>>()
  // @ts-expect-error: the OP's own id stays on the server.
  started.authReqId

  const status = await req.ciba.poll(started.transaction, { wait: 25 })
  sure<Equals<typeof status, TransactionStatus>>()
  if (status.status === 'pending') sure<Equals<typeof status, PendingStatus>>()
  if (status.status === 'pending') sure<Equals<typeof status.bindingMessage, string | undefined>>()
  if (status.status === 'denied') sure<Equals<typeof status, EndedStatus>>()
  if (status.status === 'denied') sure<Equals<typeof status.error, string>>()
  if (status.status === 'complete') sure<Equals<typeof status.returnTo, string | undefined>>()
  // @ts-expect-error: a complete transaction has no error.
  if (status.status === 'complete') status.error
}

// Approvals

export async function pay(req: Request): Promise<void> {
  const action = { pay: '9.99', to: 'ACME', lines: [1, true, null], note: undefined } as const
  const asked = await req.ciba.requestApproval({ action, bindingMessage: 'auto' })
  sure<Equals<typeof asked, PendingStatus>>()
  const request: ApprovalRequest = { action: 'void', anotherPerson: true, loginHint: 'bob', maxAge: 0 }
  await req.ciba.requestApproval(request)
  // @ts-expect-error: what shall be approved?
  await req.ciba.requestApproval({ loginHint: 'bob' })
  // @ts-expect-error: not JSON.
  await req.ciba.requestApproval({ action: new Date() })
  // @ts-expect-error: not JSON.
  await req.ciba.requestApproval({ action: { amount: 5n } })

  const approval = await req.ciba.useApproval(asked.transaction, action)
  sure<Equals<typeof approval, Approval>>()
  sure<Equals<typeof approval.user, IdTokenClaims>>()
  sure<Equals<typeof approval.tokens, TokenSet>>()
  sure<Equals<typeof approval.authorizationDetails, readonly AuthorizationDetail[] | undefined>>()
  const answer = await approval.fetch('https://bank.example.com/payments', { method: 'POST' })
  sure<Equals<typeof answer, globalThis.Response>>()
  // @ts-expect-error: of which action?
  await req.ciba.useApproval(asked.transaction)
  sure<Equals<typeof req.ciba.approval, Approval | undefined>>()
}

const byRequest = requireApproval((req) => {
  sure<Equals<typeof req, Request>>()
  return { amount: String(req.body.amount) }
})
sure<Equals<typeof byRequest, RequestHandler>>()
requireApproval('delete the account')
requireApproval(async () => ['a'], { request: { bindingMessage: 'auto' }, transaction: () => undefined })
requireApproval(null, { request: async ({ body }) => ({ anotherPerson: true, loginHint: body.customer }) })
// @ts-expect-error: not JSON.
requireApproval(() => new Map())
// @ts-expect-error: the action comes first.
requireApproval('a', { request: { action: 'b' } })
// @ts-expect-error: no such option.
requireApproval('a', { header: 'X-Approval' })

sure<Equals<ReturnType<typeof actionDigest>, string>>()
export const guardOptions: ApprovalGuardOptions = { request: {} satisfies ApprovalParameters }

// Events

export function audit(message: CibaEvents['express-ciba:approval']): string {
  sure<Equals<typeof message, ApprovalMessage>>()
  if (message.event === 'used') return `${message.requester} ${message.action} ${message.subject}`
  // @ts-expect-error: nobody has approved yet.
  if (message.event === 'requested') return message.subject
  sure<Equals<typeof message.transaction, string>>()
  return message.error
}

// Errors

export function describeError(error: unknown): string {
  if (!(error instanceof CibaError)) throw error
  sure<Equals<typeof error.code, CibaErrorCode>>()
  // @ts-expect-error: the set of codes is closed.
  if (error.code === 'ERR_CIBA_NO_SUCH_CODE') return 'never'
  if (error instanceof RequestRefusedError) {
    sure<Equals<typeof error.error_description, string | undefined>>()
    return error.error
  }
  switch (error.code) {
    case 'ERR_CIBA_INVALID_TOKEN':
    case 'ERR_CIBA_INSUFFICIENT_AUTHENTICATION':
    case 'ERR_CIBA_FORBIDDEN':
    case 'ERR_CIBA_APPROVAL_REQUIRED':
    case 'ERR_CIBA_APPROVAL_PENDING':
    case 'ERR_CIBA_APPROVAL_REFUSED':
    case 'ERR_CIBA_APPROVAL_USED':
    case 'ERR_CIBA_WRONG_ACTION':
      return error.error
  }
  return error.code === 'ERR_CIBA_UNAUTHENTICATED' ? 'sign in first' : error.message
}

// The protocol function, and the session it all rests in

export async function idToken(response: Response): Promise<string | undefined> {
  const op = { issuer: 'https://op.example.com' }
  const client = { client_id: 'my-app' }
  const result = await processBackchannelAuthenticationGrantResponse(op, client, response)
  sure<Equals<typeof result.access_token, string>>()
  return result.id_token
}

export const strictly: ProcessGrantResponseOptions & IdTokenExpectations = {
  strict: true,
  pushed: true,
  tokenType: 'dpop',
  clientSecret: '…',
  idTokenSigningAlgs: ['HS256'],
  nonce: false,
}

sure<Equals<session.SessionData['ciba'], CibaSession | undefined>>()
sure<Equals<CibaSession['login'], Login | undefined>>()
sure<Equals<Login['tokens'], TokenSet>>()
sure<Equals<AuthenticationResult['tokens'], TokenSet>>()

// The rest of what is exported, by name

export type Others = [CibaErrorDetails, Hint, MemoryTransactionStoreOptions, StoredRecord]
