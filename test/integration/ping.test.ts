/**
 * The notification route (CIBA Core §9, §10.2, §10.3): which requests it takes for a ping, or in push mode for a push, and
 * how it answers all others [PUSH-2].
 */
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { expect } from 'chai'
import express, { type Express } from 'express'
import { type CibaMiddleware, MemoryTransactionStore, type StoredRecord } from '../../lib/index.ts'
import { deriveKeys } from '../../lib/keys.ts'
import { notificationTokens } from '../../lib/protocol/notification.ts'
import { type AppOptions, type Browser, expressVersions, startApp, type TestApp } from '../support/app.ts'
import { type PingOptions, type Pong, type ScriptedOp, startScriptedOp } from '../support/scripted-op.ts'

const secret = 'a secret of this test'
const tokens = notificationTokens(deriveKeys([secret]))

/** Forgets and fails on command. */
class MoodyStore extends MemoryTransactionStore {
  purged = new Set<string>()
  fails = false

  override async read(id: string): Promise<StoredRecord | undefined> {
    if (this.fails) throw new Error('the store is down')
    return this.purged.has(id) ? undefined : super.read(id)
  }
}

/** How a mode speaks: what belongs into a body besides `auth_req_id`, and the most that a body may hold. */
const modes = [
  { mode: 'ping', content: {}, kilobytes: 16 },
  { mode: 'push', content: { error: 'transaction_failed' }, kilobytes: 64 },
] as const
const combinations = expressVersions.flatMap((version) => modes.map((mode) => ({ version, ...mode })))

