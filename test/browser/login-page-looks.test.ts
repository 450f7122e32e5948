/**
 * Every state of the login page, in light and dark, on a desktop and a small phone: checked by axe, and kept as screenshots in
 * `test/browser/screenshots/`.
 */
import { createRequire } from 'node:module'
import { expect } from 'chai'
import {
  browsers,
  enter,
  keepScreenshot,
  type Page,
  type Site,
  type SiteOptions,
  sees,
  startSite,
  visitors,
} from './support/browser.ts'

const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js')

/** In the page. */
interface Axe {
  run(options: object): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }>
}

const logo = `data:image/svg+xml,${encodeURIComponent(
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 44 44"><rect width="44" height="44" rx="10" fill="#1d4ed8"/><path d="M12 31V18l10-7 10 7v13z" fill="#fff"/></svg>',
)}`

interface State {
  readonly name: string
  readonly site?: SiteOptions
  /** From the form to the state. */
  reach(page: Page, site: Site): Promise<void>
}

const waiting = async (page: Page, { op }: Site) => {
  await enter(page)
  await sees(page, 'Look at your phone')
  return op.waitForRequest('alice')
}

const states: readonly State[] = [
  { name: 'form', reach: (page) => sees(page, 'Sign in to Example Bank') },
  {
    name: 'form-user-code-wrong',
    site: { op: { clients: [{ clientID: 'app', userCode: true }] }, ciba: { userCodeParameter: true } },
    async reach(page) {
      await page.getByLabel('User code').fill('0000')
      await enter(page)
      await page.getByText('This user code is not right.').waitFor()
    },
  },
  {
    name: 'form-unavailable',
    site: { ciba: { issuerBaseURL: 'http://127.0.0.1:9' } },
    async reach(page) {
      await enter(page)
      await page.getByText('Signing in is not possible right now.').waitFor()
    },
  },
  {
    name: 'form-unknown-transaction',
    async reach(page, { origin }) {
      await page.goto(`${origin}/ciba/login?transaction=unknown`)
      await page.getByText('This sign-in is over').waitFor()
    },
  },
  {
    name: 'waiting',
    async reach(page, site) {
      await waiting(page, site)
    },
  },
  {
    name: 'waiting-long-message',
    site: {
      ciba: { authorizationParams: { bindingMessage: 'Pay-1250-EUR-to-Ines' } },
    },
    async reach(page, site) {
      await waiting(page, site)
    },
  },
  {
    name: 'waiting-offline',
    async reach(page, site) {
      await waiting(page, site)
      await page.context().setOffline(true)
      await page.getByRole('link', { name: 'Check now' }).click()
      await page.locator('#trouble:not([hidden])').waitFor()
    },
  },
  {
    name: 'denied',
    async reach(page, site) {
      await waiting(page, site)
      await site.op.deny('alice')
      await sees(page, 'Denied')
    },
  },
  {
    name: 'expired',
    site: { op: { expiresIn: 1 }, deliveryMode: 'poll' },
    async reach(page) {
      await enter(page)
      await sees(page, 'Too late')
    },
  },
  {
    name: 'failed',
    site: {
      ciba: {
        afterAuthentication() {
          throw Object.assign(new Error('not here'), { status: 403 })
        },
      },
    },
    async reach(page, site) {
      await waiting(page, site)
      await site.op.approve('alice')
      await sees(page, 'That did not work')
    },
  },
  {
    name: 'cancelled',
    async reach(page, site) {
      await waiting(page, site)
      await page.getByRole('button', { name: 'Cancel' }).click()
      await sees(page, 'Cancelled')
    },
  },
  {
    name: 'signed-in',
    async reach(page, site) {
      await waiting(page, site)
      await site.op.approve('alice')
      await page.waitForURL((url) => url.pathname === '/')
      await page.goto(`${site.origin}/ciba/login`)
      await sees(page, 'You are signed in already')
    },
  },
]

const sizes = { desktop: { width: 1280, height: 800 }, phone: { width: 320, height: 640 } }

describe('how the login page looks', function () {
  this.timeout(40_000)
  const { visit, expectComplaints } = visitors(browsers())
  let site: Site | undefined

  afterEach(async () => {
    await site?.close()
    site = undefined
  })

  for (const { name, site: options = {}, reach } of states) {
    it(`is accessible, and kept as a picture: ${name}`, async () => {
      expectComplaints(/status of (4\d\d|503)|ERR_INTERNET_DISCONNECTED/)
      const loginPage = { title: 'Sign in to Example Bank', logo }
      site = await startSite({ ...options, ciba: { ...options.ciba, loginPage } })
      // Axe needs a door through the policy; the other tests keep it shut.
      const { page, context } = await visit({ bypassCSP: true, reducedMotion: 'reduce' })
      await page.goto(`${site.origin}/ciba/login`)
      await reach(page, site)
      await page.addScriptTag({ path: axe })
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.emulateMedia({ colorScheme })
        for (const [size, viewport] of Object.entries(sizes)) {
          await page.setViewportSize(viewport)
          const { violations } = await page.evaluate(() => {
            const { axe } = globalThis as unknown as { axe: Axe }
            return axe.run({
              runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
            })
          })
          const found = violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)])
          expect(found, `${colorScheme}, ${size}`).to.deep.equal([])
          const overflow = await page.evaluate('document.documentElement.scrollWidth - innerWidth')
          expect(overflow, 'nothing sticks out').to.be.at.most(0)
          await keepScreenshot(page, `${name}-${colorScheme}-${size}`)
        }
      }
      await context.setOffline(false)
    })
  }

  it('shows its ring in forced colours, and drains it in steps where motion is unwelcome', async () => {
    site = await startSite()
    const { page } = await visit({ forcedColors: 'active', reducedMotion: 'reduce' })
    await page.goto(`${site.origin}/ciba/login`)
    await waiting(page, site)
    const styles = await page.evaluate(
      '(({ animationTimingFunction, stroke }) => ({ animationTimingFunction, stroke }))(getComputedStyle(document.getElementById("left")))',
    )
    expect(styles)
      .to.have.property('animationTimingFunction')
      .that.matches(/^steps\(24/)
    await keepScreenshot(page, 'waiting-forced-colours')
  })
})
