/** The cores that a benchmark may use, and which of its processes runs where. Linux alone can say so. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

/** A core by its number. */
export interface Cores {
  /** For the process under test, and nothing else of ours. */
  readonly tested: string
  /** For everything else. */
  readonly other: string
}

/** The cores on which this process may run: `availableParallelism()` says only how many; empty if nobody knows. */
export function allowedCores(): string[] {
  if (process.platform !== 'linux') return []
  const list = /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? ''
  return list.split(',').flatMap((range) => {
    const [first = 0, last = first] = range.split('-').map(Number)
    return Array.from({ length: last - first + 1 }, (_, index) => String(first + index))
  })
}

/** Two cores to keep apart, `undefined` where there are none; what a process with less to choose from is told by its parent. */
export function chooseCores(): Cores | undefined {
  const told = process.env['BENCH_CORES']?.split(',')
  if (!told && spawnSync('taskset', ['--version']).error) return undefined
  const [other, tested] = told ?? allowedCores()
  return tested === undefined || other === undefined ? undefined : { tested, other }
}

/** Tells the processes that are started from here. */
export function tellCores({ tested, other }: Cores): void {
  process.env['BENCH_CORES'] = `${other},${tested}`
}

/** The command that runs another one on a core. */
export function pinned(core: string | undefined): string[] {
  return core === undefined ? [] : ['taskset', '-c', core]
}
