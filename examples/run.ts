/** `npm start`: runs one of the examples until it ends or is told to, with Ctrl-C. Knows them by name only. */
import { parseArgs } from 'node:util'
import { SetupError } from './cluster/setup-error.ts'
import { type ExampleSettings, type RunningExample, runWebExample } from './support/web-example.ts'

interface Settings extends ExampleSettings {
  /** How many instances of the app, where there are several. */
  readonly instances: number
}

interface Example {
  /** One line for the list. */
  readonly about: string
  /** What to do first. */
  readonly story: string
  run(settings: Settings): Promise<RunningExample>
}

const examples: Readonly<Record<string, Example>> = {
  login: {
    about: 'people sign in by approving on their phone',
    story: 'Open both, side by side. Sign in as alice or bob in the app, then approve on the phone.',
    run: async (settings) => runWebExample((await import('./login/app.ts')).createApp, settings),
  },
  'call-centre': {
    about: 'an agent verifies several callers at once',
    story: `Open both, side by side. Sign in as agent: approve that on the phone. Then verify the callers; the phone
shows the requests of all of them.`,
    run: async (settings) => runWebExample((await import('./call-centre/app.ts')).createApp, settings),
  },
  kiosk: {
    about: 'a shared screen that forgets who was there',
    story: `Open both, side by side. Show your tickets as alice or bob. Then leave the screen alone, and it signs out
by itself.`,
    run: async (settings) => runWebExample((await import('./kiosk/app.ts')).createApp, settings),
  },
  payment: {
    about: 'each payment is approved by itself, with its amount and payee',
    story: `Open both, side by side. Sign in as alice or bob, then pay somebody: the phone shows what exactly is to be
approved.`,
    run: async (settings) => runWebExample((await import('./payment/app.ts')).createApp, settings),
  },
  agent: {
    about: 'a process without a browser that asks its owner, and survives being killed',
    story:
      'Open the phone and decide for alice. Before you do: press Enter to kill the agent, and see it go on.',
    run: async (settings) => (await import('./agent/supervisor.ts')).runAgent(settings),
  },
  cluster: {
    about: 'several instances share a Redis, and any of them can be killed',
    story: `Open both, side by side. Sign in as alice or bob: each request goes to another instance, as you can read here.
Press Enter to kill the instance that was asked last, best while the app waits for the phone: the others go on.`,
    run: async (settings) => (await import('./cluster/cluster.ts')).runCluster(settings),
  },
}

const list = Object.entries(examples).map(([name, { about }]) => `  ${name.padEnd(13)}${about}`)

const USAGE = `Usage: npm start [example] -- [--mode poll|ping] [--instances n]

${list.join('\n')}

  --mode poll    the app asks the OP for the outcome (default)
  --mode ping    the OP tells the app that there is one
  --instances n  how many instances the cluster has, 2 to 20 (default 3)
  --help         this text

Environment: PORT (default 3000) for the app, OP_PORT (default 3001) for the OP; 0 for any free port.
REDIS_URL for the cluster (default: a redis-server of its own).`

class UsageError extends Error {}

async function run(example: Example, settings: Settings): Promise<void> {
  const { addresses, ended, stop } = await example.run(settings)
  const { app, phone } = addresses
  console.log(`
${app === undefined ? '' : `The app:    ${app}\n`}The phone:  ${phone}

${example.story}
Delivery mode: ${settings.mode}. Ctrl-C ends everything.
`)
  const told = new Promise<void>((resolve) => {
    process.on('SIGINT', resolve).on('SIGTERM', resolve)
  })
  await Promise.race([told, ended ?? told])
  await stop()
}

function readSettings(args: string[], env: NodeJS.ProcessEnv): Settings & { help: boolean } {
  const { values, positionals } = readArguments(args)
  const { mode, instances, help } = values
  const [name = 'login', ...more] = positionals
  // npm keeps options before "--" to itself, and passes their values on.
  if (more.some((word) => word === 'poll' || word === 'ping'))
    throw new UsageError(`options go after "--": npm start ${name} -- --mode ${more.at(-1)}`)
  if (more.some((word) => /^\d+$/.test(word)))
    throw new UsageError(`options go after "--": npm start ${name} -- --instances ${more.at(-1)}`)
  if (more.length > 0) throw new UsageError(`one example at a time, not ${positionals.join(' and ')}`)
  if (!Object.hasOwn(examples, name)) throw new UsageError(`there is no example "${name}"`)
  if (mode !== 'poll' && mode !== 'ping') throw new UsageError(`--mode must be poll or ping, not ${mode}`)
  if (mode === 'ping' && name === 'agent')
    throw new UsageError('the agent listens nowhere, so the OP cannot ping it: --mode must be poll')
  if (instances !== undefined && name !== 'cluster')
    throw new UsageError(`--instances is for the cluster, and ${name} is one process`)
  const { PORT, OP_PORT } = env
  return {
    name,
    mode,
    help,
    port: readPort('PORT', PORT, 3000),
    opPort: readPort('OP_PORT', OP_PORT, 3001),
    instances: readInstances(instances),
  }
}

function readArguments(args: string[]) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        mode: { type: 'string', default: 'poll' },
        instances: { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
  } catch (error) {
    throw new UsageError((error as Error).message)
  }
}

function readPort(name: string, value: string | undefined, fallback: number): number {
  if (!value) return fallback
  const port = Number(value)
  if (!Number.isInteger(port) || port < 0 || port > 65535)
    throw new UsageError(`${name} must be a port, not ${value}`)
  return port
}

function readInstances(value = '3'): number {
  const count = Number(value)
  if (!Number.isInteger(count) || count < 2 || count > 20)
    throw new UsageError(`--instances must be a number from 2 to 20, not ${value}`)
  return count
}

try {
  const { help, ...settings } = readSettings(process.argv.slice(2), process.env)
  if (help) console.log(USAGE)
  else await run(examples[settings.name] as Example, settings)
} catch (error) {
  process.exitCode = 1
  const { code, port } = error as { code?: string; port?: number }
  if (error instanceof UsageError) console.error(`${error.message}\n\n${USAGE}`)
  else if (error instanceof SetupError) console.error(error.message)
  else if (code === 'EADDRINUSE') {
    const again = ['npm start', ...process.argv.filter((word) => Object.hasOwn(examples, word))].join(' ')
    console.error(`Port ${port} is already in use. Choose others: PORT=4000 OP_PORT=4001 ${again}`)
  } else throw error
}
