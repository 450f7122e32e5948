/** Other versions of Node.js, as npm supplies them (some 190 MB each). Knows nothing of what they are for. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'

const PACKAGE = `node-${process.platform}-${process.arch}`

/**
 * The program runs with `node`, and so does whatever it starts by that name.
 *
 * @returns its exit status.
 */
export function runWith(node: string, folder: string, command: string, ...args: string[]): number {
  const path = [dirname(node), process.env['PATH']].join(delimiter)
  const { status, error } = spawnSync(command, args, {
    cwd: folder,
    stdio: 'inherit',
    env: { ...process.env, PATH: path },
  })
  if (error) throw error
  return status ?? 1
}

/**
 * Fetches a version for as long as `use` lasts.
 *
 * @returns what `use` makes of it, or the exit status of the installation where that failed.
 */
export async function withNode(
  version: string,
  use: (node: string) => number | Promise<number>,
): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'express-ciba-node-'))
  try {
    writeFileSync(join(folder, 'package.json'), '{ "private": true }\n')
    const flags = ['--prefer-offline', '--no-audit', '--no-fund']
    const installed = runWith(process.execPath, folder, 'npm', 'install', ...flags, `${PACKAGE}@${version}`)
    if (installed !== 0) return installed
    return await use(join(folder, 'node_modules', PACKAGE, 'bin/node'))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
