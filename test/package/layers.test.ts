/**
 * Who may import whom, as biome.json enforces it. Files that import everything are written beside a copy of the
 * configuration: the linter has to refuse exactly the lines that the table below does not allow.
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect } from 'chai'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

interface Layer {
  /** Files and folders of lib/ that the file may import; a folder ends in a slash. */
  readonly local: readonly string[]
  readonly packages: readonly string[]
}

const LIBRARIES = ['jose', 'undici', 'debug', 'rate-limiter-flexible']
const BUILTIN = 'node:crypto'
const ANY = [BUILTIN, ...LIBRARIES]
const EXPRESS = ['express', 'express-session']
/** An optional peer, which nobody who runs in production may need. */
const TEST_PROVIDER = 'oidc-provider'

/** What a layer may see of the layers below it. */
const VOCABULARY = ['errors.ts', 'grant.ts', 'clock.ts']
const BELOW_FLOW = [
  ...VOCABULARY,
  'delivery.ts',
  'token-requester.ts',
  'waiter.ts',
  'constant-time.ts',
  'jobs.ts',
  'ledger.ts',
  'record.ts',
  'transaction.ts',
  'store.ts',
  'options.ts',
  'keys.ts',
  'decoy.ts',
  'doorbell.ts',
  'protocol/',
]

