/** `npm start cluster`: several instances on one Redis behind a balancer, any of which takes any request, and may die. */
import { once } from 'node:events'
import { access, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { ExampleProcess } from '../support/example-process.ts'
import { redisServer } from '../support/redis-server.ts'
import { until } from '../support/web.ts'

describe('npm start cluster', function () {
  this.timeout(60_000)
  // Skips the suite without a redis-server, and serves the tests of REDIS_URL.
  const redis = redisServer()
  let example: ExampleProcess

  // With SIGTERM: instances and Redis shall end too.
  afterEach(async () => {
    await example.end('SIGTERM')
    // An instance that is left behind fails its test, and must not hold up the rest.
    for (const stream of example.process.stdio) stream?.destroy()
  })

  /** Without the Redis that may be configured where the tests run. */
  function start(args: readonly string[], env: NodeJS.ProcessEnv = {}): ExampleProcess {
    return new ExampleProcess(args, { REDIS_URL: '', ...env })
  }

  /** Which instance took the last request for `path`, once one has. */
  async function taker(path: string): Promise<string> {
    const found = await example.printed(new RegExp(`instance (\\d+): POST ${path}(?![^]*POST ${path})`))
    return String(found[1])
  }

  async function begin(loginHint = 'alice'): Promise<unknown> {
    const { status, body } = await example.post('/ciba/start', { loginHint })
    expect(status, JSON.stringify(body)).to.equal(202)
    return body['transaction']
  }

  /** Who answers the page of somebody who is signed in, and where. */
  async function account(): Promise<{ who: string | undefined; instance: string | null; pid: number }> {
    const answer = await example.fetch('/account')
    const page = await answer.text()
    const [, pid] = /process (\d+)/.exec(page) ?? []
    return {
      who: /Hello, (\w+)/.exec(page)?.[1],
      instance: answer.headers.get('x-instance'),
      pid: Number(pid),
    }
  }

  for (const mode of ['poll', 'ping']) {
    it(`signs people in at one instance after another, in ${mode} mode`, async () => {
      example = start(['cluster', '--mode', mode])
      const transaction = await begin()
      const waiting = example.outcome(transaction)
      const takers = [await taker('/ciba/start'), await taker('/ciba/poll')]
      await example.decide('alice', 'approve')
      if (mode === 'ping') takers.push(await taker('/ciba/notification'))
      expect(await waiting).to.deep.equal({ transaction, status: 'complete' })
      expect(new Set(takers), takers.join()).to.have.property('size', takers.length)
      const looks = [await account(), await account(), await account()]
      expect(looks.map(({ who }) => who)).to.deep.equal(['alice', 'alice', 'alice'])
      expect(looks.map(({ instance }) => instance)).to.have.members(['1', '2', '3'])
      expect(new Set(looks.map(({ pid }) => pid))).to.have.property('size', 3)
    })

    it(`loses no login with the instance that began it, and brings that back, in ${mode} mode`, async () => {
      example = start(['cluster', '--mode', mode, '--instances', '2'])
      const transaction = await begin()
      const starter = await taker('/ciba/start')
      example.process.stdin?.write('\n')
      await example.printed(new RegExp(`instance ${starter} .* has ended: SIGKILL`))
      const waiting = example.outcome(transaction)
      expect(await taker('/ciba/poll')).to.not.equal(starter)
      await example.decide('alice', 'approve')
      expect(await waiting).to.deep.equal({ transaction, status: 'complete' })
      expect((await account()).who).to.equal('alice')
      await example.printed(new RegExp(`instance ${starter} is back`))
      const looks = [await account(), await account()]
      expect(looks.map(({ who, instance }) => [who, instance])).to.deep.include(['alice', starter])
    })
  }

  it('loses no login with the instance where its browser waits', async () => {
    example = start(['cluster', '--mode', 'ping'])
    const transaction = await begin()
    const poll = { method: 'POST', headers: { 'content-type': 'application/json' } }
    const body = JSON.stringify({ transaction, wait: 20 })
    const lost = example.fetch('/ciba/poll', { ...poll, body })
    const where = await taker('/ciba/poll')
    example.process.stdin?.write('\n')
    const answer = await lost
    expect(answer.status).to.equal(502)
    expect(answer.headers.get('retry-after')).to.equal('1')
    await example.printed(new RegExp(`instance ${where} .* has ended: SIGKILL`))
    await example.decide('alice', 'approve')
    expect(await example.outcome(transaction)).to.deep.equal({ transaction, status: 'complete' })
    expect((await account()).who).to.equal('alice')
  })

  it('answers 503 when all instances are gone, and goes on when they are back', async () => {
    example = start(['cluster', '--instances', '2', '--mode', 'ping'])
    const transaction = await begin()
    for (const time of [1, 2]) {
      example.process.stdin?.write('\n')
      await example.printed(new RegExp(`(has ended: SIGKILL[^]*){${time}}`))
    }
    const answer = await example.fetch('/')
    expect([answer.status, answer.headers.get('retry-after')]).to.deep.equal([503, '1'])
    example.process.stdin?.write('\n')
    await example.printed(/All of them are gone/)
    await example.printed(/instance \d is back/)
    await example.decide('alice', 'approve')
    expect(await example.outcome(transaction)).to.deep.equal({ transaction, status: 'complete' })
  })

  it('counts the starts of all instances together', async () => {
    example = start(['cluster'])
    for (const _ of Array(5)) await begin('carol')
    expect(await example.post('/ciba/start', { loginHint: 'carol' })).to.have.property('status', 429)
    await begin('bob')
  })

  it('uses the Redis of REDIS_URL, and leaves it running', async () => {
    example = start(['cluster', '--mode', 'ping'], { REDIS_URL: `unix://${redis.socketPath}` })
    await example.signIn({ loginHint: 'bob' }, 'bob')
    const kinds = ((await redis.command('KEYS', '*')) as string[]).map((key) => key.split(':')[1])
    expect([...new Set(kinds)]).to.have.members(['session', 'transaction', 'hint', 'browser'])
    expect(await example.end('SIGTERM')).to.equal(0)
    expect(await redis.command('PING')).to.equal('PONG')
  })

  context('when it cannot start', () => {
    const cluster = (...args: string[]) => ['cluster', ...args]
    const nowhere = { REDIS_URL: 'unix:///nowhere' }
    for (const [circumstance, args, env, said] of [
      ['there is no redis-server', cluster(), { PATH: '' }, 'there is no redis-server here. Install it'],
      ['REDIS_URL leads nowhere', cluster(), nowhere, 'the Redis of REDIS_URL is of no use'],
      [
        'one instance is none too many',
        cluster('--instances', '1'),
        {},
        'must be a number from 2 to 20, not 1',
      ],
      ['npm has kept an option', cluster('3'), {}, 'npm start cluster -- --instances 3'],
      ['another example is one process', ['kiosk', '--instances', '2'], {}, '--instances is for the cluster'],
    ] as const) {
      it(`says kindly that ${circumstance}`, async () => {
        example = start(args, env)
        await once(example.process, 'close')
        expect(example.process.exitCode).to.equal(1)
        expect(example.output).to.contain(said).and.not.contain('   at ')
      })
    }
  })

  context('when it ends', () => {
    let folder: string
    beforeEach(async () => {
      folder = await mkdtemp(join(tmpdir(), 'ciba-'))
    })
    afterEach(() => rm(folder, { recursive: true, force: true }))

    const isThere = (path: string) =>
      access(path).then(
        () => true,
        () => false,
      )

    /** Starts it with `folder` for its files; somebody is signed in, and waits for something else. */
    async function running(): Promise<{ own: string; closed: Promise<unknown>; waiting: Promise<unknown> }> {
      example = start(['cluster', '--mode', 'ping'], { TMPDIR: folder })
      // Not before the last process has let go of what it prints to.
      const closed = once(example.process, 'close')
      await example.signIn({ loginHint: 'alice' }, 'alice')
      const waiting = example.outcome(await begin('bob')).catch(() => undefined)
      await example.printed(/POST \/ciba\/poll[\s\S]*POST \/ciba\/poll/)
      const name = (await readdir(folder)).find((entry) => entry.startsWith('express-ciba-cluster-'))
      const own = join(folder, String(name))
      expect(await isThere(join(own, 'redis'))).to.equal(true)
      return { own, closed, waiting }
    }

    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      it(`leaves nothing behind after ${signal}, also while a browser waits`, async () => {
        const { own, closed, waiting } = await running()
        expect(await example.end(signal)).to.equal(0)
        await Promise.all([closed, waiting])
        expect(await isThere(own)).to.equal(false)
      })
    }

    it('leaves nothing behind after SIGKILL', async () => {
      const { own, closed, waiting } = await running()
      await example.end('SIGKILL')
      await Promise.all([closed, waiting])
      await until('Redis has ended', async () => !(await isThere(own)))
    })
  })
})
