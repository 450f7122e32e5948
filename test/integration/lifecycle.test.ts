import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'chai'
import { type CibaMiddleware, ciba, MemoryTransactionStore } from '../../lib/index.ts'
import { startScriptedOp, tokenError } from '../support/scripted-op.ts'
import { cibaOptions, expressVersions, webs } from '../support/web.ts'

for (const { name, express } of expressVersions) {
  describe(`ciba(): where it is mounted (${name})`, () => {
    const start = webs()

    it('works under a sub-path, and nowhere else', async () => {
      const web = await start({ express, mount: '/auth' })
      const browser = web.browser()
      const { body } = await browser.post('/auth/ciba/start', { loginHint: 'alice' })
      await web.approve()
      const answer = await browser.post('/auth/ciba/poll', { transaction: body.transaction, wait: 5 })
      expect(answer.body.status).to.equal('complete')
      expect((await browser.post('/ciba/start', { loginHint: 'alice' })).status).to.equal(404)
    })

    it('takes paths in any case and with a slash at the end, as Express does', async () => {
      const web = await start({ express })
      const browser = web.browser()
      for (const path of ['/ciba/start/', '/CIBA/Start', '/Ciba/START/', '/ciba/start?x=1']) {
        expect((await browser.post(path, { loginHint: 'alice' })).status, path).to.equal(202)
      }
      const pong = await web.op.ping(`${web.origin}/CIBA/Notification/`)
      expect(pong.status).to.equal(204)
    })

    it('does not take what only looks like its paths', async () => {
      const web = await start({ express })
      for (const path of [
        '/ciba/start//',
        '//ciba/start',
        '/x/ciba/start',
        '/ciba/starts',
        '/ciba%2Fstart',
      ]) {
        const { status } = await web.browser().post(path, { loginHint: 'alice' })
        expect(status, path).to.equal(404)
      }
      expect(web.op.calls).to.be.empty
    })

    it('serves renamed routes under their new names only', async () => {
      const routes = {
        start: '/Login/Begin',
        poll: '/login/status',
        cancel: '/login/stop',
        logout: '/bye',
        notification: '/hooks/op',
      }
      const web = await start({ express, ciba: { routes } })
      const browser = web.browser()
      const { body } = await browser.post('/login/begin', { loginHint: 'alice' })
      const { transaction } = body
      expect((await browser.post('/login/stop', { transaction: 'x' })).status).to.equal(404)
      await web.approve()
      expect((await browser.post('/login/status', { transaction, wait: 5 })).body.status).to.equal('complete')
      expect((await browser.post('/bye')).status).to.equal(204)
      for (const old of ['start', 'poll', 'cancel', 'logout', 'notification']) {
        const answer = await browser.post(`/ciba/${old}`, { loginHint: 'alice', transaction })
        expect(answer.status, old).to.equal(404)
        expect(answer.text, old).to.include('Cannot POST')
      }
    })

    for (const route of ['start', 'poll', 'cancel', 'logout', 'notification'] as const) {
      it(`leaves ${route} to the app when it is switched off`, async () => {
        const web = await start({
          express,
          ciba: { routes: { [route]: false } },
          own: (app) => app.all(`/ciba/${route}`, (_req, res) => void res.send("the app's own")),
        })
        expect((await web.browser().post(`/ciba/${route}`)).text).to.equal("the app's own")
        expect((await web.browser().get(`/ciba/${route}`)).text).to.equal("the app's own")
      })
    }

    it('offers the notification route alone, to be mounted ahead of the session', async () => {
      const op = await startScriptedOp()
      const auth = ciba(cibaOptions(op, 'http://127.0.0.1:1'))
      const web = await start({
        express,
        session: false,
        before: (app) => app.post('/elsewhere', auth.notification),
      })
      const pong = await web.op.ping(`${web.origin}/elsewhere`, { token: 'x', body: '{"auth_req_id":"a"}' })
      await auth.close()
      await op.stop()
      expect(pong.status).to.equal(401)
      expect(web.errors).to.be.empty
    })

    it('lets two of them live in one app, on routes of their own', async () => {
      const op = await startScriptedOp()
      const routes = {
        start: '/second/start',
        poll: '/second/poll',
        cancel: false,
        logout: false,
        notification: '/second/ping',
      } as const
      let second: CibaMiddleware | undefined
      const web = await start({
        express,
        own: (app, { origin }) => {
          second = ciba({ ...cibaOptions(op, origin), routes })
          app.use(second)
        },
      })
      try {
        const browser = web.browser()
        const first = await browser.begin('alice')
        const { body } = await browser.post('/second/start', { loginHint: 'bob' })
        expect((await browser.poll(body.transaction)).status).to.equal(404)
        expect((await browser.post('/second/poll', { transaction: first })).status).to.equal(404)
        op.onToken(await op.tokens({ claims: { sub: 'bob' } }))
        await op.ping(`${web.origin}/second/ping`)
        const answer = await browser.post('/second/poll', { transaction: body.transaction, wait: 5 })
        expect(answer.body.status).to.equal('complete')
        expect((await browser.get('/me')).body.user.sub).to.equal('bob')
        await web.approve()
        expect((await browser.poll(first, 5)).body.status).to.equal('complete')
        expect((await browser.get('/me')).body.user.sub).to.equal('alice')
      } finally {
        await second?.close()
        await op.stop()
      }
    })
  })

  describe(`ciba(): beginning and end (${name})`, () => {
    const start = webs()

    it('boots while the OP is down, and works as soon as it is up', async () => {
      const web = await start({ express })
      await web.op.down()
      const browser = web.browser()
      expect((await browser.get('/me')).status).to.equal(200)
      expect((await browser.post('/ciba/start', { loginHint: 'alice' })).status).to.equal(503)
      await web.op.up()
      expect((await browser.post('/ciba/start', { loginHint: 'alice' })).status).to.equal(202)
    })

    it('does not speak to the OP before the first start', async () => {
      const web = await start({ express })
      await web.browser().get('/me')
      await sleep(30)
      expect(web.op.calls).to.be.empty
    })

    it('answers the browsers that wait with "pending" and Retry-After when it closes', async () => {
      const web = await start({ express })
      const browser = web.browser()
      const transaction = await browser.begin()
      const held = await Promise.all([1, 2, 3].map(() => browser.copy().hold(transaction, web, 20)))
      await web.auth.close()
      for (const { answer } of held) {
        const { status, body, headers } = await answer
        expect(status).to.equal(200)
        expect(body).to.include({ transaction, status: 'pending' })
        expect(headers['retry-after']).to.equal('1')
      }
    })

    it('waits for the token request in flight when it closes, and loses no tokens', async () => {
      const web = await start({ express, ciba: { store: new MemoryTransactionStore() } })
      const browser = web.browser()
      const transaction = await browser.begin()
      const tokens = await web.op.tokens()
      let answerTokens = () => {}
      const asked = new Promise<void>((resolve) => {
        answerTokens = resolve
      })
      web.op.onToken(async () => {
        await asked
        return tokens
      })
      await web.op.ping(`${web.origin}/ciba/notification`)
      await web.op.waitForCall('token')
      let isClosed = false
      const closing = web.auth.close().then(() => {
        isClosed = true
      })
      await sleep(50)
      expect(isClosed).to.equal(false)
      answerTokens()
      await closing
      expect((await browser.poll(transaction)).body.status).to.equal('complete')
      expect((await browser.get('/me')).body.signedIn).to.equal(true)
    })

    it('asks the OP nothing more after it has closed', async () => {
      const web = await start({ express, ciba: { store: new MemoryTransactionStore() } })
      const browser = web.browser()
      const transaction = await browser.begin()
      await web.auth.close()
      const calls = web.op.calls.length
      web.op.onToken(tokenError('access_denied'))
      await web.op.ping(`${web.origin}/ciba/notification`)
      expect((await browser.poll(transaction, 1)).body.status).to.equal('pending')
      expect((await browser.post('/ciba/start', { loginHint: 'alice' })).status).to.equal(503)
      expect(web.op.calls).to.have.length(calls)
    })

    it('does not say that a transaction is unknown when its own memory is gone: the page would give up', async () => {
      const web = await start({ express })
      const browser = web.browser()
      const transaction = await browser.begin()
      await web.auth.close()
      const { status, body, headers } = await browser.poll(transaction, 1)
      expect(status).to.equal(503)
      expect(body.error).to.equal('temporarily_unavailable')
      expect(headers).to.include({ 'retry-after': '5', connection: 'close' })
    })

    it('may be closed twice', async () => {
      const web = await start({ express })
      await web.browser().begin()
      await Promise.all([web.auth.close(), web.auth.close()])
      await web.auth.close()
      expect((await web.browser().get('/me')).status).to.equal(200)
    })
  })

  describe(`a process with ciba() (${name})`, () => {
    it('exits by itself after server.close() and auth.close(), in the middle of a login', async function () {
      this.timeout(20_000)
      const web = new URL('../support/web.ts', import.meta.url)
      const script = `
        import { expressVersions, startWeb } from ${JSON.stringify(web.href)}
        const { express } = expressVersions.find(({ name }) => name === ${JSON.stringify(name)})
        const web = await startWeb({ express, ciba: { deliveryMode: 'poll' } })
        const browser = web.browser()
        await browser.begin()
        const transaction = await browser.begin()
        await browser.post('/ciba/cancel', { transaction })
        const { answer } = await browser.hold(await browser.begin(), web, 20)
        const closed = new Promise((resolve) => { web.server.close(resolve) })
        await web.auth.close()
        console.log((await answer).body.status)
        web.server.closeIdleConnections()
        await closed
        await web.op.stop()
        console.log('closed')`
      const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
        cwd: new URL('../..', import.meta.url),
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      const timer = setTimeout(() => child.kill('SIGKILL'), 15_000)
      const [out, error, [code, signal]] = await Promise.all([
        text(child.stdout),
        text(child.stderr),
        once(child, 'exit'),
      ])
      clearTimeout(timer)
      expect({ out, code, signal }, error).to.deep.equal({ out: 'pending\nclosed\n', code: 0, signal: null })
    })
  })
}
