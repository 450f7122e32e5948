/** What was granted, compared with what was asked for: authorization_details (RFC 9396 §7) and scope [TOK-20]. */
import { generateKeyPairSync } from 'node:crypto'
import { expect } from 'chai'
import type { CibaOptions, TokenSet } from '../../lib/index.ts'
import { debugLines, type Scene, scenes } from '../support/scenes.ts'

const payment = { type: 'payment', amount: { value: '1.00', currency: 'EUR' } }
const account = { type: 'account', actions: ['read'] }
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })

describe('a token response', () => {
  const set = scenes()
  const lines = debugLines()

  const asking = (request: object, ciba: CibaOptions = {}): Promise<Scene> =>
    set({ ciba: { startParams: () => ({ loginHint: 'alice', ...request }), ...ciba } })

  const tokensOf = ({ sessions }: Scene): TokenSet =>
    sessions.last()?.login?.tokens ?? expect.fail('nobody is signed in')

  context('authorization_details were asked for', () => {
    const asked = { authorizationDetails: [payment, account] }
    const granted: [what: string, details: unknown][] = [
      ['all of it', [payment, account]],
      ['less', [account]],
      ['nothing', []],
      ['more of one kind', [payment, { ...payment, amount: { value: '2.00', currency: 'EUR' } }]],
      ['one with what the person chose', [{ ...account, identifier: 'DE12', nested: [{ a: null }] }]],
    ]
    for (const [what, authorization_details] of granted) {
      it(`tells the app what the OP granted: ${what} [TOK-20, REQ-12]`, async () => {
        const scene = await asking(asked)
        const response = { authorization_details }
        const answer = () => scene.op.tokens({ response })
        expect(await scene.login(answer)).to.have.property('status', 'complete')
        expect(tokensOf(scene).authorizationDetails).to.deep.equal(authorization_details)
      })
    }

    it('tells the app what was granted to a signed request [TOK-20, REQ-12]', async () => {
      const scene = await asking(asked, { requestObjectSigningKey: privateKey })
      expect(await scene.login()).to.have.property('status', 'complete')
      expect(tokensOf(scene).authorizationDetails).to.deep.equal([payment, account])
    })

    it('knows those that every request has by option [TOK-20]', async () => {
      const scene = await set({ ciba: { authorizationParams: { authorizationDetails: [payment] } } })
      expect(await scene.login()).to.have.property('status', 'complete')
      expect(tokensOf(scene).authorizationDetails).to.deep.equal([payment])
      const other = () => scene.op.tokens({ response: { authorization_details: [account] } })
      expect(await scene.login(other)).to.have.property('status', 'failed')
    })

    it('says nothing where the OP says nothing [TOK-20]', async () => {
      const scene = await asking(asked)
      const answer = () => scene.op.tokens({ response: { authorization_details: undefined } })
      expect(await scene.login(answer)).to.have.property('status', 'complete')
      expect(tokensOf(scene)).to.not.have.property('authorizationDetails')
    })
  })

  const refused: [what: string, request: object, details: unknown][] = [
    ['another kind', { authorizationDetails: [payment] }, [account]],
    ['another kind beside the right one', { authorizationDetails: [payment] }, [payment, account]],
    ['a kind that only looks alike', { authorizationDetails: [payment] }, [{ type: 'Payment' }]],
    ['any, although none were asked for', {}, [payment]],
    ['one without a type', { authorizationDetails: [payment] }, [{ amount: 1 }]],
    ['one with a type that is a number', { authorizationDetails: [payment] }, [{ type: 5 }]],
    ['null among them', { authorizationDetails: [payment] }, [payment, null]],
    ['text among them', { authorizationDetails: [payment] }, ['payment']],
    ['an object', { authorizationDetails: [payment] }, payment],
    ['their JSON text', { authorizationDetails: [payment] }, JSON.stringify([payment])],
    ['null', { authorizationDetails: [payment] }, null],
  ]
  for (const [what, request, authorization_details] of refused) {
    it(`is refused when it grants ${what} [TOK-20, TOK-21]`, async () => {
      const { op, browser, login } = await asking(request)
      const answer = () => op.tokens({ response: { authorization_details } })
      expect(await login(answer)).to.include({ status: 'failed', error: 'invalid_token_response' })
      expect(await browser.user()).to.equal(undefined)
      expect(op.callsTo('token')).to.have.length(1)
    })
  }

  context('the scope', () => {
    it('is what was asked for, where the OP does not say [TOK-20]', async () => {
      const scene = await asking({ scope: 'openid profile' })
      await scene.login()
      expect(tokensOf(scene).scope).to.equal('openid profile')
    })

    it('is what the OP says: less, or more, which the log shows [TOK-20]', async () => {
      const scene = await asking({ scope: 'openid profile' })
      const { op, login } = scene
      await login(() => op.tokens({ response: { scope: 'openid' } }))
      expect(tokensOf(scene).scope).to.equal('openid')
      expect(lines.join('\n')).to.not.include('not requested')
      await login(() => op.tokens({ response: { scope: 'openid admin' } }))
      expect(tokensOf(scene).scope).to.equal('openid admin')
      expect(lines.join('\n')).to.match(/not requested: .*admin/)
    })

    it('cannot forge a line of the log [TOK-20, ERR-6]', async () => {
      const { op, login } = await asking({})
      await login(() => op.tokens({ response: { scope: 'openid a\nforged' } }))
      expect(lines.join('\n'))
        .to.match(/not requested/)
        .and.not.match(/^forged/m)
    })
  })
})
