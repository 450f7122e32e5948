/**
 * One push for every defect a client has to refuse (CIBA Core §10.3.1). Knows nothing of HTTP but the status it
 * expects.
 */
import { defectsOf, type TokenDefect, tokenDefects } from './id-tokens.ts'
import { halfHash } from './signing-keys.ts'
import { cibaClaim, goodPush, random } from './token-response.ts'

type Json = Record<string, unknown>

/** One reason to refuse a push that is good in every other respect. */
export interface PushDefect extends TokenDefect {
  /** What the notification route must answer. */
  readonly status: 400 | 401
  /** The code in the body of that answer, where the contract names one. */
  readonly error?: 'invalid_request' | 'invalid_token_response'
}

const { changed, members, claims } = defectsOf(goodPush)

const confirmed = `${cibaClaim}auth_req_id`
const rtHash = `${cibaClaim}rt_hash`

/** A push whose refresh token the ID token confirms in another way than it should. */
const withRefreshToken = (what: string, hash: (refreshToken: string) => unknown): TokenDefect =>
  changed('PUSH-6', what, () => {
    const refreshToken = random(16)
    return { claims: { [rtHash]: hash(refreshToken) }, response: { refresh_token: refreshToken } }
  })

/** A body that is no token response at all. */
const body = (id: string, what: string, make: (good: Json) => Json): TokenDefect => ({
  id,
  what,
  make: async (context) => make(await goodPush(context)),
})

/** For another transaction than the notification token. */
const misdirected: readonly TokenDefect[] = [
  {
    id: 'PUSH-2',
    what: 'auth_req_id of another request, which the ID token confirms',
    make: (context) => goodPush({ ...context, authReqId: `${context.authReqId}1` }),
  },
]

const noPush: readonly TokenDefect[] = [
  members('PUSH-2', 'no auth_req_id', { auth_req_id: undefined }),
  members('PUSH-2', 'empty auth_req_id', { auth_req_id: '' }),
  members('PUSH-2', 'auth_req_id that is a number', { auth_req_id: 5 }),
  members('PUSH-7', 'tokens and an error at once', { error: 'access_denied' }),
  body('PUSH-7', 'neither tokens nor an error', ({ auth_req_id }) => ({ auth_req_id })),
]

/** Refused too, under a code that the contract leaves open. */
const halfPush: readonly TokenDefect[] = [
  body('PUSH-3', 'an access token alone', ({ id_token: _, ...rest }) => rest),
  body('PUSH-3', 'an ID token alone', ({ auth_req_id, id_token }) => ({ auth_req_id, id_token })),
  body('PUSH-7', 'empty error', ({ auth_req_id }) => ({ auth_req_id, error: '' })),
  body('PUSH-7', 'error that is a number', ({ auth_req_id }) => ({ auth_req_id, error: 5 })),
  body('PUSH-7', 'error null', ({ auth_req_id }) => ({ auth_req_id, error: null })),
]

const unconfirmed: readonly TokenDefect[] = [
  claims('PUSH-4', 'no auth_req_id claim', () => ({ [confirmed]: undefined })),
  claims('PUSH-4', 'auth_req_id claim of another request', () => ({ [confirmed]: 'another' })),
  claims('PUSH-4', 'auth_req_id claim with 1 appended', ({ authReqId }) => ({
    [confirmed]: `${authReqId}1`,
  })),
  claims('PUSH-4', 'auth_req_id claim in an array', ({ authReqId }) => ({ [confirmed]: [authReqId] })),
  claims('PUSH-5', 'no at_hash', () => ({ at_hash: undefined })),
  claims('PUSH-5', 'empty at_hash', () => ({ at_hash: '' })),
  claims('PUSH-5', 'at_hash that is a number', () => ({ at_hash: 5 })),
  changed('PUSH-5', 'at_hash by the hash of another algorithm', () => ({
    claims: { at_hash: halfHash('token', 'ES384') },
    response: { access_token: 'token' },
  })),
  withRefreshToken('no rt_hash', () => undefined),
  withRefreshToken('rt_hash of another token', () => halfHash('another')),
  withRefreshToken('rt_hash by the hash of another algorithm', (token) => halfHash(token, 'ES384')),
  withRefreshToken('rt_hash that is a number', () => 5),
  members('PUSH-6', 'refresh_token that is a number', { refresh_token: 5 }),
  members('PUSH-6', 'empty refresh_token', { refresh_token: '' }),
  members('TOK-20', 'expires_in that is no number', { expires_in: 'soon' }),
  members('TOK-20', 'scope that is a number', { scope: 5 }),
]

const saying = (defects: readonly TokenDefect[], error?: PushDefect['error']): PushDefect[] =>
  defects.map((defect) => ({ ...defect, status: 400, ...(error && { error }) }))

/** Whether the contract lets it pass for a body that holds no tokens. */
const lacksTokens = ({ id }: TokenDefect): boolean => id === 'TOK-1' || id === 'TOK-3'
const ofTokens = tokenDefects(goodPush)

/** Every defect of a push: those of requirements PUSH-2 to PUSH-7, then those of any token response [PUSH-3]. */
export const defectivePushes: readonly PushDefect[] = [
  ...misdirected.map((defect): PushDefect => ({ ...defect, status: 401 })),
  ...saying(noPush, 'invalid_request'),
  ...saying(halfPush),
  ...saying(unconfirmed, 'invalid_token_response'),
  ...saying(ofTokens.filter(lacksTokens)),
  ...saying(
    ofTokens.filter((defect) => !lacksTokens(defect)),
    'invalid_token_response',
  ),
]
