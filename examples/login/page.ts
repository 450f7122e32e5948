/** The HTML of the app's one page: who is signed in, or a form to sign in with. What moves is in `page.js`. */
import { type Html, html, inlineFile, page } from '../support/html.ts'

export interface HomePage {
  /** The ID token's claims of whoever is signed in. */
  user: Readonly<Record<string, unknown>> | undefined
  devicePage: string
}

export function homePage({ user, devicePage }: HomePage): string {
  return page(
    'Sign in by phone',
    html`<main>
${user ? signedIn(user) : signedOut(devicePage)}
</main>
<script type="module">${inlineFile('page.js', import.meta.url)}</script>`,
  )
}

function signedIn(user: Readonly<Record<string, unknown>>): Html {
  return html`<section class="card">
<h1>Hello, ${String(user['sub'])}</h1>
<p class="good"><strong>You are signed in.</strong> This is what your ID token says:</p>
<dl>
${Object.entries(user).map(([claim, value]) => html`<dt>${claim}</dt><dd>${show(claim, value)}</dd>`)}
</dl>
<p class="quiet"><a href="/account">/account</a> answers you now.</p>
<p id="sign-out-error" class="bad" role="alert"></p>
<button id="sign-out" type="button">Sign out</button>
</section>`
}

/** One section at a time is visible; `page.js` says which. */
function signedOut(devicePage: string): Html {
  return html`<section class="card" data-view="form">
<h1>Sign in by phone</h1>
<form id="start">
<label for="login-hint">Who are you?</label>
<input id="login-hint" name="loginHint" value="alice" list="people" autocomplete="username" autocapitalize="none" required>
<datalist id="people"><option value="alice"><option value="bob"></datalist>
<p><button class="primary">Send a request to my phone</button></p>
</form>
<p class="quiet">alice and bob have accounts here, and no passwords.</p>
</section>

<section class="card" data-view="waiting" hidden>
<h1 tabindex="-1">Look at your phone</h1>
<p id="binding">Approve only if your phone shows this:</p>
<p class="binding" id="binding-message"></p>
<progress id="remaining" aria-label="Time left" value="1" max="1"></progress>
<p class="quiet" id="remaining-text"></p>
<p class="bad" id="trouble" role="status"></p>
<p><a href="${devicePage}" target="phone" rel="noopener">Open the phone</a></p>
<button id="cancel" type="button">Cancel</button>
</section>

<section class="card" data-view="outcome" hidden>
<h1 tabindex="-1" id="outcome-title"></h1>
<p id="outcome-text"></p>
<button id="again" type="button" class="primary">Try again</button>
</section>`
}

function show(claim: string, value: unknown): string {
  const isDate = typeof value === 'number' && ['exp', 'iat', 'auth_time'].includes(claim)
  if (isDate) return new Date(value * 1000).toISOString().replace('T', ' ').replace('.000Z', ' UTC')
  return typeof value === 'string' ? value : JSON.stringify(value)
}
