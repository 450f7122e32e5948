/**
 * Loads oidc-provider, an optional peer: whoever wants the store contract alone need not have it. The one place
 * that imports more than its types.
 */

/** @throws Error that says what to install where it is missing. */
export async function loadOidcProvider(): Promise<typeof import('oidc-provider')> {
  try {
    return await import('oidc-provider')
  } catch (cause) {
    const { code = '', message } = cause as Error & { code?: string }
    // Quoted: something else that oidc-provider itself misses is named in quotes, too.
    if (!code.endsWith('MODULE_NOT_FOUND') || !message.includes("'oidc-provider'")) throw cause
    throw new Error(
      'startTestProvider() runs the package oidc-provider, which is not installed: npm install -D oidc-provider',
      { cause },
    )
  }
}
