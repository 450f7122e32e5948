/**
 * Serves the style that the examples share and the scripts of one example, under a policy that lets nothing else run.
 * Knows nothing of what the pages say.
 */
import { fileURLToPath } from 'node:url'
import express, { Router } from 'express'

const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
  "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

const shared = fileURLToPath(new URL('public', import.meta.url))

/**
 * @param base - the `import.meta.url` of an example that has a folder `public`
 * @param path - where the files are
 */
export function assets(base: string, path = '/assets'): Router {
  const router = Router()
  router.use((_req, res, next) => {
    res.set({
      'Content-Security-Policy': POLICY,
      'X-Content-Type-Options': 'nosniff',
      'Referrer-Policy': 'same-origin',
      // Pages show who is signed in: nobody shall find them with the back button after that.
      'Cache-Control': 'no-store',
    })
    next()
  })
  // What is served is the same for everybody, and small.
  const options = { index: false, cacheControl: false }
  router.use(path, express.static(shared, options))
  router.use(path, express.static(fileURLToPath(new URL('public', base)), options))
  return router
}
