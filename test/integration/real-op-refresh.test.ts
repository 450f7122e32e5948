/** Refresh tokens that rotate, at an OP that ends a login when an old one comes back. */
import { expect } from 'chai'
import type { Configuration } from 'oidc-provider'
import type { TokenSet } from '../../lib/index.ts'
import type { Browser } from '../support/app.ts'
import type { FullOpOptions } from '../support/full-op.ts'
import { type Scene, type SceneOptions, scenes, timeTravel } from '../support/real-op.ts'

const callers = Array.from({ length: 20 }, (_, index) => index)

/** Access tokens for two minutes: `pass(100)` makes them old, and those that follow are fresh. */
const offline = (more: SceneOptions = {}): SceneOptions => ({
  op: { accessTokenExpiresIn: 120 },
  options: { authorizationParams: { scope: 'openid offline_access' } },
  ...more,
})

describe('ciba(), refreshing at a real OP', function () {
  this.timeout(20_000)

  const scene = scenes()
  const pass = timeTravel()
  const tokenOf = ({ get }: Scene, by?: Browser) => get<string>('/token', by)
  const tokensOf = ({ get }: Scene) => get<TokenSet>('/tokens')

  /** The newest tokens work, and none is left behind. */
  async function isAlive(one: Scene): Promise<boolean> {
    const { status } = await one.browser.agent.get('/resource')
    const { accessToken, refreshToken = '' } = await tokensOf(one)
    return status === 200 && (await one.op.isActive(accessToken)) && (await one.op.isActive(refreshToken))
  }

  context('a token is old', () => {
    it('is refreshed once for 20 requests of a session at once, which all get the new one [TOK-23]', async () => {
      const one = await scene(offline())
      await one.login()
      const before = await tokensOf(one)
      pass(100)
      const answers = await Promise.all(callers.map(() => tokenOf(one)))
      expect(one.op.counts).to.include({ refresh: 1 })
      expect(new Set(answers)).to.have.property('size', 1)
      expect(answers[0]).not.to.equal(before.accessToken)
      const after = await tokensOf(one)
      expect(after.accessToken).to.equal(answers[0])
      expect(after.refreshToken).not.to.equal(before.refreshToken)
      expect(await isAlive(one)).to.equal(true)
    })

    it('is refreshed once for 20 callers in one request, of every kind [TOK-23]', async () => {
      const one = await scene(
        offline({
          after: (app) => {
            app.get('/all', async (req, res) => {
              const { resource } = one.op
              const asks = [
                () => req.ciba.getAccessToken(),
                () => req.ciba.fetchUserInfo().then(({ sub }) => sub),
                () => req.ciba.fetch(resource).then(({ status }) => status),
              ]
              res.json(await Promise.all(callers.map((index) => asks[index % 3]?.())))
            })
          },
        }),
      )
      await one.login()
      pass(100)
      const answers = await one.get<unknown[]>('/all')
      const { accessToken } = await tokensOf(one)
      expect(answers.slice(0, 3)).to.deep.equal([accessToken, 'alice', 200])
      expect(new Set(answers)).to.have.property('size', 3)
      expect(one.op.counts).to.include({ refresh: 1 })
      expect(await isAlive(one)).to.equal(true)
    })

    it('is refreshed once for each login [TOK-23]', async () => {
      const one = await scene(offline())
      const bobs = one.app.browser()
      await one.login()
      await one.login({ by: bobs, request: { loginHint: 'bob' } })
      pass(100)
      const answers = await Promise.all(callers.map((index) => tokenOf(one, index % 2 ? bobs : undefined)))
      expect(one.op.counts).to.include({ refresh: 2 })
      expect(new Set(answers)).to.have.property('size', 2)
      expect(await one.get('/userinfo', bobs)).to.include({ sub: 'bob' })
      expect(await one.get('/userinfo')).to.include({ sub: 'alice' })
    })

    it('is refreshed each time with the newest refresh token [TOK-23]', async () => {
      const one = await scene(offline())
      await one.login()
      const seen = [(await tokensOf(one)).refreshToken]
      for (let round = 1; round <= 5; round++) {
        pass(100)
        await Promise.all(callers.map(() => tokenOf(one)))
        expect(one.op.counts).to.include({ refresh: round })
        seen.push((await tokensOf(one)).refreshToken)
      }
      expect(new Set(seen)).to.have.property('size', 6)
      expect(await isAlive(one)).to.equal(true)
    })

    it('stays refreshed though a request of before writes its old session back [TOK-23]', async () => {
      let open = () => {}
      let isHeld = () => {}
      const gate = new Promise<void>((resolve) => {
        open = resolve
      })
      const held = new Promise<void>((resolve) => {
        isHeld = resolve
      })
      const one = await scene(
        offline({
          after: (app) => {
            app.get('/slow', async (req, res) => {
              isHeld()
              await gate
              Object.assign(req.session, { note: 'written late' })
              res.json(true)
            })
            app.get('/note', (req, res) => {
              res.json((req.session as { note?: string }).note ?? null)
            })
          },
        }),
      )
      await one.login()
      const slow = one.get('/slow')
      await held
      pass(100)
      const refreshed = await tokenOf(one)
      open()
      await slow
      expect(await one.get('/note')).to.equal('written late')
      const answers = await Promise.all(callers.map(() => tokenOf(one)))
      expect(new Set(answers)).to.deep.equal(new Set([refreshed]))
      expect(one.op.counts).to.include({ refresh: 1 })
      pass(100)
      await tokenOf(one)
      expect(one.op.counts).to.include({ refresh: 2 })
      expect(await isAlive(one)).to.equal(true)
      expect(await one.get('/note')).to.equal('written late')
    })

    it('is refreshed before the resource sees it [TOK-23]', async () => {
      const one = await scene(offline())
      await one.login()
      pass(130)
      expect(await one.get('/resource')).to.include({ sub: 'alice' })
      expect(await one.get('/userinfo')).to.include({ sub: 'alice' })
      expect(one.op.counts).to.include({ refresh: 1, resource: 1, userinfo: 1 })
    })

    it('lives on where the OP gives no token for longer than half a minute [TOK-23]', async () => {
      const one = await scene(offline({ op: { accessTokenExpiresIn: 30 } }))
      await one.login()
      for (let round = 0; round < 3; round++) {
        const answers = await Promise.all(callers.map(() => tokenOf(one)))
        expect(await one.op.isActive(String(answers.at(-1)))).to.equal(true)
      }
      expect(await isAlive(one)).to.equal(true)
    })
  })

  context('a token is fresh', () => {
    it('is not refreshed', async () => {
      const one = await scene(offline({ op: { accessTokenExpiresIn: 120 } }))
      await one.login()
      pass(30)
      await Promise.all(callers.map(() => tokenOf(one)))
      expect(one.op.counts).to.include({ refresh: 0 })
    })
  })

  context('the OP refuses', () => {
    const gone = (people: Set<string>): FullOpOptions => ({
      accessTokenExpiresIn: 120,
      configure: (configuration) => ({
        ...configuration,
        findAccount: (...args) =>
          people.has(args[1]) ? (configuration.findAccount as FindAccount)(...args) : undefined,
      }),
    })

    it('says so to all 20 once the token is over, and keeps it until then [TOK-23]', async () => {
      const people = new Set(['alice'])
      const one = await scene(offline({ op: gone(people) }))
      await one.login()
      const { accessToken } = await tokensOf(one)
      people.clear()
      pass(100)
      expect(await tokenOf(one)).to.equal(accessToken)
      pass(30)
      const answers = await Promise.all(callers.map(() => one.browser.agent.get('/token')))
      for (const { status, body } of answers) {
        expect([status, body.uncaught]).to.deep.equal([401, 'ERR_CIBA_INVALID_TOKEN'])
      }
      people.add('alice')
      expect(await one.login()).to.have.property('status', 'complete')
      expect(await tokenOf(one), 'after another approval').not.to.equal(accessToken)
    })

    it('needs another approval where there is no refresh token', async () => {
      const one = await scene({ op: { accessTokenExpiresIn: 120 } })
      await one.login()
      pass(130)
      const { status, body } = await one.browser.agent.get('/token')
      expect([status, body.uncaught]).to.deep.equal([401, 'ERR_CIBA_INVALID_TOKEN'])
      expect(one.op.counts).to.include({ refresh: 0 })
    })
  })

  context('the OP is away', () => {
    it('keeps the token as long as it is valid, and is 503 then', async () => {
      const one = await scene(offline())
      await one.login()
      const { accessToken } = await tokensOf(one)
      await one.op.close()
      pass(100)
      const answers = await Promise.all(callers.map(() => tokenOf(one)))
      expect(new Set(answers)).to.deep.equal(new Set([accessToken]))
      pass(30)
      const { status, body } = await one.browser.agent.get('/token')
      expect([status, body.uncaught]).to.deep.equal([503, 'ERR_CIBA_OP_UNREACHABLE'])
      expect(await one.browser.user(), 'still signed in').to.equal('alice')
    })
  })

  context('a logout comes in between', () => {
    it('leaves neither a session nor a token that works [SEC-12]', async () => {
      let open = () => {}
      let asked = () => {}
      const gate = new Promise<void>((resolve) => {
        open = resolve
      })
      const isRefreshing = new Promise<void>((resolve) => {
        asked = resolve
      })
      const one = await scene(
        offline({
          op: {
            accessTokenExpiresIn: 120,
            configure: (configuration) => ({
              ...configuration,
              async findAccount(...args) {
                if (args[0].oidc.params?.['grant_type'] === 'refresh_token') {
                  asked()
                  await gate
                }
                return (configuration.findAccount as FindAccount)(...args)
              },
            }),
          },
        }),
      )
      await one.login()
      const before = await tokensOf(one)
      pass(100)
      const refreshing = one.browser.agent.get('/token').then()
      await isRefreshing
      const leaving = one.browser.agent.post('/ciba/logout').then()
      open()
      expect(await leaving).to.have.property('status', 204)
      await refreshing
      expect(await one.browser.user()).to.equal(undefined)
      const sent = one.op.received.flatMap(({ route, answer }) => (route === 'token' ? (answer as Sent) : []))
      const granted = sent.flatMap(({ access_token, refresh_token }) => [access_token, refresh_token])
      expect(granted, 'two of each').to.have.length(4).and.include(before.accessToken)
      expect(await Promise.all(granted.map(one.op.isActive))).to.deep.equal([false, false, false, false])
    })
  })
})

type FindAccount = NonNullable<Configuration['findAccount']>

interface Sent {
  readonly access_token: string
  readonly refresh_token: string
}
