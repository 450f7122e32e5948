/**
 * The OP, as the rest of the package sees it: prepare, ask the person, ask for the tokens. Never sees a store, a
 * transaction or a session.
 */

import createDebug from 'debug'
import * as oauth from 'oauth4webapi'
import { CibaError, RequestRefusedError } from '../errors.ts'
import type { Expectations } from '../grant.ts'
import { type Acknowledgement, parseAcknowledgement } from './acknowledgement.ts'
import { type OpAnswer, readAnswer } from './answer.ts'
import type { CheckedRequest } from './authentication-request.ts'
import { discovery } from './discovery.ts'
import { checkMetadata } from './metadata.ts'
import { requestTokens, type TokenAnswer } from './token-request.ts'
import {
  type CustomFetch,
  createTransport,
  retryAfterSeconds,
  retrying,
  unreachable,
  wasNeverSent,
} from './transport.ts'

const debug = createDebug('express-ciba:op')

/** How to reach the OP, and who we are to it. */
export interface OpConfig {
  readonly issuer: URL
  readonly clientID: string
  readonly clientSecret: string
  readonly clientAuthMethod: 'client_secret_basic' | 'client_secret_post'
  readonly deliveryMode: 'poll' | 'ping'
  /** Pinned algorithms of the ID token; by default the OP's list without `none` and `HS…` [CFG-8]. */
  readonly idTokenSigningAlgs?: readonly string[]
  /** Seconds [CFG-9]. */
  readonly clockTolerance: number
  /** For everything but token requests. */
  readonly timeoutMs: number
  readonly customFetch?: CustomFetch
  readonly allowInsecureRequests: boolean
}

/** One OP and our registration there. */
export interface Op {
  /**
   * Finds the OP's metadata, and checks that the OP takes `request`, before anything is stored or sent.
   *
   * Rejects with a {@link CibaError}: what discovery failed with, or `ERR_CIBA_INVALID_REQUEST`.
   */
  prepare(request: CheckedRequest): Promise<void>
  /**
   * Sends the authentication request, once: it may prompt a person [REQ-16].
   *
   * Rejects with a {@link CibaError}: `ERR_CIBA_REQUEST_REFUSED`, `ERR_CIBA_OP_UNREACHABLE` when it certainly
   * never left, `ERR_CIBA_OP_FAILED` for all other trouble.
   */
  authenticate(request: CheckedRequest, notificationToken?: string): Promise<Acknowledgement>
  /** Sends one token request. Never rejects. */
  requestTokens(authReqId: string, expectations: Expectations, timeoutMs: number): Promise<TokenAnswer>
  /** Lets go of the connections. */
  close(): Promise<void>
}

