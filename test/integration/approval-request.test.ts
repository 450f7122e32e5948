/** `req.ciba.requestApproval()`: who is asked, in whose name, and who must approve. */
import { expect } from 'chai'
import { approvalRoutes, ask, approvalRoutes as own, payment, signedIn, use } from '../support/approvals.ts'
import { authenticationRequest } from '../support/scripted-answers.ts'
import { storedLogin } from '../support/signed-in.ts'
import { cookiesOf, type Web, webs } from '../support/web.ts'

const lastRequest = ({ op }: Web) => {
  const call = op.callsTo('backchannel').at(-1)
  return call ? authenticationRequest(call) : expect.fail('the OP was not asked')
}
const requestsTo = ({ op }: Web) => op.callsTo('backchannel').length

describe('req.ciba.requestApproval()', () => {
  const start = webs()

  it('asks whoever is signed in, by the ID token, and says what the browser may know', async () => {
    const web = await start({ own })
    const alice = await signedIn(web)
    const login = await storedLogin(web, alice)
    const { status, body } = await alice.post('/approval', { ...payment, bindingMessage: 'ACME 9.99' })
    expect(status).to.equal(200)
    expect(body).to.have.all.keys('transaction', 'status', 'expiresIn', 'interval', 'bindingMessage')
    expect(body).to.include({ status: 'pending', expiresIn: 120, interval: 1, bindingMessage: 'ACME 9.99' })
    expect(body.transaction).to.match(/^[\w-]{22}$/)
    expect(lastRequest(web)).to.include({
      id_token_hint: login?.tokens.idToken,
      binding_message: 'ACME 9.99',
      scope: 'openid',
    })
    expect(lastRequest(web)).to.not.have.any.keys('login_hint', 'login_hint_token', 'action')
  })

  it('tells the OP what it is told, and nothing of the action, which is for this app', async () => {
    const web = await start({ own })
    const alice = await signedIn(web)
    const authorizationDetails = [{ type: 'payment', amount: '9.99' }]
    await ask(alice, { action: 'a-secret-action', authorizationDetails, scope: 'openid pay', maxAge: 60 })
    expect(lastRequest(web)).to.include({ scope: 'openid pay', max_age: '60' })
    expect(JSON.parse(String(lastRequest(web)['authorization_details']))).to.deep.equal(authorizationDetails)
    expect(web.op.callsTo('backchannel').at(-1)?.body).to.not.include('a-secret-action')
  })

  it('adds to the "authorizationParams" of all requests', async () => {
    const web = await start({
      own,
      ciba: { authorizationParams: { scope: 'openid all', acrValues: ['gold'] } },
    })
    const alice = await signedIn(web)
    await ask(alice, { ...payment, scope: 'openid pay' })
    expect(lastRequest(web)).to.include({ scope: 'openid pay', acr_values: 'gold' })
  })

  for (const [what, hint] of [
    ['loginHint', { loginHint: 'alice@example.com' }],
    ['loginHintToken', { loginHintToken: 'a.hint.token' }],
  ] as const) {
    it(`asks by ${what} instead, and still wants the person who is signed in`, async () => {
      const web = await start({ own })
      const alice = await signedIn(web)
      const transaction = await ask(alice, { ...payment, ...hint })
      expect(lastRequest(web)).to.include({
        [`login_hint${'loginHint' in hint ? '' : '_token'}`]: Object.values(hint)[0],
      })
      expect(lastRequest(web)).to.not.have.property('id_token_hint')
      await web.approve({ claims: { sub: 'mallory' } })
      expect((await alice.poll(transaction, 5)).body).to.deep.equal({
        transaction,
        status: 'failed',
        error: 'invalid_token_response',
      })
      expect((await use(alice, transaction)).body).to.include({ code: 'ERR_CIBA_APPROVAL_REFUSED' })
      expect((await alice.get('/me')).body.user.sub).to.equal('alice')
    })
  }

  it('does not take the approval of another person by ID token either [TOK-18]', async () => {
    const web = await start({ own })
    const alice = await signedIn(web)
    const transaction = await ask(alice)
    await web.approve({ claims: { sub: 'mallory' } })
    expect((await alice.poll(transaction, 5)).body).to.include({ error: 'invalid_token_response' })
  })

  it('takes the approval of the person that the app expects', async () => {
    const web = await start({ own })
    const alice = await signedIn(web)
    const transaction = await ask(alice, { ...payment, loginHint: 'bob', expectedSubject: 'bob' })
    await web.approve({ claims: { sub: 'bob' } })
    expect((await alice.poll(transaction, 5)).body).to.include({ status: 'complete' })
    expect((await use(alice, transaction)).body.user).to.include({ sub: 'bob' })
  })

  it('is 401 where nobody is signed in, and nobody is asked', async () => {
    const web = await start({ own })
    const browser = web.browser()
    for (const request of [
      payment,
      { ...payment, loginHint: 'alice' },
      { ...payment, expectedSubject: 'alice' },
    ]) {
      const { status, body } = await browser.post('/approval', request)
      expect(status).to.equal(401)
      expect(body).to.include({ code: 'ERR_CIBA_UNAUTHENTICATED', error: 'unauthenticated' })
    }
    expect(requestsTo(web)).to.equal(0)
    expect(browser.cookie).to.equal(undefined)
  })

  context('of another person', () => {
    const ofBob = { ...payment, anotherPerson: true, loginHint: 'bob' } as const

    it('leaves the session of the agent as it is: who is signed in, its id, its tokens, its cookie', async () => {
      const web = await start({ own })
      const agent = await signedIn(web, 'agent')
      const { sessionId = '' } = agent
      const before = await web.sessions.read(sessionId)
      const asked = await agent.post('/approval', ofBob)
      const { transaction } = asked.body
      expect(lastRequest(web)).to.include({ login_hint: 'bob' }).and.not.have.property('id_token_hint')
      await web.approve({ claims: { sub: 'bob' } })
      const polled = await agent.poll(transaction, 5)
      const used = await use(agent, transaction)
      expect(used.body.user).to.include({ sub: 'bob' })
      expect([asked, polled, used].flatMap(cookiesOf)).to.deep.equal([])
      expect((await agent.get('/me')).body.user.sub).to.equal('agent')
      const { cookie: _, ...after } = (await web.sessions.read(sessionId)) ?? {}
      expect(after).to.deep.equal({ ciba: before?.ciba })
      expect(await web.sessions.ids()).to.deep.equal([sessionId])
    })

    it('takes whoever the OP found for the hint, unless the app expects somebody', async () => {
      const web = await start({ own })
      const agent = await signedIn(web, 'agent')
      const anybody = await ask(agent, ofBob)
      await web.approve({ claims: { sub: 'somebody' } })
      expect((await agent.poll(anybody, 5)).body).to.include({ status: 'complete' })
      const bob = await ask(agent, { ...ofBob, expectedSubject: 'bob' })
      await web.approve({ claims: { sub: 'somebody' } })
      expect((await agent.poll(bob, 5)).body).to.include({ error: 'invalid_token_response' })
    })

    it('works where nobody is signed in, and signs nobody in', async () => {
      const web = await start({ own })
      const kiosk = web.browser()
      const transaction = await ask(kiosk, ofBob)
      const { sessionId } = kiosk
      await web.approve({ claims: { sub: 'bob' } })
      expect((await kiosk.poll(transaction, 5)).body).to.deep.equal({ transaction, status: 'complete' })
      expect((await use(kiosk, transaction)).body.user).to.include({ sub: 'bob' })
      expect((await kiosk.get('/me')).body).to.deep.equal({ signedIn: false })
      expect(kiosk.sessionId).to.equal(sessionId)
    })

    for (const [what, hints] of [
      ['no hint', {}],
      ['two hints', { loginHint: 'bob', loginHintToken: 'bob' }],
      ['an empty hint', { loginHint: '' }],
      ['an ID token that is none', { idTokenHint: 'bob' }],
      ['"anotherPerson" as the text of a form', { anotherPerson: 'false', loginHint: 'bob' }],
      ['"anotherPerson" as a number', { anotherPerson: 1, loginHint: 'bob' }],
      ['"anotherPerson" as null', { anotherPerson: null, loginHint: 'bob' }],
    ] as const) {
      it(`is 400 with ${what}, and nobody is asked [REQ-3]`, async () => {
        const web = await start({ own })
        const agent = await signedIn(web, 'agent')
        const { status, body } = await agent.post('/approval', { ...payment, anotherPerson: true, ...hints })
        expect([status, body.code]).to.deep.equal([400, 'ERR_CIBA_INVALID_REQUEST'])
        expect(requestsTo(web)).to.equal(1)
      })
    }

    it('serves several customers at once, each with an action of its own', async () => {
      const web = await start({ own })
      const agent = await signedIn(web, 'agent')
      const customers = ['bob', 'carol', 'dave']
      const handles: string[] = []
      const authReqIds: string[] = []
      for (const sub of customers) {
        handles.push(await ask(agent, { action: { change: sub }, anotherPerson: true, loginHint: sub }))
        authReqIds.push(String(web.op.callsTo('backchannel').at(-1)?.answer?.['auth_req_id']))
      }
      for (const at of [2, 0, 1]) {
        await web.approve({ claims: { sub: customers[at] }, authReqId: String(authReqIds[at]) })
        expect((await agent.poll(String(handles[at]), 5)).body).to.include({ status: 'complete' })
      }
      expect((await use(agent, String(handles[0]), { change: 'carol' })).body.code).to.equal(
        'ERR_CIBA_WRONG_ACTION',
      )
      for (const [at, sub] of customers.entries()) {
        expect((await use(agent, String(handles[at]), { change: sub })).body.user).to.include({ sub })
      }
      expect((await agent.get('/me')).body.user.sub).to.equal('agent')
    })
  })

  for (const [error, status] of [
    ['unknown_user_id', 400],
    ['invalid_binding_message', 400],
    ['access_denied', 403],
    ['some_new_code', 400],
  ] as const) {
    it(`rejects with the code of an OP that refuses: ${error} (ERR-2)`, async () => {
      const web = await start({ own })
      const alice = await signedIn(web)
      web.op.onBackchannel({ status, json: { error, error_description: 'of alice' } })
      const answer = await alice.post('/approval', payment)
      expect(answer.status).to.equal(status)
      expect(answer.body).to.include({ code: 'ERR_CIBA_REQUEST_REFUSED', error })
      expect(answer.text).to.not.include('of alice')
    })
  }

  it('counts against the limits, for the person and for the session [SEC-3]', async () => {
    const web = await start({ own })
    const alice = await signedIn(web)
    // Five for the person, by whatever hint; one was the login.
    for (let count = 1; count < 5; count++) await ask(alice)
    const { status, body } = await alice.post('/approval', payment)
    expect([status, body.code]).to.deep.equal([429, 'ERR_CIBA_TOO_MANY_STARTS'])
    expect(body.retryAfter).to.be.within(1, 300)
    expect(requestsTo(web)).to.equal(5)
    // Twenty for the session, whoever is asked; refusals count.
    for (let count = 0; count < 14; count++)
      await ask(alice, { ...payment, anotherPerson: true, loginHint: `${count}` })
    const last = await alice.post('/approval', { ...payment, anotherPerson: true, loginHint: 'last' })
    expect(last.body.code).to.equal('ERR_CIBA_TOO_MANY_STARTS')
  })

  it('refuses an action that is no JSON before anybody is asked', async () => {
    const web = await start({
      own(app, self) {
        app.post('/date', (req, res, next) => {
          const action = new Date() as unknown as string
          req.ciba.requestApproval({ action }).then((status) => res.json(status), next)
        })
        approvalRoutes(app, self)
      },
    })
    const alice = await signedIn(web)
    expect((await alice.post('/date')).status).to.equal(500)
    expect(web.errors.at(-1))
      .to.be.instanceOf(TypeError)
      .with.property('message')
      .that.includes('"action" must be')
    expect((await alice.post('/approval', { loginHint: 'alice' })).status).to.equal(500)
    expect(requestsTo(web)).to.equal(1)
  })

  it('is refused by name for members that nobody knows', async () => {
    const web = await start({ own })
    const alice = await signedIn(web)
    const { status, body } = await alice.post('/approval', { ...payment, bindingMesage: 'x' })
    expect([status, body.message]).to.deep.equal([
      400,
      '"bindingMesage" is not a member of an authentication request',
    ])
  })
})
