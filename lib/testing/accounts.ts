/** Those who can be asked, and the hints that name them. Knows nothing of how the hints arrive. */

import type { TestAccount } from './types.ts'

/** The user code of every account, for clients with `userCode`. */
export const USER_CODE = '1234'

type Claims = { readonly sub: string } & Readonly<Record<string, unknown>>

export class Accounts {
  /** As they were given. */
  readonly #claims: ReadonlyMap<string, Claims>

  constructor(accounts: readonly TestAccount[]) {
    const given = accounts.map((account) => (typeof account === 'string' ? { sub: account } : account))
    this.#claims = new Map(given.map((claims) => [claims.sub, claims]))
  }

  get ids(): string[] {
    return [...this.#claims.keys()]
  }

  /** Names of the claims that were given with accounts. */
  get claimNames(): string[] {
    return [...new Set([...this.#claims.values()].flatMap((claims) => Object.keys(claims)))]
  }

  has(id: string): boolean {
    return this.#claims.has(id)
  }

  /** For the ID token: what was given. For userinfo: what everybody has, too. */
  claims(id: string, use: 'id_token' | 'userinfo'): Claims {
    const given = this.#claims.get(id) ?? { sub: id }
    return use === 'id_token' ? given : { ...ordinaryClaims(id), ...given }
  }

  /** The id of whom a `login_hint` means. */
  named(hint: string): string | undefined {
    if (this.#claims.has(hint)) return hint
    return this.ids.find((id) => hint === emailOf(id) || hint === this.#claims.get(id)?.['email'])
  }
}

function ordinaryClaims(sub: string): Record<string, unknown> {
  const name = sub.charAt(0).toUpperCase() + sub.slice(1)
  return { name, email: emailOf(sub), email_verified: true }
}

function emailOf(id: string): string {
  return `${id}@example.com`
}
