/** What `npm start` says when it is not understood, or cannot start. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect } from 'chai'
import { ExampleProcess } from '../support/example-process.ts'

describe('npm start, misunderstood', function () {
  this.timeout(30_000)
  let example: ExampleProcess

  afterEach(() => example.end('SIGKILL'))

  async function ended(args: string[], env?: NodeJS.ProcessEnv): Promise<number | null> {
    example = new ExampleProcess(args, env)
    await once(example.process, 'close')
    return example.process.exitCode
  }

  for (const [args, said] of [
    [['--mode', 'push'], '--mode must be poll or ping, not push'],
    [['kisok'], 'there is no example "kisok"'],
    [['login', 'kiosk'], 'one example at a time, not login and kiosk'],
    [['agent', '--mode', 'ping'], 'the OP cannot ping it'],
    [['--port', '1'], "Unknown option '--port'"],
  ] as const) {
    it(`says what is wrong with "${args.join(' ')}", and how it is used`, async () => {
      expect(await ended([...args])).to.equal(1)
      expect(example.output).to.contain(said).and.contain('Usage: npm start').and.not.contain('   at ')
    })
  }

  it('names every example with --help', async () => {
    expect(await ended(['--help'])).to.equal(0)
    for (const name of ['login', 'call-centre', 'kiosk', 'payment', 'agent']) {
      expect(example.output).to.match(new RegExp(`^  ${name} +\\w`, 'm'))
    }
  })

  it('says which port is wrong', async () => {
    expect(await ended([], { PORT: 'http' })).to.equal(1)
    expect(example.output).to.contain('PORT must be a port, not http')
  })

  for (const name of ['PORT', 'OP_PORT']) {
    it(`says kindly that ${name} is in use, and how to choose others`, async () => {
      const server = createServer().listen(0, '127.0.0.1')
      try {
        await once(server, 'listening')
        const { port } = server.address() as AddressInfo
        expect(await ended(['kiosk'], { [name]: String(port) })).to.equal(1)
        expect(example.output).to.contain(
          `Port ${port} is already in use. Choose others: PORT=4000 OP_PORT=4001 npm start kiosk`,
        )
      } finally {
        server.close()
      }
    })
  }
})
