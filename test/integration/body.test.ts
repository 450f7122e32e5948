import { once } from 'node:events'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { expect } from 'chai'
import type { RequestHandler } from 'express'
import { type ExpressFactory, expressVersions, type Web, type WebOptions, webs } from '../support/web.ts'

const json = { 'content-type': 'application/json' }
const form = { 'content-type': 'application/x-www-form-urlencoded' }

/** What an app may have mounted ahead of us. */
const parsers: Record<string, (express: ExpressFactory) => RequestHandler[]> = {
  'no parser': () => [],
  'express.json()': (express) => [express.json()],
  'express.urlencoded()': (express) => [express.urlencoded({ extended: true })],
  'express.json() and express.urlencoded()': (express) => [
    express.json(),
    express.urlencoded({ extended: false }),
  ],
  'express.text() for everything': (express) => [express.text({ type: '*/*' })],
  'express.raw() for everything': (express) => [express.raw({ type: '*/*' })],
  'a parser that sets an empty object': () => [
    (req, _res, next) => {
      req.body = {}
      next()
    },
  ],
}

interface Got {
  readonly status: number
  readonly body: { readonly error?: string; readonly error_description?: string }
  readonly headers: IncomingMessage['headers']
}

for (const { name, express } of expressVersions) {
  describe(`request bodies (${name})`, () => {
    const start = webs()

    /** A request on a connection of its own, without an end. */
    function open(web: Web, headers: Record<string, string>): ClientRequest {
      const sent = request(`${web.origin}/ciba/start`, { method: 'POST', agent: false, headers })
      sent.on('error', () => {})
      return sent
    }

    async function got(sent: ClientRequest): Promise<Got> {
      const [res] = (await once(sent, 'response')) as [IncomingMessage]
      const answer = await text(res)
      return { status: res.statusCode ?? 0, headers: res.headers, body: JSON.parse(answer) }
    }

    function post(web: Web, body: string | Buffer, headers: Record<string, string>): Promise<Got> {
      const sent = open(web, headers)
      const answer = got(sent)
      sent.end(body)
      return answer
    }

    function expectRefusal({ status, body, headers }: Got, expected: number, error: string): void {
      expect(status, JSON.stringify(body)).to.equal(expected)
      expect(body.error).to.equal(error)
      expect(headers['cache-control']).to.equal('no-store')
    }

    for (const [title, make] of Object.entries(parsers)) {
      context(`with ${title} in front`, () => {
        const options: WebOptions = {
          express,
          before: (app) => {
            for (const parser of make(express)) app.use(parser)
          },
        }

        it('reads JSON', async () => {
          const web = await start(options)
          const answer = await post(web, '{"loginHint":"ali c\\u00e9"}', json)
          expect(answer.status).to.equal(202)
          expect(web.op.callsTo('backchannel')[0]?.params.get('login_hint')).to.equal('ali cé')
        })

        it('reads a form', async () => {
          const web = await start(options)
          const answer = await post(web, 'loginHint=ali+c%C3%A9', form)
          expect(answer.status).to.equal(202)
          expect(web.op.callsTo('backchannel')[0]?.params.get('login_hint')).to.equal('ali cé')
        })

        it('reads JSON that comes in chunks', async () => {
          const web = await start(options)
          const sent = open(web, json)
          const answer = got(sent)
          sent.write('{"login')
          await sleep(20)
          sent.end('Hint":"alice"}')
          expect((await answer).status).to.equal(202)
        })

        it('answers 413 to more than 16 kB with Content-Length [SEC-13]', async () => {
          const web = await start(options)
          const body = JSON.stringify({ loginHint: 'a'.repeat(17 * 1024) })
          const headers = { ...json, 'content-length': String(Buffer.byteLength(body)) }
          expectRefusal(await post(web, body, headers), 413, 'body_too_large')
          expect(web.op.callsTo('backchannel')).to.be.empty
        })

        it('answers 413 to more than 16 kB in chunks [SEC-13]', async () => {
          const web = await start(options)
          const sent = open(web, { ...json, 'transfer-encoding': 'chunked' })
          const answer = got(sent)
          sent.write('{"loginHint":"')
          sent.end(`${'a'.repeat(17 * 1024)}"}`)
          expectRefusal(await answer, 413, 'body_too_large')
          expect(web.op.callsTo('backchannel')).to.be.empty
        })

        it('measures what was sent, not what a parser has made of it [SEC-13]', async () => {
          const web = await start(options)
          const body = `loginHint=alice&padding=${'%01'.repeat(4_000)}`
          const { status } = await post(web, body, { ...form, 'content-length': String(body.length) })
          expect(status).to.equal(202)
        })

        it('takes just under 16 kB', async () => {
          const web = await start(options)
          const body = JSON.stringify({ loginHint: 'alice', more: 'a'.repeat(16 * 1024 - 50) })
          expect((await post(web, body, json)).status).to.equal(202)
        })

        it('answers 400 to a JSON array', async () => {
          const web = await start(options)
          expectRefusal(await post(web, '["alice"]', json), 400, 'invalid_request')
          expectRefusal(await post(web, '[]', json), 400, 'invalid_request')
        })

        for (const [what, body, headers] of [
          ['nothing at all', '', {}],
          ['an empty JSON body', '', json],
          ['an empty object', '{}', json],
          ['an empty form', '', form],
        ] as const) {
          it(`answers 400 to ${what}, and names the missing member`, async () => {
            const web = await start(options)
            const answer = await post(web, body, headers)
            expectRefusal(answer, 400, 'invalid_request')
            expect(answer.body.error_description).to.include('"loginHint"')
          })
        }

        it('takes no harm from __proto__', async () => {
          const web = await start(options)
          const body = '{"__proto__":{"loginHint":"mallory"},"constructor":{"prototype":{"x":1}}}'
          expectRefusal(await post(web, body, json), 400, 'invalid_request')
          expectRefusal(await post(web, '__proto__[loginHint]=mallory', form), 400, 'invalid_request')
          expect(({} as Record<string, unknown>)['loginHint']).to.equal(undefined)
          expect(({} as Record<string, unknown>)['x']).to.equal(undefined)
        })

        for (const [what, type] of [
          ['text/plain', 'text/plain'],
          ['multipart/form-data', 'multipart/form-data; boundary=x'],
          ['application/xml', 'application/xml'],
          ['application/jsonp', 'application/jsonp'],
          ['JSON in Latin-1', 'application/json; charset=iso-8859-1'],
        ] as const) {
          // Then the parser of the app refuses it, in its own way.
          if (type.includes('iso-8859-1') && title.startsWith('express.json()')) continue
          it(`answers 415 to ${what}`, async () => {
            const web = await start(options)
            const answer = await post(web, '{"loginHint":"alice"}', { 'content-type': type })
            expectRefusal(answer, 415, 'unsupported_media_type')
            expect(web.op.callsTo('backchannel')).to.be.empty
          })
        }

        it('answers 415 to a compressed body', async () => {
          const web = await start(options)
          const body = gzipSync('{"loginHint":"alice"}')
          const answer = await post(web, body, { ...json, 'content-encoding': 'gzip' })
          expectRefusal(answer, 415, 'unsupported_media_type')
        })
      })
    }

    for (const type of [
      'application/json; charset=utf-8',
      'application/json;charset="UTF-8"',
      'APPLICATION/JSON',
    ]) {
      it(`takes ${type}`, async () => {
        const web = await start({ express })
        expect((await post(web, '{"loginHint":"alice"}', { 'content-type': type })).status).to.equal(202)
      })
    }

    it('answers 413 as soon as there is too much, not at the end of it [SEC-13]', async () => {
      const web = await start({ express })
      const sent = open(web, { ...json, 'transfer-encoding': 'chunked' })
      const answer = got(sent)
      sent.write('a'.repeat(17 * 1024))
      expectRefusal(await answer, 413, 'body_too_large')
      sent.destroy()
    })

    it('answers 415 to a body without a Content-Type', async () => {
      const web = await start({ express })
      expectRefusal(await post(web, '{"loginHint":"alice"}', {}), 415, 'unsupported_media_type')
    })

    for (const [what, body] of [
      ['half a JSON document', '{"loginHint":'],
      ['two JSON documents', '{} {}'],
      ['a number', '5'],
      ['null', 'null'],
      ['a string', '"alice"'],
      ['blanks', '  '],
      ['bytes that are not UTF-8', Buffer.from('{"loginHint":"\xff\xfe"}', 'latin1')],
    ] as const) {
      it(`answers 400 to ${what}`, async () => {
        const web = await start({ express })
        expectRefusal(await post(web, body, json), 400, 'invalid_request')
        expect(web.op.callsTo('backchannel')).to.be.empty
      })
    }

    it('answers 400 to a form that is not UTF-8', async () => {
      const web = await start({ express })
      const body = Buffer.from('loginHint=\xff\xfe', 'latin1')
      expectRefusal(await post(web, body, form), 400, 'invalid_request')
    })

    it('never shows a person what somebody sent: no 4xx repeats the body', async () => {
      const web = await start({ express })
      const answer = await post(web, '<script>alert(1)</script>', json)
      expect(JSON.stringify(answer.body)).to.not.include('alert')
    })

    it('waits for a body that drips, and goes on when its sender gives up', async () => {
      const web = await start({ express })
      const sent = open(web, { ...json, 'content-length': '1000' })
      for (const letter of '{"log') {
        sent.write(letter)
        await sleep(10)
      }
      expect((await web.browser().post('/ciba/start', { loginHint: 'bob' })).status).to.equal(202)
      sent.destroy()
      await sleep(50) // an unhandled rejection would fail this test
      expect((await web.browser().post('/ciba/start', { loginHint: 'bob' })).status).to.equal(202)
      expect(web.op.callsTo('backchannel')).to.have.length(2)
      expect(web.errors).to.deep.equal([])
    })

    it('starts nothing for a body that breaks off, even where it would make sense', async () => {
      const web = await start({ express })
      const sent = open(web, { ...form, 'content-length': '1000' })
      sent.write('loginHint=alice')
      await sleep(30)
      sent.destroy()
      await sleep(50)
      expect(web.op.callsTo('backchannel')).to.be.empty
      expect(web.errors).to.deep.equal([])
    })
  })
}
