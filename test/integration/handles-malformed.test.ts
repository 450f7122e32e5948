/** What strangers name instead of a handle never reaches a store: each has characters and lengths that it does not take. */
import { expect } from 'chai'
import type { Response } from 'supertest'
import { MemoryTransactionStore, type StoredRecord } from '../../lib/index.ts'
import { ask, approvalRoutes as own, payment, signedIn, use } from '../support/approvals.ts'
import { handled } from '../support/signed-in.ts'
import { type Browser, expressVersions, webs } from '../support/web.ts'

/** Takes offence at whatever it has not been given itself. */
class StrictStore extends MemoryTransactionStore {
  readonly offences: string[] = []

  override async read(id: string): Promise<StoredRecord | undefined> {
    this.#check('read', id)
    return super.read(id)
  }

  override watch(id: string, listener: () => void): () => void {
    this.#check('watch', id)
    return super.watch(id, listener)
  }

  #check(method: string, id: unknown): void {
    if (typeof id === 'string' && /^[\w-]{22}$/.test(id)) return
    this.offences.push(method)
    throw new TypeError(`an odd id for ${method}()`)
  }
}

const odd = {
  'a path': '../../etc/passwd',
  '300 characters': 'A'.repeat(300),
  '14,000 characters': 'A'.repeat(14_000),
  '16,000 characters': 'A'.repeat(16_000),
  'control characters': `${'A'.repeat(20)}\r\n`,
  'a zero': `${'A'.repeat(21)}\u0000`,
  'a line end after a good one': `${'A'.repeat(22)}\n`,
  'other letters': 'Ä'.repeat(22),
  'a pattern': '*',
  'the name of a built-in property': 'constructor.prototype',
  'an array': ['A'.repeat(22)],
  'an empty array': [],
}

/** Where a handle can be named; `undefined`: not there. */
const ways: Record<string, (browser: Browser, handle: unknown) => Promise<Response> | undefined> = {
  'POST /ciba/poll': (browser, handle) =>
    typeof handle === 'string' ? browser.poll(handle, 0.1) : undefined,
  'POST /ciba/cancel': (browser, handle) =>
    typeof handle === 'string' ? browser.post('/ciba/cancel', { transaction: handle }) : undefined,
  'GET /ciba/login': (browser, handle) => {
    const query = new URLSearchParams({ transaction: String(handle) })
    // Node takes no more than 16 kB of headers.
    return typeof handle === 'string' && handle.length < 15_000
      ? browser.send('get', `/ciba/login?${query}`, undefined, { accept: 'text/html' })
      : undefined
  },
  'req.ciba.poll()': (browser, handle) => browser.post('/poll-own', { transaction: handle, wait: 0.1 }),
  'req.ciba.cancel()': (browser, handle) => browser.post('/cancel-own', { transaction: handle }),
  'req.ciba.useApproval()': (browser, handle) => use(browser, handle as string, payment.action),
}

/** All of an answer that somebody could compare; a page has its nonce. */
const seen = ({ status, text, headers }: Response) => {
  const { date: _, etag: __, 'content-security-policy': policy = '', ...rest } = headers
  const nonce = /nonce-([^']+)/.exec(String(policy))?.[1] ?? 'none'
  return { status, headers: rest, text: text.replaceAll(nonce, 'nonce') }
}

for (const { name, express } of expressVersions) {
  describe(`a handle that can be none (${name})`, () => {
    const start = webs()

    for (const [way, send] of Object.entries(ways)) {
      it(`is answered as any unknown one, without a look into the store: ${way} [SEC-6]`, async () => {
        const store = new StrictStore()
        const web = await start({
          express,
          own(app, self) {
            app.post(
              '/cancel-own',
              express.json(),
              handled(async (req, res) => {
                await req.ciba.cancel(req.body.transaction)
                res.end()
              }),
            )
            own(app, self)
          },
          ciba: { store, secret: 'of a strict store' },
        })
        const browser = web.browser()
        await signedIn(web, 'alice', browser)
        await ask(browser)
        const unknown = await send(browser, 'B'.repeat(22))
        expect(unknown?.status).to.equal(404)
        let tried = 0
        for (const [what, handle] of Object.entries(odd)) {
          const answer = await send(browser, handle)
          if (!answer) continue
          tried += 1
          expect(seen(answer), what).to.deep.equal(unknown && seen(unknown))
        }
        expect(tried).to.be.at.least(9)
        expect(store.offences).to.deep.equal([])
      })
    }
  })
}
