/** The two pages of the login example. Knows nothing of how anybody signs in. */
import type { IdTokenClaims } from '../../lib/index.ts'
import { html, page, signedInBar } from '../support/html.ts'

/** The way in is a link; `returnTo` says where to go after the login. */
export function homePage(user: IdTokenClaims | undefined): string {
  const body = html`<main>
<section class="card">
<h1>Sign in by phone</h1>
<p>Name yourself here, approve on your phone, and you are in. No password, no redirect to another site.</p>
${
  user
    ? html`<p><a class="button" href="/account">Go to your account</a></p>`
    : html`<p><a class="button" href="/ciba/login?returnTo=/account">Sign in</a></p>`
}
<p class="quiet">alice and bob have accounts here, and no passwords.</p>
</section>
</main>`
  return page({ title: 'Sign in by phone', body })
}

/** `user` is there: the route is guarded. */
export function accountPage(user: IdTokenClaims | undefined): string {
  const claims = Object.entries(user ?? {})
  const body = html`${signedInBar('Your account', user?.sub ?? '')}
<main>
<section class="card">
<h1>Hello, ${user?.sub ?? ''}</h1>
<p class="good"><strong>You are signed in.</strong> This is what your ID token says:</p>
<dl>
${claims.map(([claim, value]) => html`<dt>${claim}</dt><dd>${show(claim, value)}</dd>`)}
</dl>
</section>
</main>`
  return page({ title: 'Your account', body })
}

function show(claim: string, value: unknown): string {
  const isDate = typeof value === 'number' && ['exp', 'iat', 'auth_time'].includes(claim)
  if (isDate) return new Date(value * 1000).toISOString().replace('T', ' ').replace('.000Z', ' UTC')
  return typeof value === 'string' ? value : JSON.stringify(value)
}
