/** Step-up: the guard asks for more, and the app asks the real OP for just that (RFC 9470). */
import { expect } from 'chai'
import type { Express } from 'express'
import type { Response } from 'supertest'
import { type CibaRequirements, requireCiba } from '../../lib/index.ts'
import { type Scene, scenes, timeTravel } from '../support/real-op.ts'

const strong = 'urn:example:loa:2'
const weak = 'urn:example:loa:1'
const now = () => Math.floor(Date.now() / 1000)

describe('requireCiba() with a real OP', function () {
  this.timeout(20_000)

  const scene = scenes()
  const pass = timeTravel()

  const guarded = (requirements: CibaRequirements): Promise<Scene> =>
    scene({
      after(app: Express) {
        app.post('/visit', (req, res) => {
          Object.assign(req.session, { cart: 'full' })
          res.end()
        })
        app.get('/vault', requireCiba(requirements), (req, res) => {
          res.json({ sub: req.ciba.user?.sub, session: req.session })
        })
        // Who is signed in already is the one to be asked again.
        app.post('/step-up', async (req, res) => {
          const { acr_values: acrValues, max_age: maxAge } = req.query as Record<string, string | undefined>
          const { idToken = '' } = req.ciba.tokens ?? {}
          const started = await req.ciba.start({
            idTokenHint: idToken,
            ...(acrValues && { acrValues: acrValues.split(' ') }),
            ...(maxAge && { maxAge: Number(maxAge) }),
          })
          res.json(started)
        })
      },
    })

  const vault = ({ browser }: Scene) => browser.agent.get('/vault').then()

  /** Starts again with what the challenge says. */
  async function stepUp({ browser, op }: Scene, challenge: Response, approval: object) {
    const asked = new URLSearchParams(parametersOf(challenge))
    const { body } = await browser.agent.post(`/step-up?${asked}`)
    const { authReqId } = await op.waitForRequest()
    const outcome = browser.outcome(body.transaction)
    await op.approve(authReqId, approval)
    return outcome
  }

  it('refuses, says what helps, and lets pass whoever has done it [TOK-15, TOK-16]', async () => {
    const one = await guarded({ acrValues: [strong, 'urn:example:loa:3'], maxAge: 300 })
    await one.login({ approval: { acr: weak, authTime: now() - 1000 } })
    await one.browser.agent.post('/visit').expect(200)
    const refused = await vault(one)
    expect(refused.status).to.equal(401)
    expect(refused.body).to.include({
      error: 'insufficient_user_authentication',
      acr_values: `${strong} urn:example:loa:3`,
      max_age: 300,
    })
    expect(parametersOf(refused)).to.include({
      error: 'insufficient_user_authentication',
      acr_values: `${strong} urn:example:loa:3`,
      max_age: '300',
    })
    const approval = { acr: strong, authTime: now() }
    expect(await stepUp(one, refused, approval)).to.have.property('status', 'complete')
    const passed = await vault(one)
    expect(passed.status).to.equal(200)
    expect(passed.body).to.include({ sub: 'alice' })
    expect(passed.body.session, 'the rest of the session').to.include({ cart: 'full' })
    expect(await one.get('/me')).to.include({ acr: strong, auth_time: approval.authTime })
  })

  for (const [what, approval] of [
    ['a weaker acr', { acr: weak, authTime: now() }],
    ['no acr', { authTime: now() }],
    ['an authentication of long ago', { acr: strong, authTime: now() - 1000 }],
    ['no time of the authentication', { acr: strong }],
  ] as const) {
    it(`keeps the old login, and refuses, after an approval with ${what} [TOK-15, TOK-16]`, async () => {
      const one = await guarded({ acrValues: [strong], maxAge: 300 })
      await one.login({ approval: { acr: weak } })
      const refused = await vault(one)
      expect(await stepUp(one, refused, approval)).to.include({
        status: 'failed',
        error: 'invalid_token_response',
      })
      expect(await vault(one)).to.have.property('status', 401)
      expect(await one.get('/me')).to.include({ sub: 'alice', acr: weak })
    })
  }

  it('asks for an acr alone, where the age does not matter [TOK-15]', async () => {
    const one = await guarded({ acrValues: [strong] })
    await one.login({ approval: { acr: weak } })
    const refused = await vault(one)
    expect(parametersOf(refused)).not.to.have.property('max_age')
    expect(refused.body).not.to.have.property('max_age')
    expect(await stepUp(one, refused, { acr: strong })).to.have.property('status', 'complete')
    expect(await vault(one)).to.have.property('status', 200)
  })

  it('asks again when the authentication has grown too old [TOK-16]', async () => {
    const one = await guarded({ maxAge: 300 })
    await one.login({ approval: { authTime: now() } })
    expect(await vault(one)).to.have.property('status', 200)
    pass(290)
    expect(await vault(one)).to.have.property('status', 200)
    pass(20)
    const refused = await vault(one)
    expect(refused.status).to.equal(401)
    expect(parametersOf(refused)).to.include({ max_age: '300' }).and.not.have.property('acr_values')
    expect(await stepUp(one, refused, { authTime: now() })).to.have.property('status', 'complete')
    expect(await vault(one)).to.have.property('status', 200)
  })

  it('goes by the newest claims: a refresh does not make an old authentication new [TOK-16, TOK-23]', async () => {
    const one = await scene({
      op: { accessTokenExpiresIn: 30 },
      options: { authorizationParams: { scope: 'openid offline_access' } },
      after(app) {
        app.get('/vault', requireCiba({ maxAge: 300 }), (_req, res) => {
          res.end()
        })
      },
    })
    await one.login({ approval: { authTime: now() - 200 } })
    expect(await vault(one)).to.have.property('status', 200)
    pass(101)
    await one.get('/token')
    expect(one.op.counts).to.include({ refresh: 1 })
    expect(await vault(one)).to.have.property('status', 401)
  })

  it('lets claims decide, which no step-up helps', async () => {
    const one = await guarded({ claimEquals: { sub: 'bob' }, claimIncludes: { acr: strong } })
    const approval = { acr: strong }
    await one.login({ approval })
    const refused = await vault(one)
    expect([refused.status, refused.body.error]).to.deep.equal([403, 'forbidden'])
    expect(refused.headers).not.to.have.property('www-authenticate')
    await one.login({ request: { loginHint: 'bob' }, approval: { acr: weak } })
    expect(await vault(one), 'bob, but not like this').to.have.property('status', 403)
    await one.login({ request: { loginHint: 'bob' }, approval })
    expect(await vault(one)).to.have.property('status', 200)
  })
})

/** Of the `WWW-Authenticate` header. */
function parametersOf({ headers }: Response): Record<string, string> {
  const [scheme, ...rest] = String(headers['www-authenticate']).split(' ')
  expect(scheme).to.equal('Bearer')
  const all = rest.join(' ').matchAll(/(\w+)="([^"]*)"/g)
  return Object.fromEntries([...all].map(([, name, value]) => [name, value]))
}
