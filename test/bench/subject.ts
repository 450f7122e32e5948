/**
 * The inside of a process of a benchmark: answers the questions of whoever started it, and ends with it. Knows nothing of what
 * it serves.
 */
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { allowedCores } from './cores.ts'
import type { Memory, Query, Reply } from './harness.ts'

/** What a process has to say for itself. */
export interface Served {
  /** Where it listens. */
  readonly origin?: string
  /** Answers to questions, by their names; each gets the argument, and may be async. */
  readonly answers?: Readonly<Record<string, (argument: never) => unknown>>
}

/** Starts what `serve` makes of the configuration that the process was given, and answers until nobody asks any more. */
export async function runSubject<Config>(serve: (config: Config) => Served | Promise<Served>): Promise<void> {
  const served = Promise.resolve(serve(JSON.parse(process.argv[2] ?? '{}') as Config))
  served.catch(() => {}) // it is told with the first answer
  let cpu = process.cpuUsage()
  const common: Readonly<Record<string, (argument: never) => unknown>> = {
    origin: async () => (await served).origin ?? '',
    cpu() {
      const { user, system } = process.cpuUsage(cpu)
      cpu = process.cpuUsage()
      return user + system
    },
    memory,
    cores: allowedCores,
  }
  process.on('message', ({ id, question, argument }: Query) => {
    const answered = async () => {
      const answer = common[question] ?? (await served).answers?.[question]
      if (!answer) throw new Error(`nobody can answer "${question}"`)
      return answer(argument as never)
    }
    const reply = (said: Reply) => process.connected && process.send?.(said)
    answered().then(
      (answer) => reply({ id, answer }),
      (error: Error) => reply({ id, error: error.stack ?? String(error) }),
    )
  })
  process.once('disconnect', () => process.exit())
}

async function memory(): Promise<Memory> {
  for (let turn = 0; turn < 3; turn++) {
    // It gives back to the system what it can: what is resident afterwards is in use.
    ;(globalThis as unknown as { gc(how: object): void }).gc({ type: 'major', flavor: 'last-resort' })
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  const { rss, heapUsed, external } = process.memoryUsage()
  return { rss, heapUsed, external }
}

/** Listens at a free port of this machine. */
export async function listen(listener: RequestListener): Promise<{ server: Server; origin: string }> {
  const server = createServer({ keepAliveTimeout: 60_000 }, listener)
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', 4096, resolve)
  })
  return { server, origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}