const LAYERS: Readonly<Record<string, Layer>> = {
  'grant.ts': { local: [], packages: [] },
  'store.ts': { local: [], packages: [] },
  'errors.ts': { local: ['grant.ts'], packages: [] },
  'transaction.ts': { local: ['grant.ts'], packages: [] },
  'transition.ts': { local: ['grant.ts', 'transaction.ts'], packages: [] },
  'clock.ts': { local: [], packages: ANY },
  'constant-time.ts': { local: [], packages: ANY },
  'canonical.ts': { local: ['grant.ts'], packages: ANY },
  'decoy.ts': { local: [], packages: ANY },
  'doorbell.ts': { local: ['clock.ts'], packages: ANY },
  'events.ts': { local: [], packages: ANY },
  'jobs.ts': { local: [], packages: ANY },
  'memory.ts': { local: [], packages: ANY },
  'status.ts': { local: ['errors.ts', 'transaction.ts'], packages: ANY },
  'option-checks.ts': { local: ['errors.ts'], packages: ANY },
  'keys.ts': { local: ['errors.ts', 'grant.ts'], packages: ANY },
  'seal.ts': { local: [...VOCABULARY, 'keys.ts'], packages: ANY },
  'sealed-keys.ts': { local: ['errors.ts', 'grant.ts', 'seal.ts'], packages: ANY },
  'record.ts': { local: [...VOCABULARY, 'keys.ts', 'seal.ts', 'transaction.ts', 'store.ts'], packages: ANY },
  'ledger.ts': {
    local: [
      ...VOCABULARY,
      'constant-time.ts',
      'doorbell.ts',
      'events.ts',
      'record.ts',
      'transaction.ts',
      'transition.ts',
      'store.ts',
    ],
    packages: ANY,
  },
  'delivery.ts': {
    local: [...VOCABULARY, 'doorbell.ts', 'jobs.ts', 'ledger.ts', 'memory.ts', 'transaction.ts'],
    packages: ANY,
  },
  'token-requester.ts': {
    local: [
      ...VOCABULARY,
      'decoy.ts',
      'doorbell.ts',
      'events.ts',
      'jobs.ts',
      'ledger.ts',
      'transaction.ts',
      'protocol/',
    ],
    packages: ANY,
  },
  'waiter.ts': {
    local: [...VOCABULARY, 'doorbell.ts', 'jobs.ts', 'ledger.ts', 'token-requester.ts', 'transaction.ts'],
    packages: ANY,
  },
  'stores/': {
    local: ['stores/', 'store.ts', 'errors.ts', 'clock.ts', 'option-checks.ts'],
    packages: ANY,
  },
  'protocol/': {
    local: [...VOCABULARY, 'constant-time.ts', 'protocol/', 'keys.ts'],
    packages: [...ANY, 'oauth4webapi'],
  },
  'client-options.ts': { local: ['protocol/', 'store.ts', 'transaction.ts'], packages: ANY },
  'profile.ts': { local: [...VOCABULARY, 'protocol/'], packages: ANY },
  'op-options.ts': {
    local: [...VOCABULARY, 'client-options.ts', 'option-checks.ts', 'protocol/'],
    packages: ANY,
  },
  'options.ts': {
    local: [
      ...VOCABULARY,
      'client-options.ts',
      'op-options.ts',
      'profile.ts',
      'option-checks.ts',
      'transaction.ts',
      'store.ts',
      'stores/',
      'protocol/',
      'keys.ts',
    ],
    packages: ANY,
  },
  'approval.ts': {
    local: [...VOCABULARY, 'constant-time.ts', 'events.ts', 'ledger.ts', 'transaction.ts'],
    packages: ANY,
  },
  'notifications.ts': {
    local: [
      ...VOCABULARY,
      'constant-time.ts',
      'events.ts',
      'jobs.ts',
      'ledger.ts',
      'protocol/',
      'transaction.ts',
    ],
    packages: ANY,
  },
  'flow.ts': { local: [...BELOW_FLOW, 'approval.ts', 'events.ts', 'notifications.ts'], packages: ANY },
  'login-memory.ts': { local: [...VOCABULARY, 'memory.ts'], packages: ANY },
  'refresh-leases.ts': {
    local: [...VOCABULARY, 'doorbell.ts', 'protocol/', 'seal.ts', 'store.ts'],
    packages: ANY,
  },
  'refresher.ts': {
    local: [
      ...VOCABULARY,
      'doorbell.ts',
      'jobs.ts',
      'login-memory.ts',
      'protocol/',
      'refresh-leases.ts',
      'transaction.ts',
    ],
    packages: ANY,
  },
  'token-keeper.ts': { local: [...VOCABULARY, 'jobs.ts', 'login-memory.ts', 'refresher.ts'], packages: ANY },
  'logout-marks.ts': { local: [...VOCABULARY, 'keys.ts', 'store.ts', 'protocol/'], packages: ANY },
  'core.ts': {
    local: [
      ...BELOW_FLOW,
      'flow.ts',
      'logout-marks.ts',
      'profile.ts',
      'refresh-leases.ts',
      'seal.ts',
      'sealed-keys.ts',
      'status.ts',
      'token-keeper.ts',
    ],
    packages: ANY,
  },
  'client.ts': {
    local: [
      ...VOCABULARY,
      'client-options.ts',
      'core.ts',
      'flow.ts',
      'option-checks.ts',
      'options.ts',
      'protocol/',
      'status.ts',
      'transaction.ts',
    ],
    packages: ANY,
  },
  'express/': {
    local: [
      'express/',
      'canonical.ts',
      'client-options.ts',
      'clock.ts',
      'token-keeper.ts',
      'client.ts',
      'core.ts',
      'events.ts',
      'status.ts',
      'flow.ts',
      'notifications.ts',
      'delivery.ts',
      'transaction.ts',
      'options.ts',
      'option-checks.ts',
      'protocol/',
      'errors.ts',
      'grant.ts',
    ],
    packages: [...ANY, ...EXPRESS],
  },
  'browser/': { local: ['browser/'], packages: [] },
  'testing/': { local: ['testing/', 'store.ts'], packages: [...ANY, TEST_PROVIDER] },
  'client-metadata.ts': { local: [...VOCABULARY, 'express/', 'options.ts', 'protocol/'], packages: ANY },
  'ciba.ts': {
    local: ['express/', 'core.ts', 'options.ts', 'protocol/', 'errors.ts', 'grant.ts'],
    packages: [...ANY, ...EXPRESS],
  },
  'index.ts': { local: ['./'], packages: [...ANY, ...EXPRESS] },
  'a-file-without-a-layer.ts': { local: [], packages: ANY },
}

/** A folder of the table stands for one file in it. */
const fileOf = (place: string): string => (place.endsWith('/') ? `${place}some-file.ts` : place)
/** The sibling makes `folder/` importable from within the folder itself. */
const targetOf = (place: string): string => (place.endsWith('/') ? `${place}sibling.ts` : place)

const PACKAGES = [...ANY, ...EXPRESS, 'oauth4webapi', TEST_PROVIDER]

interface Attempt {
  readonly specifier: string
  readonly allowed: boolean
}

function attempts(place: string, { local, packages }: Layer): Attempt[] {
  const from = fileOf(place)
  const modules = Object.keys(LAYERS)
    .filter((other) => fileOf(other) !== from || other.endsWith('/'))
    .map((other) => {
      const path = posix.relative(posix.dirname(from), targetOf(other))
      return {
        specifier: path.startsWith('.') ? path : `./${path}`,
        allowed: local.includes(other) || local.includes('./'),
      }
    })
  return [...modules, ...PACKAGES.map((specifier) => ({ specifier, allowed: packages.includes(specifier) }))]
}

