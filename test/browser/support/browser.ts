/**
 * Chromium, an app with a login page, and the test provider behind it. What a page complains of is written down. Asserts
 * nothing else.
 */
import { existsSync, mkdirSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { expect } from 'chai'
import express, { type Express } from 'express'
import session from 'express-session'
import {
  type Browser,
  type BrowserContext,
  type BrowserContextOptions,
  chromium,
  type Page,
} from 'playwright-core'
import { type CibaOptions, ciba, requireCiba } from '../../../lib/index.ts'
import { startTestProvider, type TestProvider, type TestProviderOptions } from '../../../lib/testing/index.ts'

export type { Browser, Page } from 'playwright-core'

const { CHROMIUM_PATH } = process.env
const usual = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
const executablePath = (CHROMIUM_PATH ? [CHROMIUM_PATH] : usual).find((path) => existsSync(path))

/** Starts one Chromium for a suite. Without one the suite is skipped, and on CI it fails. */
export function browsers(): () => Browser {
  let browser: Browser | undefined
  before(async function () {
    this.timeout(30_000)
    if (executablePath === undefined) {
      if (process.env['CI']) throw new Error('no Chromium: install it, or set CHROMIUM_PATH')
      console.log('      skipped: no Chromium, install it or set CHROMIUM_PATH')
      this.skip()
    }
    browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] })
  })
  after(() => browser?.close())
  return () => browser as Browser
}

export interface SiteOptions {
  readonly ciba?: CibaOptions
  readonly op?: TestProviderOptions
  /** @default 'ping' */
  readonly deliveryMode?: 'poll' | 'ping'
  /** Where everything of the app is mounted. @default '' */
  readonly mount?: string
  readonly before?: (app: Express) => void
}

export interface Site {
  readonly origin: string
  readonly op: TestProvider
  close(): Promise<void>
}

/** An app with `GET /account` for who is signed in and `GET /` for all, and its OP. */
export async function startSite(options: SiteOptions = {}): Promise<Site> {
  const { deliveryMode = 'ping', mount = '' } = options
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const baseURL = `${origin}${mount}`
  const op = await startTestProvider({ baseURL, deliveryMode, ...options.op })
  const auth = ciba({
    ...op.clientOptions,
    baseURL,
    startLimiter: false,
    authorizationParams: { bindingMessage: 'auto' },
    ...options.ciba,
  })
  const app = express()
  options.before?.(app)
  app.get('/favicon.ico', (_req, res) => {
    res.status(204).end()
  })
  const inner = express.Router()
  inner.use(session({ secret: 'of a test', resave: false, saveUninitialized: false }))
  inner.use(auth)
  inner.get('/account', requireCiba(), (req, res) => {
    res.send(`<!doctype html><title>account</title><p>${req.ciba.user?.sub} is signed in`)
  })
  inner.get('/', (_req, res) => {
    res.send('<!doctype html><title>home</title>')
  })
  app.use(mount || '/', inner)
  server.on('request', app)
  return {
    origin,
    op,
    async close() {
      await auth.close()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
      await op.close()
    },
  }
}

/** A request of a page to our routes. */
export interface Sent {
  readonly path: string
  readonly body: Readonly<Record<string, unknown>>
  isOver: boolean
}

/** Somebody at a browser of their own. */
export interface Visitor {
  readonly context: BrowserContext
  readonly page: Page
  /** What was posted, in order. */
  readonly sent: Sent[]
  /** A further tab. */
  tab(): Promise<Page>
}

/**
 * Opens browsers that end with their test. Then nobody may have complained: no console errors, no violations of the
 * content security policy, but for what a test `expects`.
 */
export function visitors(browser: () => Browser): {
  visit(options?: BrowserContextOptions): Promise<Visitor>
  expectComplaints(pattern: RegExp): void
} {
  const contexts: BrowserContext[] = []
  const complaints: string[] = []
  let expected: RegExp | undefined
  beforeEach(() => {
    expected = undefined
  })
  afterEach(async () => {
    for (const context of contexts.splice(0)) await context.close()
    expect(complaints.splice(0).filter((line) => !expected?.test(line))).to.deep.equal([])
  })
  return {
    expectComplaints(pattern) {
      expected = pattern
    },
    async visit(options) {
      const context = await browser().newContext(options)
      contexts.push(context)
      context.setDefaultTimeout(10_000)
      context.on('console', (message) => {
        if (['error', 'warning'].includes(message.type())) complaints.push(message.text())
      })
      context.on('weberror', (error) => complaints.push(String(error.error())))
      await context.addInitScript(() => {
        const { document } = globalThis as unknown as { document: EventTarget }
        document.addEventListener('securitypolicyviolation', (event) => {
          console.error(
            `policy violated: ${(event as unknown as { violatedDirective: string }).violatedDirective}`,
          )
        })
      })
      const sent: Sent[] = []
      const page = await context.newPage()
      page.on('request', (request) => {
        if (request.method() !== 'POST') return
        const { pathname } = new URL(request.url())
        const text = request.postData() ?? ''
        const body = text.startsWith('{') ? JSON.parse(text) : Object.fromEntries(new URLSearchParams(text))
        const one: Sent = { path: pathname, body, isOver: false }
        sent.push(one)
        const end = (other: unknown) => {
          if (other === request) one.isOver = true
        }
        page.on('requestfinished', end).on('requestfailed', end)
      })
      return { context, page, sent, tab: () => context.newPage() }
    },
  }
}

/** Enters a name and sends it. */
export async function enter(page: Page, name = 'alice'): Promise<void> {
  await page.getByLabel('User name').fill(name)
  await page.getByRole('button', { name: 'Send request to my phone' }).click()
}

/** Resolves when the view with this heading is there. */
export async function sees(page: Page, heading: string): Promise<void> {
  await page.getByRole('heading', { name: heading, exact: true }).waitFor()
}

/** Resolves when the browser has arrived at `path`. */
export async function arrives(page: Page, path: string): Promise<void> {
  await page.waitForURL((url) => url.pathname === path)
}

const screenshots = new URL('../screenshots/', import.meta.url)

/** Keeps what a page looks like, for a person to look at. */
export async function keepScreenshot(page: Page, name: string): Promise<void> {
  mkdirSync(screenshots, { recursive: true })
  await page.screenshot({ path: fileURLToPath(new URL(`${name}.png`, screenshots)), fullPage: true })
}

/** Tells a page that it is hidden, or visible again, as a phone does when its owner turns to another app. */
export async function setHidden(page: Page, hidden: boolean): Promise<void> {
  await page.evaluate((value) => {
    const { document, Event } = globalThis as unknown as {
      document: EventTarget
      Event: new (name: string) => Event
    }
    Object.defineProperty(document, 'hidden', { value, configurable: true })
    document.dispatchEvent(new Event('visibilitychange'))
  }, hidden)
}
