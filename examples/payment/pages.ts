/** The bank's one page: a form, what became of it, and what was paid. What moves is in `public/pay.js`. */
import type { IdTokenClaims } from '../../lib/index.ts'
import { html, page, signedInBar } from '../support/html.ts'
import type { Payment } from './payment.ts'

export function paymentsPage(user: IdTokenClaims, paid: readonly Payment[]): string {
  return page({
    title: 'Example bank',
    script: 'pay.js',
    body: html`${signedInBar('Example bank', user.sub)}
<main>
<section class="card" data-view="form">
<h1 tabindex="-1">Pay somebody</h1>
<noscript><p class="bad">This page needs JavaScript.</p></noscript>
<p class="bad" id="refusal" role="alert"></p>
<form id="payment">
<label for="to">To</label>
<input id="to" name="to" value="Green Grocers" autocomplete="off" maxlength="40" required>
<label for="amount">Amount in EUR</label>
<input id="amount" name="amount" value="25.00" inputmode="decimal" autocomplete="off" required>
<details>
<summary>Try to cheat</summary>
<label class="check"><input type="checkbox" id="cheat"> Once it is approved, ask for ten times as much</label>
</details>
<button class="primary">Pay</button>
</form>
</section>

<section class="card" data-view="waiting" hidden>
<h1 tabindex="-1">Approve on your phone</h1>
<p>It shows <strong id="asked"></strong> and this code:</p>
<p class="binding" id="code"></p>
<progress id="time" aria-label="Time left"></progress>
<p class="bad" id="trouble" role="status"></p>
<button id="cancel" type="button">Cancel</button>
</section>

<section class="card" data-view="done" hidden>
<h1 tabindex="-1" id="outcome"></h1>
<div id="granted" hidden>
<p>This is what your phone has granted:</p>
<dl></dl>
</div>
<p id="why"></p>
<button id="again" type="button" class="primary">Pay again</button>
</section>

<section class="card">
<h2>Paid so far</h2>
<ul id="paid">${paid.map(({ amount, to }) => html`<li>${amount} EUR to ${to}</li>`)}</ul>
<p class="quiet" id="nothing" ${paid.length > 0 ? 'hidden' : ''}>Nothing yet.</p>
</section>
</main>`,
  })
}
