/** `requireApproval()`: what a route lets pass, asks for and refuses. */
import { expect } from 'chai'
import express, { type Request, type RequestHandler } from 'express'
import { type ApprovalGuardOptions, type JsonValue, requireApproval } from '../../lib/index.ts'
import { approvalRoutes, approved, ask, signedIn } from '../support/approvals.ts'
import { authenticationRequest } from '../support/scripted-answers.ts'
import { expressVersions, type Web, webs } from '../support/web.ts'

type Action = Parameters<typeof requireApproval>[0]

/** `POST /guarded` answers what the approval brought, and how often it came so far. */
const guarded =
  (guard: RequestHandler) =>
  (app: ReturnType<typeof express>, web: Web): void => {
    let passed = 0
    app.use(express.json(), express.urlencoded({ extended: false }))
    app.all('/guarded', guard, (req, res) => {
      passed += 1
      res.json({ by: req.ciba.approval?.user.sub, token: req.ciba.approval?.tokens.accessToken, passed })
    })
    approvalRoutes(app, web)
  }

const naming = (transaction: string) => ({ 'ciba-approval': transaction })

for (const { name, express: framework } of expressVersions) {
  describe(`requireApproval() (${name})`, () => {
    const start = webs()
    const startGuarded = (action: Action, options?: ApprovalGuardOptions) =>
      start({ express: framework, own: guarded(requireApproval(action, options)) })

    it('lets a request pass that names an approval of the action, a single time', async () => {
      const web = await startGuarded({ delete: 'all' })
      const alice = await signedIn(web)
      const response = { access_token: 'of-this-approval' }
      const transaction = await approved(web, alice, { action: { delete: 'all' } }, { response })
      const answer = await alice.post('/guarded', {}, naming(transaction))
      expect(answer.status).to.equal(200)
      expect(answer.body).to.deep.equal({ by: 'alice', token: 'of-this-approval', passed: 1 })
      const again = await alice.post('/guarded', {}, naming(transaction))
      expect(again.status).to.equal(409)
      expect(again.body).to.deep.equal({
        error: 'approval_used',
        error_description: 'the approval has been used already',
      })
      expect(again.headers['cache-control']).to.equal('no-store')
    })

    it('makes the action from the request: what was approved is what is done', async () => {
      const web = await startGuarded(async (req: Request) => ({
        pay: req.body.amount,
        by: req.ciba.user?.sub ?? '',
      }))
      const alice = await signedIn(web)
      const transaction = await approved(web, alice, { action: { by: 'alice', pay: 5 } })
      const wrong = await alice.post('/guarded', { amount: 5_000 }, naming(transaction))
      expect([wrong.status, wrong.body.error]).to.deep.equal([403, 'wrong_action'])
      expect((await alice.post('/guarded', { amount: 5 }, naming(transaction))).body.passed).to.equal(1)
    })

    it('finds its name in a parsed body too, JSON or form; the header counts more', async () => {
      const web = await startGuarded('a')
      const alice = await signedIn(web)
      const [first, second] = [
        await approved(web, alice, { action: 'a' }),
        await approved(web, alice, { action: 'a' }),
      ]
      expect((await alice.post('/guarded', { approval: first }, naming('none'))).status).to.equal(404)
      expect((await alice.post('/guarded', { approval: first })).status).to.equal(200)
      const form = { 'content-type': 'application/x-www-form-urlencoded' }
      expect((await alice.post('/guarded', `approval=${second}`, form)).body.passed).to.equal(2)
    })

    it('answers 403 to a request that names none, or names it by something else than text', async () => {
      const web = await startGuarded('a')
      const alice = await signedIn(web)
      for (const body of [{}, { approval: 5 }, { approval: ['x'] }, { approval: null }, []]) {
        const { status, body: answer, headers } = await alice.post('/guarded', body)
        expect(status).to.equal(403)
        expect(answer.error).to.equal('approval_required')
        expect(answer.error_description).to.include('CIBA-Approval')
        expect(headers['cache-control']).to.equal('no-store')
      }
      expect((await alice.get('/guarded')).status).to.equal(403)
      expect(web.op.callsTo('backchannel')).to.have.length(1)
    })

    it('answers 404 to unknown and foreign names, byte for byte the same', async () => {
      const web = await startGuarded('a')
      const [alice, bob] = [await signedIn(web), await signedIn(web, 'bob')]
      const transaction = await approved(web, alice, { action: 'a' })
      const foreign = await bob.post('/guarded', {}, naming(transaction))
      const unknown = await bob.post('/guarded', {}, naming('A'.repeat(22)))
      const nobodys = await web.browser().post('/guarded', {}, naming(transaction))
      expect([foreign.status, foreign.body.error]).to.deep.equal([404, 'unknown_transaction'])
      expect([unknown.text, nobodys.text]).to.deep.equal([foreign.text, foreign.text])
      expect((await alice.post('/guarded', {}, naming(transaction))).status).to.equal(200)
    })

    it('answers 409 with Retry-After before the person has decided, 403 after a no', async () => {
      const web = await startGuarded('a')
      const alice = await signedIn(web)
      const transaction = await ask(alice, { action: 'a' })
      const early = await alice.post('/guarded', {}, naming(transaction))
      expect([early.status, early.body.error]).to.deep.equal([409, 'approval_pending'])
      expect(early.headers['retry-after']).to.equal('1')
      await web.deny()
      await alice.poll(transaction, 5)
      const late = await alice.post('/guarded', {}, naming(transaction))
      expect([late.status, late.body.error]).to.deep.equal([403, 'approval_refused'])
    })

    it('lets one of many that come at once pass', async () => {
      const web = await startGuarded('a')
      const alice = await signedIn(web)
      const transaction = await approved(web, alice, { action: 'a' })
      const send = () => alice.copy().post('/guarded', {}, naming(transaction))
      const answers = await Promise.all(Array.from({ length: 10 }, send))
      expect(answers.map(({ status }) => status).sort()).to.deep.equal([200, ...Array(9).fill(409)])
    })

    context('with "request"', () => {
      it('asks by itself: 202 like a start, then poll, then the same request again', async () => {
        const action = (req: Request): JsonValue => ({ pay: req.body.amount })
        const web = await startGuarded(action, { request: { bindingMessage: 'ACME 9' } })
        const alice = await signedIn(web)
        const asked = await alice.post('/guarded', { amount: 9 }, { 'sec-fetch-site': 'same-origin' })
        expect(asked.status).to.equal(202)
        expect(asked.headers['cache-control']).to.equal('no-store')
        expect(asked.body).to.include({ status: 'pending', interval: 1, bindingMessage: 'ACME 9' })
        expect(asked.body).to.have.all.keys(
          'transaction',
          'status',
          'expiresIn',
          'interval',
          'bindingMessage',
        )
        await web.approve()
        const { transaction } = asked.body
        expect((await alice.poll(transaction, 5)).body.status).to.equal('complete')
        const other = await alice.post('/guarded', { amount: 10 }, naming(transaction))
        expect(other.body.error).to.equal('wrong_action')
        const answer = await alice.post('/guarded', { amount: 9 }, naming(transaction))
        expect(answer.body).to.include({ by: 'alice', passed: 1 })
      })

      it('makes the parameters from the request, for another person as well', async () => {
        const web = await startGuarded('reset', {
          request: async ({ body }) => ({
            anotherPerson: true,
            loginHint: body.customer,
            acrValues: ['gold'],
          }),
        })
        const agent = await signedIn(web, 'agent')
        const { status, body } = await agent.post('/guarded', { customer: 'bob' })
        expect(status).to.equal(202)
        const call = web.op.callsTo('backchannel').at(-1)
        expect(call && authenticationRequest(call)).to.include({ login_hint: 'bob', acr_values: 'gold' })
        await web.approve({ claims: { sub: 'bob' } })
        await agent.poll(body.transaction, 5)
        expect((await agent.post('/guarded', {}, naming(body.transaction))).body.by).to.equal('bob')
        expect((await agent.get('/me')).body.user.sub).to.equal('agent')
      })

      it('never lets "request" say what the action is', async () => {
        const request = { action: 'harmless' } as ApprovalGuardOptions['request']
        const web = await startGuarded('harmful', { request })
        const alice = await signedIn(web)
        const { transaction } = (await alice.post('/guarded')).body
        await web.approve()
        await alice.poll(transaction, 5)
        expect((await alice.post('/use', { transaction, action: 'harmless' })).body.code).to.equal(
          'ERR_CIBA_WRONG_ACTION',
        )
        expect((await alice.post('/guarded', {}, naming(transaction))).status).to.equal(200)
      })

      it('refuses browsers that another site sends, and asks nobody [SEC-2]', async () => {
        const web = await startGuarded('a', { request: {} })
        const alice = await signedIn(web)
        for (const headers of [{ 'sec-fetch-site': 'cross-site' }, { origin: 'https://evil.example' }]) {
          const { status, body } = await alice.post('/guarded', {}, headers)
          expect([status, body.error]).to.deep.equal([403, 'cross_site_request'])
        }
        expect(web.op.callsTo('backchannel')).to.have.length(1)
      })

      it('answers 400 to an "anotherPerson" that is neither true nor false, and asks nobody', async () => {
        const web = await startGuarded('a', { request: ({ body }) => ({ loginHint: 'bob', ...body }) })
        const alice = await signedIn(web)
        for (const anotherPerson of ['false', 'true', 1, null]) {
          for (const browser of [alice, web.browser()]) {
            const { status, body } = await browser.post('/guarded', { anotherPerson })
            expect([status, body.error], String(anotherPerson)).to.deep.equal([400, 'invalid_request'])
          }
        }
        expect(web.op.callsTo('backchannel')).to.have.length(1)
      })

      it('asks nobody because of a GET; one that names an approval passes', async () => {
        const web = await startGuarded('a', { request: {} })
        const alice = await signedIn(web)
        const { status, body } = await alice.get('/guarded')
        expect([status, body.error]).to.deep.equal([403, 'approval_required'])
        expect(web.op.callsTo('backchannel')).to.have.length(1)
        const transaction = await approved(web, alice, { action: 'a' })
        const answer = await alice.send('get', '/guarded', undefined, naming(transaction))
        expect([answer.status, answer.body.by]).to.deep.equal([200, 'alice'])
      })

      it('answers 405 to a HEAD: it uses and asks nothing', async () => {
        const web = await startGuarded('a', { request: {} })
        const alice = await signedIn(web)
        const transaction = await approved(web, alice, { action: 'a' })
        for (const headers of [naming(transaction), {}]) {
          const answer = await alice.send('head', '/guarded', undefined, headers)
          expect([answer.status, answer.headers['allow']]).to.deep.equal([
            405,
            'GET, POST, PUT, PATCH, DELETE',
          ])
        }
        expect(web.op.callsTo('backchannel')).to.have.length(2)
        expect((await alice.post('/guarded', {}, naming(transaction))).body.passed).to.equal(1)
      })

      it('answers 401 where nobody is signed in, 429 after too many, and what the OP refuses', async () => {
        const web = await startGuarded('a', { request: {} })
        const nobody = await web.browser().post('/guarded')
        expect([nobody.status, nobody.body.error]).to.deep.equal([401, 'unauthenticated'])
        const alice = await signedIn(web)
        web.op.onBackchannel({ status: 400, json: { error: 'unauthorized_client' } })
        const refused = await alice.post('/guarded')
        expect([refused.status, refused.body.error]).to.deep.equal([400, 'unauthorized_client'])
        // Five for the person; one was the login, and refusals count.
        for (let count = 2; count < 5; count++) expect((await alice.post('/guarded')).status).to.equal(202)
        const last = await alice.post('/guarded')
        expect([last.status, last.body.error]).to.deep.equal([429, 'too_many_requests'])
        expect(Number(last.headers['retry-after'])).to.be.within(1, 300)
      })
    })

    it('takes the name from wherever it is told; what is no text is unknown', async () => {
      const web = await startGuarded('a', {
        transaction: ({ query }) => query['approval'] as string | undefined,
      })
      const alice = await signedIn(web)
      const transaction = await approved(web, alice, { action: 'a' })
      expect((await alice.post('/guarded', {}, naming(transaction))).body.error).to.equal('approval_required')
      expect((await alice.post('/guarded?approval=a&approval=b')).status).to.equal(404)
      expect((await alice.post('/guarded?approval[a]=b')).status).to.be.oneOf([403, 404])
      expect((await alice.post(`/guarded?approval=${transaction}`)).status).to.equal(200)
    })

    it('hands errors of its functions to the app, unless they are 4xx', async () => {
      const fault = new Error('the price list is down')
      const failing: [action: Action, options: ApprovalGuardOptions][] = [
        [
          () => {
            throw fault
          },
          {},
        ],
        [() => Promise.reject(fault), {}],
        [
          'a',
          {
            transaction: () => {
              throw fault
            },
          },
        ],
        [
          'a',
          {
            request: () => {
              throw fault
            },
          },
        ],
        ['a', { request: () => Promise.reject(fault) }],
      ]
      for (const [action, options] of failing) {
        const web = await startGuarded(action, options)
        const alice = await signedIn(web)
        const { status, text } = await alice.post('/guarded')
        expect([status, text]).to.deep.equal([500, "the app's own error page: the price list is down"])
        expect(web.errors).to.deep.equal([fault])
      }
      const web = await startGuarded(() => {
        throw Object.assign(new Error('no such amount'), { status: 422 })
      })
      const { status, body } = await (await signedIn(web)).post('/guarded')
      expect(status).to.equal(422)
      expect(body).to.deep.equal({ error: 'request_refused', error_description: 'no such amount' })
    })

    it('hands an action that is no JSON to the app, and neither asks nor uses anything', async () => {
      const web = await startGuarded(() => new Date() as unknown as string, { request: {} })
      const alice = await signedIn(web)
      expect((await alice.post('/guarded')).status).to.equal(500)
      expect((await alice.post('/guarded', {}, naming('A'.repeat(22)))).status).to.equal(500)
      expect(web.errors.map(String).join()).to.match(/^(TypeError: "action" must be a JSON value.*){2}$/)
      expect(web.op.callsTo('backchannel')).to.have.length(1)
    })

    it('needs ciba(), and a session, before it', async () => {
      let guard: RequestHandler = (_req, _res, next) => next()
      const web = await start({
        express: framework,
        before: (app) => app.use('/too-early', requireApproval('a')),
        own: (app, self) => guarded((req, res, next) => guard(req, res, next))(app, self),
      })
      expect((await web.browser().get('/too-early')).status).to.equal(500)
      expect(String(web.errors.at(-1))).to.equal(
        'TypeError: requireApproval() needs app.use(ciba(…)) before it',
      )
      guard = (req, res, next) => {
        Reflect.deleteProperty(req, 'session')
        requireApproval('a')(req, res, next)
      }
      const { status, body } = await (await signedIn(web)).post('/guarded', {}, naming('A'.repeat(22)))
      expect([status, body.code], 'by next(error)').to.deep.equal([500, 'ERR_CIBA_NO_SESSION'])
    })
  })
}

