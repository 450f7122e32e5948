/**
 * What the compiler has to accept and to refuse of the public surface. Never runs: `npm run check:types` is the test.
 */

import type { Request, RequestHandler } from 'express'
import type session from 'express-session'
import {
  type AuthenticationRequest,
  CibaError,
  type CibaErrorCode,
  type CibaMiddleware,
  type CibaOptions,
  type CibaSession,
  ciba,
  type IdTokenClaims,
  MemoryTransactionStore,
  processBackchannelAuthenticationGrantResponse,
  requireCiba,
  type TokenSet,
  type TransactionStatus,
  type TransactionStore,
} from '../../lib/index.ts'

/** Exact: tells `any` from everything else, and optional from `| undefined`. */
type Equals<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false

function sure<_Proof extends true>(): void {}

// The helper itself can say no.
// @ts-expect-error: `any` is not `string`.
// biome-ignore lint/suspicious/noExplicitAny: it is what the helper has to tell apart.
sure<Equals<any, string>>()

// Options

ciba()
ciba({ issuerBaseURL: 'https://op.example.com', clientID: 'my-app', clientSecret: 'a-client-secret' })
ciba({ deliveryMode: 'ping', baseURL: 'https://my-app.example.com', secret: ['new-secret', 'old-secret'] })
ciba({ routes: { start: '/login', logout: false }, startLimiter: false, unknownUser: 'reveal' })
ciba({ store: new MemoryTransactionStore({ maxTransactions: 10 }) })
ciba({ clientID: process.env['CLIENT_ID'] })

// @ts-expect-error: no such option.
ciba({ clientId: 'my-app' })
// @ts-expect-error: no such delivery mode.
ciba({ deliveryMode: 'pign' })
// @ts-expect-error: no such route.
ciba({ routes: { begin: '/ciba/start' } })
// @ts-expect-error: a hint is given for each request, never as a default.
ciba({ authorizationParams: { loginHint: 'ada' } })
// @ts-expect-error: a store needs all its methods.
ciba({ store: { read: async () => undefined } })

ciba({
  startParams: (req) => {
    sure<Equals<typeof req, Request>>()
    return { loginHint: 'ada' }
  },
  afterAuthentication: async (req, { user, tokens, transaction }) => {
    sure<Equals<typeof req, Request>>()
    sure<Equals<typeof user, IdTokenClaims>>()
    sure<Equals<typeof tokens, TokenSet>>()
    sure<Equals<typeof transaction, string>>()
  },
})
// @ts-expect-error: has to return an authentication request.
ciba({ startParams: () => 'ada' })

sure<Equals<CibaOptions['deliveryMode'], 'poll' | 'ping' | undefined>>()
sure<Equals<CibaOptions['store'], TransactionStore | undefined>>()

// Authentication requests: exactly one hint

function accept(_request: AuthenticationRequest): void {}

accept({ loginHint: 'ada', bindingMessage: 'auto', acrValues: ['urn:example:gold'], requestedExpiry: 60 })
accept({ loginHintToken: 'eyJ…' })
accept({ idTokenHint: 'eyJ…', scope: 'openid profile' })
// @ts-expect-error: no hint.
accept({ scope: 'openid' })
// @ts-expect-error: two hints.
accept({ loginHint: 'ada', idTokenHint: 'eyJ…' })
// @ts-expect-error: a list, not text.
accept({ loginHint: 'ada', acrValues: 'urn:example:gold' })

// The middleware and the guard

declare const options: CibaOptions
const middleware = ciba(options)
sure<Equals<typeof middleware, CibaMiddleware>>()
sure<Equals<typeof middleware.notification, RequestHandler>>()
sure<Equals<ReturnType<typeof middleware.close>, Promise<void>>>()
export const mountable: RequestHandler = middleware

const guard = requireCiba()
sure<Equals<typeof guard, RequestHandler>>()

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

  const started = await req.ciba.start({ loginHint: 'ada' })
  sure<Equals<typeof started.status, 'pending'>>()
  sure<Equals<typeof started.bindingMessage, string | undefined>>()
  // @ts-expect-error: the OP's own id stays on the server.
  started.authReqId

  const status = await req.ciba.poll(started.transaction, { wait: 25 })
  sure<Equals<typeof status, TransactionStatus>>()
  if (status.status === 'denied') sure<Equals<typeof status.error, string>>()
  // @ts-expect-error: a complete transaction has no error.
  if (status.status === 'complete') status.error
}

// Errors

export function describeError(error: unknown): string {
  if (!(error instanceof CibaError)) throw error
  sure<Equals<typeof error.code, CibaErrorCode>>()
  // @ts-expect-error: the set of codes is closed.
  if (error.code === 'ERR_CIBA_NO_SUCH_CODE') return 'never'
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

sure<Equals<session.SessionData['ciba'], CibaSession | undefined>>()
