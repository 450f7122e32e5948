/** Several `ciba()` of several OPs or clients: no OP gets to see what another has issued. */
import { expect } from 'chai'
import { type CibaMiddleware, type CibaOptions, ciba, MemoryTransactionStore } from '../../lib/index.ts'
import { endSessionURL } from '../../lib/protocol/logout.ts'
import { connectionTo } from '../support/connection.ts'
import { type ScriptedOp, startScriptedOp } from '../support/scripted-op.ts'
import { expired, handled, signIn, tokenRoutes } from '../support/signed-in.ts'
import { goodTokenResponse } from '../support/token-response.ts'
import { Browser, cibaOptions, type Web, webs } from '../support/web.ts'

describe('a login at one of two OPs, where req.ciba is that of the other', () => {
  const start = webs()
  let other: ScriptedOp
  let second: CibaMiddleware

  beforeEach(async () => {
    other = await startScriptedOp()
  })

  afterEach(async () => {
    await second.close()
    await other.stop()
  })

  function startBoth(): Promise<Web> {
    return start({
      ciba: { idpLogout: true },
      own(app, web) {
        const off = { start: false, poll: false, cancel: false, logout: false, notification: false } as const
        second = ciba({
          ...cibaOptions(other, web.origin),
          deliveryMode: 'poll',
          routes: { ...off, backchannelLogout: '/second/logged-out' },
          idpLogout: true,
        })
        app.use(second)
        tokenRoutes(app, web)
        app.post(
          '/bye',
          handled(async (req, res) => res.json(await req.ciba.logout())),
        )
      },
    })
  }

  const harmless = ['discovery', 'jwks']
  const sentTo = (op: ScriptedOp) => op.calls.filter(({ endpoint }) => !harmless.includes(endpoint))

  it('is not refreshed there, and the other OP gets no refresh token', async () => {
    const web = await startBoth()
    const browser = await signIn(web, expired)
    expect((await browser.get('/token')).status).to.equal(401)
    expect(web.errors[0]).to.include({ code: 'ERR_CIBA_INVALID_TOKEN' })
    expect(sentTo(other)).to.be.empty
  })

  it('shows no access token to the other UserInfo endpoint [TOK-24]', async () => {
    const web = await startBoth()
    const browser = await signIn(web)
    expect((await browser.get('/userinfo')).status).to.equal(401)
    expect(web.errors[0]).to.include({ code: 'ERR_CIBA_INVALID_TOKEN' })
    expect(sentTo(other)).to.be.empty
  })

  it('is not ended by the other OP, which has a person of the same name', async () => {
    const web = await startBoth()
    const browser = await signIn(web)
    expect(await other.logout(`${web.origin}/second/logged-out`)).to.have.property('status', 200)
    expect((await browser.get('/me')).body.signedIn).to.equal(true)
  })

  it('ends without a word to the other OP', async () => {
    const web = await startBoth()
    const browser = await signIn(web, expired)
    expect((await browser.post('/bye')).body).to.deep.equal({})
    expect(sentTo(other)).to.be.empty
    expect((await browser.get('/me')).body.signedIn).to.equal(false)
  })

  it('ends at its own OP by the route of its own ciba()', async () => {
    const web = await startBoth()
    const browser = await signIn(web, expired)
    const { endSessionURL } = (await browser.post('/ciba/logout')).body
    expect(new URL(endSessionURL).origin).to.equal(web.op.issuer)
    expect(web.op.callsTo('revocation')).to.have.length(2)
    expect(sentTo(other)).to.be.empty
  })
})

describe('a transaction, where a store and a secret are shared', () => {
  const start = webs()
  let store: MemoryTransactionStore

  beforeEach(() => {
    store = new MemoryTransactionStore()
  })
  afterEach(() => store.close())

  for (const [whose, isKnown, options] of [
    ['another instance of the same client', true, ({ op }) => ({ issuerBaseURL: op.issuer })],
    [
      'another client at the same OP',
      false,
      ({ op }) => ({ issuerBaseURL: op.issuer, clientID: 'another client' }),
    ],
    ['a client of the same name at another OP', false, () => ({})],
  ] as [string, boolean, (web: Web) => CibaOptions][]) {
    it(`${isKnown ? 'exists' : 'does not exist'} for ${whose} [SEC-9]`, async () => {
      const shared = { store, secret: 'shared by all of this test' }
      const web = await start({ ciba: shared })
      const other = await start({ ciba: { ...shared, ...options(web) }, session: { store: web.sessions } })
      const browser = web.browser()
      const transaction = await browser.begin()
      const there = new Browser(other.origin, browser.cookie)
      expect((await there.poll(transaction)).status).to.equal(isKnown ? 200 : 404)
      const pong = await web.op.ping(`${other.origin}/ciba/notification`)
      expect(pong.status).to.equal(isKnown ? 204 : 401)
      expect((await there.post('/ciba/cancel', { transaction })).status).to.equal(isKnown ? 204 : 404)
      expect(other.op.calls.filter(({ endpoint }) => endpoint === 'token')).to.be.empty
      expect((await browser.poll(transaction)).body.status).to.equal(isKnown ? 'cancelled' : 'pending')
    })
  }
})

describe('endSessionURL()', () => {
  const issuer = 'https://op.test'
  const context = { issuer, clientId: 'client', clientSecret: 'secret', authReqId: 'id' }

  async function urlFor(end_session_endpoint: string, allowInsecureRequests: boolean) {
    const connection = connectionTo(issuer, {
      allowInsecureRequests,
      customFetch: async () =>
        Response.json({
          issuer,
          jwks_uri: `${issuer}/jwks`,
          token_endpoint: `${issuer}/token`,
          backchannel_authentication_endpoint: `${issuer}/backchannel`,
          end_session_endpoint,
        }),
    })
    const idToken = String((await goodTokenResponse(context))['id_token'])
    return endSessionURL(
      connection,
      { accessToken: 'a', tokenType: 'bearer', scope: 'openid', idToken },
      undefined,
    )
  }

  it('names no plain http URL, unless that is allowed: the ID token goes there', async () => {
    expect(await urlFor('http://op.test/end', false)).to.equal(undefined)
    expect(await urlFor('http://op.test/end', true)).to.match(/^http:\/\/op\.test\/end\?id_token_hint=/)
    expect(await urlFor('https://op.test/end', false)).to.match(/^https:/)
  })

  it('says nothing of a way back where there is none', async () => {
    const url = new URL((await urlFor('https://op.test/end', false)) as string)
    expect([...url.searchParams.keys()]).to.deep.equal(['id_token_hint', 'client_id'])
  })
})
