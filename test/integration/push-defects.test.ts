/** What becomes of a push that is not good in every respect: nothing, and the next good one is taken. */
import { format } from 'node:util'
import { expect } from 'chai'
import createDebug from 'debug'
import { MemoryTransactionStore, type StoredRecord } from '../../lib/index.ts'
import { type Browser, startApp, type TestApp } from '../support/app.ts'
import { defectivePushes, type PushDefect } from '../support/pushes.ts'
import { type ScriptedOp, startScriptedOp } from '../support/scripted-op.ts'

type Json = Record<string, unknown>

/** Remembers what was written. */
class Notebook extends MemoryTransactionStore {
  readonly pages: string[] = []

  override async write(record: StoredRecord, expectedVersion: number): Promise<boolean> {
    this.pages.push(record.data)
    return super.write(record, expectedVersion)
  }
}

/** No oracle, and no echo: the same bytes for every reason of a kind. */
const answers = {
  invalid_request: {
    error: 'invalid_request',
    error_description: 'the body must have "auth_req_id", and either the tokens or an "error"',
  },
  invalid_token_response: {
    error: 'invalid_token_response',
    error_description: 'the tokens did not pass the checks',
  },
}

describe('a push that is defective', () => {
  let op: ScriptedOp
  let app: TestApp
  let store: Notebook
  let browser: Browser
  let output: string[]
  let namespaces: string
  const { log } = createDebug

  beforeEach(() => {
    output = []
    namespaces = createDebug.disable()
    createDebug.log = (...words: unknown[]) => void output.push(format(...words))
    createDebug.enable('express-ciba:*')
  })

  afterEach(async () => {
    createDebug.disable()
    createDebug.enable(namespaces)
    createDebug.log = log
    await app.close()
    store.close()
    await op.stop()
  })

  async function start({ needs }: Pick<PushDefect, 'needs'> = {}): Promise<string> {
    const { acrValues, maxAge, expectedSubject, idTokenSigningAlg, metadata } = needs ?? {}
    op = await startScriptedOp()
    Object.assign(op.metadata, metadata)
    store = new Notebook()
    app = await startApp({
      options: {
        issuerBaseURL: op.issuer,
        deliveryMode: 'push',
        authorizationParams: { acrValues, maxAge, expectedSubject },
        idTokenSigningAlg,
        store,
      },
    })
    browser = app.browser()
    return browser.begin()
  }

  for (const defect of defectivePushes) {
    it(`is refused, and a good one is taken: ${defect.what} [${defect.id}, PUSH-9]`, async () => {
      const transaction = await start(defect)
      const { length } = store.pages
      const payload = await defect.make(op.context())
      const pong = await op.push(app.notificationUrl, { payload })
      expect(pong.status, pong.text).to.equal(defect.status)
      expect(pong.headers.get('cache-control')).to.equal('no-store')
      if (defect.status === 401) expect(pong.text).to.equal('')
      else {
        const { error } = JSON.parse(pong.text) as { error: keyof typeof answers }
        if (defect.error) expect(error).to.equal(defect.error)
        expect(JSON.parse(pong.text)).to.deep.equal(answers[error])
      }
      expect(store.pages, 'written').to.have.length(length)
      const { body } = await browser.poll(transaction)
      expect(body).to.include({ transaction, status: 'pending' })
      expect(await browser.user()).to.equal(undefined)

      expect(await op.push(app.notificationUrl)).to.have.property('status', 204)
      expect(await browser.outcome(transaction)).to.deep.equal({ transaction, status: 'complete' })
      expect(await browser.user()).to.equal('alice')
      const calls = op.calls.map(({ endpoint }) => endpoint)
      expect(calls.filter((name) => name !== 'jwks')).to.deep.equal(['discovery', 'backchannel'])

      const { access_token, id_token, refresh_token } = payload as Json
      const secrets = [access_token, id_token, refresh_token, op.context().authReqId].filter(
        (secret): secret is string => typeof secret === 'string' && secret.length > 10,
      )
      expect(output.some((line) => line.includes('started'))).to.equal(true)
      expect(
        secrets.filter((secret) => output.join().includes(secret)),
        'in the log',
      ).to.deep.equal([])
    })
  }

  it('is nothing to be afraid of in numbers: the good one among them is taken', async () => {
    const transaction = await start()
    const context = op.context()
    const bad = await Promise.all(
      defectivePushes.filter(({ needs }) => needs === undefined).map(({ make }) => make(context)),
    )
    const pongs = await Promise.all([
      ...bad.slice(0, 20).map((payload) => op.push(app.notificationUrl, { payload })),
      op.push(app.notificationUrl),
      ...bad.slice(20).map((payload) => op.push(app.notificationUrl, { payload })),
    ])
    // One that comes after the good one is not looked at any more.
    expect(pongs[20]).to.have.property('status', 204)
    for (const { status } of pongs) expect([204, 400, 401]).to.include(status)
    expect((await browser.poll(transaction)).body.status).to.equal('complete')
    expect(await browser.user()).to.equal('alice')
  })
})

describe('the record of a push', () => {
  it('shows neither tokens nor ids, early or not [SEC-9]', async () => {
    const op = await startScriptedOp()
    const store = new Notebook()
    const app = await startApp({ options: { issuerBaseURL: op.issuer, deliveryMode: 'push', store } })
    try {
      const response = { access_token: 'pushed-access-token', refresh_token: 'pushed-refresh-token' }
      const authReqId = 'pushed-auth-req-id'
      op.onBackchannel(async () => {
        await op.push(app.notificationUrl, { authReqId, response })
        return { json: { auth_req_id: authReqId, expires_in: 120 } }
      })
      const browser = app.browser()
      const transaction = await browser.begin()
      expect((await browser.poll(transaction)).body.status).to.equal('complete')
      expect(store.pages.length, 'created, early, acknowledged, claimed').to.be.at.least(4)
      const decoded = store.pages
        .map((page) => page + Buffer.from(page, 'base64url').toString('latin1'))
        .join()
      expect(decoded).to.not.match(/pushed-/)
    } finally {
      await app.close()
      store.close()
      await op.stop()
    }
  })
})
