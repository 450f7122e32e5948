import { expect } from 'chai'
import { expressVersions, webs } from '../support/web.ts'

const base = 'https://my-app.example.com'

/** What a browser says of itself, and whether it may pass. */
const table: readonly { headers: (host: string) => Record<string, string>; passes: boolean; what: string }[] =
  [
    {
      what: 'Sec-Fetch-Site: cross-site',
      headers: () => ({ 'sec-fetch-site': 'cross-site' }),
      passes: false,
    },
    {
      what: 'Sec-Fetch-Site: cross-site, with our own Origin',
      headers: () => ({ 'sec-fetch-site': 'cross-site', origin: base }),
      passes: false,
    },
    {
      what: 'Sec-Fetch-Site: same-origin',
      headers: () => ({ 'sec-fetch-site': 'same-origin' }),
      passes: true,
    },
    { what: 'Sec-Fetch-Site: same-site', headers: () => ({ 'sec-fetch-site': 'same-site' }), passes: true },
    { what: 'Sec-Fetch-Site: none', headers: () => ({ 'sec-fetch-site': 'none' }), passes: true },
    {
      what: 'Sec-Fetch-Site: same-origin, with an Origin that a proxy has changed',
      headers: () => ({ 'sec-fetch-site': 'same-origin', origin: 'https://inner.example.com' }),
      passes: true,
    },
    { what: 'the Origin of the host', headers: (host) => ({ origin: `http://${host}` }), passes: true },
    { what: 'the Origin of baseURL', headers: () => ({ origin: base }), passes: true },
    { what: 'a foreign Origin', headers: () => ({ origin: 'https://evil.example.com' }), passes: false },
    {
      what: 'an Origin that only begins like ours',
      headers: () => ({ origin: `${base}.evil.example.com` }),
      passes: false,
    },
    {
      what: 'an Origin on another port',
      headers: () => ({ origin: `${base}:8443` }),
      passes: false,
    },
    { what: 'Origin: null', headers: () => ({ origin: 'null' }), passes: false },
    { what: 'an Origin that is none', headers: () => ({ origin: 'my-app.example.com' }), passes: false },
    { what: 'an empty Origin', headers: () => ({ origin: '' }), passes: false },
    { what: 'neither header', headers: () => ({}), passes: true },
  ]

for (const { name, express } of expressVersions) {
  describe(`requests from other sites (${name})`, () => {
    const start = webs()

    for (const { what, headers, passes } of table) {
      it(`${passes ? 'lets' : 'refuses'} ${what}${passes ? ' pass' : ' with 403'} on every state-changing route [SEC-2]`, async () => {
        const web = await start({ express, ciba: { baseURL: base } })
        const browser = web.browser()
        const transaction = await browser.begin()
        const sent = headers(new URL(web.origin).host)
        const before = web.op.callsTo('backchannel').length
        for (const [path, body, success] of [
          ['/ciba/start', { loginHint: 'alice' }, 202],
          ['/ciba/poll', { transaction }, 200],
          ['/ciba/cancel', { transaction }, 204],
          ['/ciba/logout', {}, 204],
        ] as const) {
          const answer = await browser.post(path, body, sent)
          expect(answer.status, path).to.equal(passes ? success : 403)
          expect(answer.headers['cache-control'], path).to.equal('no-store')
          if (passes) continue
          expect(answer.body).to.deep.equal({
            error: 'cross_site_request',
            error_description: 'this route takes no requests from other sites',
          })
        }
        expect(web.op.callsTo('backchannel')).to.have.length(before + (passes ? 1 : 0))
      })
    }

    it('changes nothing when it refuses: transaction and session live on', async () => {
      const web = await start({ express })
      const browser = web.browser()
      const transaction = await browser.begin()
      const id = browser.sessionId
      const evil = { 'sec-fetch-site': 'cross-site' }
      await browser.post('/ciba/cancel', { transaction }, evil)
      await browser.post('/ciba/logout', {}, evil)
      expect(browser.sessionId).to.equal(id)
      expect((await browser.poll(transaction)).body.status).to.equal('pending')
    })

    it('refuses before it reads the body', async () => {
      const web = await start({ express })
      const answer = await web.browser().post('/ciba/start', '{', {
        'sec-fetch-site': 'cross-site',
        'content-type': 'application/json',
      })
      expect(answer.status).to.equal(403)
    })

    it('leaves the notification route out: the OP is another site', async () => {
      const web = await start({ express })
      const browser = web.browser()
      const transaction = await browser.begin()
      const headers = { 'sec-fetch-site': 'cross-site', origin: 'https://op.example.com' }
      web.op.onToken(await web.op.tokens())
      const pong = await web.op.ping(`${web.origin}/ciba/notification`, { headers })
      expect(pong.status).to.equal(204)
      expect((await browser.poll(transaction, 5)).body.status).to.equal('complete')
    })

    for (const trusts of [true, false]) {
      it(`${trusts ? 'knows' : 'does not believe in'} the host that a proxy names which the app ${trusts ? 'trusts' : 'does not trust'}`, async () => {
        const web = await start({ express, before: (app) => app.set('trust proxy', trusts) })
        for (const host of ['shop.example.com', 'shop.example.com:8443']) {
          const headers = { 'x-forwarded-host': host, origin: `https://${host}` }
          const { status } = await web.browser().post('/ciba/logout', {}, headers)
          expect(status, host).to.equal(trusts ? 204 : 403)
        }
      })
    }

    it('compares with the host alone when there is no baseURL', async () => {
      const web = await start({ express, ciba: { deliveryMode: 'poll', baseURL: undefined } })
      const post = (origin: string) => web.browser().post('/ciba/logout', {}, { origin })
      expect((await post(web.origin)).status).to.equal(204)
      expect((await post('https://evil.example.com')).status).to.equal(403)
    })
  })
}
