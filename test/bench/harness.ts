/**
 * What a benchmark works with: processes of its own on a core of their own, rounds that alternate, medians. Knows nothing
 * of what is measured, and nothing of where results go.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { type StartedRedis, startRedis } from '../support/redis-server.ts'
import { chooseCores, pinned } from './cores.ts'

/** One figure of a benchmark, as it was in each round. */
export interface Figure {
  /** Such as 'poll, memory sessions'. */
  readonly name: string
  /** Absent: reported only. */
  readonly goal?: { readonly atLeast: number } | { readonly atMost: number } | undefined
  /** @default 'ratio' */
  readonly unit?: string
  readonly rounds: readonly number[]
  /** The absolute figures behind it. */
  readonly detail: string
}

export interface Benchmark {
  /** What `npm run bench -- <name>` takes. */
  readonly name: string
  /** Rejects when anything went wrong on the way: there is no figure of a broken run. */
  readonly run: (env: BenchEnv) => Promise<readonly Figure[]>
}

/** How a process is started. */
export interface SpawnOptions {
  /** `tested` (the default) is the one that nothing else of the benchmark runs on. */
  readonly core?: 'tested' | 'other'
  readonly nodeArgs?: readonly string[]
}

export interface BenchEnv {
  /** Short rounds, to see that everything works. */
  readonly quick: boolean
  /** How many rounds to measure. */
  readonly rounds: number
  /** How long a round is where it goes by time. */
  readonly roundMs: number
  /** Longer than the compiler takes to settle. */
  readonly warmUpMs: number
  /**
   * Starts `test/bench/<name>.ts`, compiled, in a process of its own; `config` must survive JSON. The file calls
   * {@link runSubject}. It ends with the benchmark at the latest.
   */
  spawn(name: string, config?: object, options?: SpawnOptions): Promise<Subject>
  /** An empty redis-server, which ends with the benchmark. */
  redis(): Promise<StartedRedis>
}

/** Bytes. */
export interface Memory {
  readonly rss: number
  readonly heapUsed: number
  readonly external: number
}

/** A process of the benchmark, seen from outside. */
export interface Subject {
  /** Where it listens; empty if it does not. */
  readonly origin: string
  /** One of the questions that it was started to answer. */
  ask<Answer = unknown>(question: string, argument?: unknown): Promise<Answer>
  /** Microseconds of CPU, all threads, since the last call. */
  cpu(): Promise<number>
  /** After collecting garbage. */
  memory(): Promise<Memory>
  stop(): Promise<void>
}

const cores = chooseCores()

class Child implements Subject {
  readonly #name: string
  readonly #core: string | undefined
  readonly #child: ChildProcess
  readonly #asked = new Map<number, { resolve(answer: unknown): void; reject(error: Error): void }>()
  readonly #ended: Promise<unknown>
  #questions = 0
  #isStopping = false
  origin = ''

