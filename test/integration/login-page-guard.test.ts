/** Where `requireCiba()` sends browsers that nobody is signed in at. */
import { expect } from 'chai'
import { type CibaOptions, requireCiba } from '../../lib/index.ts'
import { expressVersions, type Web, type WebOptions, webs } from '../support/web.ts'

const html = 'text/html,*/*;q=0.8'
const navigation = { 'sec-fetch-mode': 'navigate', accept: html }

for (const { name, express } of expressVersions) {
  describe(`requireCiba() and the login page (${name})`, () => {
    const starter = webs()
    const start = (options: WebOptions = {}) =>
      starter({
        express,
        own: (app) =>
          app.use(
            ['/account', '/deep/er/account', '//odd'],
            requireCiba(),
            (_req, res) => void res.send('in'),
          ),
        ...options,
      })
    const ask = (
      web: Web,
      path: string,
      headers: Record<string, string>,
      method: 'get' | 'head' | 'post' = 'get',
    ) => web.browser().send(method, path, undefined, headers)

    for (const [how, headers, method] of [
      ['a navigation', navigation, 'get'],
      ['a navigation for the head alone', navigation, 'head'],
      ['a navigation of an older browser', { accept: html }, 'get'],
    ] as const) {
      it(`sends ${how} to the page, and back`, async () => {
        const web = await start()
        const answer = await ask(web, '/account/of?a=b&c', headers, method)
        expect(answer.status).to.equal(302)
        expect(answer.headers['location']).to.equal('../ciba/login?returnTo=%2Faccount%2Fof%3Fa%3Db%26c')
        expect(answer.headers['cache-control']).to.equal('no-store')
        expect(answer.headers['vary']).to.include('Sec-Fetch-Mode').and.include('Accept')
      })
    }

    for (const [how, headers, method] of [
      ['a program', { accept: '*/*' }, 'get'],
      ['a script of a page', { 'sec-fetch-mode': 'cors', accept: html }, 'get'],
      ['a form', navigation, 'post'],
    ] as const) {
      it(`answers 401 to ${how}`, async () => {
        const web = await start()
        const answer = await ask(web, '/account', headers, method)
        expect([answer.status, answer.body.error]).to.deep.equal([401, 'unauthenticated'])
      })
    }

    it('answers 401 where there is no page', async () => {
      for (const options of [
        { loginPage: false },
        { routes: { login: false } },
        { routes: { poll: false } },
      ] as CibaOptions[]) {
        const web = await start({ ciba: options })
        expect((await ask(web, '/account', navigation)).status).to.equal(401)
      }
    })

    for (const [where, options, path, location] of [
      [
        'below a mount',
        { mount: '/deep/er' },
        '/deep/er/account',
        './ciba/login?returnTo=%2Fdeep%2Fer%2Faccount',
      ],
      [
        'behind a proxy that takes a prefix away',
        { ciba: { baseURL: 'https://app.example/app' } },
        '/account',
        './ciba/login?returnTo=%2Fapp%2Faccount',
      ],
      [
        'below a mount behind such a proxy',
        { mount: '/deep/er', ciba: { baseURL: 'https://app.example/app/deep/er' } },
        '/deep/er/account',
        './ciba/login?returnTo=%2Fapp%2Fdeep%2Fer%2Faccount',
      ],
      [
        'for a page of another name',
        { ciba: { routes: { login: '/sign/in' } } },
        '/account',
        './sign/in?returnTo=%2Faccount',
      ],
    ] as [string, WebOptions, string, string][]) {
      it(`finds the page ${where}`, async () => {
        const web = await start({
          ...options,
          ...(options.mount && {
            own: (app) => app.get('/deep/er/account', requireCiba(), (_req, res) => void res.send('in')),
            before: (app) => app.use((_req, _res, next) => next()),
          }),
        })
        expect((await ask(web, path, navigation)).headers['location']).to.equal(location)
      })
    }

    for (const [where, ciba, path, location] of [
      ['of a host', {}, '/', './ciba/login?returnTo=%2F'],
      [
        'of a prefix that a proxy takes away',
        { baseURL: 'https://x.example/shop' },
        '/',
        '/shop/ciba/login?returnTo=%2Fshop%2F',
      ],
      [
        'of such a prefix, with a query',
        { baseURL: 'https://x.example/shop/' },
        '/?a=b',
        '/shop/ciba/login?returnTo=%2Fshop%2F%3Fa%3Db',
      ],
    ] as const) {
      it(`finds the page from the root ${where}`, async () => {
        const web = await start({
          ciba,
          own: (app) => app.get('/', requireCiba(), (_req, res) => void res.send('in')),
        })
        expect((await ask(web, path, navigation)).headers['location']).to.equal(location)
      })
    }

    it('brings nobody back to what looks like another host', async () => {
      const web = await start()
      const answer = await ask(web, '//odd/path', navigation)
      expect(answer.headers['location'] ?? '').not.to.include('returnTo')
    })
  })
}
