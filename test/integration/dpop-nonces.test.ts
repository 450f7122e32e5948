/** What the OP may answer to a DPoP proof: a nonce challenge, or tokens of the wrong type [AUTH-7, TOK-2]. */
import { generateKeyPairSync } from 'node:crypto'
import { expect } from 'chai'
import { clientAssertionOf, dpopProofOf } from '../support/client-jwts.ts'
import { scenes } from '../support/scenes.ts'
import {
  type Answer,
  pending,
  type ScriptedOp,
  startScriptedOp,
  tokenError,
  useDpopNonce,
} from '../support/scripted-op.ts'

const dpopTokens = { response: { token_type: 'DPoP' } }

describe('the answer to a token request with DPoP', () => {
  const set = scenes()
  const bound = { ciba: { dpop: true } }

  const noncesOf = async (op: ScriptedOp) => {
    const proofs = await Promise.all(op.callsTo('token').map((call) => dpopProofOf(call, op.calls)))
    return proofs.map(({ nonce }) => nonce)
  }

  context('is a nonce challenge', () => {
    const challenges: [what: string, answer: Answer][] = [
      ['400', useDpopNonce('n1')],
      [
        '401 with a WWW-Authenticate header',
        tokenError('use_dpop_nonce', 401, {
          'dpop-nonce': 'n1',
          'www-authenticate': 'DPoP error="use_dpop_nonce"',
        }),
      ],
    ]
    for (const [what, challenge] of challenges) {
      it(`asks again once, at once, with the same key and the nonce: ${what} [AUTH-7, ERR-1]`, async () => {
        const { op, login } = await set(bound)
        const done = await login([challenge, () => op.tokens(dpopTokens)])
        expect(done).to.have.property('status', 'complete')
        const [first, second, ...others] = op.callsTo('token')
        expect(others).to.deep.equal([])
        expect(await noncesOf(op)).to.deep.equal([undefined, 'n1'])
        const [one, two] = await Promise.all(
          [first, second].map((call) => dpopProofOf(call ?? expect.fail('no call'), op.calls)),
        )
        expect(two?.jkt).to.equal(one?.jkt)
        expect(second?.params.toString()).to.equal(first?.params.toString())
        expect((second?.at ?? 0) - (first?.answeredAt ?? 0)).to.be.below(1000)
        expect(op.violations()).to.deep.equal([])
      })
    }

    it('does not count as a poll: the interval is kept behind it [AUTH-7, POLL-2]', async () => {
      const { op, browser } = await set({ ciba: { dpop: true, deliveryMode: 'poll' } })
      op.onToken(useDpopNonce('n1'), pending(), useDpopNonce('n2'), () => op.tokens(dpopTokens))
      expect(await browser.outcome(await browser.begin())).to.have.property('status', 'complete')
      expect(await noncesOf(op)).to.deep.equal([undefined, 'n1', 'n1', 'n2'])
      expect(op.violations()).to.deep.equal([])
    })

    it('authenticates anew with the second request: no assertion is used twice [AUTH-3, AUTH-7]', async () => {
      const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
      const { op, login } = await set({ ciba: { dpop: true, clientAssertionSigningKey: privateKey } })
      const tokens = () => op.tokens(dpopTokens)
      expect(await login([useDpopNonce('n1'), tokens])).to.have.property('status', 'complete')
      const assertions = op.callsTo('token').map((call) => clientAssertionOf(call, publicKey))
      const [first, second] = (await Promise.all(assertions)).map(({ claims }) => claims.jti)
      expect(second).to.be.a('string').and.not.equal(first)
    })

    it('uses the newest nonce that came with any answer [AUTH-7]', async () => {
      const { op, browser } = await set({ ciba: { dpop: true, deliveryMode: 'poll' } })
      const { json, status } = pending() as { json: object; status: number }
      const withNonce = (nonce: string): Answer => ({ status, json, headers: { 'dpop-nonce': nonce } })
      op.onToken(withNonce('n1'), withNonce('n2'), () => op.tokens(dpopTokens))
      expect(await browser.outcome(await browser.begin())).to.have.property('status', 'complete')
      expect(await noncesOf(op)).to.deep.equal([undefined, 'n1', 'n2'])
    })

    it('remembers the nonce for the next transaction, whose key is another [AUTH-7]', async () => {
      const { op, app, login } = await set(bound)
      const tokens: Answer = async () => ({
        ...(await op.tokens(dpopTokens)),
        headers: { 'dpop-nonce': 'n2' },
      })
      expect(await login([useDpopNonce('n1'), tokens])).to.have.property('status', 'complete')
      const next = await login(await op.tokens(dpopTokens), app.browser())
      expect(next).to.have.property('status', 'complete')
      expect(await noncesOf(op)).to.deep.equal([undefined, 'n1', 'n2'])
    })

    it('does not stick to an old nonce of its own when another transaction got a newer one [AUTH-7]', async () => {
      const { op, app } = await set({ ciba: { dpop: true, deliveryMode: 'poll' } })
      const { json, status } = pending() as { json: object; status: number }
      const newest = () => ({ status, json, headers: { 'dpop-nonce': `n${op.callsTo('token').length}` } })
      op.onToken(newest, newest)
      const [one, two] = [app.browser(), app.browser()]
      const first = await one.begin()
      const second = await two.begin()
      await one.poll(first, 1.3)
      await op.waitForCall('token', 1)
      await two.poll(second, 1.3)
      await op.waitForCall('token', 2)
      op.onToken(async () => op.tokens({ ...dpopTokens, authReqId: idOf(0) }))
      const idOf = (index: number) => String(op.callsTo('backchannel')[index]?.answer?.['auth_req_id'])
      expect(await one.outcome(first)).to.have.property('status', 'complete')
      expect((await noncesOf(op)).at(-1)).to.equal('n2')
    })

    it('keeps the nonces of different servers apart [AUTH-7]', async () => {
      const elsewhere = await startScriptedOp()
      try {
        const { op, browser, login } = await set({
          ...bound,
          after(app) {
            app.get('/api', async (req, res) => {
              const answer = await req.ciba.fetch(`${elsewhere.issuer}/resource`)
              res.status(answer.status).json(await answer.json())
            })
          },
        })
        const tokens: Answer = async () => ({
          ...(await op.tokens(dpopTokens)),
          headers: { 'dpop-nonce': 'n1' },
        })
        expect(await login(tokens)).to.have.property('status', 'complete')
        await browser.agent.get('/api').expect(200)
        const [call] = elsewhere.callsTo('resource')
        expect(await dpopProofOf(call ?? expect.fail('no call'))).to.not.have.property('nonce')
      } finally {
        await elsewhere.stop()
      }
    })

    it('asks again after the interval when it is challenged twice in a row, and not at once [AUTH-7]', async () => {
      const { op, login } = await set(bound)
      const challenged = await login([useDpopNonce('n1'), useDpopNonce('n2'), () => op.tokens(dpopTokens)])
      expect(challenged).to.have.property('status', 'complete')
      const [, second, third] = op.callsTo('token')
      expect(Number(third?.at) - Number(second?.answeredAt)).to.be.at.least(1_000)
      expect(op.callsTo('token')).to.have.length(3)
    })

    it('fails at the first one without the option: there is nothing to put a nonce in [AUTH-7]', async () => {
      const { op, login } = await set()
      expect(await login(useDpopNonce('n1'))).to.include({ status: 'failed', error: 'use_dpop_nonce' })
      expect(op.callsTo('token')).to.have.length(1)
    })
  })

  context('is tokens of another type', () => {
    const types: [what: string, dpop: boolean, token_type: unknown, complete: boolean][] = [
      ['DPoP, with DPoP', true, 'DPoP', true],
      ['dpop in small letters, with DPoP', true, 'dpop', true],
      ['Bearer, with DPoP: a downgrade', true, 'Bearer', false],
      ['none, with DPoP', true, undefined, false],
      ['mac, with DPoP', true, 'mac', false],
      ['DPoP, without DPoP', false, 'DPoP', false],
      ['BEARER, without DPoP', false, 'BEARER', true],
    ]
    for (const [what, dpop, token_type, complete] of types) {
      it(`${complete ? 'takes' : 'refuses'} ${what} [TOK-2, AUTH-7]`, async () => {
        const { op, browser, login, store } = await set({ ciba: { dpop } })
        const answer = () => op.tokens({ response: { token_type } })
        const expected = complete
          ? { status: 'complete' }
          : { status: 'failed', error: 'invalid_token_response' }
        expect(await login(answer)).to.include(expected)
        expect(await browser.user()).to.equal(complete ? 'alice' : undefined)
        expect(op.callsTo('token')).to.have.length(1)
        const kept = JSON.stringify(store.transactions().filter(({ state }) => state === 'failed'))
        expect(kept).to.not.match(/accessToken|idToken/)
      })
    }
  })

  it('is refused as a whole: invalid_dpop_proof ends the transaction [AUTH-7, POLL-11]', async () => {
    const { op, login } = await set(bound)
    const refused = tokenError('invalid_dpop_proof')
    expect(await login(refused)).to.include({ status: 'failed', error: 'invalid_dpop_proof' })
    expect(op.callsTo('token')).to.have.length(1)
  })
})
