/**
 * The scripts for browsers, as the build has left them. Knows nothing of what they do.
 */

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import type { Request, RequestHandler, Response } from 'express'
import { takesOnly } from './answers.ts'
import { freezeSession } from './session.ts'

/** The texts of the scripts. */
export interface BrowserScripts {
  /** `startCiba()`, a module. */
  readonly client: string
  /** The login page's, a module that needs no other. */
  readonly page: string
}

let scripts: BrowserScripts | undefined
let hasWarned = false

/**
 * Reads the scripts. Without them, as where an app was bundled into one file, everything works as for a browser that runs
 * none; a warning says so.
 */
export function browserScripts(): BrowserScripts | undefined {
  try {
    scripts ??= read()
  } catch (error) {
    if (hasWarned) return undefined
    hasWarned = true
    process.emitWarning(
      `express-ciba serves no scripts for browsers: ${(error as Error).message}. A bundler must leave this package out of its bundle.`,
      { code: 'EXPRESS_CIBA_NO_SCRIPTS' },
    )
  }
  return scripts
}

function read(): BrowserScripts {
  // By the name of the package: from the sources and from the build it leads to what was built.
  const folder = dirname(createRequire(import.meta.url).resolve('express-ciba/browser'))
  const text = (name: string) => readFileSync(join(folder, name), 'utf8').replace(/^ +/gm, '')
  const client = text('client.js')
  const inner = client.replace(/^export /gm, '')
  const page = text('page.js').replace(/^(?:import .*|export \{\};?)$/gm, '')
  // One script in the page itself: no second request that can fail on a bad line.
  const exported = '{ startCiba, CibaRequestError }'
  return { client, page: `const ${exported} = (() => {\n${inner}\nreturn ${exported}\n})()\n${page}` }
}

/** Serves the client. Needs no session. */
export function clientHandler(client: string): RequestHandler {
  const etag = `"${createHash('sha256').update(client).digest('base64url').slice(0, 22)}"`
  return function cibaClientScript(req: Request, res: Response): void {
    freezeSession(req)
    if (!takesOnly(['GET', 'HEAD'], req, res)) return
    res.set({ 'Cache-Control': 'no-cache', ETag: etag, 'X-Content-Type-Options': 'nosniff' })
    res.type('text/javascript').send(client)
  }
}
