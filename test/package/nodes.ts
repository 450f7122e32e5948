/**
 * Runs the whole suite on other versions of Node.js, which npm supplies (some 190 MB each): `npm run test:nodes`
 * for the newest of each supported line, `npm run test:nodes -- 22.12.0` for the versions named.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const PACKAGE = `node-${process.platform}-${process.arch}`

/** The program runs with `node`, and so does whatever it starts by that name. */
function run(node: string, folder: string, command: string, ...args: string[]): number {
  const path = [dirname(node), process.env['PATH']].join(delimiter)
  const { status, error } = spawnSync(command, args, {
    cwd: folder,
    stdio: 'inherit',
    env: { ...process.env, PATH: path },
  })
  if (error) throw error
  return status ?? 1
}

/** @returns the exit status of mocha, or of the installation where that failed. */
function testOn(version: string): number {
  const folder = mkdtempSync(join(tmpdir(), 'express-ciba-node-'))
  try {
    writeFileSync(join(folder, 'package.json'), '{ "private": true }\n')
    const flags = ['--prefer-offline', '--no-audit', '--no-fund']
    const installed = run(process.execPath, folder, 'npm', 'install', ...flags, `${PACKAGE}@${version}`)
    if (installed !== 0) return installed
    const node = join(folder, 'node_modules', PACKAGE, 'bin/node')
    run(node, ROOT, node, '--version')
    return run(node, ROOT, node, join(ROOT, 'node_modules/mocha/bin/mocha.js'))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const versions = process.argv.length > 2 ? process.argv.slice(2) : ['22', '24']
const failed = versions.filter((version) => testOn(version) !== 0)
if (failed.length > 0) {
  process.stderr.write(`Failed on Node.js ${failed.join(', ')}\n`)
  process.exitCode = 1
}
