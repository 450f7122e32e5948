/**
 * The OP, as the flow sees it: prepare, ask the person, ask for the tokens, take what it pushes. Never sees a store, a
 * transaction or a session.
 */

import createDebug from 'debug'
import { CibaError } from '../errors.ts'
import type { Expectations } from '../grant.ts'
import type { Acknowledgement } from './acknowledgement.ts'
import type { CheckedRequest } from './authentication-request.ts'
import { authenticate } from './backchannel-request.ts'
import type { Connection } from './connection.ts'
import type { DpopKey } from './dpop.ts'
import type { Answered } from './granted.ts'
import { type Push, type PushAnswer, processPush } from './push.ts'
import { requestTokens, type TokenAnswer } from './token-request.ts'

const debug = createDebug('express-ciba:op')

/** What a transaction has to keep from its start. */
export interface Prepared {
  /** The tokens will be bound to it [AUTH-7]. */
  readonly dpopKey?: DpopKey
}

/** One OP and our registration there. */
export interface Op {
  /**
   * Finds the OP's metadata, and checks that the OP takes `request`, before anything is stored or sent.
   *
   * Rejects with a {@link CibaError}: what discovery failed with, or `ERR_CIBA_INVALID_REQUEST`.
   */
  prepare(request: CheckedRequest): Promise<Prepared>
  /**
   * Sends the authentication request, once: it may prompt a person [REQ-16].
   *
   * Rejects with a {@link CibaError}: `ERR_CIBA_REQUEST_REFUSED`, `ERR_CIBA_OP_UNREACHABLE` when it certainly
   * never left, `ERR_CIBA_OP_FAILED` for all other trouble.
   */
  authenticate(request: CheckedRequest, notificationToken?: string): Promise<Acknowledgement>
  /** Sends one token request. Never rejects. */
  requestTokens(answered: Answered, timeoutMs: number): Promise<TokenAnswer>
  /** Checks what the OP pushed. Never rejects. */
  processPush(push: Push, expectations: Expectations): Promise<PushAnswer>
}

export function createOp(connection: Connection): Op {
  const { userCodeParameter } = connection.config
  return {
    async prepare({ parameters }) {
      const server = await connection.discover()
      const takesUserCode = userCodeParameter && server['backchannel_user_code_parameter_supported']
      if (parameters['user_code'] !== undefined && !takesUserCode) {
        throw new CibaError(
          'ERR_CIBA_INVALID_REQUEST',
          userCodeParameter
            ? '"userCode" is given, but the OP takes none'
            : '"userCode" is given, but "userCodeParameter" does not say that it was registered',
        ) // [CFG-7]
      }
      const dpopKey = await connection.dpop?.newKey()
      return dpopKey ? { dpopKey } : {}
    },

    authenticate: (request, notificationToken) => authenticate(connection, request, notificationToken),

    async requestTokens(answered, timeoutMs) {
      const answer = await requestTokens(connection, answered, timeoutMs)
      log(answer)
      return answer
    },

    processPush: (push, expectations) => processPush(connection, push, expectations),
  }
}

function log(answer: TokenAnswer): void {
  if (!debug.enabled) return
  if (answer.type === 'failed') debug('token request: failed, %s: %s', answer.error, answer.reason)
  else if (answer.type === 'unanswered')
    debug('token request: no answer: %s', (answer.cause as Error).message)
  else debug('token request: %s', answer.type)
}
