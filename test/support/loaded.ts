/**
 * Apps in processes of their own that have to stand a load or to end in order, seen from outside. Asserts only that none of
 * them has got into trouble.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import type { LoadedCounts, LoadedQuestion, LoadedReport, LoadedSettings } from './loaded-process.ts'

const program = new URL('./loaded-process.ts', import.meta.url).href

/** One app. */
export class LoadedApp {
  origin = ''
  /** How long `auth.close()` took. */
  closedMs: number | undefined
  /** What kept the process alive although all was closed. */
  left: readonly string[] | undefined
  readonly troubles: string[] = []
  readonly ended: Promise<{ readonly code: number | null; readonly signal: string | null }>
  readonly #child: ChildProcess
  readonly #news = new EventEmitter()
  #questions = 0

  constructor(settings: LoadedSettings) {
    const code = `await (await import(${JSON.stringify(program)})).runLoaded(${JSON.stringify(settings)})`
    const args = ['--expose-gc', '--import', 'tsx', '--input-type=module', '--eval', code]
    this.#child = spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    this.ended = once(this.#child, 'exit').then(([exitCode, signal]) => {
      this.#news.emit('end')
      return { code: exitCode, signal }
    })
    this.#child.on('message', (report: LoadedReport) => {
      if ('origin' in report) this.origin = report.origin
      if ('trouble' in report) this.troubles.push(report.trouble)
      if ('closedMs' in report) this.closedMs = report.closedMs
      if ('left' in report) this.left = report.left
      this.#news.emit('report', report)
    })
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  get notificationUrl(): string {
    return `${this.origin}/ciba/notification`
  }

  async ready(): Promise<this> {
    if (this.origin === '') await this.#report((report) => 'origin' in report)
    return this
  }

  /** In bytes, after a garbage collection. */
  async heap(): Promise<number> {
    return (await this.memory()).heapUsed
  }

  memory(): Promise<NodeJS.MemoryUsage> {
    return this.#ask('memory') as Promise<NodeJS.MemoryUsage>
  }

  counts(): Promise<LoadedCounts> {
    return this.#ask('counts') as Promise<LoadedCounts>
  }

  connections(): Promise<number> {
    return this.#ask('connections') as Promise<number>
  }

  /** As an operator ends it. */
  end(): void {
    this.#child.kill('SIGTERM')
  }

  async kill(): Promise<void> {
    if (this.isRunning) this.#child.kill('SIGKILL')
    await this.ended
  }

  async #ask(ask: LoadedQuestion): Promise<unknown> {
    this.#questions += 1
    const number = this.#questions
    const answered = this.#report((report) => 'number' in report && report.number === number)
    this.#child.send({ number, ask })
    return ((await answered) as { answer: unknown }).answer
  }

  #report(matches: (report: LoadedReport) => boolean): Promise<LoadedReport> {
    return new Promise((resolve, reject) => {
      const settle = (act: () => void) => {
        this.#news.off('report', take).off('end', fail)
        act()
      }
      const take = (report: LoadedReport) => matches(report) && settle(() => resolve(report))
      const fail = () => settle(() => reject(new Error('the app has ended')))
      this.#news.on('report', take).on('end', fail)
    })
  }
}

/** Starts apps that end with the test that started them. */
export function loadedApps(): (settings: LoadedSettings) => Promise<LoadedApp> {
  const running: LoadedApp[] = []
  afterEach(async () => {
    const here = running.splice(0)
    for (const app of here) await app.kill()
    const troubles = here.flatMap((app) => app.troubles)
    if (troubles.length > 0) throw new Error(`an app has got into trouble:\n${troubles.join('\n')}`)
  })
  return async (settings) => {
    const app = new LoadedApp(settings)
    running.push(app)
    return app.ready()
  }
}
