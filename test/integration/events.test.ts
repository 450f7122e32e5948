/** Events as such: what they cost, what a listener can do to us, and what they never hold. */
import { spawn } from 'node:child_process'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { expect } from 'chai'
import { publish } from '../../lib/events.ts'
import type { LoginMessage } from '../../lib/index.ts'

const supportURL = (file: string) => JSON.stringify(new URL(`../support/${file}`, import.meta.url).href)

const message: LoginMessage = {
  transaction: 'abcdef…',
  event: 'signedIn',
  subject: 'alice',
  amr: ['pin'],
  durationMs: 1,
}

describe('publish()', () => {
  const heard: LoginMessage[] = []
  const listen = (said: unknown) => heard.push(said as LoginMessage)

  afterEach(() => {
    unsubscribe('express-ciba:login', listen)
    heard.length = 0
  })

  it('does not even make a message that nobody listens to', () => {
    publish('express-ciba:login', () => expect.fail('it was made'))
  })

  it('does not make one for the listeners of another channel', () => {
    subscribe('express-ciba:login', listen)
    publish('express-ciba:transaction', () => expect.fail('it was made'))
    unsubscribe('express-ciba:login', listen)
    publish('express-ciba:login', () => expect.fail('it was made'))
    expect(heard).to.deep.equal([])
  })

  it('makes one for all listeners, which none of them can change, nor what it was made from', () => {
    let made = 0
    const second = (said: unknown) => listen(said)
    subscribe('express-ciba:login', listen)
    subscribe('express-ciba:login', second)
    try {
      publish('express-ciba:login', () => {
        made += 1
        return message
      })
    } finally {
      unsubscribe('express-ciba:login', second)
    }
    expect([made, heard.length]).to.deep.equal([1, 2])
    expect(heard[0]).to.deep.equal(message)
    const { amr } = heard[0] as unknown as { amr: string[] }
    expect(() => Object.assign(heard[0] as object, { subject: 'mallory' })).to.throw(TypeError)
    expect(() => amr.push('hwk')).to.throw(TypeError)
    expect(Object.isFrozen(message), 'what it was made from stays as it is').to.equal(false)
    ;(message as unknown as { amr: string[] }).amr.push('later')
    expect(amr).to.deep.equal(['pin'])
  })
})

interface Ended {
  readonly out: string
  readonly status: number | null
  readonly sent: Record<string, string>
}

/** Runs a program in a process of its own. */
async function run(program: string): Promise<Ended> {
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', program], {
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  if (!child.stdout || !child.stderr) throw new Error('stdout and stderr are pipes')
  let sent: Record<string, string> = {}
  child.once('message', (said) => {
    sent = said as typeof sent
  })
  const closed = once(child, 'close')
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)])
  const [status] = await closed
  if (status !== 0) throw new Error(`the program ended with ${status}: ${err}`)
  return { out, status, sent }
}

/** An app in ping mode, and what shows who is signed in. */
const start = `
  import { subscribe } from 'node:diagnostics_channel'
  const { startApp } = await import(${supportURL('app.ts')})
  const { startScriptedOp, html, pending, slowDown, tokenError } = await import(${supportURL('scripted-op.ts')})
  const { channelNames } = await import(${supportURL('events.ts')})`

describe('a listener', function () {
  this.timeout(30_000)

  it('that throws breaks no login; the process learns of it as of any uncaught exception', async () => {
    const { out } = await run(`${start}
      const uncaught = []
      process.on('uncaughtException', (error) => uncaught.push(error.message))
      for (const name of channelNames) subscribe(name, () => { throw new Error('thrown at ' + name) })
      const op = await startScriptedOp()
      const app = await startApp({ options: { issuerBaseURL: op.issuer, deliveryMode: 'ping' } })
      const browser = app.browser()
      const transaction = await browser.begin()
      op.onToken(() => op.tokens())
      await op.ping(app.notificationUrl)
      const { status } = await browser.outcome(transaction)
      console.log(status, await browser.user())
      await browser.agent.post('/ciba/logout').expect(204)
      await app.close()
      await op.stop()
      console.log([...new Set(uncaught)].sort().join())
      process.disconnect()`)
    const [outcome, uncaught] = out.trim().split('\n')
    expect(outcome).to.equal('complete alice')
    const names = ['login', 'notification', 'token-request', 'transaction']
    expect(uncaught).to.equal(names.map((name) => `thrown at express-ciba:${name}`).join())
  })
})

