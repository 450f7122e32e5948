/** The README's TypeScript compiles as printed, under the strictest settings, and its tables name what exists. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { expect } from 'chai'

const root = new URL('../../', import.meta.url)
const readme = readFileSync(new URL('README.md', root), 'utf8')

function snippets(language: string): string[] {
  const fences = new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, 'gm')
  return [...readme.matchAll(fences)].map(([, code = '']) => code)
}

describe('README.md', () => {
  // Below node_modules, so that the snippets find express and the types where a user would have them.
  const folder = new URL('node_modules/.cache/express-ciba-readme/', root)

  before(() => mkdirSync(folder, { recursive: true }))
  after(() => rmSync(folder, { recursive: true, force: true }))

  it('has snippets that compile', function () {
    this.timeout(60_000)
    const all = [
      ...snippets('ts').map((code, index) => ({ name: `snippet-${index}.ts`, code })),
      // The quick start is JavaScript: an environment variable need not be a string there.
      ...snippets('js').map((code, index) => ({ name: `script-${index}.js`, code })),
      ...snippets('html')
        .filter((page) => page.includes('<script'))
        .map((page, index) => ({
          name: `page-${index}.js`,
          code: /<script type="module">([\s\S]*)<\/script>/.exec(page)?.[1] ?? 'no module',
        })),
    ]
    expect(all.length).to.be.at.least(19)
    for (const { name, code } of all) writeFileSync(new URL(name, folder), `${code}\nexport {}\n`)
    writeFileSync(
      new URL('tsconfig.json', folder),
      JSON.stringify({
        extends: new URL('tsconfig.json', root).pathname,
        compilerOptions: {
          lib: ['es2023', 'es2024.string', 'dom', 'dom.iterable'],
          types: ['node'],
          allowJs: true,
          paths: {
            'express-ciba': [new URL('lib/index.ts', root).pathname],
            'express-ciba/browser': [new URL('lib/browser/client.ts', root).pathname],
            'express-ciba/redis': [new URL('lib/stores/redis.ts', root).pathname],
            'express-ciba/testing': [new URL('lib/testing/index.ts', root).pathname],
          },
          noPropertyAccessFromIndexSignature: false,
          noUnusedLocals: false,
          noUnusedParameters: false,
        },
        include: ['*'],
        exclude: [],
      }),
    )
    const tsc = new URL('node_modules/typescript/bin/tsc', root).pathname
    let output = ''
    try {
      execFileSync(process.execPath, [tsc, '-p', new URL('tsconfig.json', folder).pathname], {
        encoding: 'utf8',
      })
    } catch (error) {
      output = (error as { stdout: string }).stdout
    }
    expect(output).to.equal('')
  })

  it('has a quick start that boots without its OP, guards, and says that the OP is away', async function () {
    this.timeout(30_000)
    const [app = ''] = snippets('js')
    const file = new URL('app.mts', folder)
    const code = app
      .replace("'express-ciba'", JSON.stringify(new URL('lib/index.ts', root).href))
      .replace('https://op.example.com', 'https://127.0.0.1:9')
      .replace('app.listen(3000)', 'app.listen(0, function () { console.log(this.address().port) })')
    writeFileSync(file, code)
    const env = { ...process.env, SESSION_SECRET: 'a session secret', CLIENT_SECRET: 'a client secret' }
    const child = spawn(process.execPath, ['--import=tsx', file.pathname], { env, cwd: root })
    try {
      const [port] = await once(child.stdout, 'data')
      const address = `http://127.0.0.1:${String(port).trim()}`
      expect((await fetch(`${address}/account`)).status).to.equal(401)
      const start = await fetch(`${address}/ciba/start`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '{"loginHint":"alice"}',
      })
      expect(start.status).to.equal(503)
      expect(start.headers.get('retry-after')).to.match(/^\d+$/)
    } finally {
      if (child.exitCode === null && child.kill()) await once(child, 'exit')
    }
  })

  it('names every option', () => {
    const source = ['lib/client-options.ts', 'lib/express/options.ts'].map((file) =>
      readFileSync(new URL(file, root), 'utf8'),
    )
    const names = source.flatMap((text) =>
      [...text.matchAll(/^ {2,4}(\w+): true,$/gm)].map(([, name]) => name),
    )
    expect(names).to.include.members(['issuerBaseURL', 'startLimiter'])
    for (const name of names) expect(readme).to.match(new RegExp(`^\\| \`${name}\``, 'm'), `option ${name}`)
  })

  it('has a paragraph for each error code, and for no other', () => {
    const source = readFileSync(new URL('lib/errors.ts', root), 'utf8')
    const codes = new Set(source.match(/ERR_CIBA_\w+/g))
    expect(codes).to.include('ERR_CIBA_OP_FAILED')
    const explained = [...readme.matchAll(/^- \*\*`(ERR_CIBA_\w+)`\*\*[^\n]{20,}/gm)].map(([, code]) => code)
    expect(explained.toSorted()).to.deep.equal([...codes].toSorted())
    const mentioned = new Set(readme.match(/ERR_CIBA_[A-Z_]+[A-Z]/g))
    expect([...mentioned].filter((code) => !codes.has(code))).to.deep.equal([])
  })

  it('says the status and the "error" of each code as the routes send them', () => {
    for (const [, code, status, error] of readFileSync(new URL('lib/errors.ts', root), 'utf8').matchAll(
      /^ {2}(ERR_CIBA_\w+): \{ status: (\d+), error: '(\w+)'(?!, expose)/gm,
    )) {
      const [paragraph = ''] =
        new RegExp(`^- \\*\\*\`${code}\`[\\s\\S]*?(?=\\n-|\\n\\n)`, 'm').exec(readme) ?? []
      expect(paragraph).to.include(String(status))
      if (code !== 'ERR_CIBA_REQUEST_REFUSED') expect(paragraph).to.include(`\`${error}\``)
    }
  })

  it('has a heading for each link to one', () => {
    const anchors = [...readme.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N} -]/gu, '')
        .replaceAll(' ', '-'),
    )
    const links = [...readme.matchAll(/\]\(#([^)]+)\)/g)].map(([, anchor]) => anchor)
    expect(links.filter((anchor) => !anchors.includes(anchor as string))).to.deep.equal([])
  })
})
