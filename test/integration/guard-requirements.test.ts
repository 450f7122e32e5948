/** What `requireCiba({ … })` asks for beyond a login. */
import { expect } from 'chai'
import type { Request } from 'express'
import { type CibaRequirements, requireCiba } from '../../lib/index.ts'
import { seconds } from '../support/id-tokens.ts'
import { expired, signIn } from '../support/signed-in.ts'
import { cookiesOf, expressVersions, type Web, webs } from '../support/web.ts'

type Json = Record<string, unknown>

interface Row {
  readonly requirements: CibaRequirements
  /** Of the ID token; those with times are made when the test runs. */
  readonly claims?: Json | (() => Json)
  readonly status: number
}

const gold = 'urn:example:gold'
const silver = 'urn:example:silver'

const strength: readonly Row[] = [
  { requirements: { acrValues: [gold] }, claims: { acr: gold }, status: 200 },
  { requirements: { acrValues: [silver, gold] }, claims: { acr: gold }, status: 200 },
  { requirements: { acrValues: [gold] }, claims: { acr: silver }, status: 401 },
  { requirements: { acrValues: [gold] }, claims: { acr: `${gold}er` }, status: 401 },
  { requirements: { acrValues: [gold] }, status: 401 },
  { requirements: { maxAge: 60 }, claims: () => ({ auth_time: seconds(-50) }), status: 200 },
  { requirements: { maxAge: 60 }, claims: () => ({ auth_time: seconds(-70) }), status: 401 },
  { requirements: { maxAge: 60 }, claims: { auth_time: undefined }, status: 401 },
  { requirements: { maxAge: 1 }, claims: () => ({ auth_time: seconds(-3) }), status: 401 },
  { requirements: { maxAge: 1 }, claims: () => ({ auth_time: seconds(20) }), status: 200 },
  {
    requirements: { acrValues: [gold], maxAge: 60 },
    claims: () => ({ acr: gold, auth_time: seconds(-70) }),
    status: 401,
  },
]

const permission: readonly Row[] = [
  { requirements: {}, status: 200 },
  { requirements: { acrValues: undefined, maxAge: undefined, claimEquals: undefined }, status: 200 },
  { requirements: { claimEquals: {} }, status: 200 },
  { requirements: { claimEquals: { country: 'DE' } }, claims: { country: 'DE' }, status: 200 },
  { requirements: { claimEquals: { country: 'DE' } }, claims: { country: 'de' }, status: 403 },
  { requirements: { claimEquals: { country: 'DE' } }, status: 403 },
  { requirements: { claimEquals: { level: 5, vip: true } }, claims: { level: 5, vip: true }, status: 200 },
  { requirements: { claimEquals: { level: 5, vip: true } }, claims: { level: 5, vip: false }, status: 403 },
  { requirements: { claimEquals: { level: 5 } }, claims: { level: '5' }, status: 403 },
  { requirements: { claimEquals: { vip: true } }, claims: { vip: 1 }, status: 403 },
  { requirements: { claimEquals: { left: null } }, claims: { left: null }, status: 200 },
  { requirements: { claimEquals: { left: null } }, status: 403 },
  { requirements: { claimEquals: { roles: 'a' } }, claims: { roles: ['a'] }, status: 403 },
  { requirements: { claimIncludes: { roles: 'a' } }, claims: { roles: ['a', 'b'] }, status: 200 },
  { requirements: { claimIncludes: { roles: ['a', 'b'] } }, claims: { roles: ['b', 'c', 'a'] }, status: 200 },
  { requirements: { claimIncludes: { roles: ['a', 'b'] } }, claims: { roles: ['a'] }, status: 403 },
  { requirements: { claimIncludes: { scope: ['a', 'b'] } }, claims: { scope: 'b a' }, status: 200 },
  { requirements: { claimIncludes: { scope: 'a' } }, claims: { scope: 'admin' }, status: 403 },
  { requirements: { claimIncludes: { levels: [5, true] } }, claims: { levels: [5, true] }, status: 200 },
  { requirements: { claimIncludes: { levels: 5 } }, claims: { levels: ['5'] }, status: 403 },
  { requirements: { claimIncludes: { levels: 5 } }, claims: { levels: 5 }, status: 403 },
  { requirements: { claimIncludes: { roles: 'a' } }, claims: { roles: { a: true } }, status: 403 },
  { requirements: { claimIncludes: { roles: 'a' } }, status: 403 },
  { requirements: { claimIncludes: { length: 'a', constructor: 'a' } }, status: 403 },
  { requirements: { claimCheck: (_, { sub }) => sub === 'alice' }, status: 200 },
  { requirements: { claimCheck: async (_, { sub }) => sub === 'alice' }, status: 200 },
  { requirements: { claimCheck: () => false }, status: 403 },
  { requirements: { claimCheck: async () => false }, status: 403 },
  { requirements: { claimCheck: () => 'yes' as unknown as boolean }, status: 403 },
  { requirements: { claimCheck: () => undefined as unknown as boolean }, status: 403 },
  {
    requirements: { claimEquals: { a: 1 }, claimIncludes: { b: 2 }, claimCheck: () => true },
    claims: { a: 1, b: [2] },
    status: 200,
  },
  {
    requirements: { claimEquals: { a: 1 }, claimIncludes: { b: 2 }, claimCheck: () => false },
    claims: { a: 1, b: [2] },
    status: 403,
  },
]

