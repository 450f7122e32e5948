/**
 * What the compiler has to accept and to refuse of options and authentication requests. Never runs, see `public-api.ts`.
 */

import type { KeyObject, webcrypto } from 'node:crypto'
import type { Request } from 'express'
import type { JWK } from 'jose'
import {
  type AuthenticationRequest,
  type AuthenticationRequestParameters,
  type CibaClientMetadata,
  type CibaClientOptions,
  type CibaOptions,
  type CibaRoutes,
  type ClientAuthMethod,
  type ClientCertificate,
  type CustomFetch,
  type CustomFetchInit,
  ciba,
  cibaClientMetadata,
  type DeliveryMode,
  type IdTokenClaims,
  MemoryTransactionStore,
  type PrivateKeyInput,
  type PrivateKeyMaterial,
  type PublicJwk,
  type StartLimiter,
  type StartLimiters,
  type TokenSet,
  type TransactionStore,
  type ValidateIdTokenClaims,
} from '../../lib/index.ts'
import { type Equals, sure } from './equals.ts'

// Options

ciba()
ciba({ issuerBaseURL: 'https://op.example.com', clientID: 'my-app', clientSecret: 'a-client-secret' })
ciba({ deliveryMode: 'ping', baseURL: 'https://my-app.example.com', secret: ['new-secret', 'old-secret'] })
ciba({ routes: { start: '/login', logout: false }, startLimiter: false, unknownUser: 'reveal' })
ciba({ store: new MemoryTransactionStore({ maxTransactions: 10 }) })
ciba({ clientID: process.env['CLIENT_ID'] })

// @ts-expect-error: no such option.
ciba({ clientId: 'my-app' })
// @ts-expect-error: no such delivery mode.
ciba({ deliveryMode: 'pign' })
// @ts-expect-error: no such route.
ciba({ routes: { begin: '/ciba/start' } })
// @ts-expect-error: a hint is given for each request, never as a default.
ciba({ authorizationParams: { loginHint: 'ada' } })
// @ts-expect-error: a store needs all its methods.
ciba({ store: { read: async () => undefined } })

// @ts-expect-error: a path switches it on.
ciba({ routes: { jwks: true } })
// @ts-expect-error: no such method.
ciba({ clientAuthMethod: 'none' })
// @ts-expect-error: no such profile.
ciba({ profile: 'fapi2' })
// @ts-expect-error: no such check can be switched off.
ciba({ idTokenChecks: { signature: false } })
// @ts-expect-error: certificate and key belong together.
ciba({ mtls: { cert: 'PEM' } })
// @ts-expect-error: it is on or absent.
ciba({ mtls: false })

ciba({
  startParams: (req) => {
    sure<Equals<typeof req, Request>>()
    return { loginHint: 'ada' }
  },
  afterAuthentication: async (req, { user, tokens, transaction }) => {
    sure<Equals<typeof req, Request>>()
    sure<Equals<typeof user, IdTokenClaims>>()
    sure<Equals<typeof tokens, TokenSet>>()
    sure<Equals<typeof transaction, string>>()
  },
})
// @ts-expect-error: has to return an authentication request.
ciba({ startParams: () => 'ada' })

sure<Equals<CibaOptions['deliveryMode'], 'poll' | 'ping' | 'push' | undefined>>()
sure<Equals<CibaOptions['store'], TransactionStore | undefined>>()
sure<Equals<CibaOptions['deliveryMode'], DeliveryMode | undefined>>()
sure<Equals<CibaOptions['clientAuthMethod'], ClientAuthMethod | undefined>>()
sure<Equals<CibaOptions['mtls'], ClientCertificate | true | undefined>>()
sure<Equals<CibaOptions['dpop'], boolean | PrivateKeyInput | undefined>>()
sure<Equals<CibaOptions['customFetch'], CustomFetch | undefined>>()
sure<Equals<CibaOptions['routes'], CibaRoutes | undefined>>()
sure<Equals<CibaOptions['startLimiter'], StartLimiter | StartLimiters | false | undefined>>()
sure<Equals<CibaOptions['authorizationParams'], AuthenticationRequestParameters | undefined>>()
sure<Equals<CibaOptions['userCodeParameter'], boolean | undefined>>()
sure<Equals<CibaOptions['profile'], 'fapi-ciba-id1' | undefined>>()
sure<Equals<keyof CibaClientOptions extends keyof CibaOptions ? true : false, true>>()

