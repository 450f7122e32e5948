/**
 * express-ciba/testing: an OP to test apps with, and the cases that every transaction store has to pass. For
 * development only.
 */

export { USER_CODE } from './accounts.ts'
export { startTestProvider } from './provider.ts'
export { type SignInOptions, signIn } from './sign-in.ts'
export { type It, type SharedStores, transactionStoreContract } from './store-contract.ts'
export type {
  AutoApprove,
  Decision,
  Pings,
  TestAccount,
  TestApproval,
  TestClient,
  TestClientOptions,
  TestCounts,
  TestProvider,
  TestProviderOptions,
  TestRequest,
  Which,
} from './types.ts'
