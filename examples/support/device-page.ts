/**
 * The stand-in for people's phones: a page under `/device` that lists what waits for a decision, and the same as JSON
 * for scripts. A real one would know who is holding the phone; this one shows everybody's requests and asks nobody
 * for a password. Never knows how a decision reaches the client.
 */
import express, { type Express, type Request } from 'express'
import type { TestProvider, TestRequest } from '../../lib/testing/index.ts'
import { assets } from './assets.ts'
import { type Html, html, page } from './html.ts'

const NOTICES: ReadonlyMap<unknown, string> = new Map([
  ['approved', 'Approved. The other screen goes on by itself.'],
  ['denied', 'Denied. Nothing happens.'],
  ['gone', 'That request was decided elsewhere or has expired.'],
])

/**
 * - `GET /device` the page
 * - `GET /device/requests` the pending requests, as JSON
 * - `POST /device/requests/:authReqId/approve` and `/deny` (no body needed); 303 back to the page
 */
export function devicePage(op: TestProvider): Express {
  const app = express()
  app.disable('x-powered-by')
  app.use(assets(import.meta.url, '/device/assets'))
  app.use((req, res, next) => {
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
    await op.approve(request)
    return res.redirect(303, '/device?done=approved')
  })

  app.post('/device/requests/:authReqId/deny', async (req, res) => {
    const request = op.requests.get(req.params.authReqId)
    if (!request) return res.redirect(303, '/device?done=gone')
    await op.deny(request)
    return res.redirect(303, '/device?done=denied')
  })

  return app
}

/** Another site must not press the buttons. Scripts send no such header and may. */
function isCrossSite(req: Request): boolean {
  const site = req.get('sec-fetch-site')
  return site !== undefined && site !== 'same-origin' && site !== 'none'
}

function render(requests: readonly TestRequest[], notice: string | undefined): string {
  return page({
    title: requests.length === 0 ? 'Your phone' : `(${requests.length}) Your phone`,
    script: 'device-page.js',
    assets: '/device/assets',
    body: html`<main>
<h1>Your phone</h1>
${notice === undefined ? [] : html`<p class="card" role="status">${notice}</p>`}
${requests.length === 0 ? html`<p class="card quiet">Nothing to approve. Requests appear here by themselves.</p>` : []}
${requests.map(card)}
<noscript><p class="quiet"><a href="/device">Look again</a></p></noscript>
</main>`,
  })
}

function card(request: TestRequest, index: number): Html {
  const { authReqId, accountId, clientID, bindingMessage, scope, acrValues, expiresAt } = request
  const { authorizationDetails = [] } = request
  const action = `/device/requests/${encodeURIComponent(authReqId)}`
  const heading = `request-${index}`
  return html`<section class="card" aria-labelledby="${heading}" data-request="${authReqId}">
<h2 id="${heading}">${accountId}, is this yours?</h2>
${
  bindingMessage === undefined
    ? html`<p>Approve only what you expect.</p>`
    : html`<p class="binding">${bindingMessage}</p>
<p><strong>Approve only what you expect, and only if this matches.</strong></p>`
}
${authorizationDetails.map(details)}
<dl>
<dt>App</dt><dd>${clientID}</dd>
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

/** What exactly shall be allowed (RFC 9396): whoever approves has to see all of it. */
function details(detail: object): Html {
  const { type, ...members } = detail as Record<string, unknown>
  return html`<dl class="details">
<dt>What</dt><dd>${String(type).replaceAll('_', ' ')}</dd>
${Object.entries(members).map(([name, value]) => html`<dt>${name}</dt><dd>${show(value)}</dd>`)}
</dl>`
}

function show(value: unknown): string {
  if (Array.isArray(value)) return value.map(show).join(', ')
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}

function timeOfDay(at: number): string {
  return new Date(at).toLocaleTimeString('en', { timeStyle: 'medium', hour12: false })
}
