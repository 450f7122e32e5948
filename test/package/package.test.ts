/**
 * What a user gets: the packed tarball, installed beside its peers into projects outside the repository, imported,
 * required, compiled and run. Builds in a copy, since others use dist/ meanwhile, and asks the npm registry for the peers.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { expect } from 'chai'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/** What a build and a tarball are made of. */
const SOURCES = [
  'lib',
  'package.json',
  'tsconfig.json',
  'README.md',
  'CHANGELOG.md',
  'SECURITY.md',
  'LICENSE',
]

/** The newest peers with their types, and the oldest that `peerDependencies` promises to work with. */
const PEERS = {
  'Express 5': [
    'express@5',
    'express-session@1',
    '@types/express@5',
    '@types/express-session',
    '@types/node@20',
  ],
  'Express 4': ['express@4.21.0', 'express-session@1.18.0'],
}

function run(folder: string, command: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: folder, encoding: 'utf8' })
  if (error) throw error
  expect(status, `${command} ${args.join(' ')}\n${stdout}${stderr}`).to.equal(0)
  return stdout
}

/** The TypeScript files below `folder`, without their ending. */
function modules(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .map((path) => path.replaceAll('\\', '/').replace(/\.ts$/, ''))
}

describe('the package', function () {
  this.timeout(180_000)

  let folder: string
  let source: string
  let tarball: string
  let files: string[]

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'express-ciba-package-'))
    source = join(folder, 'source')
    mkdirSync(source)
    for (const name of SOURCES) cpSync(join(ROOT, name), join(source, name), { recursive: true })
    symlinkSync(join(ROOT, 'node_modules'), join(source, 'node_modules'))
    run(source, 'npm', 'run', 'build')
    const [packed] = JSON.parse(
      run(source, 'npm', 'pack', '--json', '--ignore-scripts', '--pack-destination', folder),
    ) as { filename: string; files: { path: string }[] }[]
    if (!packed) throw new Error('npm pack made no tarball')
    tarball = join(folder, packed.filename)
    files = packed.files.map(({ path }) => path)
  })

  after(() => {
    rmSync(folder, { recursive: true, force: true })
  })

  it('holds each module of lib/ with its declarations, the documents, and nothing else', () => {
    const compiled = modules(join(ROOT, 'lib')).flatMap((name) => [`dist/${name}.js`, `dist/${name}.d.ts`])
    const documents = ['CHANGELOG.md', 'LICENSE', 'README.md', 'SECURITY.md', 'package.json']
    expect(files.toSorted()).to.deep.equal([...compiled, ...documents].toSorted())
  })

  it('refers to no source map that it does not hold', () => {
    const referring = files
      .filter((path) => path.startsWith('dist/'))
      .filter((path) => readFileSync(join(source, path), 'utf8').includes('sourceMappingURL='))
    expect(referring).to.deep.equal([])
  })

  for (const [name, peers] of Object.entries(PEERS)) {
    context(`installed beside ${name}`, () => {
      let project: string

      before(() => {
        project = join(folder, name.replace(' ', '-').toLowerCase())
        mkdirSync(project)
        cpSync(join(ROOT, 'test/package/projects'), project, { recursive: true })
        writeFileSync(join(project, 'package.json'), '{ "private": true, "type": "module" }\n')
        const flags = ['--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts']
        run(project, 'npm', 'install', ...flags, tarball, ...peers)
      })

      it('brings no second Express along', () => {
        const nested = join(project, 'node_modules/express-ciba/node_modules')
        expect(existsSync(join(nested, 'express'))).to.equal(false)
        expect(existsSync(join(nested, 'express-session'))).to.equal(false)
      })

      it('can be imported, and required from CommonJS with the same exports', () => {
        const imported = JSON.parse(run(project, process.execPath, 'exports.mjs')) as string[]
        const required = JSON.parse(run(project, process.execPath, 'exports.cjs')) as string[]
        expect(imported).to.include.members([
          'CibaError',
          'ciba',
          'MemoryTransactionStore',
          'processBackchannelAuthenticationGrantResponse',
          'requireCiba',
        ])
        expect(required).to.have.members(imported)
      })

      it('brings a test kit that wants oidc-provider for the OP alone, and says so', () => {
        const outcome = JSON.parse(run(project, process.execPath, 'testing.mjs')) as Record<string, unknown>
        expect(outcome['cases']).to.be.at.least(25)
        expect(outcome['failed']).to.deep.equal([])
        expect(outcome['refusal']).to.include('npm install -D oidc-provider')
      })

      it('brings a Redis store that does not want redis', () => {
        const outcome = JSON.parse(run(project, process.execPath, 'redis.mjs')) as Record<string, unknown>
        expect(outcome).to.deep.equal({
          sent: ['EVAL', 'EVALSHA', 'EVAL', 'GET'],
          written: true,
          found: 'nothing',
          isInstalled: false,
        })
      })

      runsAnApp(() => project)

      if (peers.some((peer) => peer.startsWith('@types/express@'))) {
        const tsc = join(ROOT, 'node_modules/typescript/bin/tsc')

        it('compiles in a strict TypeScript project', () => {
          run(project, process.execPath, tsc, '-p', 'tsconfig.json')
        })

        it('compiles with the newest types of Node, too', () => {
          run(project, 'npm', 'install', '--no-audit', '--no-fund', '--ignore-scripts', '@types/node@latest')
          run(project, process.execPath, tsc, '-p', 'tsconfig.json')
        })
      }
    })
  }
})

function runsAnApp(project: () => string): void {
  context('in an app whose OP cannot be reached', function () {
    this.timeout(10_000)

    let app: ChildProcess
    let exited: Promise<unknown[]>
    let complaints: Promise<string>
    let baseURL: string

    const post = (path: string, body: object): Promise<Response> =>
      fetch(baseURL + path, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      })

    before(async () => {
      const child = spawn(process.execPath, ['app.mjs'], {
        cwd: project(),
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      app = child
      exited = once(child, 'exit')
      complaints = text(child.stderr)
      const [port] = await Promise.race([
        once(createInterface(child.stdout), 'line'),
        exited.then(async () => {
          throw new Error(`the app did not start: ${await complaints}`)
        }),
      ])
      baseURL = `http://127.0.0.1:${port}`
    })

    after(() => {
      app.kill('SIGKILL')
    })

    it('keeps an anonymous caller out with 401', async () => {
      const response = await fetch(`${baseURL}/account`)
      expect(response.status).to.equal(401)
      expect(await response.json())
        .to.have.property('error')
        .that.is.a('string')
    })

    it('answers a start with 503 and says when to come back', async () => {
      const response = await post('/ciba/start', { loginHint: 'ada@example.com' })
      expect(response.status).to.equal(503)
      expect(Number(response.headers.get('retry-after'))).to.be.greaterThan(0)
      expect(response.headers.get('cache-control')).to.equal('no-store')
    })

    it('answers a poll of an unknown transaction with 404', async () => {
      const response = await post('/ciba/poll', { transaction: 'unknown' })
      expect(response.status).to.equal(404)
      expect(await response.json()).to.have.property('error', 'unknown_transaction')
    })

    it('answers a poll by GET with 405', async () => {
      const response = await fetch(`${baseURL}/ciba/poll`)
      expect(response.status).to.equal(405)
      expect(response.headers.get('allow')).to.equal('POST')
    })

    it('stops by itself once it is closed, and has complained of nothing', async () => {
      app.kill('SIGTERM')
      expect(await exited).to.deep.equal([0, null])
      expect(await complaints).to.equal('')
    })
  })
}
