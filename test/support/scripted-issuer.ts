/**
 * Signs for the scripted OP, with whatever keys it has at the moment. Knows nothing of who asks, and of HTTP only
 * what an answer is.
 */
import { goodLogoutToken } from './logout-tokens.ts'
import type { Answer } from './scripted-answers.ts'
import { type SigningKeys, signingKeys } from './signing-keys.ts'
import {
  goodRefreshResponse,
  goodTokenResponse,
  type Issue,
  issueJwt,
  type JwtOverrides,
  type ResponseOverrides,
  type TokenContext,
} from './token-response.ts'

type Json = Record<string, unknown>

/** What to replace, and in tokens for which transaction: the most recent one unless told. */
export type TransactionOverrides = ResponseOverrides & { readonly authReqId?: string }

export abstract class ScriptedIssuer {
  /** The generations of signing keys that are published, and the one that signs; replace them to rotate keys. */
  keys: { readonly published: readonly number[]; readonly signing: number } = { published: [1], signing: 1 }

  abstract context(authReqId?: string): TokenContext

  /** A good token response. */
  async tokens(overrides: TransactionOverrides = {}): Promise<Answer> {
    return { json: await this.issue(goodTokenResponse, overrides) }
  }

  /** A good answer to a refresh: with a new refresh token, and an ID token of the same approval. */
  async refreshed(overrides: TransactionOverrides = {}): Promise<Answer> {
    return { json: await this.issue(goodRefreshResponse, overrides) }
  }

  /** Userinfo about alice as a signed JWT (OpenID Connect Core §5.3.2). */
  async signedUserinfo(overrides: JwtOverrides = {}): Promise<Answer> {
    const context = this.context()
    const claims = { iss: context.issuer, aud: context.clientId, sub: 'alice', ...overrides.claims }
    const body = await issueJwt(context, claims, await this.#withKeys(overrides))
    return { body, headers: { 'content-type': 'application/jwt' } }
  }

  /** A good logout token about alice. */
  async logoutToken(overrides: JwtOverrides = {}): Promise<string> {
    return goodLogoutToken(this.context(), await this.#withKeys(overrides))
  }

  protected async issue(issue: Issue, { authReqId, ...overrides }: TransactionOverrides): Promise<Json> {
    return issue(this.context(authReqId), await this.#withKeys(overrides))
  }

  protected async jwks(): Promise<{ readonly keys: readonly Json[] }> {
    const published = await Promise.all(this.keys.published.map((generation) => signingKeys(generation)))
    return { keys: published.flatMap(({ jwks }) => jwks.keys) }
  }

  async #withKeys<T extends JwtOverrides>(overrides: T): Promise<T & { readonly keys: SigningKeys }> {
    return { ...overrides, keys: overrides.keys ?? (await signingKeys(this.keys.signing)) }
  }
}
