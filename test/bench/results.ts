/**
 * RESULTS.md: what was measured, with the goal beside it. Knows nothing of how it was measured, except for the words that say
 * so.
 */
import { type Figure, median } from './harness.ts'

/** What the process that measures is told. */
export interface RunOrder {
  readonly names: readonly string[]
  readonly quick: boolean
  /** The file that takes what was {@link Measured}. */
  readonly output: string
}

/** What came of a run on one version of Node.js. */
export interface Measured {
  /** Such as 'v24.1.0'. */
  readonly node: string
  readonly cpu: string
  /** Whether what is under test had a core of its own. */
  readonly isPinned: boolean
  readonly figures: Readonly<Record<string, readonly Figure[]>>
}

/** The lines of a table, by the benchmark that they come from. */
type Rows = ReadonlyMap<string, readonly string[]>

const head = ['| | What | Goal | Median | Rounds | | Behind it |', '|---|---|---|---|---|---|---|']

/** How a benchmark's rows are to be found again. */
const rowStart = /^\| `([\w-]+)` \|/

/** The table of one run. */
export function tableOf({ figures }: Pick<Measured, 'figures'>): string {
  const rows = Object.entries(figures).flatMap(([name, list]) => list.map((figure) => row(name, figure)))
  return [...head, ...rows].join('\n')
}

/**
 * The text of the file with these results in it; of what was there before stays whatever was not measured again.
 *
 * @param order - the names of all benchmarks, as they follow each other
 */
export function withResults(
  text: string,
  measured: readonly Measured[],
  order: readonly string[],
  about: { readonly date: string; readonly versions: string },
): string {
  const sections = sectionsOf(text)
  for (const { node, cpu, isPinned, figures } of measured) {
    const title = `Node.js ${/^v(\d+)/.exec(node)?.[1]}`
    const known = sections.get(title)?.rows ?? new Map<string, readonly string[]>()
    const fresh = Object.entries(figures).map(
      ([name, list]) => [name, list.map((figure) => row(name, figure))] as const,
    )
    const place = isPinned
      ? 'the process under test alone on one core, all others on another'
      : 'without cores of their own for the processes: rough'
    const line = `Last run: ${about.date}, Node.js ${node.slice(1)} on ${cpu}; ${place}. ${about.versions}.`
    sections.set(title, { line, rows: new Map([...known, ...fresh]) })
  }
  const byVersion = [...sections].toSorted(([a], [b]) => b.localeCompare(a, 'en', { numeric: true }))
  const parts = byVersion.map(([title, { line, rows }]) => {
    const inOrder = order.flatMap((name) => rows.get(name) ?? [])
    return [`## ${title}`, '', line, '', ...head, ...inOrder, ''].join('\n')
  })
  return [introduction, ...parts].join('\n')
}

const introduction = `# Benchmarks

Written by \`npm run bench\`; \`npm run bench -- poll login\` measures some of them again. Figures are ratios, ours to the other
one, measured side by side: each side is a process of its own, which has a core to itself; load, OP and Redis are on another
core. After a warm-up the sides take turns, round by round, and each round gives one ratio: the table shows the median, the
lowest and the highest. CPU is that of the process, all its threads. What is measured is the compiled package, with
\`NODE_ENV=production\`. The goals count on Node.js 24; on Node.js 20 Express itself is two to three times slower, and figures can
jump between two levels.
`

function sectionsOf(text: string): Map<string, { line: string; rows: Rows }> {
  const sections = new Map<string, { line: string; rows: Rows }>()
  for (const part of text.split(/^## /m).slice(1)) {
    const [title = '', ...lines] = part.split('\n')
    const rows = new Map<string, string[]>()
    for (const line of lines) {
      const name = rowStart.exec(line)?.[1]
      if (name !== undefined) rows.set(name, [...(rows.get(name) ?? []), line])
    }
    sections.set(title.trim(), { line: lines.find((line) => line.startsWith('Last run')) ?? '', rows })
  }
  return sections
}

function row(name: string, { name: what, goal, unit = 'ratio', rounds, detail }: Figure): string {
  const middle = median(rounds)
  const shown = (value: number) => `${digits(value)}${unit === 'ratio' ? '' : ` ${unit}`}`
  const range = `${digits(Math.min(...rounds))} to ${digits(Math.max(...rounds))}`
  const cells = [
    `\`${name}\``,
    what,
    goalOf(goal, shown),
    shown(middle),
    range,
    verdict(goal, middle),
    detail,
  ]
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
}

function goalOf(goal: Figure['goal'], shown: (value: number) => string): string {
  if (!goal) return ''
  return 'atLeast' in goal ? `at least ${shown(goal.atLeast)}` : `at most ${shown(goal.atMost)}`
}

function verdict(goal: Figure['goal'], middle: number): string {
  if (!goal) return ''
  const isMet = 'atLeast' in goal ? middle >= goal.atLeast : middle <= goal.atMost
  return isMet ? 'met' : '**missed**'
}

/** Three digits that count. */
export function digits(value: number): string {
  if (!Number.isFinite(value)) return String(value)
  return Math.abs(value) >= 100
    ? Math.round(value).toLocaleString('en')
    : String(Number(value.toPrecision(3)))
}
