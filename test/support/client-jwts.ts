/**
 * What a client signs, as an OP reads it: client assertions, request objects and DPoP proofs. Each is thrown out
 * with the reason. Knows nothing of servers.
 */
import { createHash } from 'node:crypto'
import {
  type CompactJWSHeaderParameters,
  type CryptoKey,
  calculateJwkThumbprint,
  compactVerify,
  decodeJwt,
  decodeProtectedHeader,
  EmbeddedJWK,
  type JWK,
  type JWTPayload,
  type KeyObject,
} from 'jose'
import type { Call } from './scripted-answers.ts'

/** A verified JWT. */
export interface ClientJwt {
  readonly header: CompactJWSHeaderParameters
  readonly claims: JWTPayload
}

/** A public key, or the bytes of the client secret. */
export type VerificationKey = CryptoKey | KeyObject | JWK | Uint8Array

async function verified(jwt: string | null, what: string, key: VerificationKey): Promise<ClientJwt> {
  if (jwt === null) throw new Error(`there is no ${what}`)
  const { protectedHeader: header } = await compactVerify(jwt, key)
  return { header, claims: decodeJwt(jwt) }
}

/** The client assertion of a call (RFC 7523 §2.2); its signature is verified, its claims are for the test to judge. */
export async function clientAssertionOf({ params }: Call, key: VerificationKey): Promise<ClientJwt> {
  const type = params.get('client_assertion_type')
  if (type !== 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer') {
    throw new Error(`the client_assertion_type is ${type}`)
  }
  return verified(params.get('client_assertion'), 'client_assertion', key)
}

/** The signed authentication request of a call (CIBA Core §7.1.1); verified in the same way. */
export async function requestObjectOf({ params }: Call, key: VerificationKey): Promise<ClientJwt> {
  return verified(params.get('request'), 'request', key)
}

export interface DpopProof extends ClientJwt {
  /** The thumbprint of the key. */
  readonly jkt: string
  readonly nonce?: string
}

/**
 * The DPoP proof of a call, checked as RFC 9449 §4.3 says, but for the nonce.
 *
 * @param calls - all calls to the OP: no other one may have the same `jti`
 */
export async function dpopProofOf(call: Call, calls: readonly Call[] = []): Promise<DpopProof> {
  const proof = call.headers['dpop']
  if (typeof proof !== 'string') throw new Error(`there is no DPoP proof: ${proof}`)
  const { typ, jwk } = decodeProtectedHeader(proof)
  const secrets = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'k'].filter((member) => member in (jwk ?? {}))
  const { protectedHeader: header } = await compactVerify(proof, EmbeddedJWK)
  const claims = decodeJwt(proof)
  const { htm, htu, iat = 0, jti, nonce, ath } = claims
  const [scheme = '', accessToken] = call.headers.authorization?.split(' ') ?? []
  const presents = /^(dpop|bearer)$/i.test(scheme) ? accessToken : undefined
  const used = calls.some((other) => other !== call && jtiOf(other) === jti)
  const faults = {
    typ: typ !== 'dpop+jwt',
    jwk: secrets.length > 0,
    htm: htm !== call.method,
    htu: htu !== call.url.split(/[?#]/)[0],
    iat: Math.abs(iat - call.at / 1000) > 60,
    jti: typeof jti !== 'string' || jti === '' || used,
    nonce: nonce !== undefined && typeof nonce !== 'string',
    ath: presents !== undefined && ath !== createHash('sha256').update(presents).digest('base64url'),
    scheme: /^bearer$/i.test(scheme),
  }
  const wrong = Object.entries(faults).flatMap(([name, isWrong]) => (isWrong ? name : []))
  if (wrong.length > 0) {
    throw new Error(`wrong in a DPoP proof: ${wrong}: ${JSON.stringify({ header, claims, used })}`)
  }
  const jkt = await calculateJwkThumbprint(jwk as JWK)
  return { header, claims, jkt, ...(typeof nonce === 'string' && { nonce }) }
}

function jtiOf({ headers }: Call): unknown {
  return typeof headers['dpop'] === 'string' ? decodeJwt(headers['dpop']).jti : undefined
}
