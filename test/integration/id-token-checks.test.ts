/** The checks of the ID token that can be switched off, and the one that can be added. */
import { expect } from 'chai'
import type { CibaOptions, IdTokenClaims } from '../../lib/index.ts'
import { timeTravel } from '../support/real-op.ts'
import { debugLines, type Scene, type SceneOptions, scenes } from '../support/scenes.ts'

const refused = { status: 'failed', error: 'invalid_token_response' }
const complete = { status: 'complete' }

describe('ciba({ idTokenChecks })', () => {
  const set = scenes()
  const acrValues = ['urn:example:gold', 'urn:example:silver']

  type Row = [
    what: string,
    checks: CibaOptions['idTokenChecks'],
    request: object,
    claims: Record<string, unknown>,
    expected: object,
  ]
  const rows: Row[] = [
    ['the acr that was asked for', undefined, { acrValues }, { acr: 'urn:example:silver' }, complete],
    ['another acr', undefined, { acrValues }, { acr: 'urn:example:bronze' }, refused],
    ['no acr', undefined, { acrValues }, { acr: undefined }, refused],
    ['another acr, other check off', { nonce: false }, { acrValues }, { acr: 'urn:example:bronze' }, refused],
    ['another acr, check off', { acr: false }, { acrValues }, { acr: 'urn:example:bronze' }, complete],
    ['no acr, check off', { acr: false }, { acrValues }, { acr: undefined }, complete],
    ['an acr that nobody asked for', undefined, {}, { acr: 'urn:example:bronze' }, complete],
    ['a nonce that nobody sent', undefined, {}, { nonce: 'n' }, refused],
    ['a nonce that nobody sent, other check off', { acr: false }, {}, { nonce: 'n' }, refused],
    ['a nonce that nobody sent, check off', { nonce: false }, {}, { nonce: 'n' }, complete],
    ['the nonce that was sent', undefined, { extra: { nonce: 'n' } }, {}, complete],
    ['another nonce', undefined, { extra: { nonce: 'n' } }, { nonce: 'N' }, refused],
    ['no nonce, although one was sent', undefined, { extra: { nonce: 'n' } }, { nonce: undefined }, refused],
    ['another nonce, check off', { nonce: false }, { extra: { nonce: 'n' } }, { nonce: 'N' }, refused],
    ['a nonce that is a number', undefined, { extra: { nonce: '5' } }, { nonce: 5 }, refused],
  ]
  for (const [what, idTokenChecks, request, claims, expected] of rows) {
    const verb = expected === complete ? 'takes' : 'refuses'
    it(`${verb} an ID token with ${what} [${/acr/.test(what) ? 'TOK-15' : 'TOK-17'}]`, async () => {
      const { op, login, browser } = await set({
        ciba: { idTokenChecks, startParams: () => ({ loginHint: 'alice', ...request }) },
      })
      expect(await login(() => op.tokens({ claims }))).to.include(expected)
      expect(await browser.user()).to.equal(expected === complete ? 'alice' : undefined)
    })
  }

  it('still sends acr_values where the comparison is off [REQ-5, TOK-15]', async () => {
    const { op, browser } = await set({
      ciba: { idTokenChecks: { acr: false }, authorizationParams: { acrValues } },
    })
    await browser.begin()
    expect(op.callsTo('backchannel')[0]?.params.get('acr_values')).to.equal(acrValues.join(' '))
  })

  it('holds pushed ID tokens to the same [TOK-15, TOK-17]', async () => {
    for (const [idTokenChecks, status] of [
      [undefined, 400],
      [{ acr: false, nonce: false }, 204],
    ] as const) {
      const scene = await set({
        ciba: { deliveryMode: 'push', idTokenChecks, authorizationParams: { acrValues } },
      })
      await scene.browser.begin()
      for (const claims of [{ acr: 'urn:example:bronze' }, { nonce: 'n' }]) {
        const pong = await scene.op.push(scene.app.notificationUrl, { claims })
        expect(pong.status, JSON.stringify(claims)).to.equal(status)
      }
    }
  })
})

