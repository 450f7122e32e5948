/**
 * What oidc-provider is told where everything is switched on that a CIBA client may use. Builds on the configuration
 * of the test provider. Listens to nothing and keeps nothing.
 */
import { randomBytes, type X509Certificate } from 'node:crypto'
import type { TLSSocket } from 'node:tls'
import {
  type AdapterFactory,
  type AuthorizationDetailsForIntrospection,
  type Configuration,
  errors,
  type JWK,
  type RichAuthorizationRequestsActiveConfiguration,
  type UnknownObject,
} from 'oidc-provider'
import { Accounts } from '../../lib/testing/accounts.ts'
import { type OpHooks, opConfiguration } from '../../lib/testing/op-configuration.ts'

/** The resources that can be asked for, and the format of their access tokens; their scopes are `accounts payments`. */
export const RESOURCES = {
  opaque: 'https://api.example.com/opaque',
  jwt: 'https://api.example.com/jwt',
} as const

export interface FullOpConfigurationOptions {
  readonly issuer: string
  /** Where clients present their certificates, if that is elsewhere. */
  readonly mtlsOrigin: string | undefined
  readonly accounts: readonly string[]
  readonly expiresIn: number
  readonly accessTokenExpiresIn: number
  readonly refreshTokens: 'offline_access' | 'always' | 'never'
  /** Whether the token and the userinfo endpoint insist on a nonce in the proof. */
  readonly dpopNonce: boolean
  readonly adapter: AdapterFactory
  readonly keys: readonly JWK[]
}

type Features = NonNullable<Configuration['features']>

const asymmetric = [
  ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
  ...['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'],
]
const signing = ['HS256', 'HS384', 'HS512', ...asymmetric]
const keyManagement = [
  ...['RSA-OAEP', 'RSA-OAEP-256', 'RSA-OAEP-384', 'RSA-OAEP-512'],
  ...['ECDH-ES', 'ECDH-ES+A128KW', 'ECDH-ES+A192KW', 'ECDH-ES+A256KW', 'A256KW', 'dir'],
]

export async function fullOpConfiguration(
  options: FullOpConfigurationOptions,
  hooks: OpHooks,
): Promise<Configuration> {
  const { issuer, expiresIn, keys } = options
  const accounts = new Accounts(options.accounts)
  const base = await opConfiguration({ issuer, clients: [], accounts, expiresIn, keys }, hooks)
  return {
    ...base,
    adapter: options.adapter,
    clientAuthMethods: [
      'client_secret_basic',
      'client_secret_post',
      'client_secret_jwt',
      'private_key_jwt',
      'tls_client_auth',
      'self_signed_tls_client_auth',
    ],
    discovery: options.mtlsOrigin ? { mtls_endpoint_aliases: aliases(options.mtlsOrigin) } : {},
    enabledJWA: {
      clientAuthSigningAlgValues: signing,
      dPoPSigningAlgValues: asymmetric,
      idTokenEncryptionAlgValues: keyManagement,
      idTokenSigningAlgValues: signing,
      requestObjectSigningAlgValues: signing,
      userinfoEncryptionAlgValues: keyManagement,
      userinfoSigningAlgValues: signing,
    } as NonNullable<Configuration['enabledJWA']>,
    features: {
      ...base.features,
      backchannelLogout: { enabled: true },
      claimsParameter: { enabled: true },
      dPoP: {
        enabled: true,
        requireNonce: () => options.dpopNonce,
        ...(options.dpopNonce && { nonceSecret: randomBytes(32) }),
      },
      encryption: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      jwtUserinfo: { enabled: true },
      mTLS: mutualTls,
      requestObjects: { enabled: true },
      resourceIndicators: resourceIndicators(options.issuer),
      revocation: {
        enabled: true,
        allowedPolicy: (_ctx, client, token) => token.clientId === client.clientId,
      },
      richAuthorizationRequests,
      rpInitiatedLogout: {
        enabled: true,
        logoutSource(ctx, form) {
          ctx.body = form
        },
        postLogoutSuccessSource(ctx) {
          ctx.body = 'signed out'
        },
      },
    },
    issueRefreshToken: async (_ctx, client, source) =>
      client.grantTypeAllowed('refresh_token') &&
      options.refreshTokens !== 'never' &&
      (options.refreshTokens === 'always' || source.scopes.has('offline_access')),
    rotateRefreshToken: true,
    scopes: ['openid', 'offline_access', 'accounts', 'payments'],
    ttl: { ...base.ttl, AccessToken: options.accessTokenExpiresIn, Session: 3600 },
  }
}

