/** What becomes of a login whose token response is defective: nothing, and silence towards the OP. */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'chai'
import { type Browser, type Status, startApp, type TestApp } from '../support/app.ts'
import { defectiveIdTokens, seconds, type TokenDefect } from '../support/id-tokens.ts'
import { type Answer, type ScriptedOp, startScriptedOp } from '../support/scripted-op.ts'

/** Long enough for the interval of one second to pass twice, and for any retry. */
const silenceMs = 3_000

/** One login, with an OP and an app of its own. */
interface Login {
  readonly op: ScriptedOp
  readonly app: TestApp
  readonly browser: Browser
  readonly transaction: string
  readonly outcome: Status
}

interface Case {
  readonly name: string
  readonly needs?: TokenDefect['needs']
  readonly answer: (op: ScriptedOp) => Answer
}

/** Every way in which `defectiveIdTokens` wants the client told something, and others in which a token may differ. */
const good: Case[] = [
  { name: 'plain', answer: (op) => () => op.tokens() },
  {
    name: 'with an acr that was asked for',
    needs: { acrValues: ['urn:example:silver', 'urn:example:gold'] },
    answer: (op) => () => op.tokens({ claims: { acr: 'urn:example:gold' } }),
  },
  { name: 'with a recent auth_time', needs: { maxAge: 60 }, answer: (op) => () => op.tokens() },
  {
    name: 'about the subject we expect',
    needs: { expectedSubject: 'alice' },
    answer: (op) => () => op.tokens(),
  },
  {
    name: 'with the algorithm we pin',
    needs: { idTokenSigningAlg: 'ES256' },
    answer: (op) => () => op.tokens(),
  },
  {
    name: 'signed, from an OP that lists none',
    needs: { metadata: { id_token_signing_alg_values_supported: ['none', 'ES256'] } },
    answer: (op) => () => op.tokens(),
  },
  ...['RS256', 'PS256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'].map(
    (alg): Case => ({
      name: `signed with ${alg}, and hashed as that says`,
      answer: (op) => () => op.tokens({ header: { alg } }),
    }),
  ),
  {
    name: 'for an audience of one, azp us',
    answer: (op) => () => op.tokens({ claims: { aud: [op.clientId], azp: op.clientId } }),
  },
  { name: 'without at_hash', answer: (op) => () => op.tokens({ claims: { at_hash: undefined } }) },
  { name: '20 s ahead of us', answer: (op) => () => op.tokens({ claims: { iat: seconds(20) } }) },
  { name: 'expired 20 s ago', answer: (op) => () => op.tokens({ claims: { exp: seconds(-20) } }) },
  {
    name: 'with a sub of 255 characters',
    answer: (op) => () => op.tokens({ claims: { sub: 'a'.repeat(255) } }),
  },
  {
    name: 'without expires_in, with members nobody knows',
    answer: (op) => () => op.tokens({ response: { expires_in: undefined, x: { y: 1 } } }),
  },
]

const bad: (Case & { readonly id: string })[] = [
  ...defectiveIdTokens.map(({ id, what, needs, make }) => ({
    id,
    name: what,
    ...(needs && { needs }),
    answer: (op: ScriptedOp) => async () => ({ json: await make(op.context()) }),
  })),
  {
    id: 'TOK-1',
    name: 'a response that is an array',
    answer: () => ({ json: [] }),
  },
  {
    id: 'TOK-1',
    name: 'a good response under status 201',
    answer: (op) => async () => ({ ...(await op.tokens()), status: 201 }),
  },
  {
    id: 'TOK-9',
    name: 'a good response while the keys cannot be had',
    answer: (op) => {
      op.onJwks(...Array.from({ length: 6 }, () => ({ status: 503 })))
      return () => op.tokens()
    },
  },
]

describe('a token response', function () {
  this.timeout(60_000)

  const cleanup: (() => Promise<void>)[] = []
  const logins = new Map<Case, Login | Error>()

  async function login({ needs, answer }: Case): Promise<Login> {
    const op = await startScriptedOp()
    cleanup.push(() => op.stop())
    Object.assign(op.metadata, needs?.metadata)
    const { acrValues, maxAge, expectedSubject, idTokenSigningAlg } = needs ?? {}
    const app = await startApp({
      options: {
        issuerBaseURL: op.issuer,
        deliveryMode: 'ping',
        authorizationParams: { acrValues, maxAge, expectedSubject },
        idTokenSigningAlg,
      },
    })
    cleanup.push(() => app.close())
    op.onToken(answer(op))
    const browser = app.browser()
    const transaction = await browser.begin()
    await op.ping(app.notificationUrl)
    return { op, app, browser, transaction, outcome: await browser.outcome(transaction) }
  }

  // All at once, and one silence for all of them.
  before(async () => {
    const cases = [...good, ...bad]
    await Promise.all(
      cases.map(async (one) => {
        logins.set(one, await login(one).catch((error: Error) => error))
      }),
    )
    await sleep(silenceMs)
  })

  after(async () => {
    for (const close of cleanup.splice(0).reverse()) await close()
  })

  function loginOf(one: Case): Login {
    const login = logins.get(one)
    if (!login || login instanceof Error) throw login ?? new Error('this login did not run')
    return login
  }

  context('it is good', () => {
    for (const one of good) {
      it(`signs the session in: ${one.name} [TOK-9]`, async () => {
        const { op, browser, outcome } = loginOf(one)
        expect(outcome).to.have.property('status', 'complete')
        expect(await browser.user()).to.match(/^a/)
        expect(op.callsTo('token')).to.have.length(1)
      })
    }
  })

  context('it is defective', () => {
    for (const one of bad) {
      it(`fails, signs nobody in, and leaves the OP alone: ${one.name} [${one.id}, TOK-21]`, async () => {
        const { op, app, browser, transaction, outcome } = loginOf(one)
        const failed = { transaction, status: 'failed', error: 'invalid_token_response' }
        expect(outcome).to.deep.equal(failed)
        expect(await browser.user()).to.equal(undefined)
        // Neither a ping nor the browser brings it back.
        expect(await op.ping(app.notificationUrl)).to.have.property('status', 204)
        expect((await browser.poll(transaction, 1)).body).to.deep.equal(failed)
        const harmless = ['discovery', 'jwks']
        const calls = op.calls.map(({ endpoint }) => endpoint).filter((name) => !harmless.includes(name))
        expect(calls).to.deep.equal(['backchannel', 'token'])
      })
    }
  })
})