  constructor(name: string, config: object, { core = 'tested', nodeArgs = [] }: SpawnOptions) {
    this.#name = name
    const file = fileURLToPath(new URL(`./${name}.js`, import.meta.url))
    const profile = core === 'tested' ? profiling(name, config) : []
    const program = [...['--expose-gc', ...profile, ...nodeArgs], file, JSON.stringify(config)]
    this.#core = cores?.[core]
    const [command = '', ...args] = [...pinned(this.#core), process.execPath, ...program]
    this.#child = spawn(command, args, {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      env: { ...process.env, NODE_ENV: 'production' },
    })
    this.#child.on('message', (message) => this.#receive(message as Reply))
    this.#child.once('error', (error) => this.#fail(error))
    this.#ended = once(this.#child, 'exit').then(([code, signal]) => {
      this.#fail(new Error(`${name} has ended (${signal ?? code})`))
      if (code !== 0 && !this.#isStopping) process.stderr.write(`${name} has ended (${signal ?? code})\n`)
    })
    this.#ended.catch(() => {})
  }

  async ready(): Promise<void> {
    this.origin = await this.ask<string>('origin')
    const allowed = await this.ask<string[]>('cores')
    if (this.#core !== undefined && allowed.join() !== this.#core) {
      throw new Error(`${this.#name} runs on ${allowed.join()} instead of ${this.#core}`)
    }
  }

  ask<Answer>(question: string, argument?: unknown): Promise<Answer> {
    const id = ++this.#questions
    return new Promise<Answer>((resolve, reject) => {
      this.#asked.set(id, { resolve: resolve as (answer: unknown) => void, reject })
      this.#child.send({ id, question, argument } satisfies Query, (error) => error && this.#fail(error))
    })
  }

  cpu(): Promise<number> {
    return this.ask('cpu')
  }

  memory(): Promise<Memory> {
    return this.ask('memory')
  }

  async stop(): Promise<void> {
    if (this.#isStopping) return
    this.#isStopping = true
    if (this.#child.connected) this.#child.disconnect()
    const patience = setTimeout(() => this.#child.kill('SIGKILL'), 10_000)
    await this.#ended.catch(() => {})
    clearTimeout(patience)
  }

  #receive({ id, answer, error }: Reply): void {
    const asked = this.#asked.get(id)
    this.#asked.delete(id)
    if (error === undefined) asked?.resolve(answer)
    else asked?.reject(new Error(`${this.#name}: ${error}`))
  }

  #fail(error: Error): void {
    for (const { reject } of this.#asked.values()) reject(error)
    this.#asked.clear()
  }
}

/** `npm run bench -- --profile`: a profile of each process under test, named after what it was told. */
function profiling(name: string, config: object): string[] {
  const folder = process.env['BENCH_PROFILE']
  if (!folder) return []
  const told = Object.values(config).filter((value) => !String(value).includes('/'))
  const profile = [name, ...told, Date.now()].join('-')
  return ['--cpu-prof', `--cpu-prof-dir=${folder}`, `--cpu-prof-name=${profile}.cpuprofile`]
}

/** What goes over IPC. */
export interface Query {
  readonly id: number
  readonly question: string
  readonly argument?: unknown
}

export interface Reply {
  readonly id: number
  readonly answer?: unknown
  readonly error?: string
}

/** Runs one benchmark, and ends whatever it has started. */
export async function runBenchmark(benchmark: Benchmark, quick: boolean): Promise<readonly Figure[]> {
  const started: { stop(): Promise<void> }[] = []
  const env: BenchEnv = {
    quick,
    rounds: quick ? 3 : 7,
    roundMs: quick ? 300 : 1_500,
    warmUpMs: quick ? 500 : 3_000,
    async spawn(name, config = {}, options = {}) {
      const child = new Child(name, config, options)
      started.push(child)
      await child.ready()
      return child
    },
    async redis() {
      const redis = await startRedis()
      started.push(redis)
      return redis
    },
  }
  try {
    return await benchmark.run(env)
  } finally {
    for (const one of started.reverse()) await one.stop()
  }
}

/** Two things measured in turn: ours first, theirs first, ours first … */
export async function sideBySide<Measured>(
  rounds: number,
  ours: () => Promise<Measured>,
  theirs: () => Promise<Measured>,
): Promise<{ readonly ours: Measured[]; readonly theirs: Measured[] }> {
  const measured = { ours: [] as Measured[], theirs: [] as Measured[] }
  for (let round = 0; round < rounds; round++) {
    const inTurn = [
      async () => measured.ours.push(await ours()),
      async () => measured.theirs.push(await theirs()),
    ]
    for (const measure of round % 2 === 0 ? inTurn : inTurn.reverse()) await measure()
  }
  return measured
}

/** Round by round. */
export function ratios(ours: readonly number[], theirs: readonly number[]): number[] {
  return ours.map((one, round) => one / (theirs[round] ?? Number.NaN))
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  const [low, high] = [sorted[Math.ceil(middle) - 1], sorted[Math.floor(middle)]]
  return ((low ?? Number.NaN) + (high ?? Number.NaN)) / 2
}
