/**
 * `npm run bench`: all benchmarks on Node.js 24 and on the Node.js that runs this, into RESULTS.md.
 *
 *     npm run bench -- poll login     only these
 *     npm run bench -- --node 24      only there; a path to a program does as well
 *     npm run bench -- --quick        to see that they work: short, and writes nothing
 *     npm run bench -- --profile some/folder poll     CPU profiles of the processes under test; writes nothing else
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { runWith, withNode } from '../support/node-versions.ts'
import { benchmarks } from './benchmarks.ts'
import { chooseCores, pinned, tellCores } from './cores.ts'
import { type Measured, type RunOrder, tableOf, withResults } from './results.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const RESULTS = fileURLToPath(new URL('RESULTS.md', import.meta.url))

/** What the sides are made of. */
const packages = ['express', 'express-session', 'openid-client', 'oauth4webapi', 'undici', 'redis']

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    node: { type: 'string', multiple: true },
    profile: { type: 'string' },
  },
})
const everything = Object.keys(benchmarks)
const names = positionals.length > 0 ? positionals : everything
const unknown = names.find((name) => !everything.includes(name))
if (unknown !== undefined) throw new Error(`no benchmark is called "${unknown}": ${everything.join(', ')}`)

/** The library and the benchmarks as JavaScript, in a folder where packages are found. */
function compile(): string {
  const cache = join(ROOT, 'node_modules/.cache')
  mkdirSync(cache, { recursive: true })
  const folder = mkdtempSync(join(cache, 'express-ciba-bench-'))
  // The library finds its scripts for browsers by the name of the package.
  const exported = { './browser': './browser/client.js' }
  const manifest = { name: 'express-ciba', type: 'module', exports: exported }
  writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest))
  const tsc = (project: string, to: string) => {
    const args = ['-p', project, '--outDir', join(folder, to)]
    return spawnSync(join(ROOT, 'node_modules/.bin/tsc'), args, { cwd: ROOT, stdio: 'inherit' }).status === 0
  }
  if (tsc('test/bench', '.') && tsc('lib/browser/tsconfig.json', 'browser')) return folder
  rmSync(folder, { recursive: true, force: true })
  throw new Error('the benchmarks do not compile')
}

/** @returns 0 if nothing failed. */
function runOn(node: string, folder: string, measured: Measured[]): number {
  const output = join(folder, 'measured.json')
  rmSync(output, { force: true })
  const order: RunOrder = { names, quick: values.quick, output }
  const program = [node, join(folder, 'test/bench/run.js'), JSON.stringify(order)]
  const [command = node, ...args] = [...pinned(cores?.other), ...program]
  const status = runWith(node, ROOT, command, ...args)
  if (!existsSync(output)) return status || 1
  const one = JSON.parse(readFileSync(output, 'utf8')) as Measured
  measured.push(one)
  process.stdout.write(`\nNode.js ${one.node.slice(1)}\n${tableOf(one)}\n`)
  return status
}

function versions(): string {
  const versionOf = (name: string) => {
    const file = join(ROOT, 'node_modules', name, 'package.json')
    return `${name} ${(JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version}`
  }
  return packages.map(versionOf).join(', ')
}

/** `use` gets the program of that version. */
async function withNodeOf(wanted: string, use: (node: string) => number): Promise<number> {
  if (wanted.includes('/')) return use(resolve(wanted))
  if (wanted === process.versions.node.split('.')[0]) return use(process.execPath)
  return withNode(wanted, use)
}

if (values.profile !== undefined) process.env['BENCH_PROFILE'] = resolve(values.profile)
const wanted = values.node ?? [...new Set(['24', process.versions.node.split('.')[0] ?? ''])]
const cores = chooseCores()
if (cores) tellCores(cores)
const measured: Measured[] = []
const folder = compile()
try {
  for (const one of wanted) {
    const status = await withNodeOf(one, (node) => runOn(node, folder, measured))
    if (status !== 0) process.exitCode = 1
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
if (!values.quick && values.profile === undefined && measured.length > 0) {
  const before = existsSync(RESULTS) ? readFileSync(RESULTS, 'utf8') : ''
  const date = new Date().toISOString().slice(0, 10)
  writeFileSync(RESULTS, withResults(before, measured, everything, { date, versions: versions() }))
}