describe('all messages', function () {
  this.timeout(40_000)

  it('of logins, approvals, failures, notifications and logouts hold no secret [SEC-11]', async () => {
    const { out, sent } = await run(`${start}
      const { actionDigest, requireCiba } = await import(${JSON.stringify(new URL('../../lib/index.ts', import.meta.url).href)})
      for (const name of channelNames) subscribe(name, (message) => console.log(name, JSON.stringify(message)))
      const hint = 'hint-of-alice@example.com'
      const userCode = 'user-code-4711'
      const bindingMessage = 'BIND-4711'
      const clientSecret = 'client-secret-of-the-test'
      const secret = 'sealing-secret-of-the-test'
      const op = await startScriptedOp({ clientSecret })
      const app = await startApp({
        options: {
          issuerBaseURL: op.issuer, deliveryMode: 'ping', clientSecret, secret, httpTimeout: 1, userCodeParameter: true,
          dpop: true,
          startParams: ({ body }) => ({ bindingMessage, ...body }),
          afterAuthentication(req, { user }) {
            if (user.sub === 'mallory') throw Object.assign(new Error('no ' + hint), { status: 403 })
          },
        },
        after(express) {
          express.post('/pay', requireCiba(), async (req, res) => {
            res.json(await req.ciba.requestApproval({ loginHint: hint, anotherPerson: true, action: { pay: 'to-my-landlord' } }))
          })
          express.post('/paid/:id', requireCiba(), async (req, res) => {
            const { user } = await req.ciba.useApproval(req.params.id, { pay: req.get('pay') })
            res.json(user)
          })
        },
      })
      const browser = app.browser()
      const handles = []
      const begin = async () => {
        const { body } = await browser.start({ loginHint: hint, userCode })
        handles.push(body.transaction)
        return body.transaction
      }
      const words = () => {
        const call = op.callsTo('backchannel').at(-1)
        return [hint, userCode, call.params.get('client_notification_token'), call.answer?.auth_req_id].join(' ')
      }
      const says = (error, status = 400) => () => ({ status, json: { error, error_description: words() } })
      const tokens = (overrides = {}) => () => op.tokens({
        ...overrides,
        response: { token_type: 'DPoP', refresh_token: 'refresh-token-of-the-test', ...overrides.response },
      })
      // The last one stays signed in.
      for (const answer of [
        pending(), slowDown(), { status: 503 }, { reset: 'mid-body' }, says('access_denied'), says('expired_token'),
        says('invalid_grant'), html(200), tokens({ claims: { at_hash: 'wrong' } }), tokens({ claims: { iss: hint } }),
        () => ({ status: 400, json: { error: 'äöü ' + words() } }),
        tokens({ claims: { sub: 'mallory' } }), tokens({ claims: { acr: 'strong', amr: ['pin'] } }),
      ]) {
        op.onToken(answer)
        const { length } = op.callsTo('token')
        const transaction = await begin()
        await op.ping(app.notificationUrl)
        await op.waitForCall('token', length + 1)
        await browser.poll(transaction, 0.3)
      }
      // Approvals: asked for, refused for another action, used, used again.
      const { body: asked } = await browser.agent.post('/pay')
      handles.push(asked.transaction)
      op.onToken(tokens())
      await op.ping(app.notificationUrl)
      await browser.poll(asked.transaction, 5)
      for (const pay of ['to-somebody-else', 'to-my-landlord', 'to-my-landlord']) {
        const { status } = await browser.agent.post('/paid/' + asked.transaction).set('pay', pay)
        console.log('paid', status)
      }
      await browser.agent.post('/ciba/logout')
      // Starts that go wrong.
      op.onBackchannel(says('unknown_user_id'), says('invalid_user_code'), says('access_denied', 403), html(500), { hang: true })
      for (let index = 0; index < 5; index++) await browser.start({ loginHint: hint, userCode })
      // Cancelled, and pings that are none.
      await browser.cancel(await begin())
      await op.ping(app.notificationUrl, { token: 'forged.token' })
      await op.ping(app.notificationUrl, { authReqId: 'of-another-request' })
      await op.ping(app.notificationUrl, { body: '{"auth_req_id":["' + hint + '"]}' })
      await op.down()
      await browser.start({ loginHint: hint, userCode })
      await app.close()
      const secrets = {
        hint, userCode, bindingMessage, clientSecret, secret,
        refresh: 'refresh-token-of-the-test', forged: 'forged.token', other: 'of-another-request', action: 'to-my-landlord',
      }
      handles.forEach((handle, index) => { secrets['transaction ' + index] = handle })
      op.calls.forEach((call, index) => {
        const { auth_req_id, access_token, id_token } = call.answer ?? {}
        Object.assign(secrets, {
          ['auth_req_id ' + index]: auth_req_id,
          ['access_token ' + index]: access_token,
          ['id_token ' + index]: id_token,
          ['notification token ' + index]: call.params.get('client_notification_token') ?? undefined,
          ['proof ' + index]: call.headers['dpop'],
        })
      })
      await op.stop()
      process.send(secrets)
      process.disconnect()`)
    for (const channel of ['transaction', 'token-request', 'notification', 'login', 'approval']) {
      expect(out).to.include(`express-ciba:${channel} {`)
    }
    for (const event of [
      'started',
      'notStarted',
      'ended',
      'signedIn',
      'refused',
      'signedOut',
      'requested',
      'used',
    ]) {
      expect(out, event).to.include(`"event":"${event}"`)
    }
    expect(out.match(/^paid \d+$/gm)).to.deep.equal(['paid 403', 'paid 200', 'paid 409'])
    const names = Object.keys(sent)
    for (const kind of [
      'auth_req_id',
      'access_token',
      'id_token',
      'notification token',
      'transaction',
      'proof',
    ]) {
      expect(
        names.some((name) => name.startsWith(kind) && sent[name]),
        kind,
      ).to.equal(true)
    }
    expect(names.filter((name) => sent[name] && out.includes(sent[name]))).to.deep.equal([])
  })
})
