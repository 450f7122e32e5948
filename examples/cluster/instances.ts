/** The processes of the instances: starts them, kills one, and starts it again. Knows nothing of what they do. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { SetupError } from './setup-error.ts'

const program = fileURLToPath(new URL('instance.ts', import.meta.url))
const RESTART_MS = 3_000

/** One that is up. */
export interface Instance {
  readonly name: string
  readonly pid: number | undefined
  readonly port: number
}

export class Instances {
  readonly #env: NodeJS.ProcessEnv
  readonly #children = new Set<ChildProcess>()
  readonly #living = new Map<Instance, ChildProcess>()
  readonly #restarts = new Set<NodeJS.Timeout>()
  #isStopping = false

  constructor(env: NodeJS.ProcessEnv) {
    this.#env = env
  }

  /** In the order in which they came up. */
  get living(): readonly Instance[] {
    return [...this.#living.keys()]
  }

  /** Resolves when it takes requests; rejects when it ends before that. */
  async start(name: string): Promise<void> {
    // Detached: Ctrl-C is for us alone, so that they end in order.
    const child = fork(program, {
      env: { ...this.#env, INSTANCE: name },
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      detached: true,
    })
    this.#children.add(child)
    const ended = once(child, 'exit').then(([code, signal]: (number | string | null)[]) => {
      this.#children.delete(child)
      return String(signal ?? code)
    })
    const port = await Promise.race([
      once(child, 'message').then(([message]: { port: number }[]) => message?.port),
      ended.then(() => undefined),
    ])
    if (port === undefined) throw new SetupError(`Instance ${name} has not started.`)
    const instance = { name, pid: child.pid, port }
    this.#living.set(instance, child)
    void ended.then((how) => this.#mourn(instance, how))
  }

  /** Without a warning, as a crash would. */
  kill(instance: Instance): void {
    this.#living.get(instance)?.kill('SIGKILL')
  }

  /** Lets them finish what they do. */
  async stop(): Promise<void> {
    this.#isStopping = true
    for (const restart of this.#restarts) clearTimeout(restart)
    const ends = [...this.#children].map((child) => {
      child.kill('SIGTERM')
      return once(child, 'exit')
    })
    await Promise.all(ends)
  }

  #mourn(instance: Instance, how: string): void {
    this.#living.delete(instance)
    if (this.#isStopping) return
    const { name, pid } = instance
    const seconds = RESTART_MS / 1000
    console.log(`instance ${name} (process ${pid}) has ended: ${how}. It comes back in ${seconds} seconds.`)
    const restart = setTimeout(async () => {
      this.#restarts.delete(restart)
      try {
        await this.start(name)
        console.log(`instance ${name} is back.`)
      } catch (error) {
        if (!this.#isStopping) console.error((error as Error).message)
      }
    }, RESTART_MS)
    this.#restarts.add(restart)
  }
}
