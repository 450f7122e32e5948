/**
 * express-ciba: CIBA (OpenID Connect Client-Initiated Backchannel Authentication) for Express.
 */

export { actionDigest } from './canonical.ts'
export { type CibaMiddleware, ciba } from './ciba.ts'
export {
  type ApprovedStatus,
  type CibaClient,
  type ClientStatus,
  type ClientWaitOptions,
  createCibaClient,
  type NotificationAnswer,
} from './client.ts'
export { type CibaClientMetadata, cibaClientMetadata } from './client-metadata.ts'
export type { CibaClientOptions } from './client-options.ts'
export { CibaError, type CibaErrorCode, type CibaErrorDetails, RequestRefusedError } from './errors.ts'
export type {
  ApprovalMessage,
  CibaEvents,
  LoginMessage,
  NotificationMessage,
  TokenRequestMessage,
  TransactionMessage,
  TransactionPurpose,
} from './events.ts'
export type { Approval, ApprovalParameters, ApprovalRequest } from './express/approval.ts'
export { type ApprovalGuardOptions, requireApproval } from './express/approval-guard.ts'
export type { LogoutResult, RequestContext, TransactionStatus } from './express/context.ts'
export { type CibaRequirements, requireCiba } from './express/guard.ts'
export type { LoginPageOptions } from './express/login-page-options.ts'
export type {
  AuthenticationResult,
  CibaOptions,
  CibaRoutes,
  StartLimiter,
  StartLimiters,
} from './express/options.ts'
export type { LoginPageTexts } from './express/page-texts.ts'
export type { CibaSession, Login } from './express/session.ts'
export type { AuthorizationDetail, IdTokenClaims, JsonValue, TokenSet } from './grant.ts'
export type {
  AuthenticationRequest,
  AuthenticationRequestParameters,
  Hint,
} from './protocol/authentication-request.ts'
export type { PrivateKeyInput, PrivateKeyMaterial, PublicJwk } from './protocol/client-keys.ts'
export type { IdTokenExpectations } from './protocol/id-token.ts'
export type { ClientAuthMethod, ValidateIdTokenClaims } from './protocol/registration.ts'
export type { UserInfo } from './protocol/resource.ts'
export {
  type ProcessGrantResponseOptions,
  processBackchannelAuthenticationGrantResponse,
} from './protocol/token-response.ts'
export type { ClientCertificate, CustomFetch, CustomFetchInit } from './protocol/transport.ts'
export type { EndedStatus, PendingStatus } from './status.ts'
export type { StoredRecord, TransactionStore } from './store.ts'
export { MemoryTransactionStore, type MemoryTransactionStoreOptions } from './stores/memory.ts'
export type { DeliveryMode } from './transaction.ts'
