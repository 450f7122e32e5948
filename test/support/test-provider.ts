/** Apps beside the test provider, that end with the test that started them. Asserts nothing. */
import type { Express } from 'express'
import type { CibaOptions } from '../../lib/index.ts'
import { startTestProvider, type TestProvider, type TestProviderOptions } from '../../lib/testing/index.ts'
import { type AppOptions, type Browser, startApp, type TestApp } from './app.ts'

export interface KitOptions {
  /** In ping mode unless it says otherwise; a function gets the origin of the app. */
  readonly provider?: TestProviderOptions | ((origin: string) => TestProviderOptions)
  /** On top of {@link TestProvider.clientOptions}. */
  readonly ciba?: CibaOptions
  readonly session?: AppOptions['session']
  readonly before?: AppOptions['before']
  readonly after?: (app: Express) => void
}

export interface Kit {
  readonly op: TestProvider
  readonly app: TestApp
  readonly browser: Browser
  /** A poll that is answered at the end, or after 20 seconds. */
  ended(transaction: string): Promise<string>
}

export function kits(): (options?: KitOptions) => Promise<Kit> {
  const cleanup: (() => Promise<void>)[] = []
  afterEach(async () => {
    for (const close of cleanup.splice(0).reverse()) await close()
  })
  return async (given = {}) => {
    let started: TestProvider | undefined
    const app = await startApp({
      ...(given.session && { session: given.session }),
      ...(given.before && { before: given.before }),
      ...(given.after && { after: given.after }),
      async options(origin) {
        const { provider: own = {} } = given
        started = await startTestProvider({
          baseURL: origin,
          ...(typeof own === 'function' ? own(origin) : own),
        })
        cleanup.push(started.close)
        return { ...started.clientOptions, startParams: (req) => req.body, ...given.ciba }
      },
    })
    cleanup.push(() => app.close())
    const op = started as unknown as TestProvider
    const browser = app.browser()
    return {
      op,
      app,
      browser,
      async ended(transaction) {
        const { status, error } = await browser.outcome(transaction)
        return error === undefined ? status : `${status}: ${error}`
      },
    }
  }
}
