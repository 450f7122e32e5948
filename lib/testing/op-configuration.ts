/**
 * The oidc-provider configuration of the test provider: clients, accounts, keys and the CIBA hooks. Knows what
 * oidc-provider wants to hear; listens to nothing and keeps nothing.
 */

import { generateKeyPair } from 'node:crypto'
import { promisify } from 'node:util'
import type { CIBATriggerAuthenticationDevice, ClientMetadata, Configuration, JWK } from 'oidc-provider'
import { type Accounts, USER_CODE } from './accounts.ts'
import { memoryAdapter } from './memory-adapter.ts'
import { loadOidcProvider } from './oidc-provider.ts'
import type { TestClient } from './types.ts'

/** A client with nothing left to default, but for where a poll client would be pinged. */
export type RegisteredClient = Required<Omit<TestClient, 'notificationEndpoint'>> &
  Pick<TestClient, 'notificationEndpoint'>

export interface OpConfigurationOptions {
  readonly issuer: string
  readonly clients: readonly RegisteredClient[]
  readonly accounts: Accounts
  /** Seconds until a request expires, unless the client asks for less or more with `requested_expiry`. */
  readonly expiresIn: number
  /** @default none: there is nothing of the kind at this OP */
  readonly authorizationDetailsTypes?: readonly string[]
  /** What signs. @default fresh ones for RS256, ES256 and EdDSA */
  readonly keys?: readonly JWK[]
}

/** What oidc-provider leaves to whoever runs it. */
export interface OpHooks {
  /** Awaited before the acknowledgement is sent. */
  readonly trigger: CIBATriggerAuthenticationDevice
  /** Asks something of a client, at an http URL: delivers a ping, for example. */
  callClient(url: URL, init: RequestInit): Promise<Response>
}

type Features = NonNullable<Configuration['features']>

const CIBA_GRANT = 'urn:openid:params:grant-type:ciba'
const HOUR = 3600

export async function opConfiguration(
  options: OpConfigurationOptions,
  hooks: OpHooks,
): Promise<Configuration> {
  const { accounts, authorizationDetailsTypes: types = [] } = options
  return {
    adapter: memoryAdapter(),
    acrValues: ['urn:example:loa:1', 'urn:example:loa:2'],
    // Listed under openid: these are in every ID token for which there is a value.
    claims: {
      openid: [...new Set(['sub', 'acr', 'amr', 'auth_time', ...accounts.claimNames])],
      profile: ['name'],
      email: ['email', 'email_verified'],
    },
    clientAuthMethods: ['client_secret_basic', 'client_secret_post'],
    clients: options.clients.map((client) => metadataOf(client, types)),
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256', 'EdDSA'] },
    features: {
      ciba: await cibaFeature(accounts, hooks.trigger),
      devInteractions: { enabled: false },
      resourceIndicators: { enabled: false },
      revocation: { enabled: true },
      rpInitiatedLogout: { enabled: false },
      ...(types.length > 0 && authorizationDetailsFeatures(options.issuer, types)),
    },
    // oidc-provider registers https endpoints only, and its dispatcher ends every connection to loopback.
    async fetch(url, init: RequestInit & { dispatcher?: unknown } = {}) {
      const target = new URL(String(url))
      target.protocol = 'http:'
      const { dispatcher: _, ...rest } = init
      return hooks.callClient(target, rest)
    },
    findAccount(_ctx, accountId) {
      if (!accounts.has(accountId)) return undefined
      const claims = (use: string) => accounts.claims(accountId, use === 'id_token' ? use : 'userinfo')
      return { accountId, claims }
    },
    jwks: { keys: [...(options.keys ?? (await signingKeys()))] },
    scopes: ['openid', 'offline_access'],
    ttl: {
      AccessToken: HOUR,
      BackchannelAuthenticationRequest(ctx) {
        const { requested_expiry: requested } = ctx.oidc.params ?? {}
        return requested === undefined ? options.expiresIn : Math.min(Number(requested), 600)
      },
      Grant: 24 * HOUR,
      IdToken: HOUR,
      RefreshToken: 24 * HOUR,
    },
  }
}

async function cibaFeature(accounts: Accounts, trigger: OpHooks['trigger']): Promise<Features['ciba']> {
  const { errors } = await loadOidcProvider()
  return {
    enabled: true,
    deliveryModes: ['poll', 'ping'],
    processLoginHint: (_ctx, hint) => (hint === undefined ? undefined : accounts.named(hint)),
    processLoginHintToken() {
      throw new errors.InvalidRequest('login_hint_token is not supported')
    },
    verifyUserCode(ctx, _account, userCode) {
      if (!ctx.oidc.client?.backchannelUserCodeParameter) return
      if (userCode === undefined) throw new errors.MissingUserCode('user_code is required')
      if (userCode !== USER_CODE) throw new errors.InvalidUserCode('user_code is wrong')
    },
    validateBindingMessage(_ctx, message) {
      if (message === undefined || /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]{1,40}$/u.test(message)) return
      throw new errors.InvalidBindingMessage('binding_message must be 1 to 40 printable characters')
    },
    validateRequestContext() {},
    triggerAuthenticationDevice: trigger,
  }
}

/** oidc-provider has no authorization_details without a resource: the OP itself is the one. */
function authorizationDetailsFeatures(issuer: string, types: readonly string[]): Features {
  return {
    resourceIndicators: {
      enabled: true,
      defaultResource: (ctx, _client, oneOf) =>
        oneOf?.[0] ?? (ctx.oidc.params?.['authorization_details'] === undefined ? undefined : issuer),
      useGrantedResource: () => false,
      getResourceServerInfo: () => ({ scope: '', accessTokenFormat: 'opaque' }),
    },
    richAuthorizationRequests: {
      enabled: true,
      types: Object.fromEntries(types.map((type) => [type, { validate() {} }])),
      authorizationDetailsForGrantSource: (_ctx, source) => source.rar,
      authorizationDetailsForAccessToken: (_ctx, _token, source) => source?.rar,
    },
  }
}

function metadataOf(client: RegisteredClient, authorizationDetailsTypes: readonly string[]): ClientMetadata {
  return {
    client_id: client.clientID,
    client_secret: client.clientSecret,
    token_endpoint_auth_method: client.clientAuthMethod,
    grant_types: [CIBA_GRANT, 'refresh_token'],
    response_types: [],
    redirect_uris: [],
    id_token_signed_response_alg: client.idTokenSigningAlg,
    backchannel_token_delivery_mode: client.deliveryMode,
    backchannel_user_code_parameter: client.userCode,
    ...(client.deliveryMode === 'ping' &&
      client.notificationEndpoint !== undefined && {
        backchannel_client_notification_endpoint: asHttps(client.notificationEndpoint),
      }),
    ...(authorizationDetailsTypes.length > 0 && {
      authorization_details_types: [...authorizationDetailsTypes],
    }),
  }
}

/** How an http URL on loopback is registered where oidc-provider wants https. */
export function asHttps(url: string): string {
  const registered = new URL(url)
  registered.protocol = 'https:'
  return registered.href
}

async function signingKeys(): Promise<JWK[]> {
  const generate = promisify(generateKeyPair)
  const [rsa, ec, ed] = await Promise.all([
    generate('rsa', { modulusLength: 2048 }),
    generate('ec', { namedCurve: 'P-256' }),
    generate('ed25519'),
  ])
  return [
    { ...rsa.privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: 'rs256' },
    { ...ec.privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'ES256', kid: 'es256' },
    { ...ed.privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'EdDSA', kid: 'eddsa' },
  ] as JWK[]
}