const shown = ({ requirements, claims }: Row) =>
  `${JSON.stringify(requirements, (_, value) => (typeof value === 'function' ? String(value) : value))}, claims ${typeof claims === 'function' ? String(claims) : JSON.stringify(claims)}`

for (const { name, express } of expressVersions) {
  describe(`requireCiba() with requirements (${name})`, () => {
    const start = webs()

    function startGuarded(requirements: CibaRequirements): Promise<Web> {
      return start({
        express,
        own: (app) => {
          app.get('/account', requireCiba(requirements), (_req, res) => void res.send('secret'))
          app.get('/account', (_req, res) => void res.send('the next route'))
          app.get('/refresh', (req, res, next) => {
            req.ciba.getAccessToken().then(() => res.end(), next)
          })
        },
      })
    }

    async function ask({ requirements, claims = {} }: Row) {
      const web = await startGuarded(requirements)
      const browser = await signIn(web, { claims: typeof claims === 'function' ? claims() : claims })
      const answer = await browser.get('/account')
      expect(web.errors).to.be.empty
      if (answer.status !== 200) expect(answer.text).to.not.match(/secret|next route/)
      else expect(answer.text).to.equal('secret')
      return answer
    }

    for (const row of [...strength, ...permission]) {
      it(`answers ${row.status}: ${shown(row)}`, async () => {
        expect((await ask(row)).status).to.equal(row.status)
      })
    }

    for (const [requirements, acr_values, max_age] of [
      [{ acrValues: [gold, silver] }, `${gold} ${silver}`, undefined],
      [{ maxAge: 300 }, undefined, 300],
      [{ acrValues: [gold], maxAge: 1 }, gold, 1],
    ] as const) {
      it(`says which approval to ask for: ${JSON.stringify(requirements)} [RFC 9470 §3]`, async () => {
        const answer = await ask({ requirements, claims: { auth_time: 1 }, status: 401 })
        const error = 'insufficient_user_authentication'
        const error_description = 'a stronger or more recent authentication is required'
        const challenge = [
          `error="${error}"`,
          `error_description="${error_description}"`,
          ...(acr_values === undefined ? [] : [`acr_values="${acr_values}"`]),
          ...(max_age === undefined ? [] : [`max_age="${max_age}"`]),
        ]
        expect(answer.status).to.equal(401)
        expect(answer.headers['www-authenticate']).to.equal(`Bearer ${challenge.join(', ')}`)
        expect(answer.headers['cache-control']).to.equal('no-store')
        expect(cookiesOf(answer)).to.be.empty
        expect(answer.body).to.deep.equal({
          error,
          error_description,
          ...(acr_values === undefined ? {} : { acr_values }),
          ...(max_age === undefined ? {} : { max_age }),
        })
      })
    }

    it('answers 403 as JSON where a claim is missing, without a challenge', async () => {
      const answer = await ask({ requirements: { claimEquals: { country: 'DE' } }, status: 403 })
      expect(answer.status).to.equal(403)
      expect(answer.headers['www-authenticate']).to.equal(undefined)
      expect(answer.headers['cache-control']).to.equal('no-store')
      expect(answer.body).to.deep.equal({
        error: 'forbidden',
        error_description: 'you are not allowed to do this',
      })
    })

    it('answers 401 unauthenticated to whoever is not signed in, and checks nothing', async () => {
      let checks = 0
      const claimCheck = () => ++checks > 0
      const web = await startGuarded({ acrValues: [gold], maxAge: 1, claimEquals: { a: 1 }, claimCheck })
      const answer = await web.browser().get('/account')
      expect([answer.status, answer.body.error]).to.deep.equal([401, 'unauthenticated'])
      expect(answer.headers['www-authenticate']).to.equal(undefined)
      expect(checks).to.equal(0)
    })

    it('asks for a stronger approval before it looks at the claims', async () => {
      let checks = 0
      const claimCheck = () => ++checks > 0
      const answer = await ask({
        requirements: { acrValues: [gold], claimEquals: { a: 1 }, claimCheck },
        status: 401,
      })
      expect(answer.body.error).to.equal('insufficient_user_authentication')
      expect(checks).to.equal(0)
    })

    it('passes when the person has approved anew with what was missing', async () => {
      const web = await startGuarded({ acrValues: [gold], maxAge: 60 })
      const browser = await signIn(web, { claims: { auth_time: seconds(-100), acr: silver } })
      expect((await browser.get('/account')).status).to.equal(401)
      await signIn(web, { claims: { acr: gold } }, browser)
      expect((await browser.get('/account')).status).to.equal(200)
    })

    it('goes by the claims of a refreshed ID token', async () => {
      const web = await startGuarded({ claimIncludes: { roles: 'teller' } })
      const browser = await signIn(web, { ...expired, claims: { roles: ['teller'] } })
      expect((await browser.get('/account')).status).to.equal(200)
      web.op.onToken(await web.op.refreshed({ claims: { roles: [] } }))
      await browser.get('/refresh')
      expect((await browser.get('/account')).status).to.equal(403)
    })

    it('shows claimCheck the request and the claims', async () => {
      const seen: unknown[] = []
      const claimCheck = (req: Request, claims: object) => seen.push(req.path, req.ciba.user === claims) > 0
      expect((await ask({ requirements: { claimCheck }, status: 200 })).status).to.equal(200)
      expect(seen).to.deep.equal(['/account', true])
    })

    for (const isAsync of [false, true]) {
      for (const thrown of [new Error('the directory is down'), undefined, null, '', 'route', 'router', 0]) {
        it(`lets nobody pass when claimCheck ${isAsync ? 'rejects with' : 'throws'} ${JSON.stringify(thrown)}: ${thrown}`, async () => {
          const fail = () => {
            throw thrown
          }
          const web = await startGuarded({ claimCheck: isAsync ? async () => fail() : fail })
          const browser = await signIn(web)
          const answer = await browser.get('/account')
          expect(answer.status).to.equal(500)
          expect(answer.text).to.not.match(/secret|next route/)
          expect(web.errors).to.have.length(1)
          expect(web.errors[0]).to.be.an.instanceOf(Error)
          if (thrown instanceof Error) expect(web.errors[0]).to.equal(thrown)
        })
      }
    }
  })
}

