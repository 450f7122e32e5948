/**
 * The test kit in types and prose. Never names a type of oidc-provider: whoever compiles against the kit need not
 * have its types.
 */

import type { RequestListener } from 'node:http'

/** Somebody at the test provider: an id, or an id with claims. */
export type TestAccount = string | ({ readonly sub: string } & Readonly<Record<string, unknown>>)

/** A client as registered at the test provider. */
export interface TestClient {
  readonly clientID: string
  /** @default a fixed text of more than 32 bytes */
  readonly clientSecret?: string
  /** @default {@link TestProviderOptions.deliveryMode} */
  readonly deliveryMode?: 'poll' | 'ping'
  /**
   * Where its pings go, an http URL: registered as https and called as http.
   *
   * @default {@link TestProviderOptions.notificationEndpoint}
   */
  readonly notificationEndpoint?: string
  /** @default 'client_secret_basic' */
  readonly clientAuthMethod?: 'client_secret_basic' | 'client_secret_post'
  /** Every request needs a `user_code`, which is `USER_CODE` for everybody. @default false */
  readonly userCode?: boolean
  /** What its ID tokens are signed with. @default 'RS256' */
  readonly idTokenSigningAlg?: 'RS256' | 'ES256' | 'EdDSA'
}

/**
 * What becomes of the ping of a decision, for clients in ping mode:
 *
 * - `'once'`: it is sent, as it should be
 * - `'twice'`: it is sent, and again when the first one was answered
 * - `'never'`: it gets lost
 * - `'held'`: it is kept until {@link TestProvider.releasePings}
 * - `'early'`: a ping overtakes the acknowledgement. {@link TestProvider.autoApprove} decides before it then; where
 *   that leaves the request open, the early ping comes on top of the one of the decision
 * - `{ afterMs }`: it is sent so much later
 */
export type Pings = 'once' | 'twice' | 'never' | 'held' | 'early' | { readonly afterMs: number }

/** What is to become of a request; `undefined` leaves it pending. */
export type Decision = 'approve' | 'deny' | undefined

/** Decides about requests as they arrive; `true` approves them all. A rejection makes the OP answer 500. */
export type AutoApprove = boolean | ((request: TestRequest) => Decision | Promise<Decision>)

/** Options of `startTestProvider()`; none is required. */
export interface TestProviderOptions {
  /**
   * The app under test, an http URL, as in the option of `ciba()`. It makes ping mode the default, and pings go to
   * its `/ciba/notification`.
   */
  readonly baseURL?: string
  /** @default 'ping' where it is known what to ping, otherwise 'poll' */
  readonly deliveryMode?: 'poll' | 'ping'
  /** Where pings go, an http URL: for apps with another `routes.notification`. @default below `baseURL` */
  readonly notificationEndpoint?: string
  /** The first one is that of {@link TestProvider.clientOptions}. @default one that is called `test-client` */
  readonly clients?: readonly TestClient[]
  /**
   * Who can be asked. A `login_hint` is an id, an id with `@example.com`, or the `email` among the claims. All claims
   * are in the ID token.
   *
   * @default ['alice', 'bob']
   */
  readonly accounts?: readonly TestAccount[]
  /** Seconds until a request expires when the client does not say. @default 120 */
  readonly expiresIn?: number
  /** Seconds that a client leaves between its token requests. Most real OPs say 5. @default 1 */
  readonly interval?: number
  /** The types of `authorization_details` that can be asked for. @default [] */
  readonly authorizationDetailsTypes?: readonly string[]
  /** @default 'once' */
  readonly pings?: Pings
  /** @default false */
  readonly autoApprove?: AutoApprove
  /** 0 for a free one. @default 0 */
  readonly port?: number
  /** Serves `/device` and all below it: for a page that stands in for people's phones. */
  readonly device?: (provider: TestProvider) => RequestListener
}

/** An authentication request as a person's phone shows it. */
export interface TestRequest {
  readonly authReqId: string
  /** Who is asked. */
  readonly accountId: string
  readonly clientID: string
  readonly bindingMessage?: string
  readonly scope?: string
  readonly acrValues?: readonly string[]
  readonly authorizationDetails?: readonly object[]
  /** Epoch milliseconds. */
  readonly createdAt: number
  /** Epoch milliseconds. */
  readonly expiresAt: number
}

/** What an approval says beside yes. */
export interface TestApproval {
  /** How well the person was authenticated. @default the first of the `acrValues` that were asked for */
  readonly acr?: string
  /** By which methods. */
  readonly amr?: readonly string[]
  /** When, in seconds since the epoch. @default now */
  readonly authTime?: number
  /** What is granted of the `authorization_details`. @default all that was asked for */
  readonly authorizationDetails?: readonly object[]
}

/** How many requests the OP received, and how many pings it sent. */
export interface TestCounts {
  backchannel: number
  token: number
  ping: number
  jwks: number
  discovery: number
}

/** What `ciba()` and `createCibaClient()` need to work with the test provider. */
export interface TestClientOptions {
  readonly issuerBaseURL: string
  readonly clientID: string
  readonly clientSecret: string
  readonly clientAuthMethod: 'client_secret_basic' | 'client_secret_post'
  readonly deliveryMode: 'poll' | 'ping'
  readonly baseURL?: string
  /** Of a client with {@link TestClient.userCode}. */
  readonly userCodeParameter?: true
  /** The test provider speaks http. */
  readonly allowInsecureRequests: true
}

/**
 * A request to decide about: itself, its `authReqId`, or whoever is asked, as a login hint names them. The latter
 * stands for their oldest pending request, or else for the next one to arrive.
 */
export type Which = TestRequest | string

/** A running OP. */
export interface TestProvider {
  /** `http://127.0.0.1:PORT` */
  readonly issuer: string
  /** Of its first client: `ciba({ ...provider.clientOptions })`. */
  readonly clientOptions: TestClientOptions
  /** The ids of those who can be asked. */
  readonly accounts: readonly string[]
  /** Pending on people's phones, by `authReqId`, oldest first: neither decided nor expired. */
  readonly requests: ReadonlyMap<string, TestRequest>
  readonly counts: TestCounts
  /** What becomes of the pings of decisions from now on. */
  pings: Pings
  /** Decides about requests that arrive from now on. */
  autoApprove: AutoApprove
  /**
   * The oldest pending request that nobody was given yet, or else the next to arrive; with `account`, of one person,
   * as a login hint names them. Rejects after `timeoutMs` (5000 by default), on `close()`, and for an unknown account.
   */
  waitForRequest(account?: string, options?: { readonly timeoutMs?: number }): Promise<TestRequest>
  /**
   * The person says yes. Resolves when the ping, if one is due now, was delivered or has failed; a failed ping does
   * not reject. A second call pings again. Rejects for an unknown or expired request.
   */
  approve(which: Which, approval?: TestApproval): Promise<void>
  /** The person says no. Otherwise as `approve`. */
  deny(which: Which): Promise<void>
  /**
   * The time is up: the OP answers `expired_token` from now on. Pings as the others do, though an OP may let a
   * request expire in silence (CIBA Core §10.2): say `pings = 'never'` for that.
   */
  expire(which: Which): Promise<void>
  /** Sends what `pings = 'held'` has kept, oldest first; resolves when all were delivered or have failed. */
  releasePings(): Promise<void>
  /** Ends connections, timers and pings under way. */
  close(): Promise<void>
}