/** The endpoints of clients with certificates (RFC 8705, section 5), at the paths they have anyway. */
function aliases(origin: string): UnknownObject {
  return {
    backchannel_authentication_endpoint: `${origin}/backchannel`,
    introspection_endpoint: `${origin}/token/introspection`,
    revocation_endpoint: `${origin}/token/revocation`,
    token_endpoint: `${origin}/token`,
    userinfo_endpoint: `${origin}/me`,
  }
}

/** The certificate of the other side, whoever signed it. */
export function presentedCertificate({ socket }: { readonly socket: unknown }): X509Certificate | undefined {
  return (socket as Partial<TLSSocket>).getPeerX509Certificate?.()
}

const mutualTls: NonNullable<Features['mTLS']> = {
  enabled: true,
  certificateBoundAccessTokens: true,
  selfSignedTlsClientAuth: true,
  tlsClientAuth: true,
  getCertificate: ({ req }) => presentedCertificate(req),
  certificateAuthorized: ({ req }) => (req.socket as Partial<TLSSocket>).authorized === true,
  certificateSubjectMatches({ req }, property, expected) {
    const certificate = presentedCertificate(req)
    if (property !== 'tls_client_auth_subject_dn' || !certificate) return false
    // RFC 4514 begins with the last attribute, the certificate with the first.
    const subject = certificate.subject.split('\n').reverse().join(',')
    return subject === expected.replace(/(?<!\\),\s+/g, ',')
  },
}

/** Access tokens are for the resource that was asked for, and otherwise for userinfo. */
function resourceIndicators(issuer: string): NonNullable<Features['resourceIndicators']> {
  const known: ReadonlyMap<string, 'opaque' | 'jwt'> = new Map([
    [issuer, 'opaque'],
    [RESOURCES.opaque, 'opaque'],
    [RESOURCES.jwt, 'jwt'],
  ])
  return {
    enabled: true,
    defaultResource(ctx, _client, oneOf) {
      if (oneOf) return oneOf[0]
      // oidc-provider has no authorization_details without a resource.
      return ctx.oidc.params?.['authorization_details'] === undefined ? undefined : issuer
    },
    useGrantedResource: (_ctx, { resource }) => resource !== issuer,
    getResourceServerInfo(_ctx, resource) {
      const accessTokenFormat = known.get(resource)
      if (!accessTokenFormat) throw new errors.InvalidTarget('unknown resource')
      return { scope: 'accounts payments', accessTokenFormat }
    },
  }
}

/** A payment has `instructedAmount: { currency, amount }`. What was granted is what `approve` said. */
const richAuthorizationRequests: RichAuthorizationRequestsActiveConfiguration & {
  authorizationDetailsForIntrospection: AuthorizationDetailsForIntrospection
} = {
  enabled: true,
  types: {
    payment_initiation: {
      validate(_ctx, { instructedAmount }) {
        const { currency, amount } = (instructedAmount ?? {}) as Record<string, unknown>
        if (typeof currency === 'string' && typeof amount === 'string') return
        throw new errors.InvalidAuthorizationDetails('a payment has a currency and an amount')
      },
    },
    account_information: { validate() {} },
  },
  authorizationDetailsForGrantSource: (_ctx, source) => source.rar,
  authorizationDetailsForAccessToken: (_ctx, _token, source) => source?.rar,
  authorizationDetailsForIntrospection: (_ctx, token) => token.rar,
}
