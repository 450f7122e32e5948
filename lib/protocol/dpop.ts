/**
 * DPoP (RFC 9449): the keys that tokens are bound to, and the nonces that servers ask for. Knows nothing of what is
 * requested.
 */

import { generateKeyPair, type JsonWebKey } from 'node:crypto'
import { promisify } from 'node:util'
import * as oauth from 'oauth4webapi'
import { CibaError } from '../errors.ts'
import type { Grant, PrivateJwk } from '../grant.ts'
import { type SigningKey, webCryptoAlgorithm } from './client-keys.ts'
import type { CustomFetch } from './transport.ts'

/** A private JWK, for a transaction and then a session to keep, sealed. */
export type DpopKey = PrivateJwk

/** Proves possession of the key that a token is bound to [AUTH-7]. */
export interface Dpop {
  /** A key for a new transaction; `undefined` where one configured key serves all. */
  newKey(): Promise<DpopKey | undefined>
  /** What oauth4webapi makes proofs with; `key` is what {@link newKey} gave. */
  handle(key: DpopKey | undefined): Promise<oauth.DPoPHandle>
  /** Remembers the nonces that come with the answers, for all keys. */
  noting(fetch: CustomFetch): CustomFetch
}

/** Of the keys that are made here. */
export const perTransactionAlg = 'ES256'
const mostOrigins = 100

/** Whose next proof answers a challenge. */
const challenged = new WeakSet<oauth.DPoPHandle>()

/** The next proof has the nonce of the challenge that has just come, not a newer one: some are good for one proof only. */
export function answerChallenge(handle: oauth.DPoPHandle): void {
  challenged.add(handle)
}

/** @param shared - one key for all tokens; absent: a new one for each transaction. */
export function createDpop(client: oauth.Client, shared?: SigningKey): Dpop {
  const handles = new WeakMap<DpopKey, Promise<oauth.DPoPHandle>>()
  const nonces = new Map<string, string>()

  async function makeHandle(key: DpopKey | undefined): Promise<oauth.DPoPHandle> {
    if (key === undefined && shared === undefined) throw new TypeError('the DPoP key is missing')
    const alg = key || !shared ? perTransactionAlg : shared.alg
    const { d: _, ...publicJwk } = key ?? { ...(shared?.publicJwk as JsonWebKey) }
    const algorithm = webCryptoAlgorithm(alg)
    const keyPair = {
      privateKey: key
        ? await crypto.subtle.importKey('jwk', key as JsonWebKey, algorithm, false, ['sign'])
        : await (shared as SigningKey).privateKey(),
      publicKey: await crypto.subtle.importKey(
        'jwk',
        { ...publicJwk, use: undefined, alg: undefined } as JsonWebKey,
        algorithm,
        true,
        ['verify'],
      ),
    }
    const handle: oauth.DPoPHandle = oauth.DPoP(client, keyPair, {
      [oauth.modifyAssertion](header, payload) {
        Object.assign(header, { alg })
        if (challenged.delete(handle)) return
        // A nonce belongs to the server, not to the key: the newest is the best for all of them (RFC 9449 §8.2).
        payload['nonce'] = nonces.get(new URL(String(payload['htu'])).origin) ?? payload['nonce']
      },
    })
    return handle
  }

  let sharedHandle: Promise<oauth.DPoPHandle> | undefined
  return {
    async newKey() {
      if (shared) return undefined
      const { privateKey } = await promisify(generateKeyPair)('ec', { namedCurve: 'P-256' })
      return privateKey.export({ format: 'jwk' }) as DpopKey
    },

    handle(key) {
      if (key === undefined) {
        sharedHandle ??= makeHandle(undefined)
        return sharedHandle
      }
      const known = handles.get(key)
      if (known !== undefined) return known
      const made = makeHandle(key)
      handles.set(key, made)
      return made
    },

    noting: (fetch) => async (url, init) => {
      const response = await fetch(url, init)
      const nonce = response.headers.get('dpop-nonce')
      if (nonce !== null && 'dpop' in init.headers) {
        const { origin } = new URL(url)
        nonces.delete(origin)
        nonces.set(origin, nonce)
        const [oldest] = nonces.keys()
        if (nonces.size > mostOrigins && oldest !== undefined) nonces.delete(oldest)
      }
      return response
    },
  }
}

/** Proves possession of the key that the tokens of a grant are bound to; `undefined` for bearer tokens. */
export async function proofFor(
  dpop: Dpop | undefined,
  { tokens, dpopKey }: Pick<Grant, 'tokens' | 'dpopKey'>,
): Promise<oauth.DPoPHandle | undefined> {
  if (tokens.tokenType !== 'dpop') return undefined
  const handle = await dpop?.handle(dpopKey).catch(() => undefined)
  if (handle) return handle
  throw new CibaError(
    'ERR_CIBA_INVALID_TOKEN',
    'the key that the access token is bound to is not there any more',
  )
}