export function createOp(config: OpConfig): Op {
  const { fetch, tokenFetch, close } = transports(config)
  const { clientSecret, clientAuthMethod, allowInsecureRequests, timeoutMs } = config
  const client: oauth.Client = {
    client_id: config.clientID,
    [oauth.clockTolerance]: config.clockTolerance,
  }
  // One and the same method at both endpoints [AUTH-1].
  const clientAuth =
    clientAuthMethod === 'client_secret_post'
      ? oauth.ClientSecretPost(clientSecret)
      : oauth.ClientSecretBasic(clientSecret)
  const http = { [oauth.customFetch]: fetch, [oauth.allowInsecureRequests]: allowInsecureRequests }
  const keysFetch = retrying(fetch)
  const discover = discovery({
    issuer: config.issuer,
    fetch,
    allowInsecureRequests,
    timeoutMs,
    check: (server) => checkMetadata(server, config),
  })

  return {
    async prepare({ parameters }) {
      const server = await discover()
      if (parameters['user_code'] !== undefined && !server['backchannel_user_code_parameter_supported']) {
        throw new CibaError('ERR_CIBA_INVALID_REQUEST', '"userCode" is given, but the OP takes none') // [CFG-7]
      }
    },

    async authenticate({ parameters }, notificationToken) {
      const server = await discover()
      const sent = notificationToken
        ? { ...parameters, client_notification_token: notificationToken }
        : { ...parameters }
      const signal = AbortSignal.timeout(timeoutMs)
      let answer: OpAnswer
      try {
        const response = await oauth.backchannelAuthenticationRequest(server, client, clientAuth, sent, {
          ...http,
          signal,
        })
        answer = await readAnswer(response)
      } catch (cause) {
        throw wasNeverSent(cause)
          ? unreachable(cause)
          : failed('did not answer the authentication request', { cause })
      }
      return acknowledge(answer)
    },

    async requestTokens(authReqId, expectations, tokenTimeoutMs) {
      const signal = AbortSignal.timeout(tokenTimeoutMs)
      let server: oauth.AuthorizationServer
      try {
        server = await discover()
      } catch (cause) {
        return { type: 'unanswered', sent: false, cause }
      }
      const endpoint = {
        server,
        client,
        send: () =>
          oauth.backchannelAuthenticationGrantRequest(server, client, clientAuth, authReqId, {
            ...http,
            [oauth.customFetch]: tokenFetch,
            signal,
          }),
        validation: {
          [oauth.customFetch]: keysFetch,
          [oauth.allowInsecureRequests]: allowInsecureRequests,
          signal: () => AbortSignal.timeout(timeoutMs),
          ...(config.idTokenSigningAlgs && { idTokenSigningAlgs: config.idTokenSigningAlgs }),
        },
      }
      const answer = await requestTokens(endpoint, authReqId, expectations)
      log(answer)
      return answer
    },

    close,
  }
}

/** Connections of their own for token requests: an OP may hold those for long, and starts must not queue behind. */
function transports({ customFetch, timeoutMs }: OpConfig): {
  readonly fetch: CustomFetch
  readonly tokenFetch: CustomFetch
  readonly close: () => Promise<void>
} {
  if (customFetch) return { fetch: customFetch, tokenFetch: customFetch, close: async () => {} }
  // Shorter than the timeout: who could not connect has certainly asked nobody.
  const connectTimeoutMs = Math.min(5_000, timeoutMs / 2)
  const transport = createTransport({ connectTimeoutMs })
  const tokenTransport = createTransport({ connectTimeoutMs })
  return {
    fetch: transport.fetch,
    tokenFetch: tokenTransport.fetch,
    async close() {
      await Promise.all([transport.close(), tokenTransport.close()])
    },
  }
}

/** Turns the answer of the backchannel authentication endpoint into an acknowledgement or an error (§7.3, §13). */
function acknowledge(answer: OpAnswer): Acknowledgement {
  const { status, error, errorDescription, retryAfterMs } = answer
  if (status === 200) {
    const acknowledgement = parseAcknowledgement(answer.json)
    if (typeof acknowledgement !== 'string') return acknowledgement
    throw failed(`sent an acknowledgement that ${acknowledgement}`)
  }
  const retryAfter = retryAfterMs > 0 ? { retryAfter: Math.ceil(retryAfterMs / 1000) } : {}
  if (status === 429) {
    throw new CibaError('ERR_CIBA_OP_UNREACHABLE', 'the OP takes no requests for now', {
      retryAfter: retryAfterSeconds,
      ...retryAfter,
    })
  }
  if (error !== undefined) {
    debug('authentication request refused: %s', error)
    throw new RequestRefusedError(error, errorDescription)
  }
  throw failed(`answered ${status} to the authentication request`, retryAfter)
}

function failed(what: string, details?: ConstructorParameters<typeof CibaError>[2]): CibaError {
  debug('the OP %s', what)
  return new CibaError('ERR_CIBA_OP_FAILED', `the OP ${what}`, details)
}

function log(answer: TokenAnswer): void {
  if (!debug.enabled) return
  if (answer.type === 'failed') debug('token request: failed, %s: %s', answer.error, answer.reason)
  else if (answer.type === 'unanswered')
    debug('token request: no answer: %s', (answer.cause as Error).message)
  else debug('token request: %s', answer.type)
}
