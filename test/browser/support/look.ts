/**
 * Looks at a page as people do who use it: in both colour schemes, on a phone and on a wide screen. Keeps the pictures for a
 * person; knows nothing of what the page is about.
 */
import axe from 'axe-core'
import type { Page } from './browser.ts'
import { keepScreenshot } from './browser.ts'

/** Keeps `NAME-SCHEME-WIDTH.png`. @returns what axe-core finds wrong, in either scheme. */
export async function look(page: Page, name: string): Promise<string[]> {
  const found = new Set<string>()
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
    for (const [width, size] of [
      [360, 'narrow'],
      [1280, 'wide'],
    ] as const) {
      // Whoever looks is there: a screen that signs out by itself does not.
      await page.mouse.move(Math.random() * 100, 1)
      await page.setViewportSize({ width, height: 800 })
      await keepScreenshot(page, `${name}-${colorScheme}-${size}`)
    }
    await page.evaluate(axe.source)
    const { violations } = (await page.evaluate('axe.run()')) as axe.AxeResults
    for (const { id, nodes } of violations) found.add(`${id}: ${nodes.map(({ html }) => html).join(' ')}`)
  }
  return [...found]
}
