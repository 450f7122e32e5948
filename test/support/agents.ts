/**
 * Agents: processes of their own that start and wait, share a store with the others, and can be killed at any moment.
 * Asserts nothing.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { type CibaClientOptions, type ClientStatus, createCibaClient } from '../../lib/index.ts'
import { RemoteStore } from './store-server.ts'

/** What an agent is told to do; it says what came of it, and `wait` first says that it begins. */
type Order = { readonly start: string } | { readonly wait: string } | { readonly close: true }

/** What an agent says. */
type Report =
  | { readonly ready: true }
  | { readonly started: string }
  | { readonly waiting: string }
  | { readonly outcome: ClientStatus }
  | { readonly fault: string }

/** What an agent is started with. */
interface AgentOptions {
  /** Of the client, as far as JSON can say them. */
  readonly client: CibaClientOptions
  /** Of the store's server. */
  readonly port: number
}

/** One agent, seen from outside. */
export class Agent {
  readonly #child: ChildProcess
  readonly #said: Report[] = []
  readonly #ended: Promise<unknown>

  constructor({ client, port }: AgentOptions) {
    const program = `
      const { runAgent } = await import(${JSON.stringify(import.meta.url)})
      await runAgent(${JSON.stringify({ client, port })})`
    const args = ['--import', 'tsx', '--input-type=module', '--eval', program]
    this.#child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
    this.#child.on('message', (report) => this.#said.push(report as Report))
    this.#ended = once(this.#child, 'exit')
  }

  tell(order: Order): void {
    this.#child.send(order)
  }

  /** The first report of this kind, as soon as it is there. */
  async report<Kind extends 'ready' | 'started' | 'waiting' | 'outcome'>(
    kind: Kind,
  ): Promise<Extract<Report, { [kind in Kind]: unknown }>[Kind]> {
    for (;;) {
      const report = this.#said.find((said) => kind in said || 'fault' in said)
      if (report && 'fault' in report) throw new Error(`the agent failed: ${report.fault}`)
      if (report) return (report as unknown as { [kind in Kind]: never })[kind]
      const [, ended] = await Promise.race([
        once(this.#child, 'message').then(() => [0, false]),
        this.#ended.then(() => [0, true]),
      ])
      if (ended && !this.#said.some((said) => kind in said)) throw new Error('the agent has ended')
    }
  }

  /** Ends it without a chance to do anything about it. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#ended
  }

  /** Resolves to its exit code when it ends by itself. */
  async ended(): Promise<number | null> {
    await this.#ended
    return this.#child.exitCode
  }
}

/**
 * What runs in the process of an agent.
 *
 * @public a child process imports it
 */
export async function runAgent({ client: options, port }: AgentOptions): Promise<void> {
  const store = await RemoteStore.connect(port)
  const client = createCibaClient({ ...options, store })
  const say = (report: Report) => process.send?.(report)
  async function obey(order: Order): Promise<void> {
    if ('start' in order) {
      const { transaction } = await client.start({ loginHint: order.start })
      say({ started: transaction })
    } else if ('wait' in order) {
      say({ waiting: order.wait })
      say({ outcome: await client.wait(order.wait) })
    } else {
      await client.close()
      await store.close()
      process.disconnect()
    }
  }
  process.on('message', (order) => {
    obey(order as Order).catch((error: Error) => say({ fault: String(error) }))
  })
  say({ ready: true })
}
