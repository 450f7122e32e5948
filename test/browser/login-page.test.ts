/** People sign in at the login page, in Chromium, with and without JavaScript, with a mouse and with a keyboard. */
import { expect } from 'chai'
import { USER_CODE } from '../../lib/testing/index.ts'
import { until } from '../support/web.ts'
import {
  arrives,
  browsers,
  enter,
  type Page,
  type Site,
  type SiteOptions,
  sees,
  startSite,
  visitors,
} from './support/browser.ts'

describe('the login page in a browser', function () {
  this.timeout(30_000)
  const { visit, expectComplaints } = visitors(browsers())
  let site: Site | undefined

  afterEach(async () => {
    await site?.close()
    site = undefined
  })

  async function open(options: SiteOptions = {}): Promise<Site> {
    site = await startSite(options)
    return site
  }

  /** A limiter that has had enough. */
  const noMore = (msBeforeNext: number) => ({
    consume: () => Promise.reject(Object.assign(new Error('enough'), { msBeforeNext })),
  })
  const shownMessage = (page: Page) => page.locator('#binding').textContent()

  for (const deliveryMode of ['poll', 'ping'] as const) {
    it(`signs in and goes where the visitor wanted to go, in ${deliveryMode} mode`, async () => {
      const { origin, op } = await open({ deliveryMode })
      const { page, sent } = await visit()
      await page.goto(`${origin}/account?tab=2`)
      await arrives(page, '/ciba/login')
      await enter(page)
      await sees(page, 'Look at your phone')
      const request = await op.waitForRequest('alice')
      expect(await shownMessage(page)).to.equal(request.bindingMessage)
      await until('the page polls', () => sent.some(({ path }) => path === '/ciba/poll'))
      const before = performance.now()
      await op.approve('alice')
      await arrives(page, '/account')
      const tookMs = Math.round(performance.now() - before)
      if (deliveryMode === 'ping') console.log(`      from the approval to the signed-in page: ${tookMs} ms`)
      expect(page.url()).to.equal(`${origin}/account?tab=2`)
      expect(await page.textContent('p')).to.include('alice is signed in')
      expect(tookMs).to.be.below(deliveryMode === 'ping' ? 1_000 : 5_000)
      // Nothing of the login is left behind the page.
      await page.goBack()
      expect(page.url()).not.to.include('transaction')
    })
  }

  it('shows a denial, and tries again with the same name', async () => {
    const { origin, op } = await open()
    const { page } = await visit()
    await page.goto(`${origin}/ciba/login`)
    await enter(page)
    await op.waitForRequest('alice')
    await op.deny('alice')
    await sees(page, 'Denied')
    expect(await page.locator('#outcome-code').textContent(), 'the heading says it').to.equal('')
    await page.getByRole('link', { name: 'Try again' }).click()
    expect(await page.getByLabel('User name').inputValue()).to.equal('alice')
    await page.getByRole('button', { name: 'Send request' }).click()
    await sees(page, 'Look at your phone')
    await op.approve((await op.waitForRequest('alice')).authReqId)
    await arrives(page, '/')
  })

  it('shows an expiry, and sends again without another word', async () => {
    const { origin, op } = await open({ deliveryMode: 'poll', op: { expiresIn: 2 } })
    const { page, sent } = await visit()
    await page.goto(`${origin}/ciba/login?returnTo=/account`)
    await enter(page)
    const { authReqId: first } = await op.waitForRequest('alice')
    await sees(page, 'Too late')
    await page.getByRole('link', { name: 'Send again' }).click()
    await sees(page, 'Look at your phone')
    await until('the OP was asked again', () => [...op.requests.keys()].some((id) => id !== first))
    const starts = sent.filter(({ path }) => path === '/ciba/start')
    expect(starts.map(({ body }) => body)).to.deep.equal([
      { loginHint: 'alice', returnTo: '/account' },
      { loginHint: 'alice', returnTo: '/account' },
    ])
    await op.approve([...op.requests.keys()].at(-1) as string)
    await arrives(page, '/account')
  })

  it('cancels', async () => {
    const { origin, op } = await open()
    const { page, sent } = await visit()
    await page.goto(`${origin}/ciba/login`)
    await enter(page)
    await op.waitForRequest('alice')
    await page.getByRole('button', { name: 'Cancel' }).click()
    await sees(page, 'Cancelled')
    expect(sent.some(({ path }) => path === '/ciba/cancel')).to.equal(true)
    // It says the same after a reload.
    await page.reload()
    await sees(page, 'Cancelled')
  })

  it('says at the field what is wrong with it, and what the app refuses', async () => {
    expectComplaints(/status of 4\d\d/)
    const client = { clientID: 'app', userCode: true }
    const { origin, op } = await open({
      op: { clients: [client] },
      ciba: { userCodeParameter: true },
    })
    const { page } = await visit()
    await page.goto(`${origin}/ciba/login`)
    await page.getByLabel('User name').fill('alice')
    await page.getByLabel('User code').fill('0000')
    await page.getByRole('button', { name: 'Send request' }).click()
    const code = page.getByLabel('User code')
    await page.getByText('This user code is not right.').waitFor()
    expect(await code.getAttribute('aria-invalid')).to.equal('true')
    expect(await code.evaluate((input) => input === input.ownerDocument.activeElement)).to.equal(true)
    await code.fill(USER_CODE)
    await page.keyboard.press('Enter')
    await sees(page, 'Look at your phone')
    await op.approve('alice')
    await arrives(page, '/')
  })

  it('says when there were too many, and that the OP is away', async () => {
    expectComplaints(/status of (429|503)/)
    const { origin } = await open({ ciba: { startLimiter: noMore(240_000) } })
    const { page } = await visit()
    await page.goto(`${origin}/ciba/login`)
    await enter(page)
    await page.getByText('Too many requests. Try again in 4 minutes.').waitFor()
    await site?.close()
    await open({ ciba: { issuerBaseURL: 'http://127.0.0.1:9' } })
    await page.goto(`${site?.origin}/ciba/login`)
    await enter(page)
    await page.getByText('Signing in is not possible right now.').waitFor()
  })

  it('asks who is signed in whether to go on, and lets them sign in as somebody else', async () => {
    const { origin, op } = await open()
    const { page } = await visit()
    await page.goto(`${origin}/ciba/login`)
    await enter(page)
    await op.approve('alice')
    await arrives(page, '/')
    await page.goto(`${origin}/ciba/login?returnTo=/account`)
    await sees(page, 'You are signed in already')
    await page.getByRole('link', { name: 'Sign in again' }).click()
    await enter(page, 'bob')
    await op.approve('bob')
    await arrives(page, '/account')
    expect(await page.textContent('p')).to.include('bob is signed in')
    await page.goto(`${origin}/ciba/login?returnTo=/account`)
    await page.getByRole('link', { name: 'Continue' }).click()
    await arrives(page, '/account')
  })

  it('works below a mount', async () => {
    const { origin, op } = await open({ mount: '/deep/er' })
    const { page } = await visit()
    await page.goto(`${origin}/deep/er/account`)
    await arrives(page, '/deep/er/ciba/login')
    await enter(page)
    await op.approve('alice')
    await arrives(page, '/deep/er/account')
  })

  it('needs nothing but a keyboard, and takes the focus along', async () => {
    const { origin, op } = await open()
    const { page } = await visit()
    const focused = () => page.evaluate('document.activeElement.textContent.trim()')
    await page.goto(`${origin}/ciba/login`)
    await page.keyboard.press('Tab')
    await page.keyboard.type('alice')
    await page.keyboard.press('Enter')
    await op.waitForRequest('alice')
    await sees(page, 'Look at your phone')
    expect(await focused()).to.equal('Look at your phone')
    expect(await page.locator('#said').textContent()).to.include('Approve only if your phone shows this:')
    await page.keyboard.press('Tab')
    expect(await focused()).to.equal('Check now')
    await page.keyboard.press('Tab')
    expect(await focused()).to.equal('Cancel')
    await page.keyboard.press('Enter')
    await sees(page, 'Cancelled')
    expect(await focused()).to.equal('Cancelled')
    await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    expect(await page.evaluate('document.activeElement.id')).to.equal('loginHint')
    await page.keyboard.press('Enter')
    await op.approve(await op.waitForRequest('alice'))
    await arrives(page, '/')
  })

  context('without JavaScript', () => {
    it('signs in by a page that looks again by itself', async () => {
      const { origin, op } = await open()
      const { page } = await visit({ javaScriptEnabled: false })
      await page.goto(`${origin}/account`)
      await enter(page)
      await sees(page, 'Look at your phone')
      const { bindingMessage } = await op.waitForRequest('alice')
      expect(await shownMessage(page)).to.equal(bindingMessage)
      await op.approve('alice')
      await arrives(page, '/account')
    })

    it('looks when it is told to, cancels, and tries again', async () => {
      const { origin, op } = await open()
      const { page } = await visit({ javaScriptEnabled: false })
      await page.goto(`${origin}/ciba/login?returnTo=/account`)
      await enter(page)
      await page.getByRole('link', { name: 'Check now' }).click()
      await sees(page, 'Look at your phone')
      await page.getByRole('button', { name: 'Cancel' }).click()
      await sees(page, 'Cancelled')
      await page.getByRole('link', { name: 'Try again' }).click()
      await enter(page, 'bob')
      await sees(page, 'Look at your phone')
      await op.approve('bob')
      await page.getByRole('link', { name: 'Check now' }).click()
      await arrives(page, '/account')
    })

    it('shows errors in the page', async () => {
      expectComplaints(/status of 429/)
      const { origin } = await open({ ciba: { startLimiter: noMore(30_000) } })
      const { page } = await visit({ javaScriptEnabled: false })
      await page.goto(`${origin}/ciba/login`)
      await enter(page)
      await page.getByText('Too many requests. Try again in 30 seconds.').waitFor()
      await page.getByLabel('User name').waitFor()
    })
  })
})
