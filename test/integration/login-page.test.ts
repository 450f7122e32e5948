/** The routes of the login page and of the script, as a browser without JavaScript and a program see them. */
import { gzipSync } from 'node:zlib'
import { expect } from 'chai'
import type { CibaOptions } from '../../lib/index.ts'
import { tokenError } from '../support/scripted-op.ts'
import { type Browser, cookiesOf, expressVersions, until, type WebOptions, webs } from '../support/web.ts'

const asBrowser = {
  accept: 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8',
  'content-type': 'application/x-www-form-urlencoded',
  'sec-fetch-site': 'same-origin',
}

for (const { name, express } of expressVersions) {
  describe(`GET /ciba/login (${name})`, () => {
    const starter = webs()
    const start = (options: WebOptions = {}) => starter({ express, ...options })
    const look = (browser: Browser, path: string) =>
      browser.send('get', path, undefined, { accept: asBrowser.accept })
    const submit = (browser: Browser, path: string, form: Record<string, string>, more = {}) =>
      browser.send('post', path, new URLSearchParams(form).toString(), { ...asBrowser, ...more })
    const begin = async (browser: Browser, form: Record<string, string> = {}) => {
      const answer = await submit(browser, '/ciba/start', { loginHint: 'alice', ...form })
      expect([answer.status, answer.text.slice(0, 300)]).to.deep.include.members([303])
      return String(answer.headers['location'])
    }
    /** The page as it is when it waits no more: the tokens come a moment after the ping. */
    const untilOver = async (browser: Browser, path: string) => {
      let answer = await look(browser, path)
      await until('it is over', async () => {
        if (answer.text.includes('http-equiv="refresh"')) answer = await look(browser, path)
        return !answer.text.includes('http-equiv="refresh"')
      })
      return answer
    }
    const transactionOf = (location: string) =>
      new URL(location, 'http://x/ciba/start').searchParams.get('transaction') as string

    it('shows the form under a strict policy, in no cache, without a session', async () => {
      const web = await start()
      const first = await look(web.browser(), '/ciba/login')
      expect(first.status).to.equal(200)
      expect(first.text).to.include('name="loginHint"').and.not.include('name="returnTo"')
      expect(first.headers).to.include({
        'content-type': 'text/html; charset=utf-8',
        'cache-control': 'no-store',
        'referrer-policy': 'same-origin',
        'x-content-type-options': 'nosniff',
        'cross-origin-opener-policy': 'same-origin',
      })
      const nonceOf = (policy: unknown) => /script-src 'nonce-([\w+/=]{24})'/.exec(String(policy))?.[1]
      const nonce = nonceOf(first.headers['content-security-policy'])
      expect(first.text).to.include(`<script type="module" nonce="${nonce}">`)
      const second = await look(web.browser(), '/ciba/login')
      expect(nonceOf(second.headers['content-security-policy'])).not.to.equal(nonce)
      expect(cookiesOf(first)).to.be.empty
    })

    it('takes GET and HEAD only, and a HEAD signs nobody in', async () => {
      const web = await start()
      const browser = web.browser()
      const other = await browser.send('delete', '/ciba/login')
      expect([other.status, other.headers['allow']]).to.deep.equal([405, 'GET, HEAD'])
      const transaction = await browser.begin()
      await web.approve()
      expect((await browser.send('head', `/ciba/login?transaction=${transaction}`)).status).to.equal(200)
      expect((await browser.get('/me')).body.signedIn).to.equal(false)
    })

    it('leads a form from the start over the waiting page to where the visitor wanted to go', async () => {
      const web = await start()
      const browser = web.browser()
      const form = await look(browser, '/ciba/login?returnTo=/account%3Fa=b')
      expect(form.text).to.include('<input type="hidden" name="returnTo" value="/account?a=b">')
      const location = await begin(browser, { returnTo: '/account?a=b' })
      expect(location).to.match(/^\.\/login\?transaction=[\w-]+&returnTo=%2Faccount%3Fa%3Db$/)
      const page = new URL(location, `${web.origin}/ciba/start`)
      const waiting = await look(browser, page.pathname + page.search)
      expect(waiting.status).to.equal(200)
      expect(waiting.text).to.include('http-equiv="refresh"').and.include('Look at your phone')
      await web.approve()
      const answer = await untilOver(browser, page.pathname + page.search)
      expect([answer.status, answer.headers['location']]).to.deep.equal([303, '/account?a=b'])
      expect(answer.headers['cache-control']).to.equal('no-store')
      expect((await browser.get('/me')).body.signedIn).to.equal(true)
    })

    it('keeps "returnTo" from startParams, and gives it back to a program', async () => {
      const bodies: unknown[] = []
      const startParams: CibaOptions['startParams'] = ({ body }) => {
        bodies.push(body)
        return body
      }
      const web = await start({ ciba: { startParams } })
      const browser = web.browser()
      const { body } = await browser.post('/ciba/start', { loginHint: 'alice', returnTo: '/account' })
      expect(bodies).to.deep.equal([{ loginHint: 'alice' }])
      await web.approve()
      const { transaction } = body
      const complete = { transaction, status: 'complete', returnTo: '/account' }
      expect((await browser.poll(transaction, 5)).body).to.deep.equal(complete)
    })

    for (const returnTo of [
      'https://evil.example',
      '//evil.example',
      '/\\evil.example',
      '/\t/evil.example',
      'x'.repeat(3_000),
      `/${'é'.repeat(334)}`, // short enough until it is written in a header
    ]) {
      it(`does not go to ${JSON.stringify(returnTo.slice(0, 30))}`, async () => {
        const web = await start({ ciba: { loginPage: { returnTo: '/home' } } })
        const browser = web.browser()
        const form = await look(browser, `/ciba/login?returnTo=${encodeURIComponent(returnTo)}`)
        expect(form.text).not.to.include('evil')
        const location = await begin(browser, { returnTo })
        expect(location).not.to.include('returnTo')
        await web.approve()
        const query = new URLSearchParams({ transaction: transactionOf(location), returnTo })
        const answer = await untilOver(browser, `/ciba/login?${query}`)
        expect(answer.headers['location']).to.equal('/home')
      })
    }

    it('shows how it ended', async () => {
      const web = await start()
      const browser = web.browser()
      const transaction = transactionOf(await begin(browser))
      await web.deny()
      await browser.poll(transaction, 5)
      const answer = await look(browser, `/ciba/login?transaction=${transaction}`)
      expect(answer.status).to.equal(200)
      expect(answer.text).to.include('data-status="denied"').and.not.include('Code: access_denied')
    })

    it('shows the code of what needs one', async () => {
      const web = await start()
      const browser = web.browser()
      const transaction = transactionOf(await begin(browser))
      web.op.onToken(tokenError('unauthorized_client'))
      await web.op.ping(`${web.origin}/ciba/notification`)
      await browser.poll(transaction, 5)
      const answer = await look(browser, `/ciba/login?transaction=${transaction}`)
      expect(answer.text).to.include('data-status="failed"').and.include('Code: unauthorized_client')
    })

    it('cancels by form', async () => {
      const web = await start()
      const browser = web.browser()
      const transaction = transactionOf(await begin(browser))
      const answer = await submit(browser, '/ciba/cancel', { transaction, returnTo: '/account' })
      expect([answer.status, answer.headers['location']]).to.deep.equal([
        303,
        `./login?transaction=${transaction}&returnTo=%2Faccount`,
      ])
      const page = await look(browser, `/ciba/login?transaction=${transaction}`)
      expect(page.text).to.include('data-status="cancelled"')
    })

    it('ignores a "returnTo" with half a character', async () => {
      const web = await start()
      const browser = web.browser()
      const { body } = await browser.post('/ciba/start', { loginHint: 'alice', returnTo: '/\ud83d' })
      await web.approve()
      const { transaction } = body
      expect((await browser.poll(transaction, 5)).body).to.deep.equal({ transaction, status: 'complete' })
    })

    it('finds the default place below the prefix of browsers, not below the mount', async () => {
      const baseURL = 'https://x.example/shop/auth'
      const web = await start({ mount: '/auth', ciba: { baseURL, loginPage: { returnTo: '/home' } } })
      const browser = web.browser()
      const { body } = await browser.post('/auth/ciba/start', { loginHint: 'alice' })
      const page = `/auth/ciba/login?transaction=${body.transaction}`
      expect((await look(browser, page)).text).to.include('"returnTo":"/shop/home"')
      await web.approve()
      expect((await untilOver(browser, page)).headers['location']).to.equal('/shop/home')
      expect((await look(browser, '/auth/ciba/login')).text).to.include('href="/shop/home">Continue')
    })

    for (const parser of [false, 'simple', 'extended']) {
      it(`reads the query itself, whatever the app's "query parser": ${parser}`, async () => {
        const framework = Object.assign(() => express().set('query parser', parser), express)
        const web = await start({ express: framework })
        const browser = web.browser()
        const transaction = transactionOf(await begin(browser))
        const answer = await look(browser, `/ciba/login?transaction=${transaction}&returnTo=%2Faccount`)
        expect(answer.status).to.equal(200)
        expect(answer.text).to.include('Look at your phone').and.include('value="/account"')
        const doubled = `/ciba/login?transaction=${transaction}&transaction=${transaction}`
        expect((await look(browser, doubled)).status).to.equal(404)
      })
    }

    for (const query of ['transaction=unknown', 'transaction=a&transaction=b', 'transaction=']) {
      it(`answers 404 with the form to ${query}`, async () => {
        const web = await start()
        const answer = await look(web.browser(), `/ciba/login?${query}`)
        expect(answer.status).to.equal(404)
        expect(answer.text).to.include('This sign-in is over').and.include('name="loginHint"')
        expect(web.errors).to.be.empty
      })
    }

    it("does not show another session's transaction", async () => {
      const web = await start()
      const transaction = transactionOf(await begin(web.browser()))
      const stranger = web.browser()
      await stranger.begin('bob')
      expect((await look(stranger, `/ciba/login?transaction=${transaction}`)).status).to.equal(404)
    })

    it('tells who is signed in so, and shows them the form when they want it', async () => {
      const web = await start()
      const browser = web.browser()
      const transaction = await browser.begin()
      await web.approve()
      await browser.poll(transaction, 5)
      const answer = await look(browser, '/ciba/login?returnTo=/account')
      expect(answer.text).to.include('You are signed in already').and.include('href="/account">Continue')
      const gone = await look(browser, '/ciba/login?transaction=long-over')
      expect(gone.status).to.equal(404)
      expect(gone.text).to.include('You are signed in already')
      expect((await look(browser, '/ciba/login?again=1')).text).to.not.include('data-view="signed-in"')
    })

    context('a form cannot be served', () => {
      it('shows what was wrong, with the status of the error', async () => {
        const web = await start()
        const browser = web.browser()
        const empty = await submit(browser, '/ciba/start', { loginHint: '' })
        expect(empty.status).to.equal(400)
        expect(empty.text).to.include('aria-invalid="true"').and.include('action="./start"')
        const foreign = await submit(browser, '/ciba/cancel', { transaction: 'unknown' })
        expect(foreign.status).to.equal(404)
        expect(foreign.text).to.include('This sign-in is over')
        web.op.onBackchannel(tokenError('<b>no</b>'))
        const refused = await submit(browser, '/ciba/start', { loginHint: 'alice', returnTo: '/account' })
        expect(refused.status).to.equal(400)
        expect(refused.text).to.include('Code: &lt;b&gt;no&lt;/b&gt;')
        expect(refused.text).to.include('name="returnTo" value="/account"').and.not.include('alice')
      })

      for (const code of ['constructor', 'toString', '__proto__', 'hasOwnProperty']) {
        it(`shows the code of an OP that says ${code}`, async () => {
          const web = await start()
          web.op.onBackchannel(tokenError(code))
          const answer = await submit(web.browser(), '/ciba/start', { loginHint: 'alice' })
          expect(answer.status).to.equal(400)
          expect(answer.text).to.include('The request was refused.').and.include(`Code: ${code}<`)
          expect(web.errors).to.be.empty
        })
      }

      it('keeps Retry-After', async () => {
        const consume = () => Promise.reject(Object.assign(new Error('enough'), { msBeforeNext: 60_000 }))
        const web = await start({ ciba: { startLimiter: { consume } } })
        const answer = await submit(web.browser(), '/ciba/start', { loginHint: 'alice' })
        expect([answer.status, answer.headers['retry-after']]).to.deep.equal([429, '60'])
        expect(answer.headers['cache-control']).to.equal('no-store')
      })

      it('says that the OP is away', async () => {
        const web = await start()
        await web.op.down()
        const answer = await submit(web.browser(), '/ciba/start', { loginHint: 'alice' })
        expect(answer.status).to.equal(503)
        expect(answer.text).to.include('Signing in is not possible right now.')
        expect(answer.headers).to.have.property('retry-after')
      })

      it('refuses a form of another site [SEC-2]', async () => {
        const web = await start()
        const answer = await submit(
          web.browser(),
          '/ciba/start',
          { loginHint: 'alice' },
          { 'sec-fetch-site': 'cross-site' },
        )
        expect(answer.status).to.equal(403)
        expect(web.op.callsTo('backchannel')).to.be.empty
      })

      it('leaves faults to the app', async () => {
        const startParams = () => {
          throw new Error('a bug of the app')
        }
        const web = await start({ ciba: { startParams } })
        const answer = await submit(web.browser(), '/ciba/start', { loginHint: 'alice' })
        expect(answer.status).to.equal(500)
        expect(web.errors).to.have.length(1)
      })
    })

    it('answers programs as ever, also when they post a form', async () => {
      const web = await start()
      const headers = { 'content-type': asBrowser['content-type'], accept: '*/*' }
      const answer = await web.browser().send('post', '/ciba/start', 'loginHint=alice', headers)
      expect([answer.status, answer.body.status]).to.deep.equal([202, 'pending'])
    })

    it('says that it is not possible while the session store is away, and recovers', async () => {
      const web = await start()
      const browser = web.browser()
      await look(browser, '/ciba/login')
      web.sessions.emit('disconnect')
      const answer = await look(browser, '/ciba/login')
      expect(answer.status).to.equal(503)
      expect(answer.text).to.include('Signing in is not possible right now.')
      web.sessions.emit('connect')
      expect((await look(browser, '/ciba/login')).status).to.equal(200)
    })

    it('speaks the words of the app, request by request', async () => {
      const loginPage: CibaOptions['loginPage'] = {
        lang: 'de',
        title: 'Anmelden',
        logo: '/logo.svg',
        texts: (req) => ({ lead: `Hallo ${req.query['who']}` }),
      }
      const web = await start({ ciba: { loginPage } })
      const { text } = await look(web.browser(), '/ciba/login?who=%3Cb%3E')
      expect(text).to.include('Hallo &lt;b&gt;').and.include('<html lang="de"').and.include('src="/logo.svg"')
    })

    it('uses relative links, also with a slash at the end and below a mount', async () => {
      const web = await start({ mount: '/deep/er' })
      expect((await look(web.browser(), '/deep/er/ciba/login')).text).to.include('action="./start"')
      expect((await look(web.browser(), '/deep/er/CIBA/login/')).text).to.include('action="../../ciba/start"')
    })

    it('is not there when it is switched off', async () => {
      for (const options of [
        { loginPage: false },
        { routes: { login: false } },
        { routes: { start: false } },
      ] as const) {
        const web = await start({ ciba: options })
        expect((await look(web.browser(), '/ciba/login')).status).to.equal(404)
        if (!('routes' in options && 'start' in options.routes)) {
          expect((await submit(web.browser(), '/ciba/start', { loginHint: 'alice' })).status).to.equal(202)
        }
      }
    })
  })

  describe(`GET /ciba/client.js (${name})`, () => {
    const starter = webs()

    it('serves the script, to be asked for again, without a session', async () => {
      const web = await starter({ express })
      const browser = web.browser()
      const answer = await browser.get('/ciba/client.js')
      expect(answer.status).to.equal(200)
      expect(answer.headers).to.include({
        'content-type': 'text/javascript; charset=utf-8',
        'cache-control': 'no-cache',
        'x-content-type-options': 'nosniff',
      })
      expect(answer.text).to.include('export function startCiba(')
      expect(gzipSync(answer.text).length).to.be.below(2_000)
      expect(cookiesOf(answer)).to.be.empty
      const { etag } = answer.headers as Record<string, string>
      const again = await browser.send('get', '/ciba/client.js', undefined, { 'if-none-match': String(etag) })
      expect([again.status, again.text]).to.deep.equal([304, ''])
      expect((await browser.send('head', '/ciba/client.js')).status).to.equal(200)
      expect((await browser.post('/ciba/client.js')).status).to.equal(405)
    })

    it('is not there when it is switched off, and the page needs it not', async () => {
      const web = await starter({ express, ciba: { routes: { clientScript: false } } })
      expect((await web.browser().get('/ciba/client.js')).status).to.equal(404)
      expect((await web.browser().get('/ciba/login')).text).to.include('function startCiba(')
    })
  })
}
