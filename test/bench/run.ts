/**
 * Runs benchmarks one after the other on the Node.js that runs this, and writes down what they measured. Knows nothing of
 * how that is shown.
 */
import { writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { benchmarks } from './benchmarks.ts'
import { chooseCores } from './cores.ts'
import { runBenchmark } from './harness.ts'
import type { Measured, RunOrder } from './results.ts'

const { names, quick, output } = JSON.parse(process.argv[2] ?? '') as RunOrder
const figures: Record<string, Measured['figures'][string]> = {}

for (const name of names) {
  const load = benchmarks[name]
  if (!load) throw new Error(`no benchmark is called "${name}"`)
  const from = Date.now()
  try {
    const { benchmark } = await load()
    figures[name] = await runBenchmark(benchmark, quick)
  } catch (error) {
    // The others may still be worth having.
    process.stderr.write(`${name} has failed: ${(error as Error).stack ?? error}\n`)
    process.exitCode = 1
  }
  process.stderr.write(`${name}: ${Math.round((Date.now() - from) / 1000)} s\n`)
}
const measured: Measured = {
  node: process.version,
  cpu: cpus()[0]?.model ?? 'unknown',
  isPinned: chooseCores() !== undefined,
  figures,
}
writeFileSync(output, JSON.stringify(measured))
