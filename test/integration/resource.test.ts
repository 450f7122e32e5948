/** What `req.ciba.fetch()` sends, and where it does not send it. */
import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { expect } from 'chai'
import type { Request } from 'express'
import { dpopProofOf } from '../support/client-jwts.ts'
import type { ResponseOverrides } from '../support/id-tokens.ts'
import { type Call, resourceError, resourceUseDpopNonce, tokenError } from '../support/scripted-op.ts'
import { expired, handled, signIn } from '../support/signed-in.ts'
import { type Browser, type Web, type WebOptions, webs } from '../support/web.ts'

type Body = NonNullable<RequestInit['body']>

const bytes = randomBytes(64)

function form(): FormData {
  const data = new FormData()
  data.set('name', 'Jos\u00e9')
  data.set('file', new Blob(['content of the file']), 'file.txt')
  return data
}

async function* chunks(): AsyncGenerator<Uint8Array> {
  yield Buffer.from('one, ')
  yield Buffer.from('two')
}

/** Each is made anew, sent, and arrives as `expected`. */
const bodies: readonly {
  readonly what: string
  readonly make: () => Body
  readonly expected: string | RegExp
  readonly type?: RegExp
  readonly isStream?: true
}[] = [
  { what: 'a string', make: () => 'caf\u00e9', expected: 'caf\u00e9', type: /^text\/plain/ },
  { what: 'a Buffer', make: () => Buffer.from('buffer'), expected: 'buffer' },
  { what: 'binary data', make: () => new Uint8Array(bytes), expected: bytes.toString() },
  { what: 'an ArrayBuffer', make: () => new TextEncoder().encode('array').buffer, expected: 'array' },
  {
    what: 'URLSearchParams',
    make: () => new URLSearchParams({ a: 'b c' }),
    expected: 'a=b+c',
    type: /^application\/x-www-form-urlencoded/,
  },
  {
    what: 'a Blob',
    make: () => new Blob(['{}'], { type: 'application/json' }),
    expected: '{}',
    type: /json/,
  },
  {
    what: 'FormData',
    make: form,
    expected: /name="name"\r\n\r\nJos\u00e9\r\n[\s\S]*filename="file.txt"[\s\S]*content of the file/,
    type: /^multipart\/form-data; boundary=/,
  },
  { what: 'a web stream', make: () => ReadableStream.from(chunks()), expected: 'one, two', isStream: true },
  {
    what: 'a stream of Node.js',
    make: () => Readable.from(chunks()) as unknown as Body,
    expected: 'one, two',
    isStream: true,
  },
]

const authorizationOf = (call: Call | undefined) => call?.headers.authorization

