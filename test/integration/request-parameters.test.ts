/** The parameters of an authentication request as they go over the wire, unsigned (CIBA Core §7.1). */
import { expect } from 'chai'
import type { AuthenticationRequest, CibaOptions } from '../../lib/index.ts'
import { debugLines, type Scene, scenes } from '../support/scenes.ts'
import { type Call, pending, tokenError } from '../support/scripted-op.ts'

const hint = { loginHint: 'alice+1@example.com' }

describe('an authentication request on the wire', () => {
  const set = scenes()

  /** A scene in which every start asks for this. */
  const asking = (request: object, ciba: CibaOptions = {}): Promise<Scene> =>
    set({
      ciba: {
        deliveryMode: 'poll',
        userCodeParameter: true,
        startParams: () => ({ ...hint, ...request }) as AuthenticationRequest,
        ...ciba,
      },
    })

  async function sent(request: object, ciba?: CibaOptions): Promise<Call> {
    const { op, browser } = await asking(request, ciba)
    await browser.begin()
    const [call] = op.callsTo('backchannel')
    if (!call) throw new Error('nobody was asked')
    return call
  }

  /** Name and value of every parameter, each as often as it is there; without the client's. */
  const pairsOf = ({ params }: Call) => [...params].filter(([name]) => !name.startsWith('client_'))

  it('is a UTF-8 form with the hint and the scope alone, by default [REQ-1, SEC-12]', async () => {
    const call = await sent({})
    expect(call.method).to.equal('POST')
    expect(call.headers['content-type']).to.match(/^application\/x-www-form-urlencoded(;charset=utf-8)?$/i)
    expect(call.url).to.not.include('?')
    expect(pairsOf(call)).to.deep.equal([
      ['scope', 'openid'],
      ['login_hint', 'alice+1@example.com'],
    ])
    expect([...call.params.keys()].sort()).to.deep.equal(['client_id', 'login_hint', 'scope'])
  })

  const details = [
    { type: 'payment', amount: { value: '1.00' } },
    { type: 'account', actions: ['read', 'ü'] },
  ]
  const rows: [id: string, what: string, request: object, pairs: [string, string][]][] = [
    ['REQ-5', 'acr_values in their order', { acrValues: ['b', 'a'] }, [['acr_values', 'b a']]],
    [
      'REQ-8',
      'a binding message, letter by letter',
      { bindingMessage: 'Kürbis & Söhne = 4+711 %' },
      [['binding_message', 'Kürbis & Söhne = 4+711 %']],
    ],
    ['REQ-9', 'a user code, letter by letter', { userCode: '12 3+4&ä' }, [['user_code', '12 3+4&ä']]],
    ['REQ-10', 'requested_expiry in digits', { requestedExpiry: 3600 }, [['requested_expiry', '3600']]],
    ['TOK-16', 'max_age in digits, 0 too', { maxAge: 0 }, [['max_age', '0']]],
    [
      'REQ-11',
      'one resource',
      { resource: 'https://api.example/a?b=c' },
      [['resource', 'https://api.example/a?b=c']],
    ],
    [
      'REQ-11',
      'two resources, one parameter each',
      { resource: ['urn:example:1', 'https://api.example/'] },
      [
        ['resource', 'urn:example:1'],
        ['resource', 'https://api.example/'],
      ],
    ],
    [
      'REQ-12',
      'authorization_details as one JSON array',
      { authorizationDetails: details },
      [['authorization_details', JSON.stringify(details)]],
    ],
    [
      'REQ-13',
      'request_context as a JSON object',
      { requestContext: { device: { name: 'ATM "7"' }, tries: 3 } },
      [['request_context', '{"device":{"name":"ATM \\"7\\""},"tries":3}']],
    ],
    [
      'REQ-13',
      'request_context as the text that was given',
      { requestContext: '{ "tries": 3 }' },
      [['request_context', '{ "tries": 3 }']],
    ],
    [
      'REQ-14',
      'parameters of an ecosystem under their own names',
      { extra: { nonce: 'n', 'x-y': 'a b' } },
      [
        ['nonce', 'n'],
        ['x-y', 'a b'],
      ],
    ],
  ]
  for (const [id, what, request, pairs] of rows) {
    it(`has ${what} [${id}]`, async () => {
      const expected = [['scope', 'openid'], ['login_hint', 'alice+1@example.com'], ...pairs]
      expect(pairsOf(await sent(request)).sort()).to.deep.equal(expected.sort())
    })
  }

  it('repeats nothing but resource, even where all is asked for [REQ-15]', async () => {
    const all = Object.assign({}, ...rows.map(([, , request]) => request))
    const call = await sent({ ...all, resource: ['urn:a', 'urn:b', 'urn:c'] }, { deliveryMode: 'ping' })
    const names = [...call.params.keys()]
    const repeated = names.filter((name, index) => names.indexOf(name) !== index)
    expect(repeated).to.deep.equal(['resource', 'resource'])
  })

  it('shows the browser the very binding message that was drawn [REQ-8, SEC-5]', async () => {
    const { op, browser } = await asking({ bindingMessage: 'auto' })
    const { body } = await browser.start()
    const message = op.callsTo('backchannel')[0]?.params.get('binding_message')
    expect(message).to.match(/^[A-Z0-9]{3}-[A-Z0-9]{3}$/)
    expect(body).to.have.property('bindingMessage', message)
  })

  context('the token request', () => {
    for (const resource of ['urn:example:1', ['urn:example:1', 'https://api.example/two?a=b']]) {
      it(`names each resource again, in every poll: ${[resource].flat().length} [REQ-11]`, async () => {
        const { op, browser } = await asking({ resource })
        op.onToken(pending(), () => op.tokens())
        expect(await browser.outcome(await browser.begin())).to.have.property('status', 'complete')
        const polls = op.callsTo('token')
        expect(polls).to.have.length(2)
        for (const { params } of polls) expect(params.getAll('resource')).to.deep.equal([resource].flat())
      })
    }

    it('has nothing else of the request [REQ-11, POLL-1]', async () => {
      const everything = Object.assign({}, ...rows.map(([, , request]) => request), { resource: undefined })
      const { op, login } = await asking(everything, { deliveryMode: 'ping' })
      await login()
      const [call] = op.callsTo('token')
      expect([...(call?.params.keys() ?? [])].sort()).to.deep.equal(['auth_req_id', 'grant_type'])
    })
  })

  context('the OP refuses a parameter', () => {
    const codes: [code: string, id: string][] = [
      ['invalid_binding_message', 'REQ-8'],
      ['missing_user_code', 'REQ-9'],
      ['invalid_user_code', 'REQ-9'],
      ['invalid_target', 'REQ-11'],
      ['invalid_authorization_details', 'REQ-12'],
      ['expired_login_hint_token', 'ERR-2'],
      ['a_code_of_an_ecosystem', 'ERR-2'],
    ]
    for (const [error, id] of codes) {
      it(`says so in the OP's own word: ${error} [${id}]`, async () => {
        const { op, browser } = await asking({})
        op.onBackchannel(tokenError(error))
        const { status, body } = await browser.start()
        expect([status, body.error]).to.deep.equal([400, error])
        expect(op.callsTo('backchannel'), 'nothing is tried again [ERR-7]').to.have.length(1)
      })
    }
  })

  context('a user code', () => {
    const lines = debugLines()
    const userCode = 'user-code-4711'

    /** As it is, and as it would look in a form, in base64url and in JSON. */
    const formsOf = (text: string) => [
      text,
      encodeURIComponent(text),
      Buffer.from(text).toString('base64url'),
    ]
    const holds = (haystack: string) => formsOf(userCode).some((form) => haystack.includes(form))

    it('can be left out first, and sent when the OP misses it; it is kept nowhere [REQ-9]', async () => {
      const { op, app, store, sessions } = await set({ ciba: { userCodeParameter: true } })
      const browser = app.browser()
      op.onBackchannel(tokenError('missing_user_code'))
      const first = await browser.start({ loginHint: 'alice' })
      expect([first.status, first.body.error]).to.deep.equal([400, 'missing_user_code'])
      const { status, body, text } = await browser.start({ loginHint: 'alice', userCode })
      expect(status).to.equal(202)
      op.onToken(await op.tokens())
      await op.ping(app.notificationUrl)
      expect(await browser.outcome(body.transaction)).to.have.property('status', 'complete')
      const codes = op.callsTo('backchannel').map(({ params }) => params.get('user_code'))
      expect(codes).to.deep.equal([null, userCode])

      const records = store.transactions()
      expect(records.map(({ state }) => state)).to.include.members(['failed', 'pending', 'complete'])
      expect(holds(JSON.stringify(records)), 'records').to.equal(false)
      expect(sessions.written.join()).to.include('alice')
      expect(holds(sessions.written.join()), 'sessions').to.equal(false)
      expect(lines.join('\n')).to.match(/missing_user_code[\s\S]*started/)
      expect(holds(lines.join('\n')), 'log').to.equal(false)
      expect(holds(text), 'answer').to.equal(false)
    })

    it('is kept nowhere when the OP does not take it, although it quotes it [REQ-9, ERR-6]', async () => {
      const { op, app, store, sessions } = await set({ ciba: { userCodeParameter: true } })
      op.onBackchannel({
        status: 400,
        json: { error: 'invalid_user_code', error_description: `${userCode} is wrong` },
      })
      const { body, text } = await app.browser().start({ loginHint: 'alice', userCode })
      expect(body.error).to.equal('invalid_user_code')
      const kept = [JSON.stringify(store.transactions()), ...sessions.written, ...lines, text]
      expect(kept.filter(holds)).to.deep.equal([])
    })

    const refusals: [who: string, options: CibaOptions, metadata: object][] = [
      ['we', {}, {}],
      ['we say explicitly that we', { userCodeParameter: false }, {}],
      ['the OP', { userCodeParameter: true }, { backchannel_user_code_parameter_supported: false }],
      [
        'the OP, which does not say so,',
        { userCodeParameter: true },
        { backchannel_user_code_parameter_supported: undefined },
      ],
    ]
    for (const [who, options, metadata] of refusals) {
      it(`is refused before anybody is asked where ${who} did not register one [CFG-7]`, async () => {
        const { op, browser } = await set({ ciba: options })
        Object.assign(op.metadata, metadata)
        const { status, body, text } = await browser.start({ loginHint: 'alice', userCode })
        expect([status, body.error]).to.deep.equal([400, 'invalid_request'])
        expect(holds(text)).to.equal(false)
        expect(op.callsTo('backchannel')).to.have.length(0)
        expect((await browser.start({ loginHint: 'alice' })).status, 'without it').to.equal(202)
      })
    }
  })

  context('extra', () => {
    const owned = [
      ...[
        'client_id',
        'client_secret',
        'client_assertion',
        'client_assertion_type',
        'grant_type',
        'auth_req_id',
      ],
      ...[
        'client_notification_token',
        'request',
        'request_uri',
        'iss',
        'sub',
        'aud',
        'exp',
        'iat',
        'nbf',
        'jti',
      ],
      ...['scope', 'login_hint', 'login_hint_token', 'id_token_hint', 'acr_values', 'binding_message'],
      ...['user_code', 'requested_expiry', 'max_age', 'resource', 'authorization_details', 'request_context'],
    ]

    it('replaces nothing that belongs to the protocol: nobody is asked [REQ-14, SIG-8]', async () => {
      let name = ''
      const { op, browser } = await set({
        ciba: { startParams: () => ({ ...hint, extra: { [name]: 'injected' } }) },
      })
      for (name of owned) {
        const { status, body } = await browser.start()
        expect([name, status, body.error]).to.deep.equal([name, 400, 'invalid_request'])
      }
      expect(op.calls).to.deep.equal([])
      name = 'harmless'
      expect((await browser.start()).status).to.equal(202)
    })
  })
})
