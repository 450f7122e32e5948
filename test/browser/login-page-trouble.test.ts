/** What happens to a login page: reloads, tabs, lost connections, phones that sleep, hostile texts. In Chromium. */
import { expect } from 'chai'
import { type ScriptedOp, tokenError } from '../support/scripted-op.ts'
import { startWeb, until, type Web } from '../support/web.ts'
import {
  arrives,
  browsers,
  enter,
  type Sent,
  type Site,
  type SiteOptions,
  sees,
  setHidden,
  startSite,
  visitors,
} from './support/browser.ts'

describe('the login page in trouble', function () {
  this.timeout(40_000)
  const { visit, expectComplaints } = visitors(browsers())
  const cleanup: (() => Promise<void>)[] = []

  afterEach(async () => {
    for (const close of cleanup.splice(0)) await close()
  })

  async function open(options: SiteOptions = {}): Promise<Site> {
    const site = await startSite(options)
    cleanup.push(() => site.close())
    return site
  }

  const polls = (sent: readonly Sent[]) => sent.filter(({ path }) => path === '/ciba/poll')
  const holds = (sent: readonly Sent[]) =>
    polls(sent).some(({ body, isOver }) => body['wait'] === 25 && !isOver)

  it('goes on after a reload in the middle', async () => {
    const { origin, op } = await open()
    const { page } = await visit()
    await page.goto(`${origin}/ciba/login?returnTo=/account`)
    await enter(page)
    const { bindingMessage } = await op.waitForRequest('alice')
    await sees(page, 'Look at your phone')
    await page.reload()
    await sees(page, 'Look at your phone')
    expect(await page.locator('#binding').textContent()).to.equal(bindingMessage)
    await op.approve('alice')
    await arrives(page, '/account')
  })

  it('keeps two tabs with their own transactions apart', async () => {
    const { origin, op } = await open()
    const { page, tab } = await visit()
    const other = await tab()
    await page.goto(`${origin}/ciba/login`)
    await enter(page, 'alice')
    await sees(page, 'Look at your phone')
    await other.goto(`${origin}/ciba/login?returnTo=/account`)
    await enter(other, 'bob')
    await sees(other, 'Look at your phone')
    await op.deny('alice')
    await sees(page, 'Denied')
    await op.approve('bob')
    await arrives(other, '/account')
    expect(await other.textContent('p')).to.include('bob is signed in')
  })

  it('goes on in both tabs that show the same transaction', async () => {
    const { origin, op } = await open()
    const { page, tab } = await visit()
    await page.goto(`${origin}/ciba/login?returnTo=/account`)
    await enter(page)
    await sees(page, 'Look at your phone')
    const other = await tab()
    await other.goto(page.url())
    await sees(other, 'Look at your phone')
    await op.approve('alice')
    await Promise.all([arrives(page, '/account'), arrives(other, '/account')])
    expect(await other.textContent('p')).to.include('alice is signed in')
  })

  it('says calmly that there is no connection, and signs in when there is one again', async () => {
    expectComplaints(/ERR_INTERNET_DISCONNECTED|ERR_NETWORK/)
    const { origin, op } = await open()
    const { page, context, sent } = await visit()
    await page.goto(`${origin}/ciba/login?returnTo=/account`)
    await enter(page)
    await until('it waits', () => holds(sent))
    await context.setOffline(true)
    await page.getByRole('link', { name: 'Check now' }).click()
    await page.locator('#trouble:not([hidden])').waitFor()
    await op.approve('alice')
    await context.setOffline(false)
    await arrives(page, '/account')
  })

  it('takes the trouble back that is over', async () => {
    expectComplaints(/ERR_INTERNET_DISCONNECTED|ERR_NETWORK/)
    const { origin } = await open()
    const { page, context, sent } = await visit()
    await page.goto(`${origin}/ciba/login`)
    await enter(page)
    await until('it waits', () => holds(sent))
    await context.setOffline(true)
    await page.getByRole('link', { name: 'Check now' }).click()
    const trouble = page.locator('#trouble')
    await trouble.waitFor()
    expect(await trouble.textContent()).to.equal('No connection right now. We keep trying.')
    await context.setOffline(false)
    await trouble.waitFor({ state: 'hidden' })
    await sees(page, 'Look at your phone')
  })

  it('holds no poll while nobody sees it, and asks at once when somebody does', async () => {
    const { origin, op } = await open()
    const { page, sent } = await visit()
    await page.goto(`${origin}/ciba/login?returnTo=/account`)
    await enter(page)
    await until('it waits', () => holds(sent))
    const before = polls(sent).length
    await setHidden(page, true)
    await until('the poll is given up', () => !holds(sent))
    await op.approve('alice')
    expect(polls(sent)).to.have.length(before)
    await setHidden(page, false)
    await arrives(page, '/account')
    expect(polls(sent)[before]?.body).to.include({ wait: 0 })
  })

  it('looks from time to time while nobody sees it', async () => {
    const { origin, op } = await open()
    const { page, sent } = await visit()
    await page.goto(`${origin}/ciba/login?returnTo=/account`)
    await enter(page)
    await until('it waits', () => holds(sent))
    await setHidden(page, true)
    await op.approve('alice')
    const before = performance.now()
    await arrives(page, '/account')
    expect(performance.now() - before).to.be.within(2_000, 9_000)
    expect(polls(sent).at(-1)?.body).to.include({ wait: 0 })
  })

  it('asks again when it comes back out of the history, where its connections are dead', async () => {
    const { origin, op } = await open()
    const { page, sent } = await visit()
    await page.goto(`${origin}/ciba/login?returnTo=/account`)
    await enter(page)
    await until('it waits', () => holds(sent))
    const look = page.waitForRequest((request) => request.postData()?.includes('"wait":0') === true)
    await page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    await look
    await op.approve('alice')
    await arrives(page, '/account')
  })

  it('has one poll at a time', async () => {
    const { origin } = await open()
    const { page, sent } = await visit()
    await page.addInitScript(() => {
      const scope = globalThis as typeof globalThis & { open: number; most: number }
      Object.assign(scope, { open: 0, most: 0 })
      const { fetch } = scope
      scope.fetch = (...given) => {
        scope.most = Math.max(scope.most, ++scope.open)
        return fetch(...given).finally(() => {
          scope.open--
        })
      }
    })
    await page.goto(`${origin}/ciba/login`)
    await enter(page)
    for (let round = 1; round <= 3; round++) {
      await until('it waits', () => holds(sent))
      const before = polls(sent).length
      await page.locator('#check').click()
      await setHidden(page, true)
      await setHidden(page, false)
      await until('it has asked again', () => polls(sent).length > before)
    }
    expect(await page.evaluate('most')).to.equal(1)
  })

  it('leaves the form usable when a start fails on its way', async () => {
    expectComplaints(/ERR_INTERNET_DISCONNECTED/)
    const { origin, op } = await open()
    const { page, context } = await visit()
    await page.goto(`${origin}/ciba/login`)
    await context.setOffline(true)
    await enter(page)
    await page.getByText('Something went wrong.').waitFor()
    await context.setOffline(false)
    await enter(page)
    await op.approve('alice')
    await arrives(page, '/')
  })

  context('the texts are hostile', () => {
    const attack = `"'><img src=x onerror=alert(1)><script>alert(1)</script>{code}`

    async function attacked(given: (op: ScriptedOp) => void): Promise<Web> {
      const web = await startWeb({
        ciba: {
          startLimiter: false,
          startParams: ({ body }) => ({ loginHint: body.loginHint, bindingMessage: attack }),
          loginPage: { title: attack, texts: { lead: attack } },
        },
      })
      cleanup.push(() => web.close())
      given(web.op)
      return web
    }

    it('shows codes that are the names of something else', async () => {
      expectComplaints(/status of 400/)
      const { origin, op } = await attacked(() => {})
      const { page } = await visit()
      await page.goto(`${origin}/ciba/login`)
      for (const code of ['constructor', 'toString', '__proto__', 'hasOwnProperty']) {
        op.onBackchannel(tokenError(code))
        await enter(page)
        await page.getByText(`Code: ${code}`, { exact: true }).waitFor()
        expect(await page.locator('#notice').textContent()).to.include('The request was refused.')
      }
    })

    for (const javaScriptEnabled of [true, false]) {
      const how = javaScriptEnabled ? 'by script' : 'by the server'

      it(`shows hints, binding messages, codes and its own texts as text: ${how}`, async () => {
        expectComplaints(/status of 40\d/)
        const web = await attacked(() => {})
        const { page } = await visit({ javaScriptEnabled })
        let dialogs = 0
        page.on('dialog', async (dialog) => {
          dialogs++
          await dialog.dismiss()
        })
        await page.goto(`${web.origin}/ciba/login?returnTo=${encodeURIComponent(`/${attack}`)}`)
        expect(await page.locator('[data-view=form] h1').textContent()).to.equal(attack)
        await enter(page, attack)
        await sees(page, 'Look at your phone')
        expect(await page.locator('#binding').textContent()).to.equal(attack)
        web.op.onToken(tokenError('<b>denied</b>'))
        await web.op.ping(`${web.origin}/ciba/notification`)
        await sees(page, 'That did not work')
        expect(await page.locator('#outcome-code').textContent()).to.match(/^Code: /)
        expect(await page.locator('main :is(b, img, script)').count()).to.equal(0)
        web.op.onBackchannel(tokenError('<b>refused</b>'))
        await page.getByRole('link', { name: 'Try again' }).click()
        await enter(page, attack)
        await page.getByText('Code: <b>refused</b>').waitFor()
        expect(await page.locator('main :is(b, img, script)').count()).to.equal(0)
        expect(dialogs).to.equal(0)
      })
    }
  })
})
