/** The two pages of the ticket machine. What moves is in `public/welcome.js` and `public/tickets.js`. */
import type { IdTokenClaims } from '../../lib/index.ts'
import { html, page } from '../support/html.ts'

/** Three views, of which the script shows one. */
export function welcomePage(): string {
  return page({
    title: 'Tickets',
    script: 'welcome.js',
    body: html`<main class="kiosk">
<section class="card" data-view="form">
<h1>Collect your tickets</h1>
<noscript><p class="bad">This screen needs JavaScript.</p></noscript>
<form id="start">
<label for="member">Your member name</label>
<input id="member" name="member" autocomplete="off" autocapitalize="none" spellcheck="false" maxlength="40" required>
<button class="primary">Ask my phone</button>
</form>
<p class="quiet">alice and bob are members here.</p>
</section>

<section class="card" data-view="waiting" hidden>
<h1 tabindex="-1">Look at your phone</h1>
<p>Approve only if it shows exactly this:</p>
<p class="binding huge" id="code"></p>
<progress id="time" aria-label="Time left"></progress>
<p class="bad" id="trouble" role="status"></p>
<button id="cancel" type="button">Cancel</button>
</section>

<section class="card" data-view="outcome" hidden>
<h1 tabindex="-1" id="outcome"></h1>
<button id="again" type="button" class="primary">Start over</button>
</section>
</main>`,
  })
}

const TICKETS = [
  { what: 'The Tempest', when: 'Friday, 19:30', seat: 'Row 4, seat 11' },
  { what: 'Einstein on the Beach', when: 'Sunday, 18:00', seat: 'Row 12, seat 2' },
]

export function ticketsPage(user: IdTokenClaims, idleSeconds: number): string {
  return page({
    title: 'Your tickets',
    script: 'tickets.js',
    body: html`<main class="kiosk" data-idle="${idleSeconds}">
<section class="card">
<h1>Your tickets, ${user.sub}</h1>
<ul class="tickets">
${TICKETS.map(
  ({ what, when, seat }) =>
    html`<li><strong>${what}</strong><br>${when}<br><span class="quiet">${seat}</span></li>`,
)}
</ul>
<form id="done" method="post" action="/ciba/logout"><button class="primary">Done</button></form>
<progress id="left" aria-label="Time until this screen signs out" max="${idleSeconds}" value="${idleSeconds}"></progress>
<p id="warning" role="status"></p>
</section>
</main>`,
  })
}
