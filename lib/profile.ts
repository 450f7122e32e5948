/**
 * What a security profile demands beyond CIBA Core: FAPI-CIBA, Implementer's Draft 1, and the FAPI 1.0 Advanced profile
 * that it builds on. Knows nothing of how any of it is done.
 */

import { CibaError, invalidOption } from './errors.ts'
import type { CheckedRequest } from './protocol/authentication-request.ts'
import type { OpConfig } from './protocol/registration.ts'

/** The profiles that the `profile` option can name. */
export type Profile = 'fapi-ciba-id1'

const algs = ['PS256', 'ES256']
const oneOfAlgs = 'PS256 or ES256'

/**
 * Refuses options that the profile forbids, and narrows what it leaves open: an OP that signs ID tokens with none of its
 * algorithms is then refused at discovery [FAPI-3].
 *
 * @throws TypeError `ERR_CIBA_INVALID_OPTION`; the message names the clause.
 */
export function underProfile(op: OpConfig): OpConfig {
  const { deliveryMode, clientAuthMethod, requestObjectKeys, clientAssertionKeys, idTokenSigningAlgs } = op
  if (deliveryMode === 'push') {
    throw refused('deliveryMode', 'must be "poll" or "ping"', 'FAPI-CIBA §5.2.2 item 3') // [PUSH-1]
  }
  if (clientAuthMethod.startsWith('client_secret')) {
    const mustBe = 'must be "private_key_jwt", "tls_client_auth" or "self_signed_tls_client_auth"'
    throw refused('clientAuthMethod', mustBe, 'FAPI 1.0 Advanced §5.2.2 item 14') // [AUTH-4]
  }
  if (requestObjectKeys === undefined) {
    throw refused('requestObjectSigningKey', 'is required', 'FAPI-CIBA §5.2.3.1 item 1') // [FAPI-1]
  }
  if (!op.mtls) {
    throw refused(
      'mtls',
      'is required: tokens are bound to the certificate',
      'FAPI 1.0 Advanced §5.2.2 items 5 and 6',
    ) // [AUTH-6]
  }
  const assertionKeys = clientAuthMethod === 'private_key_jwt' ? clientAssertionKeys : undefined
  checkAlgs(
    'requestObjectSigningAlg',
    requestObjectKeys.map(({ alg }) => alg),
  )
  checkAlgs(
    'clientAssertionSigningAlg',
    assertionKeys?.map(({ alg }) => alg),
  )
  checkAlgs('idTokenSigningAlg', idTokenSigningAlgs)
  if (op.dpop) {
    throw refused(
      'dpop',
      'must be false: tokens are bound to the certificate',
      'FAPI 1.0 Advanced §5.2.2 items 5 and 6',
    )
  }
  if (op.idTokenChecks?.acr === false) {
    throw refused('idTokenChecks.acr', 'must be true', 'FAPI-CIBA §5.2.3.1 item 3') // [TOK-15]
  }
  if (op.allowInsecureRequests) {
    throw refused('allowInsecureRequests', 'must be false', 'FAPI-CIBA §7.9') // [FAPI-4]
  }
  return { idTokenSigningAlgs: algs, ...op, signingAlgs: algs }
}

/**
 * The person must be able to tell what the request is about [FAPI-2].
 *
 * @throws CibaError `ERR_CIBA_INVALID_REQUEST`
 */
export function requireContext({ parameters }: CheckedRequest): void {
  const context = ['binding_message', 'authorization_details', 'request_context']
  if (context.some((name) => parameters[name] !== undefined)) return
  throw new CibaError(
    'ERR_CIBA_INVALID_REQUEST',
    'the profile fapi-ciba-id1 wants "bindingMessage", "authorizationDetails" or "requestContext" (FAPI-CIBA §5.2.3.1 item 2)',
  )
}

function checkAlgs(option: string, given: readonly string[] | undefined): void {
  if (given?.every((alg) => algs.includes(alg)) !== false) return
  throw refused(option, `must be ${oneOfAlgs}, received ${given.join(', ')}`, 'FAPI-CIBA §7.10') // [FAPI-3]
}

function refused(option: string, mustBe: string, clause: string): TypeError {
  return invalidOption(option, `${mustBe} with the profile fapi-ciba-id1 (${clause})`)
}
