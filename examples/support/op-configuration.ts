/**
 * The oidc-provider configuration of the embedded OP: clients, accounts, keys and the CIBA hooks. Knows what
 * oidc-provider wants to hear; listens to nothing and keeps nothing.
 */
import { generateKeyPair } from 'node:crypto'
import { promisify } from 'node:util'
import {
  type BackchannelAuthenticationRequest,
  type ClientMetadata,
  type Configuration,
  errors,
  type JWK,
  type KoaContextWithOIDC,
} from 'oidc-provider'
import { memoryAdapter } from './memory-adapter.ts'

/** A client as registered at the embedded OP. */
export interface OpClient {
  clientId: string
  clientSecret: string
  deliveryMode: 'poll' | 'ping'
  /** Where pings go: an http URL on loopback, registered as https and called as http. Required for ping. */
  notificationEndpoint?: string
  /** @default 'client_secret_basic' */
  clientAuthMethod?: 'client_secret_basic' | 'client_secret_post'
  /** Every request needs a `user_code`, which is {@link USER_CODE} for everybody. @default false */
  userCode?: boolean
  /** RS256, ES256 or EdDSA. @default 'RS256' */
  idTokenSigningAlg?: string
}

/** The user code of every account, for clients with `userCode`. */
export const USER_CODE = '1234'

export interface OpConfigurationOptions {
  clients: readonly OpClient[]
  accounts: readonly string[]
  /** Seconds until a request expires, unless the client asks for less or more with `requested_expiry`. */
  expiresIn: number
  /** What signs. @default fresh ones for RS256, ES256 and EdDSA */
  keys?: JWK[]
}

/** What oidc-provider leaves to whoever runs it. */
export interface OpHooks {
  /** Awaited before the acknowledgement is sent. */
  trigger(ctx: KoaContextWithOIDC, request: BackchannelAuthenticationRequest): Promise<void>
  /** Asks something of a client, at an http URL: delivers a ping, for example. */
  callClient(url: URL, init: RequestInit): Promise<Response>
}

const CIBA_GRANT = 'urn:openid:params:grant-type:ciba'
const HOUR = 3600

export async function opConfiguration(
  options: OpConfigurationOptions,
  hooks: OpHooks,
): Promise<Configuration> {
  return {
    adapter: memoryAdapter(),
    acrValues: ['urn:example:loa:1', 'urn:example:loa:2'],
    // acr and auth_time listed under openid: they are in every ID token for which approve() was given them.
    claims: {
      openid: ['sub', 'acr', 'auth_time'],
      profile: ['name'],
      email: ['email', 'email_verified'],
    },
    clientAuthMethods: ['client_secret_basic', 'client_secret_post'],
    clients: options.clients.map(metadataOf),
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256', 'EdDSA'] },
    features: {
      ciba: cibaFeature(options.accounts, hooks.trigger),
      devInteractions: { enabled: false },
      resourceIndicators: { enabled: false },
      revocation: { enabled: true },
      rpInitiatedLogout: { enabled: false },
    },
    // oidc-provider registers https endpoints only, and its dispatcher ends every connection to loopback.
    async fetch(url, init: RequestInit & { dispatcher?: unknown } = {}) {
      const target = new URL(String(url))
      target.protocol = 'http:'
      const { dispatcher: _, ...rest } = init
      return hooks.callClient(target, rest)
    },
    findAccount(_ctx, accountId) {
      if (!options.accounts.includes(accountId)) return undefined
      const name = accountId.charAt(0).toUpperCase() + accountId.slice(1)
      const claims = { sub: accountId, name, email: `${accountId}@example.com`, email_verified: true }
      return { accountId, claims: () => claims }
    },
    jwks: { keys: options.keys ?? (await signingKeys()) },
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

function cibaFeature(
  accounts: readonly string[],
  trigger: OpHooks['trigger'],
): NonNullable<Configuration['features']>['ciba'] {
  return {
    enabled: true,
    deliveryModes: ['poll', 'ping'],
    processLoginHint: (_ctx, hint) =>
      accounts.find((accountId) => hint === accountId || hint === `${accountId}@example.com`),
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

function metadataOf(client: OpClient): ClientMetadata {
  const metadata: ClientMetadata = {
    client_id: client.clientId,
    client_secret: client.clientSecret,
    token_endpoint_auth_method: client.clientAuthMethod ?? 'client_secret_basic',
    grant_types: [CIBA_GRANT, 'refresh_token'],
    response_types: [],
    redirect_uris: [],
    id_token_signed_response_alg: (client.idTokenSigningAlg ?? 'RS256') as 'RS256',
    backchannel_token_delivery_mode: client.deliveryMode,
    backchannel_user_code_parameter: client.userCode ?? false,
  }
  if (client.deliveryMode === 'ping') {
    if (!client.notificationEndpoint) throw new TypeError(`${client.clientId} needs a notificationEndpoint`)
    metadata.backchannel_client_notification_endpoint = asHttps(client.notificationEndpoint)
  }
  return metadata
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