describe('requireApproval() with wrong options', () => {
  const notJson = 'must be a JSON value, or a function that returns one'
  const wrong: [what: string, action: unknown, options: unknown, option: string, problem: string][] = [
    ['no action', undefined, {}, 'requireApproval.action', notJson],
    ['an action that is no JSON', new Map(), {}, 'requireApproval.action', notJson],
    ['an action with NaN', { a: Number.NaN }, {}, 'requireApproval.action', notJson],
    ['null for options', 'a', null, 'requireApproval', 'must be an object'],
    ['a function for options', 'a', () => {}, 'requireApproval', 'must be an object'],
    [
      'a name that nobody knows',
      'a',
      { requests: {} },
      'requireApproval.requests',
      'is unknown, did you mean "requireApproval.request"?',
    ],
    [
      'a "request" that is text',
      'a',
      { request: 'x' },
      'requireApproval.request',
      'must be an object, or a function that returns one, received "x"',
    ],
    [
      'a "request" that is null',
      'a',
      { request: null },
      'requireApproval.request',
      'must be an object, or a function that returns one, received null',
    ],
    [
      'a "transaction" that is text',
      'a',
      { transaction: 'X-Approval' },
      'requireApproval.transaction',
      'must be a function that returns a handle, received "X-Approval"',
    ],
  ]
  for (const [what, action, options, option, problem] of wrong) {
    it(`stops the start: ${what}`, () => {
      let error: unknown
      try {
        requireApproval(action as string, options as ApprovalGuardOptions)
      } catch (thrown) {
        error = thrown
      }
      expect(error).to.be.instanceOf(TypeError)
      expect(error).to.include({
        code: 'ERR_CIBA_INVALID_OPTION',
        option,
        message: `"${option}" option ${problem}`,
      })
    })
  }

  it('takes every JSON value for an action, and undefined for an absent option', () => {
    for (const action of [null, false, 0, '', [], {}, { a: undefined }]) {
      expect(requireApproval(action, { request: undefined, transaction: undefined })).to.be.a('function')
    }
  })
})
