/**
 * Runs the whole suite on other versions of Node.js: `npm run test:nodes` for the newest of each supported line,
 * `npm run test:nodes -- 22.12.0` for the versions named.
 */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { runWith, withNode } from '../support/node-versions.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/** @returns the exit status of mocha. */
function runSuite(node: string): number {
  runWith(node, ROOT, node, '--version')
  return runWith(node, ROOT, node, join(ROOT, 'node_modules/mocha/bin/mocha.js'))
}

const versions = process.argv.length > 2 ? process.argv.slice(2) : ['22', '24']
const failed: string[] = []
for (const version of versions) if ((await withNode(version, runSuite)) !== 0) failed.push(version)
if (failed.length > 0) {
  process.stderr.write(`Failed on Node.js ${failed.join(', ')}\n`)
  process.exitCode = 1
}