describe('req.ciba.fetch()', () => {
  const start = webs()
  /** What the app does with the token: of the test that runs. */
  let act: (req: Request, web: Web) => Promise<Response>
  const own: NonNullable<WebOptions['own']> = (app, web) => {
    const answer = handled(async (req, res) => {
      const response = await act(req, web)
      res.json({ status: response.status, text: await response.text(), headers: [...response.headers] })
    })
    app.get('/act', answer)
  }

  const token: ResponseOverrides = { response: { access_token: 'access-0' } }
  const bound: ResponseOverrides = { response: { access_token: 'access-0', token_type: 'DPoP' } }

  async function startSignedIn(overrides = token, ciba: WebOptions['ciba'] = {}): Promise<[Web, Browser]> {
    const web = await start({ own, ciba })
    return [web, await signIn(web, overrides)]
  }

  const resource = ({ op }: Web, path = '') => `${op.issuer}/resource${path}`
  const send = (init?: RequestInit, path?: string) => {
    act = (req, web) => req.ciba.fetch(resource(web, path), init)
  }

  it('rejects with 401 when nobody is signed in, and sends nothing', async () => {
    const web = await start({ own })
    send()
    expect((await web.browser().get('/act')).status).to.equal(401)
    expect(web.errors[0]).to.include({ code: 'ERR_CIBA_UNAUTHENTICATED' })
    expect(web.op.callsTo('resource')).to.be.empty
  })

  it('sends the token in the Authorization header and nowhere else [FAPI-7]', async () => {
    const [web, browser] = await startSignedIn()
    send(undefined, '/1?a=b')
    const answer = await browser.get('/act')
    expect(answer.body).to.include({ status: 200, text: '{"resource":"of Alice"}' })
    const [call] = web.op.callsTo('resource')
    expect(call).to.include({ method: 'GET', body: '', url: resource(web, '/1?a=b') })
    const { authorization, ...headers } = call?.headers ?? {}
    expect(authorization).to.equal('Bearer access-0')
    expect(JSON.stringify(headers)).to.not.include('access-0')
    expect(headers).to.not.have.any.keys('dpop', 'cookie', 'x-fapi-interaction-id') // [FAPI-5]
  })

  it('takes a URL object, every method, and headers in every form', async () => {
    const [web, browser] = await startSignedIn()
    for (const headers of [
      { 'X-One': '1' },
      new Headers({ 'x-one': '1' }),
      [['x-one', '1']] as [string, string][],
    ]) {
      act = (req, { op }) =>
        req.ciba.fetch(new URL('/resource', op.issuer), { method: 'patch', headers, body: '{}' })
      await browser.get('/act')
    }
    for (const call of web.op.callsTo('resource')) {
      expect(call).to.include({ method: 'PATCH', body: '{}' })
      expect(call.headers).to.include({ 'x-one': '1' })
    }
    expect(web.op.callsTo('resource')).to.have.length(3)
  })

  it("replaces the caller's Authorization header", async () => {
    const [web, browser] = await startSignedIn()
    for (const headers of [{ Authorization: 'Basic x' }, new Headers({ authorization: 'Bearer other' })]) {
      send({ headers })
      expect((await browser.get('/act')).body.status).to.equal(200)
    }
    expect(web.op.callsTo('resource').map(authorizationOf)).to.deep.equal([
      'Bearer access-0',
      'Bearer access-0',
    ])
  })

  it('does not pass a bearer token off as a DPoP one', async () => {
    const [web, browser] = await startSignedIn()
    send({ headers: { dpop: 'a proof' } })
    await browser.get('/act')
    expect(authorizationOf(web.op.callsTo('resource')[0])).to.equal('Bearer access-0')
  })

  it('sends a fresh token, and none when there is none to be had', async () => {
    const [web, browser] = await startSignedIn(expired)
    send()
    web.op.onToken(await web.op.refreshed({ response: { access_token: 'access-1', expires_in: 0 } }))
    await browser.get('/act')
    expect(web.op.callsTo('resource').map(authorizationOf)).to.deep.equal(['Bearer access-1'])
    web.op.onToken(tokenError('invalid_grant'))
    expect((await browser.get('/act')).status).to.equal(401)
    expect(web.errors[0]).to.include({ code: 'ERR_CIBA_INVALID_TOKEN' })
    expect(web.op.callsTo('resource')).to.have.length(1)
  })

  for (const { what, make, expected, type } of bodies) {
    it(`sends ${what}`, async () => {
      const [web, browser] = await startSignedIn()
      send({ method: 'POST', body: make(), headers: { 'x-one': '1' } })
      expect((await browser.get('/act')).body.status).to.equal(200)
      const [call] = web.op.callsTo('resource') as [Call]
      if (typeof expected === 'string') expect(call.body).to.equal(expected)
      else expect(call.body).to.match(expected)
      if (type) expect(call.headers['content-type']).to.match(type)
      expect(call.headers).to.include({ 'x-one': '1', authorization: 'Bearer access-0' })
    })
  }

  context('with DPoP, when the resource wants a nonce [AUTH-7]', () => {
    for (const { what, make, expected, isStream } of bodies) {
      it(isStream ? `passes the 401 on: ${what} cannot be sent again` : `sends ${what} again`, async () => {
        const [web, browser] = await startSignedIn(bound, { dpop: true })
        web.op.onResource(resourceUseDpopNonce('nonce-1'))
        send({ method: 'PUT', body: make() })
        const { body } = await browser.get('/act')
        const calls = web.op.callsTo('resource')
        for (const call of calls) {
          if (typeof expected === 'string') expect(call.body).to.equal(expected)
          else expect(call.body).to.match(expected)
        }
        if (isStream) {
          expect(body).to.include({ status: 401, text: '{"error":"use_dpop_nonce"}' })
          expect(calls).to.have.length(1)
          return
        }
        expect(body.status).to.equal(200)
        expect(calls).to.have.length(2)
        expect((await dpopProofOf(calls[1] as Call, web.op.calls)).nonce).to.equal('nonce-1')
      })
    }

    it('sends the nonce with the first attempt from then on', async () => {
      const [web, browser] = await startSignedIn(bound, { dpop: true })
      web.op.onResource(resourceUseDpopNonce('nonce-1'))
      send()
      await browser.get('/act')
      await browser.get('/act')
      const nonces = web.op
        .callsTo('resource')
        .map(async (call) => (await dpopProofOf(call, web.op.calls)).nonce)
      expect(await Promise.all(nonces)).to.deep.equal([undefined, 'nonce-1', 'nonce-1'])
    })

    it('passes a second challenge on, with all that is in it', async () => {
      const [web, browser] = await startSignedIn(bound, { dpop: true })
      web.op.onResource(resourceUseDpopNonce('nonce-1'), resourceUseDpopNonce('nonce-2'))
      send()
      const { body } = await browser.get('/act')
      expect(body).to.include({ status: 401, text: '{"error":"use_dpop_nonce"}' })
      expect(body.headers).to.deep.include(['dpop-nonce', 'nonce-2'])
      expect(web.op.callsTo('resource')).to.have.length(2)
    })

    it('does not take another error for a challenge', async () => {
      const [web, browser] = await startSignedIn(bound, { dpop: true })
      web.op.onResource(resourceError('invalid_token', { scheme: 'DPoP', headers: { 'dpop-nonce': 'n' } }))
      send()
      expect((await browser.get('/act')).body.status).to.equal(401)
      expect(web.op.callsTo('resource')).to.have.length(1)
    })
  })
})
