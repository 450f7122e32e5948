/**
 * Who we are to the OP and how we reach it: client metadata, client authentication, keys, transports, discovery.
 * Knows nothing of what is asked for.
 */

import * as oauth from 'oauth4webapi'
import type { SigningKey } from './client-keys.ts'
import { decrypter } from './decryption.ts'
import { discovery } from './discovery.ts'
import { createDpop, type Dpop } from './dpop.ts'
import { hasKeys } from './keys-watch.ts'
import { checkMetadata } from './metadata.ts'
import type { OpConfig } from './registration.ts'
import type { ProcessGrantResponseOptions } from './token-response.ts'
import {
  type CustomFetch,
  createResourceTransport,
  createTransport,
  retrying,
  type Transport,
} from './transport.ts'

/** The HTTP options of oauth4webapi's functions. */
export interface HttpOptions {
  [oauth.customFetch]: CustomFetch
  [oauth.allowInsecureRequests]: boolean
  signal: AbortSignal
}

/** Everything that the requests to one OP have in common. */
export interface Connection {
  readonly config: OpConfig
  readonly client: oauth.Client
  /** One and the same method at all endpoints [AUTH-1]. */
  readonly clientAuth: oauth.ClientAuth
  readonly dpop?: Dpop
  /** The OP's metadata. Rejects with a `CibaError`. */
  discover(): Promise<oauth.AuthorizationServer>
  /** For one request. */
  http(): HttpOptions
  /** For one token request, which an OP may hold for long. */
  tokenHttp(timeoutMs: number): HttpOptions
  /** For protected resources: whole `fetch` semantics, no limits of ours. */
  readonly resourceFetch: CustomFetch
  /** For the OP's keys: tries again, since a login hangs on them. */
  readonly keysFetch: CustomFetch
  /** How the OP's keys are fetched, and which algorithms may sign and encrypt. */
  readonly validation: ProcessGrantResponseOptions
  /** Lets go of the connections. */
  close(): Promise<void>
}

export function connect(config: OpConfig): Connection {
  const { allowInsecureRequests, timeoutMs, idTokenDecryptionKeys, idTokenSigningAlgs, clientSecret } = config
  const client: oauth.Client = {
    client_id: config.clientID,
    [oauth.clockTolerance]: config.clockTolerance,
    // Whatever the client authentication: tokens are bound to the certificate [AUTH-6].
    ...(config.mtls && { use_mtls_endpoint_aliases: true }),
    ...(idTokenDecryptionKeys?.[0] && { id_token_encrypted_response_alg: idTokenDecryptionKeys[0].algs[0] }),
  }
  const dpop = config.dpop && createDpop(client, config.dpop === 'perTransaction' ? undefined : config.dpop)
  const { fetch, tokenFetch, resourceFetch, close } = transports(config, dpop)
  // As long as the timeout lets it: the OP has used up what would bring the tokens again.
  const keysFetch = retrying(fetch, [100, 400, 1_000, 2_000, 4_000], hasKeys)
  const http = (customFetch: CustomFetch, ms: number): HttpOptions => ({
    [oauth.customFetch]: customFetch,
    [oauth.allowInsecureRequests]: allowInsecureRequests,
    signal: AbortSignal.timeout(ms),
  })
  const validation: ProcessGrantResponseOptions = {
    [oauth.customFetch]: keysFetch,
    [oauth.allowInsecureRequests]: allowInsecureRequests,
    signal: () => AbortSignal.timeout(timeoutMs),
    strict: true,
    tokenType: dpop ? 'dpop' : 'bearer',
    ...(idTokenSigningAlgs && { idTokenSigningAlgs }),
    ...(clientSecret !== undefined && { clientSecret }),
    ...(idTokenDecryptionKeys && { [oauth.jweDecrypt]: decrypter(idTokenDecryptionKeys) }),
    ...(config.idTokenChecks?.nonce === false && { nonce: false }),
  }
  return {
    config,
    client,
    clientAuth: clientAuthOf(config),
    ...(dpop && { dpop }),
    discover: discovery({
      issuer: config.issuer,
      fetch,
      allowInsecureRequests,
      timeoutMs,
      check: (server) => checkMetadata(server, config),
    }),
    http: () => http(fetch, timeoutMs),
    tokenHttp: (ms) => http(tokenFetch, ms),
    resourceFetch,
    keysFetch,
    validation,
    close,
  }
}

function clientAuthOf(config: OpConfig): oauth.ClientAuth {
  const { clientAuthMethod, clientSecret = '', clientAssertionKeys } = config
  switch (clientAuthMethod) {
    case 'client_secret_basic':
      return oauth.ClientSecretBasic(clientSecret)
    case 'client_secret_post':
      return oauth.ClientSecretPost(clientSecret)
    case 'client_secret_jwt':
      return oauth.ClientSecretJwt(clientSecret)
    case 'private_key_jwt':
      return privateKeyJwt(clientAssertionKeys?.[0] as SigningKey)
    case 'tls_client_auth':
    case 'self_signed_tls_client_auth':
      return oauth.TlsClientAuth() // the certificate is the transport's business [AUTH-5]
  }
}

/** A new assertion with each request; its `aud` is the issuer, as one string [AUTH-2, AUTH-3]. */
function privateKeyJwt(key: SigningKey): oauth.ClientAuth {
  let imported: Promise<oauth.ClientAuth> | undefined
  return async (...request) => {
    imported ??= key.privateKey().then((privateKey) =>
      oauth.PrivateKeyJwt(
        { key: privateKey, kid: key.kid },
        {
          // oauth4webapi names Ed25519 by its newer name only.
          [oauth.modifyAssertion]: (header) => Object.assign(header, { alg: key.alg }),
        },
      ),
    )
    const authenticate = await imported
    return authenticate(...request)
  }
}

/** Connections of their own for token requests: an OP may hold those for long, and starts must not queue behind. */
function transports(
  { customFetch, timeoutMs, mtls }: OpConfig,
  dpop: Dpop | undefined,
): {
  readonly fetch: CustomFetch
  readonly tokenFetch: CustomFetch
  readonly resourceFetch: CustomFetch
  readonly close: () => Promise<void>
} {
  const noting = (fetch: CustomFetch) => dpop?.noting(fetch) ?? fetch
  if (customFetch) {
    const fetch = noting(customFetch)
    return { fetch, tokenFetch: fetch, resourceFetch: fetch, close: async () => {} }
  }
  const options = {
    // Shorter than the timeout: who could not connect has certainly asked nobody.
    connectTimeoutMs: Math.min(5_000, timeoutMs / 2),
    certificate: mtls === true ? undefined : mtls,
  }
  const transport = createTransport(options)
  const tokenTransport = createTransport(options)
  let resourceTransport: Transport | undefined
  return {
    fetch: noting(transport.fetch),
    tokenFetch: noting(tokenTransport.fetch),
    resourceFetch: noting((url, init) => {
      resourceTransport ??= createResourceTransport(options)
      return resourceTransport.fetch(url, init)
    }),
    async close() {
      await Promise.all([transport.close(), tokenTransport.close(), resourceTransport?.close()])
    },
  }
}
