/** The agent's one page: a card for each caller. What moves is in `public/calls.js`. */
import type { IdTokenClaims } from '../../lib/index.ts'
import { type Html, html, page, signedInBar } from '../support/html.ts'
import type { Customer } from './customers.ts'

/** `user` is there: the route is guarded. */
export function callsPage(user: IdTokenClaims | undefined, customers: ReadonlyMap<string, Customer>): string {
  return page({
    title: 'Call centre',
    script: 'calls.js',
    body: html`${signedInBar('Call centre', String(user?.['name'] ?? user?.sub))}
<main class="wide">
<h1>On the line</h1>
<p class="quiet">Ask callers to compare the code on their phone with the one that you read to them.</p>
<noscript><p class="bad">This page needs JavaScript.</p></noscript>
<ul class="cards">
${[...customers.values()].map(card)}
</ul>
</main>`,
  })
}

/** In the first of its states; the script hides and shows. */
function card({ sub, name, phone, waiting }: Customer): Html {
  const heading = `customer-${sub}`
  return html`<li class="card" data-customer="${sub}" aria-labelledby="${heading}">
<h2 id="${heading}">${name}</h2>
<p class="quiet">${phone}, waiting ${waiting}</p>
<p data-part="status" role="status">Not verified</p>
<p class="binding" data-part="code" hidden></p>
<progress data-part="time" aria-label="Time left" hidden></progress>
<dl data-part="record" hidden></dl>
<div class="choices">
<button type="button" class="primary" data-do="verify" aria-describedby="${heading}">Verify</button>
<button type="button" class="primary" data-do="open" aria-describedby="${heading}" hidden>Open the record</button>
<button type="button" data-do="cancel" aria-describedby="${heading}" hidden>Cancel</button>
<button type="button" data-do="close" aria-describedby="${heading}" hidden>Close the record</button>
</div>
</li>`
}