for (const { version, mode, content, kilobytes } of combinations) {
  describe(`POST /ciba/notification in ${mode} mode under ${version}`, () => {
    let op: ScriptedOp
    let app: TestApp
    let store: MoodyStore
    let browser: Browser
    let transaction: string

    async function start(given: Partial<AppOptions> = {}): Promise<void> {
      app = await startApp({
        express: version,
        options: { issuerBaseURL: op.issuer, deliveryMode: mode, secret, store },
        session: { saveUninitialized: true },
        ...given,
      })
      browser = app.browser()
      transaction = await browser.begin()
    }

    beforeEach(async () => {
      op = await startScriptedOp()
      store = new MoodyStore()
    })

    afterEach(async () => {
      store.fails = false
      await app.close()
      store.close()
      await op.stop()
    })

    const deliver = (url: string, options: PingOptions = {}): Promise<Pong> =>
      mode === 'push' ? op.push(url, {}, options) : op.ping(url, options)

    /** A ping, or a push; every answer of this route, whatever was asked, has this in common. */
    async function ping(options?: PingOptions, query = ''): Promise<Pong> {
      const pong = await deliver(app.notificationUrl + query, options)
      expect(pong.headers.has('set-cookie'), 'a cookie').to.equal(false)
      expect(pong.headers.get('cache-control')).to.equal('no-store')
      expect(pong.status).not.to.be.within(300, 399)
      return pong
    }

    const sentToken = () => String(op.callsTo('backchannel')[0]?.params.get('client_notification_token'))
    const large = 'x'.repeat((kilobytes + 1) * 1024)
    const bodyWith = (more: object) => JSON.stringify({ ...more, ...content, auth_req_id: authReqId() })
    const authReqId = () => String(op.callsTo('backchannel')[0]?.answer?.['auth_req_id'])

    context('the token is genuine', () => {
      beforeEach(() => start())

      it('answers 204 without a body, a media type or a cookie [PING-5, PING-6]', async () => {
        const pong = await ping()
        expect(pong).to.include({ status: 204, text: '' })
        expect(pong.headers.has('content-type')).to.equal(false)
      })

      it('sets cookies elsewhere, so that their absence here says something [PING-6]', async () => {
        expect((await app.browser().agent.get('/me')).headers).to.have.property('set-cookie')
      })

      const accepted: [string, (token: string) => PingOptions][] = [
        ['a scheme in lower case', (token) => ({ headers: { authorization: `bearer ${token}` } })],
        ['a scheme in upper case', (token) => ({ headers: { authorization: `BEARER ${token}` } })],
        ['several spaces', (token) => ({ headers: { authorization: `Bearer   ${token}` } })],
        ['a charset', () => ({ contentType: 'application/json; charset=utf-8' })],
        ['a media type in upper case', () => ({ contentType: 'Application/JSON;Charset="UTF-8"' })],
        ['members it does not know', () => ({ body: bodyWith({ x: [1] }) })],
        [`${kilobytes} kB`, () => ({ body: bodyWith({ x: 'x'.repeat(kilobytes * 1000) }) })],
      ]
      for (const [what, options] of accepted) {
        it(`takes ${what} [PING-1, PING-2]`, async () => {
          expect(await ping(options(sentToken()))).to.have.property('status', 204)
        })
      }

      const refused: [string, number, PingOptions][] = [
        ['too large a body', 413, { body: `{"auth_req_id":"${large}"}` }],
        [
          'too large a body of unknown length',
          413,
          { body: `{"auth_req_id":"${large}"}`, headers: { 'transfer-encoding': 'chunked' } },
        ],
        ['a form', 415, { contentType: 'application/x-www-form-urlencoded', body: 'auth_req_id=x' }],
        ['plain text', 415, { contentType: 'text/plain' }],
        ['no media type', 415, { contentType: '' }],
        ['another charset', 415, { contentType: 'application/json; charset=iso-8859-1' }],
        ['a compressed body', 415, { headers: { 'content-encoding': 'gzip' } }],
        ['bad JSON', 400, { body: '{"auth_req_id":' }],
        ['no body', 400, { body: '' }],
        ['an array', 400, { body: '["auth_req_id"]' }],
        ['null', 400, { body: 'null' }],
        ['no auth_req_id', 400, { body: JSON.stringify({ ...content }) }],
        ...[5, '', null, 'x'.repeat(4097)].map((auth_req_id): [string, number, PingOptions] => {
          const what = JSON.stringify(auth_req_id).slice(0, 8)
          return [`the auth_req_id ${what}`, 400, { body: JSON.stringify({ ...content, auth_req_id }) }]
        }),
      ]
      for (const [what, status, options] of refused) {
        it(`answers ${status} to ${what} [PING-15]`, async () => {
          expect(await ping(options)).to.have.property('status', status)
        })
      }
    })

    context('several things are wrong', () => {
      beforeEach(() => start())

      const order: [string, number, (token: string) => PingOptions][] = [
        ['the method before all', 405, () => ({ method: 'PUT', token: 'x', contentType: 'text/plain' })],
        ['the token before the size', 401, () => ({ token: 'x.y', body: large })],
        ['the token before the media type', 401, () => ({ token: 'x.y', contentType: 'text/plain' })],
        ['the token before the JSON', 401, () => ({ token: 'x.y', body: 'no JSON' })],
        ['the size before the media type', 413, () => ({ contentType: 'text/plain', body: large })],
        ['the media type before the JSON', 415, () => ({ contentType: 'text/plain', body: 'no JSON' })],
        ['the JSON before the transaction', 400, () => ({ token: tokens.issue('unknown'), body: 'no JSON' })],
      ]
      for (const [what, status, options] of order) {
        it(`checks ${what} [PING-15]`, async () => {
          expect(await ping(options(sentToken()))).to.have.property('status', status)
        })
      }

      for (const method of ['GET', 'HEAD', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
        it(`answers 405 to ${method}, and says what it takes [PING-15]`, async () => {
          const pong = await ping({ method, ...(method === 'GET' && { body: '' }) })
          expect(pong.status).to.equal(405)
          expect(pong.headers.get('allow')).to.equal('POST')
        })
      }
    })

    context('the token is not for this transaction', () => {
      beforeEach(() => start())

      /** The whole answer as it comes over the wire, but for the date. */
      async function bytes(authorization: string[], body: string): Promise<string> {
        const { hostname, port, pathname } = new URL(app.notificationUrl)
        const socket = connect(Number(port), hostname)
        const head = [
          `POST ${pathname} HTTP/1.1`,
          `Host: ${hostname}`,
          ...authorization.map((value) => `Authorization: ${value}`),
          'Content-Type: application/json',
          `Content-Length: ${Buffer.byteLength(body)}`,
          'Connection: close',
        ]
        socket.write(`${head.join('\r\n')}\r\n\r\n${body}`)
        return (await text(socket)).replace(/^Date: .*\r\n/im, '')
      }

      it('answers every bad token with the same bytes [PING-3, PING-4]', async () => {
        const other = await app.browser().begin()
        const [mine, hers] = op.callsTo('backchannel').map((call) => ({
          token: String(call.params.get('client_notification_token')),
          body: JSON.stringify({ ...content, auth_req_id: call.answer?.['auth_req_id'] }),
        }))
        if (!mine || !hers) throw new Error('two calls were made')
        const purged = await app.browser().begin()
        store.purged.add(purged)
        const [id = '', mac = ''] = mine.token.split('.')
        const bearer = (token: string) => [`Bearer ${token}`]
        const answers = {
          nothing: await bytes([], mine.body),
          garbage: await bytes(bearer('garbage'), mine.body),
          'unknown transaction': await bytes(bearer(tokens.issue('AAAAAAAAAAAAAAAAAAAAAA')), mine.body),
          'purged transaction': await bytes(bearer(tokens.issue(purged)), mine.body),
          'wrong mac': await bytes(bearer(`${id}.${Buffer.alloc(32, 7).toString('base64url')}`), mine.body),
          'no mac': await bytes(bearer(`${id}.`), mine.body),
          'no id': await bytes(bearer(`.${mac}`), mine.body),
          'a third part': await bytes(bearer(`${mine.token}.x`), mine.body),
          'one character more': await bytes(bearer(`${mine.token}1`), mine.body),
          'one character less': await bytes(bearer(mine.token.slice(0, -1)), mine.body),
          padding: await bytes(bearer(`${mine.token}=`), mine.body),
          "another transaction's token": await bytes(bearer(hers.token), mine.body),
          "another transaction's auth_req_id": await bytes(bearer(mine.token), hers.body),
          'another secret': await bytes(
            bearer(notificationTokens(deriveKeys(['another secret'])).issue(other)),
            hers.body,
          ),
          'another scheme': await bytes([`Basic ${mine.token}`], mine.body),
          'no scheme': await bytes([mine.token], mine.body),
          'no space': await bytes([`Bearer${mine.token}`], mine.body),
          'a tab': await bytes([`Bearer\t${mine.token}`], mine.body),
          'two tokens': await bytes([`Bearer ${mine.token} ${mine.token}`], mine.body),
          'comma-joined': await bytes([`Bearer ${mine.token}, Bearer ${mine.token}`], mine.body),
          'two headers': await bytes([...bearer(mine.token), ...bearer(mine.token)], mine.body),
          'two headers, the first bad': await bytes([...bearer('x'), ...bearer(mine.token)], mine.body),
        }
        const expected = answers.nothing
        expect(expected).to.match(/^HTTP\/1\.1 401 Unauthorized\r\n/)
        expect(expected).to.match(/\r\nWWW-Authenticate: Bearer\r\n/i)
        for (const [what, answer] of Object.entries(answers)) expect(answer, what).to.equal(expected)
        expect(await bytes(bearer(mine.token), mine.body)).to.match(/^HTTP\/1\.1 204 /)
      })

      it('takes the token from the header alone [PING-2]', async () => {
        const body = JSON.stringify({ ...content, auth_req_id: authReqId(), access_token: sentToken() })
        expect(await ping({ token: '', body })).to.have.property('status', 401)
        expect(await ping({ token: '' }, `?access_token=${sentToken()}`)).to.have.property('status', 401)
      })
    })

    context('the store fails', () => {
      beforeEach(() => start())

      it('answers 503, and takes the ping when it comes again [PING-16]', async () => {
        store.fails = true
        const pong = await ping()
        expect(pong.status).to.equal(503)
        expect(JSON.parse(pong.text)).to.have.property('error', 'temporarily_unavailable')
        expect(pong.text).not.to.include('store is down')
        expect(await ping({ token: 'x.y' }), 'a forged one').to.have.property('status', 401)
        store.fails = false
        op.onToken(() => op.tokens())
        expect(await ping()).to.have.property('status', 204)
        expect(await browser.outcome(transaction)).to.have.property('status', 'complete')
      })
    })

    context('the app does things to every request', () => {
      const first = (mount: (app: Express) => void) => (express: Express, auth: CibaMiddleware) => {
        express.post('/ciba/notification', auth.notification)
        mount(express)
      }

      it('never redirects where it is mounted ahead of a login wall [PING-6]', async () => {
        let isUp = false
        const before = first((express) => {
          express.use((_req, res, next) => (isUp ? res.redirect('/login') : next()))
        })
        await start({ before })
        isUp = true
        expect((await browser.agent.get('/me')).status).to.equal(302)
        expect(await ping({ token: 'x.y' })).to.have.property('status', 401)
        expect(await ping({ body: '{}}' })).to.have.property('status', 400)
        expect(await ping()).to.have.property('status', 204)
      })

      it('works where the app has parsed the body [PING-14]', async () => {
        await start({ before: (app) => app.use(express.json(), express.text()) })
        op.onToken(() => op.tokens())
        expect(await ping({ token: 'x.y' })).to.have.property('status', 401)
        expect(await ping({ body: '{"x":1}' })).to.have.property('status', 400)
        expect(await ping({ contentType: 'text/plain' })).to.have.property('status', 415)
        expect(await ping({ body: bodyWith({ x: large }) })).to.have.property('status', 413)
        expect(await ping()).to.have.property('status', 204)
        expect(await browser.outcome(transaction)).to.have.property('status', 'complete')
      })

      for (const parser of ['json', 'text', 'raw'] as const) {
        it(`measures what express.${parser}() has read, be its length unknown [PING-14, SEC-13]`, async () => {
          await start({ before: (app) => app.use(express[parser]({ type: '*/*', limit: '1mb' })) })
          for (const headers of [{ 'transfer-encoding': 'chunked' }, {}]) {
            expect(await ping({ headers, body: bodyWith({ x: large }) })).to.have.property('status', 413)
            const fitting = bodyWith({ x: 'x'.repeat(kilobytes * 1000) })
            expect(await ping({ headers, body: fitting })).to.have.property('status', 204)
          }
        })
      }

      it('is found under the path that it was given, in any case [CFG-5]', async () => {
        const routes = { notification: '/hooks/ciba' }
        const options = { issuerBaseURL: op.issuer, deliveryMode: mode, secret, store, routes }
        await start({ options })
        expect(await deliver(app.notificationUrl)).to.have.property('status', 404)
        expect(await deliver(`${app.origin}/Hooks/Ciba/?x=1`)).to.have.property('status', 204)
      })
    })
  })
}
