/** DPoP (RFC 9449) as the OP sees it: which key signs, where the key is kept, and what a nonce costs [AUTH-7]. */
import { generateKeyPairSync } from 'node:crypto'
import { expect } from 'chai'
import { calculateJwkThumbprint } from 'jose'
import { deriveKeys } from '../../lib/keys.ts'
import { sealer } from '../../lib/seal.ts'
import type { Transaction } from '../../lib/transaction.ts'
import type { Browser, TestApp } from '../support/app.ts'
import { testCertificates } from '../support/certificates.ts'
import { type DpopProof, dpopProofOf } from '../support/client-jwts.ts'
import { debugLines, type Scene, sceneSecret, scenes } from '../support/scenes.ts'
import { pending, type ScriptedOp } from '../support/scripted-op.ts'

const dpopTokens = { response: { token_type: 'DPoP' } }

/** The proofs of all token requests, each checked. */
const proofsOf = (op: ScriptedOp): Promise<DpopProof[]> =>
  Promise.all(op.callsTo('token').map((call) => dpopProofOf(call, op.calls)))

/** The private part of the key of a transaction, from its record. */
const secretOf = (transaction: Transaction | undefined): string => {
  const { dpopKey, grant } = (transaction ?? {}) as {
    dpopKey?: { d?: string }
    grant?: { dpopKey?: { d?: string } }
  }
  return (dpopKey ?? grant?.dpopKey)?.d ?? ''
}

