/**
 * The stand-in for people's phones: a page under `/device` that lists what waits for a decision, and the same as JSON
 * for scripts. A real one would know who is holding the phone; this one shows everybody's requests and asks nobody
 * for a password. Never knows how a decision reaches the client.
 */
import express, { type Express, type Request } from 'express'
import type { DeviceRequest } from './devices.ts'
import { type Html, html, inlineFile, page } from './html.ts'

/** What the page needs of the OP. */
export interface Decisions {
  readonly requests: ReadonlyMap<string, DeviceRequest>
  approve(authReqId: string, approval: { acr?: string; authTime: number }): Promise<void>
  deny(authReqId: string): Promise<void>
}

const NOTICES: ReadonlyMap<unknown, string> = new Map([
  ['approved', 'Approved. The other screen signs in by itself.'],
  ['denied', 'Denied. Nobody was signed in.'],
  ['gone', 'That request was decided elsewhere or has expired.'],
])

/**
 * - `GET /device` the page
 * - `GET /device/requests` the pending requests, as JSON
 * - `POST /device/requests/:authReqId/approve` and `/deny` (no body needed); 303 back to the page
 */
export function devicePage(op: Decisions): Express {
  const app = express()
  app.disable('x-powered-by')
  app.use((req, res, next) => {
    res.set({ 'Cache-Control': 'no-store', 'X-Frame-Options': 'DENY' })
    if (req.method === 'POST' && isCrossSite(req)) res.status(403).send('Cross-site request')
    else next()
  })

  app.get('/device', (req, res) => {
    const { done } = req.query
    res.type('html').send(render([...op.requests.values()], NOTICES.get(done)))
  })

  app.get('/device/requests', (_req, res) => {
    res.json([...op.requests.values()])
  })

  app.post('/device/requests/:authReqId/approve', async (req, res) => {
    const request = op.requests.get(req.params.authReqId)
    if (!request) return res.redirect(303, '/device?done=gone')
    const acr = request.acrValues?.[0]
    const authTime = Math.floor(Date.now() / 1000)
    await op.approve(request.authReqId, acr === undefined ? { authTime } : { authTime, acr })
    return res.redirect(303, '/device?done=approved')
  })

  app.post('/device/requests/:authReqId/deny', async (req, res) => {
    const request = op.requests.get(req.params.authReqId)
    if (!request) return res.redirect(303, '/device?done=gone')
    await op.deny(request.authReqId)
    return res.redirect(303, '/device?done=denied')
  })

  return app
}

/** Another site must not press the buttons. Scripts send no such header and may. */
function isCrossSite(req: Request): boolean {
  const site = req.get('sec-fetch-site')
  return site !== undefined && site !== 'same-origin' && site !== 'none'
}

function render(requests: readonly DeviceRequest[], notice: string | undefined): string {
  return page(
    requests.length === 0 ? 'Your phone' : `(${requests.length}) Your phone`,
    html`<main>
<h1>Your phone</h1>
${notice === undefined ? [] : html`<p class="card" role="status">${notice}</p>`}
${requests.length === 0 ? html`<p class="card quiet">Nothing to approve. Requests appear here by themselves.</p>` : []}
${requests.map(card)}
<noscript><p class="quiet"><a href="/device">Look again</a></p></noscript>
</main>
<script>${inlineFile('device-page.js', import.meta.url)}</script>`,
  )
}

function card(request: DeviceRequest, index: number): Html {
  const { authReqId, accountId, clientId, bindingMessage, scope, acrValues, expiresAt } = request
  const action = `/device/requests/${encodeURIComponent(authReqId)}`
  const heading = `request-${index}`
  return html`<section class="card" aria-labelledby="${heading}" data-request="${authReqId}">
<h2 id="${heading}">Sign in ${accountId}?</h2>
${
  bindingMessage === undefined
    ? html`<p>Only approve if you asked for this yourself.</p>`
    : html`<p class="binding">${bindingMessage}</p>
<p><strong>Only approve if this matches the other screen.</strong></p>`
}
<dl>
<dt>App</dt><dd>${clientId}</dd>
<dt>Account</dt><dd>${accountId}</dd>
${scope === undefined ? [] : html`<dt>Asks for</dt><dd>${scope}</dd>`}
${acrValues === undefined ? [] : html`<dt>Level</dt><dd>${acrValues.join(' or ')}</dd>`}
<dt>Until</dt><dd><time datetime="${new Date(expiresAt).toISOString()}">${timeOfDay(expiresAt)}</time></dd>
</dl>
<div class="choices">
<form method="post" action="${action}/deny"><button class="danger" aria-describedby="${heading}">Deny</button></form>
<form method="post" action="${action}/approve"><button class="primary" aria-describedby="${heading}">Approve</button></form>
</div>
</section>`
}

function timeOfDay(at: number): string {
  return new Date(at).toLocaleTimeString('en', { timeStyle: 'medium', hour12: false })
}