describe('requireCiba(): its options', () => {
  for (const [option, requirements] of [
    ['requireCiba', null],
    ['requireCiba', []],
    ['requireCiba', 'gold'],
    ['requireCiba.acrValue', { acrValue: [gold] }],
    ['requireCiba.acrValues', { acrValues: [] }],
    ['requireCiba.acrValues', { acrValues: gold }],
    ['requireCiba.acrValues', { acrValues: [''] }],
    ['requireCiba.acrValues', { acrValues: ['a b'] }],
    ['requireCiba.acrValues', { acrValues: ['a"b'] }],
    ['requireCiba.acrValues', { acrValues: ['a\\b'] }],
    ['requireCiba.acrValues', { acrValues: ['a\r\nb'] }],
    ['requireCiba.acrValues', { acrValues: [5] }],
    ['requireCiba.acrValues', { acrValues: null }],
    ['requireCiba.maxAge', { maxAge: 0 }],
    ['requireCiba.maxAge', { maxAge: -1 }],
    ['requireCiba.maxAge', { maxAge: 1.5 }],
    ['requireCiba.maxAge', { maxAge: Number.NaN }],
    ['requireCiba.maxAge', { maxAge: '60' }],
    ['requireCiba.claimEquals', { claimEquals: ['a'] }],
    ['requireCiba.claimEquals', { claimEquals: { a: ['b'] } }],
    ['requireCiba.claimEquals', { claimEquals: { a: undefined } }],
    ['requireCiba.claimIncludes', { claimIncludes: 'roles' }],
    ['requireCiba.claimIncludes', { claimIncludes: { roles: [] } }],
    ['requireCiba.claimIncludes', { claimIncludes: { roles: null } }],
    ['requireCiba.claimIncludes', { claimIncludes: { roles: [{}] } }],
    ['requireCiba.claimCheck', { claimCheck: true }],
  ] as const) {
    it(`refuses ${JSON.stringify(requirements)} at once, and names ${option}`, () => {
      const make = () => requireCiba(requirements as unknown as CibaRequirements)
      expect(make).to.throw(TypeError, `"${option}"`).with.property('code', 'ERR_CIBA_INVALID_OPTION')
    })
  }
})