/** Text and, of a JWE or JWT, every part of it. */
const readable = (text: string): string =>
  [text, ...text.split(/[."]/).map((part) => Buffer.from(part, 'base64url').toString('latin1'))].join('\n')

describe('ciba({ dpop: true })', () => {
  const set = scenes()

  const bound = (deliveryMode: 'poll' | 'ping' = 'ping'): Promise<Scene> =>
    set({
      ciba: { dpop: true, deliveryMode },
      after(app) {
        app.get('/api', async (req, res) => {
          const answer = await req.ciba.fetch(String(req.query['url']))
          res.status(answer.status).json(await answer.json())
        })
      },
    })

  /** The same browser, gone to another instance. */
  function at(app: TestApp, browser: Browser): Browser {
    const moved = app.browser()
    moved.agent.jar = browser.agent.jar
    return moved
  }

  it('binds the tokens: a proof at the token endpoint, none at the backchannel endpoint [AUTH-7]', async () => {
    const { op, login } = await bound()
    const transaction = await login()
    expect(transaction).to.include({ status: 'failed' }) // the default tokens are Bearer ones
    expect(op.callsTo('backchannel')[0]?.headers).to.not.have.property('dpop')
    const [proof] = await proofsOf(op)
    expect(proof?.header).to.include({ alg: 'ES256', typ: 'dpop+jwt' })
    expect(proof?.header.jwk).to.have.all.keys('kty', 'crv', 'x', 'y')
    expect(proof?.claims).to.have.all.keys('jti', 'htm', 'htu', 'iat')
  })

  it('signs in with tokens of type DPoP, and with another key the next time [AUTH-7, TOK-2]', async () => {
    const { op, login } = await bound()
    for (let count = 0; count < 2; count++) {
      expect(await login(await op.tokens(dpopTokens))).to.have.property('status', 'complete')
    }
    const [one, other] = await proofsOf(op)
    expect(one?.jkt).to.be.a('string').and.not.equal(other?.jkt)
  })

  it('has one key for all polls of a transaction, and a new proof for each [AUTH-7]', async () => {
    const { op, browser } = await bound('poll')
    op.onToken(pending(), pending(), () => op.tokens(dpopTokens))
    expect(await browser.outcome(await browser.begin())).to.have.property('status', 'complete')
    const proofs = await proofsOf(op) // each with a jti of its own
    expect(proofs).to.have.length(3)
    expect(new Set(proofs.map(({ jkt }) => jkt)).size).to.equal(1)
    expect(op.violations()).to.deep.equal([])
  })

  it('keeps the key over a restart, before the approval and after it [AUTH-7, POLL-17]', async () => {
    const { op, app, browser, restart } = await bound('poll')
    const transaction = await browser.begin()
    await browser.poll(transaction, 1.5)
    expect(op.callsTo('token')).to.have.length(1)
    await app.close()
    const second = await restart()
    op.onToken(() => op.tokens(dpopTokens))
    const there = at(second, browser)
    expect(await there.outcome(transaction)).to.have.property('status', 'complete')
    await second.close()
    const third = at(await restart(), there)
    const { status } = await third.agent.get('/api').query({ url: `${op.issuer}/resource` })
    expect(status).to.equal(200)
    const [resource] = op.callsTo('resource')
    const proofs = await proofsOf(op)
    const used = await dpopProofOf(resource ?? expect.fail('no call'), op.calls)
    expect(new Set([...proofs, used].map(({ jkt }) => jkt)).size).to.equal(1)
    expect(resource?.headers.authorization).to.match(/^DPoP /)
  })

  context('where the private key is', () => {
    const lines = debugLines()

    it('is sealed in record and session, and nowhere else [AUTH-7, SEC-9, SEC-11]', async () => {
      const { op, login, browser, store, sessions } = await bound()
      expect(await login(await op.tokens(dpopTokens))).to.have.property('status', 'complete')
      const transactions = store.transactions()
      const d = secretOf(transactions[0])
      expect(d).to.match(/^[\w-]{43}$/)
      const pendingOnes = transactions.filter(({ state }) => state === 'pending' || state === 'ready')
      expect(new Set(pendingOnes.map(secretOf))).to.deep.equal(new Set([d]))
      const { body } = await browser.agent.get('/me')
      const dumps = {
        records: JSON.stringify(store.written),
        sealed: store.written.map(({ data }) => readable(data)).join(),
        sessions: readable(sessions.written.join('\n')),
        log: lines.join('\n'),
        wire: op.calls.map((call) => readable(JSON.stringify(call.headers) + call.body)).join(),
        me: JSON.stringify(body),
      }
      for (const [name, dump] of Object.entries(dumps)) {
        expect(dump, name).to.have.length.above(20).and.not.include(d)
      }
      const { dpopKey = '', ...login_ } = sessions.last()?.login ?? expect.fail('nobody is signed in')
      const opened = JSON.parse(sealer(deriveKeys([sceneSecret]), 'dpop key').open(dpopKey))
      expect(opened).to.have.property('d', d)
      expect(await calculateJwkThumbprint(opened)).to.equal((await proofsOf(op))[0]?.jkt)
      expect(login_).to.have.all.keys('transaction', 'user', 'tokens', 'at')
    })

    it('has left the record when the session has it, and when the transaction is over [AUTH-7, SEC-9]', async () => {
      const { op, login, store } = await bound()
      await login(await op.tokens(dpopTokens))
      await login(await op.tokens()) // refused
      const last = (transactions: Transaction[], state: string) =>
        transactions.findLast((transaction) => transaction.state === state)
      for (const state of ['complete', 'failed']) {
        let kept = last(store.transactions(), state)
        // The record is settled when the answer has left.
        for (let tries = 0; state === 'complete' && kept && 'grant' in kept && tries < 200; tries++) {
          await new Promise(setImmediate)
          kept = last(store.transactions(), state)
        }
        expect(kept, state).to.be.an('object').and.not.have.any.keys('grant', 'dpopKey')
      }
    })
  })

  it('proves at the alias that it asks, with a certificate [AUTH-6, AUTH-7]', async () => {
    const { server, client, ca } = await testCertificates()
    const { op, login } = await set({
      op: { tls: server, mtls: { ...server, ca } },
      ciba: { dpop: true, clientSecret: undefined, mtls: { ...client, ca } },
    })
    expect(await login(() => op.tokens(dpopTokens))).to.have.property('status', 'complete')
    const [proof] = await proofsOf(op)
    expect(proof?.claims['htu']).to.equal(`${op.mtlsOrigin}/token`)
  })

  it('finds out before anybody is asked that the OP does not take ES256 [AUTH-7]', async () => {
    const { op, browser } = await bound()
    op.metadata['dpop_signing_alg_values_supported'] = ['RS256']
    const { status, body } = await browser.start()
    expect([status, body.uncaught]).to.deep.equal([502, 'ERR_CIBA_INVALID_OP_METADATA'])
    expect(op.callsTo('backchannel')).to.have.length(0)
  })
})

describe('ciba({ dpop: key })', () => {
  const set = scenes()
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-384' })
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const ed25519 = generateKeyPairSync('ed25519')
  const rows = [
    ['PS256', rsa.privateKey, rsa.publicKey],
    ['ES384', ec.privateKey, ec.publicKey],
    ['EdDSA', ed25519.privateKey, ed25519.publicKey],
    [
      'Ed25519',
      { ...ed25519.privateKey.export({ format: 'jwk' }), alg: 'Ed25519', kid: 'k', use: 'sig' },
      ed25519.publicKey,
    ],
  ] as const

  for (const [alg, dpop, publicKey] of rows) {
    it(`signs with ${alg} and that key in all transactions, and keeps no copy of it [AUTH-7]`, async () => {
      const { op, login, store, sessions } = await set({ ciba: { dpop: dpop as never } })
      op.metadata['dpop_signing_alg_values_supported'] = [alg]
      for (let count = 0; count < 2; count++) {
        expect(await login(await op.tokens(dpopTokens))).to.have.property('status', 'complete')
      }
      const jkt = await calculateJwkThumbprint(publicKey.export({ format: 'jwk' }) as never)
      for (const proof of await proofsOf(op)) {
        expect(proof.jkt).to.equal(jkt)
        expect(proof.header).to.have.property('alg', alg)
      }
      expect(store.transactions().map(secretOf).join('')).to.equal('')
      expect(sessions.last()?.login).to.be.an('object').and.not.have.property('dpopKey')
    })
  }
})