interface Diagnostic {
  readonly category: string
  readonly location: { readonly path: string; readonly start: { readonly line: number } }
}

/** A folder outside the repository with its lint configuration and `files`, linted. */
function lint(files: Readonly<Record<string, string>>): Diagnostic[] {
  const folder = mkdtempSync(join(tmpdir(), 'express-ciba-layers-'))
  try {
    for (const name of ['biome.json', 'package.json', '.gitignore']) {
      copyFileSync(join(ROOT, name), join(folder, name))
    }
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, name)), { recursive: true })
      writeFileSync(join(folder, name), text)
    }
    const biome = join(ROOT, 'node_modules/@biomejs/biome/bin/biome')
    const limits = ['--reporter=json', '--max-diagnostics=none']
    const { stdout, stderr } = spawnSync(process.execPath, [biome, 'lint', ...limits], {
      cwd: folder,
      encoding: 'utf8',
    })
    expect(stdout, stderr).to.match(/^\{/)
    return (JSON.parse(stdout) as { diagnostics: Diagnostic[] }).diagnostics
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

describe('the import layers', function () {
  this.timeout(20_000)

  context('when every file imports everything', () => {
    let diagnostics: Diagnostic[]

    before(() => {
      const files = Object.entries(LAYERS).map(([place, layer]) => {
        const lines = attempts(place, layer).map(({ specifier }) => `import type {} from '${specifier}'\n`)
        return [`lib/${fileOf(place)}`, lines.join('')] as const
      })
      diagnostics = lint(Object.fromEntries(files))
    })

    for (const [place, layer] of Object.entries(LAYERS)) {
      it(`lets lib/${place} import what is below it, and nothing else`, () => {
        const tried = attempts(place, layer)
        const refused = diagnostics
          .filter(({ category }) => category === 'lint/style/noRestrictedImports')
          .filter(({ location }) => location.path === `lib/${fileOf(place)}`)
          .map(({ location }) => tried[location.start.line - 1]?.specifier)
        const forbidden = tried.filter(({ allowed }) => !allowed).map(({ specifier }) => specifier)
        expect(refused).to.have.members(forbidden)
      })
    }
  })

  for (const [kind, line] of Object.entries({
    'a value import': "import { send } from './flow.ts'\nsend()\n",
    'a side-effect import': "import './flow.ts'\n",
    'a dynamic import': "export const flow = await import('./flow.ts')\n",
    'a re-export': "export { send } from './flow.ts'\n",
  })) {
    it(`holds for ${kind} too`, () => {
      const rules = lint({ 'lib/record.ts': line }).map(({ category }) => category)
      expect(rules).to.include('lint/style/noRestrictedImports')
    })
  }

  it('has a place for every file of lib/', () => {
    const places = Object.keys(LAYERS)
    const strangers = readdirSync(join(ROOT, 'lib'), { recursive: true, encoding: 'utf8' })
      .map((path) => path.replaceAll('\\', '/'))
      .filter((path) => path.endsWith('.ts'))
      .filter(
        (path) => !places.some((place) => (place.endsWith('/') ? path.startsWith(place) : path === place)),
      )
    expect(strangers).to.deep.equal([])
  })

  it('refuses a cycle inside a layer, even one of types', () => {
    const cycle = lint({
      'lib/protocol/op.ts': "import type { B } from './transport.ts'\nexport type A = B\n",
      'lib/protocol/transport.ts': "import type { A } from './op.ts'\nexport type B = A\n",
    })
    const found = cycle.filter(({ category }) => category === 'lint/suspicious/noImportCycles')
    expect(found.map(({ location }) => location.path)).to.have.members([
      'lib/protocol/op.ts',
      'lib/protocol/transport.ts',
    ])
  })

  it('keeps the session in one file', () => {
    const touch = 'export const touch = (req: { session: unknown }): unknown => req.session\n'
    const found = lint({ 'lib/express/router.ts': touch, 'lib/express/session.ts': touch })
    expect(found.map(({ category, location }) => [category, location.path])).to.deep.equal([
      ['lint/nursery/noJsRestrictedProperties', 'lib/express/router.ts'],
    ])
  })
})
