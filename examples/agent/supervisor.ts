/**
 * Runs the agent with an OP, in a folder with files that may go; kills it when somebody presses Enter, and starts it
 * again. Knows nothing of what the agent does.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { startOp } from '../support/op.ts'
import type { ExampleSettings, RunningExample } from '../support/web-example.ts'

const agent = fileURLToPath(new URL('agent.ts', import.meta.url))

export async function runAgent({ name, opPort }: ExampleSettings): Promise<RunningExample> {
  const clients = [{ clientID: `${name}-example`, clientSecret: randomBytes(32).toString('base64url') }]
  const op = await startOp({ port: opPort, deliveryMode: 'poll', interval: 2, clients })
  const folder = await makeFolder()
  const { issuerBaseURL, clientID, clientSecret } = op.clientOptions
  const env = {
    ...process.env,
    ISSUER_BASE_URL: issuerBaseURL,
    CLIENT_ID: clientID,
    CLIENT_SECRET: clientSecret,
    SECRET: randomBytes(32).toString('hex'),
    OWNER: 'alice',
  }
  let child: ChildProcess
  let stopping = false
  const ended = new Promise<void>((resolve) => {
    const start = () => {
      child = spawn(process.execPath, [...process.execArgv, agent, folder], { env })
      const { pid } = child
      say(`agent ${pid}`, child)
      child.once('close', (_code, signal) => {
        if (signal !== 'SIGKILL' || stopping) return resolve()
        console.log(`agent ${pid} was killed, and another one starts.`)
        start()
      })
    }
    start()
  })
  const keyboard = createInterface({ input: process.stdin }).on('line', () => child.kill('SIGKILL'))
  return {
    addresses: { phone: op.devicePage },
    ended,
    async stop() {
      stopping = true
      keyboard.close()
      child.kill('SIGKILL')
      await ended
      await op.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

function say(who: string, { stdout, stderr }: ChildProcess): void {
  for (const stream of [stdout, stderr]) {
    if (stream) createInterface({ input: stream }).on('line', (line) => console.log(`${who}: ${line}`))
  }
}

async function makeFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'express-ciba-agent-'))
  for (const name of ['letters.old', 'photos.old', 'taxes-2009.old', 'taxes-2026']) {
    await writeFile(join(folder, name), '')
  }
  return folder
}