// Keys: whatever libraries make of one

declare const keyObject: KeyObject
declare const cryptoKey: webcrypto.CryptoKey
declare const jwk: JWK
declare const material: PrivateKeyMaterial

for (const key of [keyObject, cryptoKey, jwk, 'PEM', { kty: 'EC', d: '…' }, material]) {
  ciba({
    clientAssertionSigningKey: key,
    requestObjectSigningKey: [key],
    idTokenDecryptionKey: key,
    dpop: key,
  })
}
ciba({ clientAssertionSigningKey: { key: keyObject, kid: 'a' }, dpop: { key: 'PEM', kid: 'b' } })
ciba({ requestObjectSigningKey: [{ key: cryptoKey, kid: 'new' }, jwk] as const, dpop: true })
ciba({ mtls: { cert: 'PEM', key: Buffer.from('PEM'), ca: ['PEM', Buffer.from('PEM')], passphrase: '…' } })
ciba({ mtls: true, customFetch: async (url) => new Response(url) })
// @ts-expect-error: no number is a key.
ciba({ clientAssertionSigningKey: 7 })
// @ts-expect-error: one key for DPoP.
ciba({ dpop: [keyObject] })

ciba({
  validateIdTokenClaims: (claims, { isRefresh }) => {
    sure<Equals<typeof claims, IdTokenClaims>>()
    sure<Equals<typeof isRefresh, boolean>>()
  },
})
export const asynchronous: ValidateIdTokenClaims = async () => {}

export const customFetch: CustomFetch = async (url, init) => {
  sure<Equals<typeof url, string>>()
  sure<Equals<typeof init, CustomFetchInit>>()
  return new Response(url)
}

// What to register

const metadata = cibaClientMetadata({ clientID: 'my-app' })
sure<Equals<typeof metadata, CibaClientMetadata>>()
sure<Equals<typeof metadata.jwks, { readonly keys: readonly PublicJwk[] } | undefined>>()
sure<Equals<typeof metadata.backchannel_user_code_parameter, boolean>>()
cibaClientMetadata()
// @ts-expect-error: the same options as those of ciba().
cibaClientMetadata({ clientId: 'my-app' })
// @ts-expect-error: nothing secret is in it.
metadata.client_secret

// Authentication requests: exactly one hint

function accept(_request: AuthenticationRequest): void {}

accept({ loginHint: 'ada', bindingMessage: 'auto', acrValues: ['urn:example:gold'], requestedExpiry: 60 })
accept({ loginHintToken: 'eyJ…' })
accept({ idTokenHint: 'eyJ…', scope: 'openid profile' })
accept({
  loginHint: 'ada',
  authorizationDetails: [{ type: 'payment', amount: { value: '5.00', currency: null }, actions: ['a', 1] }],
  resource: ['https://api.example.com', 'urn:example:b'],
  requestContext: { device: { name: 'Kiosk 7' } },
  extra: { ui_locales: 'de' },
})
accept({ loginHint: 'ada', resource: 'https://api.example.com', requestContext: '{"device":"Kiosk 7"}' })
// @ts-expect-error: every detail has a type.
accept({ loginHint: 'ada', authorizationDetails: [{ amount: 1 }] })
// @ts-expect-error: a date would not survive.
accept({ loginHint: 'ada', authorizationDetails: [{ type: 'payment', due: new Date() }] })
// @ts-expect-error: a date would not survive.
accept({ loginHint: 'ada', requestContext: { due: new Date() } })
// @ts-expect-error: text only, and once.
accept({ loginHint: 'ada', extra: { a: ['b', 'c'] } })
// @ts-expect-error: text only.
accept({ loginHint: 'ada', extra: { a: 1 } })
// @ts-expect-error: no hint.
accept({ scope: 'openid' })
// @ts-expect-error: two hints.
accept({ loginHint: 'ada', idTokenHint: 'eyJ…' })
// @ts-expect-error: a list, not text.
accept({ loginHint: 'ada', acrValues: 'urn:example:gold' })
