/** The end of a login, at the app and at a real OP: revocation and RP-initiated logout. */
import { expect } from 'chai'
import type { Configuration } from 'oidc-provider'
import type { CibaOptions, TokenSet } from '../../lib/index.ts'
import { RESOURCES } from '../support/full-op-configuration.ts'
import { followEndSession } from '../support/op-sign-out.ts'
import { type Scene, scenes } from '../support/real-op.ts'

const offline: CibaOptions = { authorizationParams: { scope: 'openid offline_access' } }

const without = (feature: 'revocation' | 'rpInitiatedLogout') => ({
  configure: ({ features, ...rest }: Configuration): Configuration => ({
    ...rest,
    features: { ...features, [feature]: { enabled: false } },
  }),
})

describe('the logout route with a real OP', function () {
  this.timeout(20_000)

  const scene = scenes()
  const leave = ({ browser }: Scene) => browser.agent.post('/ciba/logout').then()
  const asForm = ({ browser }: Scene) =>
    browser.agent
      .post('/ciba/logout')
      .type('form')
      .accept('text/html')
      .redirects(0)
      .ok(() => true)

  it('makes both tokens worthless, and ends the session [SEC-12]', async () => {
    const one = await scene({ options: offline })
    await one.login()
    const { accessToken, refreshToken = '' } = await one.get<TokenSet>('/tokens')
    const active = () => Promise.all([accessToken, refreshToken].map(one.op.isActive))
    expect(await active()).to.deep.equal([true, true])
    const { status, text } = await leave(one)
    expect([status, text]).to.deep.equal([204, ''])
    expect(await active()).to.deep.equal([false, false])
    expect(await one.browser.user()).to.equal(undefined)
    expect(one.op.counts).to.include({ endSession: 0 })
    const revoked = one.op.received.filter(({ route }) => route === 'revocation')
    expect(revoked.map(({ form: { token, token_type_hint: hint } }) => [token, hint])).to.deep.equal([
      [refreshToken, 'refresh_token'],
      [accessToken, 'access_token'],
    ])
  })

  it('ends one login of a person, and no other [SEC-6]', async () => {
    const one = await scene({ options: offline })
    const other = one.app.browser()
    await one.login()
    await one.login({ by: other })
    await leave(one)
    expect(await one.browser.user()).to.equal(undefined)
    expect(await other.user()).to.equal('alice')
    expect(await one.get('/userinfo', other)).to.include({ sub: 'alice' })
  })

  it('revokes the refresh token beside an access token that the OP cannot revoke', async () => {
    const one = await scene({ options: offline })
    await one.login({ request: { loginHint: 'alice', resource: RESOURCES.jwt } })
    const { accessToken, refreshToken = '' } = await one.get<TokenSet>('/tokens')
    expect(accessToken.split('.')).to.have.length(3)
    expect(await leave(one)).to.have.property('status', 204)
    expect(await one.op.isActive(refreshToken)).to.equal(false)
  })

  it('ends the session alone at an OP that revokes nothing', async () => {
    const one = await scene({ op: without('revocation'), options: offline })
    await one.login()
    expect(await leave(one)).to.have.property('status', 204)
    expect(await one.browser.user()).to.equal(undefined)
    expect(one.op.counts).to.include({ revocation: 0 })
  })

  it('ends the session although the OP is away', async () => {
    const one = await scene({ options: { ...offline, idpLogout: true } })
    await one.login()
    await one.op.close()
    const { status, body } = await leave(one)
    expect(status).to.equal(200)
    expect(body.endSessionURL, 'known from before').to.be.a('string')
    expect(await one.browser.user()).to.equal(undefined)
  })

  context('with "idpLogout"', () => {
    for (const [what, postLogoutRedirect, back] of [
      ['by default to the front page', undefined, '/'],
      ['to a page of the app', '/bye?for=now', '/bye?for=now'],
    ] as const) {
      it(`sends the browser to the OP and back: ${what}`, async () => {
        const one = await scene({ options: { idpLogout: true, postLogoutRedirect } })
        expect(one.metadata.post_logout_redirect_uris).to.deep.equal([`${one.app.origin}${back}`])
        await one.login()
        const { idToken, accessToken } = await one.get<TokenSet>('/tokens')
        const { status, body } = await leave(one)
        expect(status).to.equal(200)
        const url = new URL(body.endSessionURL)
        expect(Object.fromEntries(url.searchParams)).to.deep.equal({
          id_token_hint: idToken,
          client_id: 'app',
          post_logout_redirect_uri: `${one.app.origin}${back}`,
        })
        expect(await one.op.isActive(accessToken)).to.equal(false)
        expect(await followEndSession(body.endSessionURL)).to.equal(`${one.app.origin}${back}`)
        expect(one.op.counts).to.include({ endSession: 1 })
      })
    }

    it('sends a browser with a form there itself', async () => {
      const one = await scene({ options: { idpLogout: true } })
      await one.login()
      const { status, headers } = await asForm(one)
      expect(status).to.equal(303)
      expect(await followEndSession(String(headers['location']))).to.equal(`${one.app.origin}/`)
      expect(await one.browser.user()).to.equal(undefined)
      const again = await asForm(one)
      expect([again.status, again.headers['location']], 'nobody is signed in').to.deep.equal([303, '/'])
    })

    it('tells an own route where to send the browser', async () => {
      const one = await scene({
        options: { idpLogout: true, postLogoutRedirect: 'http://127.0.0.1:1/elsewhere' },
        after: (app) => {
          app.get('/leave', async (req, res) => {
            res.json(await req.ciba.logout())
          })
        },
      })
      await one.login()
      const { endSessionURL } = await one.get<{ endSessionURL: string }>('/leave')
      expect(await followEndSession(endSessionURL)).to.equal('http://127.0.0.1:1/elsewhere')
      expect(await one.get('/leave')).to.deep.equal({})
    })

    it('has nowhere to send it at an OP without such a page', async () => {
      const one = await scene({ op: without('rpInitiatedLogout'), options: { idpLogout: true } })
      await one.login()
      expect(await leave(one)).to.have.property('status', 204)
      expect(await one.browser.user()).to.equal(undefined)
    })
  })

  context('without "idpLogout"', () => {
    it('sends a browser with a form to the page of the app', async () => {
      const one = await scene({ options: { postLogoutRedirect: '/bye' } })
      await one.login()
      expect(one.metadata).not.to.have.property('post_logout_redirect_uris')
      const { status, headers } = await asForm(one)
      expect([status, headers['location']]).to.deep.equal([303, '/bye'])
      expect(await one.browser.user()).to.equal(undefined)
    })
  })
})
