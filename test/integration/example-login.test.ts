/** `npm start` as a stranger meets it: two addresses, a login, Ctrl-C. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { expect } from 'chai'

const main = fileURLToPath(new URL('../../examples/login/main.ts', import.meta.url))

/** One running example: what it has printed, and a browser with a cookie. */
class Example {
  readonly process: ChildProcess
  output = ''
  #cookie = ''

  constructor(...args: string[]) {
    const env = { ...process.env, PORT: '0', OP_PORT: '0' }
    this.process = spawn(process.execPath, ['--import=tsx', main, ...args], { env })
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream?.on('data', (chunk) => {
        this.output += chunk
      })
    }
  }

  /** Resolves with the address behind `label` as soon as it is printed. */
  async address(label: string): Promise<string> {
    for (;;) {
      const address = new RegExp(`${label}:\\s+(http\\S+)`).exec(this.output)?.[1]
      if (address) return address
      if (this.process.exitCode !== null) throw new Error(`it ended: ${this.output}`)
      await once(this.process.stdout as NodeJS.ReadableStream, 'data')
    }
  }

  async fetch(url: string, body?: object, signal?: AbortSignal): Promise<Response> {
    const response = await fetch(url, {
      headers: { cookie: this.#cookie, 'content-type': 'application/json' },
      ...(body && { method: 'POST', body: JSON.stringify(body) }),
      ...(signal && { signal }),
    })
    this.#cookie = response.headers.getSetCookie()[0]?.split(';')[0] ?? this.#cookie
    return response
  }

  /** @returns the exit code. */
  async end(signal: NodeJS.Signals): Promise<number | null> {
    if (this.process.exitCode === null && this.process.kill(signal)) await once(this.process, 'exit')
    return this.process.exitCode
  }
}

interface DeviceRequest {
  readonly authReqId: string
  readonly bindingMessage: string
}

describe('npm start', function () {
  this.timeout(30_000)
  let example: Example

  afterEach(() => example.end('SIGKILL'))

  for (const mode of ['poll', 'ping']) {
    it(`brings up an app and an OP where people sign in, in ${mode} mode`, async () => {
      example = new Example('--mode', mode)
      const app = await example.address('The app')
      const phone = await example.address('The phone')
      expect(await (await example.fetch(app)).text()).to.contain('<form')
      expect((await example.fetch(`${app}/account`)).status).to.equal(401)

      const start = await example.fetch(`${app}/ciba/start`, { loginHint: 'alice' })
      expect(start.status).to.equal(202)
      const { transaction, bindingMessage } = (await start.json()) as Record<string, string>
      const [request] = (await (await fetch(`${phone}/requests`)).json()) as DeviceRequest[]
      expect(request?.bindingMessage).to.equal(bindingMessage)
      expect(await (await fetch(phone)).text()).to.contain(bindingMessage)

      const waiting = example.fetch(`${app}/ciba/poll`, { transaction, wait: 20 })
      await fetch(`${phone}/requests/${request?.authReqId}/approve`, { method: 'POST' })
      expect(await (await waiting).json()).to.deep.equal({ transaction, status: 'complete' })
      const account = (await (await example.fetch(`${app}/account`)).json()) as { sub: string }
      expect(account.sub).to.equal('alice')
    })
  }

  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    it(`ends everything on ${signal}, also while a browser waits`, async () => {
      example = new Example('--mode', 'ping')
      const app = await example.address('The app')
      const start = await example.fetch(`${app}/ciba/start`, { loginHint: 'bob' })
      const { transaction } = (await start.json()) as { transaction: string }
      const waiting = example.fetch(`${app}/ciba/poll`, { transaction, wait: 20 }).catch(() => undefined)
      // Behind the poll on its way to the server, so that the poll is waiting when this is answered.
      await example.fetch(app)
      expect(await example.end(signal)).to.equal(0)
      await waiting
    })
  }

  it('says how it is used when it is not understood', async () => {
    example = new Example('--mode', 'push')
    await once(example.process, 'close')
    expect(example.process.exitCode).to.equal(1)
    expect(example.output).to.contain('--mode must be poll or ping, not push').and.contain('Usage: npm start')
  })
})