describe('ciba({ validateIdTokenClaims })', () => {
  const pass = timeTravel()
  const set = scenes()
  const lines = debugLines()
  const words = 'the reason: cpf 123.456.789-00 of alice'
  let seen: { claims: IdTokenClaims; isRefresh: boolean }[]

  beforeEach(() => {
    seen = []
  })

  const checking = (
    check: (claims: IdTokenClaims) => unknown = () => {},
    more: CibaOptions = {},
    scene?: SceneOptions,
  ): Promise<Scene> =>
    set({
      ciba: {
        validateIdTokenClaims: (claims, { isRefresh }) => {
          seen.push({ claims, isRefresh })
          return check(claims) as undefined
        },
        ...more,
      },
      ...scene,
    })

  it('is shown the claims once, and lets them pass [TOK-9]', async () => {
    for (const check of [() => {}, async () => {}]) {
      seen = []
      const { op, login, browser } = await checking(check)
      expect(await login(() => op.tokens({ claims: { cpf: '1' } }))).to.include(complete)
      expect(seen).to.have.length(1)
      expect(seen[0]?.isRefresh).to.equal(false)
      expect(seen[0]?.claims).to.include({ iss: op.issuer, sub: 'alice', cpf: '1' })
      expect(await browser.user()).to.equal('alice')
    }
  })

  const nothing = null as unknown as Error
  const refusals: [how: string, check: () => unknown][] = [
    [
      'throws',
      () => {
        throw new Error(words)
      },
    ],
    ['rejects', () => Promise.reject(new Error(words))],
    ['rejects later', () => new Promise((_, reject) => setImmediate(() => reject(new Error(words))))],
    [
      'throws an error with a status',
      () => {
        throw Object.assign(new Error(words), { status: 403, expose: true })
      },
    ],
    ['rejects with text', () => Promise.reject(words as unknown as Error)],
    ['rejects with nothing', () => Promise.reject(nothing)],
  ]
  for (const [how, check] of refusals) {
    it(`refuses the login when it ${how}; its words reach no log, record or page [TOK-21, SEC-11]`, async () => {
      const { op, login, browser, store, sessions } = await checking(check)
      const outcome = await login()
      expect(outcome).to.include(refused)
      expect(seen).to.have.length(1)
      expect(await browser.user()).to.equal(undefined)
      expect(op.callsTo('token')).to.have.length(1)
      const last = store.transactions().at(-1)
      expect(last).to.include({ state: 'failed', error: refused.error })
      expect(last).to.not.have.property('grant')
      const traces = [JSON.stringify([outcome, last]), lines.join('\n'), sessions.written.join('\n')]
      for (const trace of traces) expect(trace).to.not.match(/reason:|123\.456/)
      expect(lines.join('\n')).to.include('"validateIdTokenClaims"')
    })
  }

  it('is not asked about a token that fails another check [TOK-9]', async () => {
    const { op, login } = await checking()
    const defects = [
      { claims: { at_hash: 'wrong' } },
      { claims: { nonce: 'n' } },
      { header: { kid: 'unknown' } },
      { response: { authorization_details: [{ type: 'unasked' }] } },
    ]
    for (const defect of defects) expect(await login(() => op.tokens(defect))).to.include(refused)
    expect(seen).to.deep.equal([])
  })

  it('is asked about pushed tokens, and a later good push is taken [PUSH-9]', async () => {
    let isGood = false
    const { op, app, browser } = await checking(
      () => {
        if (!isGood) throw new Error(words)
      },
      { deliveryMode: 'push' },
    )
    const transaction = await browser.begin()
    const pong = await op.push(app.notificationUrl)
    expect(pong.status).to.equal(400)
    expect(JSON.stringify(pong)).to.not.match(/reason:|123\.456/)
    isGood = true
    expect(await op.push(app.notificationUrl)).to.have.property('status', 204)
    expect(await browser.outcome(transaction)).to.include(complete)
    expect(seen.map(({ isRefresh }) => isRefresh)).to.deep.equal([false, false])
    expect(lines.join('\n')).to.not.match(/reason:|123\.456/)
  })

  it('is told of a refresh, and its refusal keeps the old claims [TOK-23]', async () => {
    let refuse = false
    const { op, login, browser, sessions } = await checking(
      () => {
        if (refuse) throw new Error(words)
      },
      {},
      {
        after(app) {
          app.get('/token', (req, res, next) => {
            req.ciba.getAccessToken().then((token) => res.json({ token, user: req.ciba.user }), next)
          })
        },
      },
    )
    const soon = { refresh_token: 'r', expires_in: 0, access_token: 'the first' }
    expect(await login(() => op.tokens({ response: soon }))).to.include(complete)
    op.onToken(() =>
      op.refreshed({
        claims: { cpf: '2' },
        response: { ...soon, access_token: 'the second', expires_in: 300 },
      }),
    )
    expect((await browser.agent.get('/token')).body).to.deep.include({ token: 'the second' })
    expect(seen.map(({ isRefresh, claims }) => [isRefresh, claims['cpf']])).to.deep.equal([
      [false, undefined],
      [true, '2'],
    ])
    refuse = true
    pass(270)
    op.onToken(() => op.refreshed({ claims: { cpf: '3' } }))
    const { body, text } = await browser.agent.get('/token')
    expect(seen).to.have.length(3)
    expect(body.token, 'still valid').to.equal('the second')
    expect(body.user).to.have.property('cpf', '2')
    expect(sessions.written.join()).to.not.include('"cpf":"3"')
    expect(text + lines.join('\n')).to.not.match(/reason:|123\.456/)
  })
})
