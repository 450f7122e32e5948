/**
 * Sends an authentication request, plain or signed (CIBA Core §7.1, §7.1.1), and reads the acknowledgement. Knows
 * nothing of what follows.
 */

import createDebug from 'debug'
import * as oauth from 'oauth4webapi'
import { CibaError, RequestRefusedError } from '../errors.ts'
import { type Acknowledgement, parseAcknowledgement } from './acknowledgement.ts'
import { type OpAnswer, readAnswer } from './answer.ts'
import type { CheckedRequest } from './authentication-request.ts'
import type { SigningKey } from './client-keys.ts'
import type { Connection } from './connection.ts'
import { retryAfterSeconds, unreachable, wasNeverSent } from './transport.ts'

const debug = createDebug('express-ciba:op')

/** Sends the request, once; see {@link Op.authenticate}. */
export async function authenticate(
  connection: Connection,
  request: CheckedRequest,
  notificationToken: string | undefined,
): Promise<Acknowledgement> {
  const { client, clientAuth, discover, http, config } = connection
  const server = await discover()
  const parameters = formOf(request, notificationToken)
  const [key] = config.requestObjectKeys ?? []
  // Nothing but the signed request and the client authentication goes beside it [SIG-1].
  const sent = key
    ? { request: await signed(server, client, parameters, request.isContextText, key) }
    : parameters
  let answer: OpAnswer
  try {
    answer = await readAnswer(
      await oauth.backchannelAuthenticationRequest(server, client, clientAuth, sent, http()),
    )
  } catch (cause) {
    throw wasNeverSent(cause)
      ? unreachable(cause)
      : failed('did not answer the authentication request', { cause })
  }
  return acknowledge(answer)
}

function formOf({ parameters }: CheckedRequest, notificationToken: string | undefined): URLSearchParams {
  const form = new URLSearchParams()
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of typeof value === 'string' ? [value] : value) form.append(name, one)
  }
  if (notificationToken !== undefined) form.set('client_notification_token', notificationToken)
  return form
}

/** A new JWT each time, valid for 60 seconds [SIG-2, SIG-3, SIG-9]. */
async function signed(
  server: oauth.AuthorizationServer,
  client: oauth.Client,
  parameters: URLSearchParams,
  isContextText: boolean,
  { privateKey, kid, alg }: SigningKey,
): Promise<string> {
  return oauth.issueRequestObject(
    server,
    client,
    parameters,
    { key: await privateKey(), kid },
    {
      [oauth.modifyAssertion](header, claims) {
        Object.assign(header, { alg })
        const { requested_expiry: expiry, request_context: context } = claims
        if (typeof expiry === 'string') claims['requested_expiry'] = Number(expiry)
        if (typeof context === 'string' && !isContextText) claims['request_context'] = JSON.parse(context)
      },
    },
  )
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
