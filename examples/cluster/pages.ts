/** The two pages of the cluster example, and who has answered. Knows nothing of how anybody signs in. */
import type { IdTokenClaims } from '../../lib/index.ts'
import { type Html, html, page, signedInBar } from '../support/html.ts'

export function homePage(user: IdTokenClaims | undefined, instance: string): string {
  const body = html`<main>
<section class="card">
<h1>Sign in by phone</h1>
<p>Several instances of this app take turns, and share what they know in Redis. Any of them can be killed.</p>
${
  user
    ? html`<p><a class="button" href="/account">Go to your account</a></p>`
    : html`<p><a class="button" href="/ciba/login?returnTo=/account">Sign in</a></p>`
}
<p class="quiet">alice and bob have accounts here, and no passwords.</p>
</section>
</main>
${answeredBy(instance)}`
  return page({ title: 'Sign in by phone', body })
}

/** `user` is there: the route is guarded. */
export function accountPage(user: IdTokenClaims | undefined, instance: string): string {
  const who = user?.sub ?? ''
  const body = html`${signedInBar('Your account', who)}
<main>
<section class="card">
<h1>Hello, ${who}</h1>
<p class="good"><strong>You are signed in</strong> at every instance: it does not matter which one answers.</p>
<p><a class="button" href="/account">Look again</a></p>
</section>
</main>
${answeredBy(instance)}`
  return page({ title: 'Your account', body })
}

function answeredBy(instance: string): Html {
  return html`<footer><p class="quiet">Answered by instance ${instance}, process ${process.pid}.</p></footer>`
}
