/** How a wait of `createCibaClient()` ends early: by `timeout`, by `signal`, by `close()`; and what is left then. */
import { spawn } from 'node:child_process'
import { getEventListeners, once } from 'node:events'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'chai'
import { type CibaClientOptions, MemoryTransactionStore } from '../../lib/index.ts'
import { clientScenes } from '../support/clients.ts'
import { failureOf } from '../support/outcomes.ts'
import { tokenError } from '../support/scripted-op.ts'
import { until } from '../support/web.ts'

/** Counts who watches. */
class WatchedStore extends MemoryTransactionStore {
  watchers = 0

  override watch(id: string, listener: () => void): () => void {
    this.watchers += 1
    const stop = super.watch(id, listener)
    return () => {
      this.watchers -= 1
      stop()
    }
  }
}

describe('client.wait()', () => {
  const scene = clientScenes()

  describe('timeout', () => {
    it('resolves to how it stands then', async () => {
      const { client } = await scene({ client: { deliveryMode: 'ping' } })
      const { transaction } = await client.start({ loginHint: 'alice' })
      const from = Date.now()
      const status = await client.wait(transaction, { timeout: 0.2 })
      expect(status).to.include({ transaction, status: 'pending', interval: 1 })
      expect(Date.now() - from).to.be.within(195, 2_000)
    })

    it('of 0 looks once', async () => {
      const { client } = await scene({ client: { deliveryMode: 'ping' } })
      const { transaction } = await client.start({ loginHint: 'alice' })
      expect(await client.wait(transaction, { timeout: 0 })).to.have.property('status', 'pending')
    })

    it('may be longer than any timer of Node.js', async () => {
      const { client, op, notifications } = await scene({ client: { deliveryMode: 'ping' } })
      const { transaction } = await client.start({ loginHint: 'alice' })
      const waits = [1e9, Number.MAX_VALUE, Number.POSITIVE_INFINITY, undefined].map((timeout) =>
        client.wait(transaction, { timeout }),
      )
      op.onToken(tokenError('access_denied'))
      await op.ping(notifications.url)
      for (const outcome of await Promise.all(waits)) expect(outcome.status).to.equal('denied')
    })

    for (const timeout of [-1, Number.NaN, '5', null, {}, Number.NEGATIVE_INFINITY, 5n, true]) {
      it(`is refused unless it is a number of seconds: ${typeof timeout} ${String(timeout)}`, async () => {
        const { client } = await scene({ client: { deliveryMode: 'ping' } })
        const { transaction } = await client.start({ loginHint: 'alice' })
        const error = await failureOf(client.wait(transaction, { timeout: timeout as number }))
        expect(error).to.include({ code: 'ERR_CIBA_INVALID_REQUEST' })
        expect(error.message).to.match(/"timeout"/)
      })
    }
  })

  describe('signal', () => {
    it('that is aborted already rejects with its reason, and asks nobody', async () => {
      const { client, op } = await scene()
      const { transaction } = await client.start({ loginHint: 'alice' })
      const reason = new Error('changed my mind')
      const wait = client.wait(transaction, { signal: AbortSignal.abort(reason) })
      expect(await wait.catch((error) => error)).to.equal(reason)
      expect(op.callsTo('token')).to.have.length(0)
    })

    it('that aborts meanwhile rejects with its reason, at once, and leaves no listener', async () => {
      const store = new WatchedStore()
      const { client } = await scene({ client: { store, deliveryMode: 'ping' } })
      const { transaction } = await client.start({ loginHint: 'alice' })
      const abort = new AbortController()
      const waits = [1, 2, 3].map(() => client.wait(transaction, { signal: abort.signal }))
      const endings = waits.map((wait) => wait.catch((error) => error))
      await until('all wait', () => store.watchers === 3)
      const from = Date.now()
      abort.abort()
      for (const ending of endings) expect(await ending).to.equal(abort.signal.reason)
      expect(Date.now() - from).to.be.below(1_000)
      expect([getEventListeners(abort.signal, 'abort').length, store.watchers]).to.deep.equal([0, 0])
      expect(await client.check(transaction), 'it goes on').to.have.property('status', 'pending')
    })

    it('has no listener any more when the wait is over', async () => {
      const { client, op, notifications } = await scene({ client: { deliveryMode: 'ping' } })
      const { transaction } = await client.start({ loginHint: 'alice' })
      const { signal } = new AbortController()
      await client.wait(transaction, { signal, timeout: 0.05 })
      expect(getEventListeners(signal, 'abort')).to.have.length(0)
      const waiting = client.wait(transaction, { signal })
      op.onToken(() => op.tokens())
      await op.ping(notifications.url)
      expect(await waiting).to.have.property('status', 'complete')
      expect(getEventListeners(signal, 'abort')).to.have.length(0)
    })

    it('does not end a token request in flight: its tokens are there for the next one', async () => {
      const { client, op } = await scene()
      op.onToken(async () => ({ ...(await op.tokens()), delayMs: 400 }))
      const { transaction } = await client.start({ loginHint: 'alice' })
      const abort = new AbortController()
      const ending = client.wait(transaction, { signal: abort.signal }).catch((error) => error)
      await op.waitForCall('token')
      abort.abort()
      expect(await ending).to.equal(abort.signal.reason)
      expect(await client.wait(transaction)).to.have.property('status', 'complete')
      expect(op.callsTo('token')).to.have.length(1)
    })
  })

  describe('close()', () => {
    for (const [what, options] of [
      ['a store of its own', { store: undefined }],
      ['a store that others use too', {}],
    ] satisfies [string, CibaClientOptions][]) {
      context(`with ${what}`, () => {
        it('rejects whoever waits with ERR_CIBA_CLOSED', async () => {
          const { client } = await scene({ client: { ...options, deliveryMode: 'ping' } })
          const { transaction } = await client.start({ loginHint: 'alice' })
          const endings = [1, 2].map(() => failureOf(client.wait(transaction)))
          await sleep(20) // they are on their way into the wait, which nothing shows
          await client.close()
          for (const ending of endings)
            expect(await ending).to.include({ code: 'ERR_CIBA_CLOSED', status: 503 })
        })

        it('rejects whoever waits from the same moment on, or comes later', async () => {
          const { client } = await scene({ client: { ...options, deliveryMode: 'ping' } })
          const { transaction } = await client.start({ loginHint: 'alice' })
          const ending = failureOf(client.wait(transaction))
          const closing = client.close()
          expect(await ending).to.include({ code: 'ERR_CIBA_CLOSED' })
          await closing
          expect(await failureOf(client.wait(transaction))).to.include({ code: 'ERR_CIBA_CLOSED' })
          expect(await failureOf(client.start({ loginHint: 'a' }))).to.include({ code: 'ERR_CIBA_CLOSED' })
        })
      })
    }

    it('follows a token request in flight to its end: the next process has the tokens', async () => {
      const { client, op, another } = await scene()
      op.onToken(async () => ({ ...(await op.tokens()), delayMs: 400 }))
      const { transaction } = await client.start({ loginHint: 'alice' })
      const ending = failureOf(client.wait(transaction))
      await op.waitForCall('token')
      await client.close()
      expect(await ending).to.include({ code: 'ERR_CIBA_CLOSED' })
      expect(await another().check(transaction)).to.have.property('status', 'complete')
      expect(op.callsTo('token')).to.have.length(1)
    })

    it('says how it ended rather than that it is closed, as long as the store knows', async () => {
      const { client, op } = await scene()
      op.onToken(() => op.tokens())
      const { transaction } = await client.start({ loginHint: 'alice' })
      const outcome = await client.wait(transaction)
      await client.close()
      expect(await client.wait(transaction)).to.deep.equal(outcome)
    })

    it('can be called twice, also at once', async () => {
      const { client } = await scene()
      await Promise.all([client.close(), client.close()])
      await client.close()
    })

    for (const [what, act] of [
      [
        'whoever waits is let go',
        'client.wait(transaction).catch((e) => console.log(e.code)); await sleep(50)',
      ],
      ['a wait has timed out', 'await client.wait(transaction, { timeout: 0.05 })'],
      ['tokens were used', 'await client.fetch(await client.wait(transaction), process.argv[2])'],
    ] as const) {
      it(`leaves nothing that keeps a process running, when ${what}`, async function () {
        this.timeout(20_000)
        const { op } = await scene()
        if (act.includes('fetch')) op.onToken(() => op.tokens())
        const program = `
          import { setTimeout as sleep } from 'node:timers/promises'
          const { createCibaClient } = await import(${JSON.stringify(new URL('../../lib/index.ts', import.meta.url).href)})
          const client = createCibaClient({
            issuerBaseURL: process.argv[1], clientID: '${op.clientId}', clientSecret: '${op.clientSecret}',
            allowInsecureRequests: true,
          })
          const { transaction } = await client.start({ loginHint: 'alice' })
          ${act}
          await client.close()
          console.log('closed')
          setTimeout(() => { console.log('still running'); process.exit(1) }, 3_000).unref()`
        const args = ['--import', 'tsx', '--input-type=module', '--eval', program]
        const child = spawn(process.execPath, [...args, op.issuer, `${op.issuer}/resource`], {
          stdio: ['ignore', 'pipe', 'inherit'],
        })
        const [out, [status]] = await Promise.all([text(child.stdout), once(child, 'close')])
        expect(out.trim().split('\n').sort()).to.deep.equal(
          act.includes('e.code') ? ['ERR_CIBA_CLOSED', 'closed'] : ['closed'],
        )
        expect(status).to.equal(0)
      })
    }
  })
})
