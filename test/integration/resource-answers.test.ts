/** What comes back from `req.ciba.fetch()`: the answer of the resource, whatever it is, to the app alone. */
import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import { expect } from 'chai'
import type { Request } from 'express'
import { later } from '../support/outcomes.ts'
import { type Answer, resourceError } from '../support/scripted-op.ts'
import { expired, handled, signIn } from '../support/signed-in.ts'
import { type Browser, until, type Web, type WebOptions, webs } from '../support/web.ts'

describe('req.ciba.fetch(): the answer', () => {
  const start = webs()
  let act: (req: Request, web: Web) => Promise<unknown>
  const own: NonNullable<WebOptions['own']> = (app, web) => {
    app.get(
      '/act',
      handled(async (req, res) => res.json({ result: await act(req, web) })),
    )
  }
  let servers: Server[]

  beforeEach(() => {
    servers = []
  })

  afterEach(async () => {
    for (const server of servers) {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    }
  })

  async function startSignedIn(overrides = {}): Promise<[Web, Browser]> {
    const web = await start({ own })
    return [web, await signIn(web, overrides)]
  }

  /** A resource that is not the OP's. */
  async function serve(listener: RequestListener): Promise<string> {
    const server = createServer(listener)
    servers.push(server)
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve)
    })
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  }

  const run = async (browser: Browser, what: typeof act) => {
    act = what
    const { body, text, status } = await browser.get('/act')
    if (status !== 200) throw new Error(`it was answered ${status}: ${text}`)
    return body.result
  }

  async function failure(browser: Browser, web: Web, what: typeof act): Promise<Error> {
    act = what
    expect((await browser.get('/act')).status).to.be.at.least(500)
    return web.errors[0] as Error
  }

  for (const status of [301, 302, 303, 307, 308]) {
    it(`is a ${status} where the resource redirects: the token goes nowhere else`, async () => {
      const [web, browser] = await startSignedIn()
      let visits = 0
      const elsewhere = await serve((_req, res) => {
        visits++
        res.end()
      })
      for (const location of [elsewhere, `${web.op.issuer}/elsewhere`, '/elsewhere']) {
        web.op.onResource({ status, headers: { location }, body: 'over there' })
        const seen = await run(browser, async (req, { op }) => {
          const init = { method: 'POST', body: 'x', redirect: 'follow' } as const
          const response = await req.ciba.fetch(`${op.issuer}/resource`, init)
          return [response.status, response.headers.get('location'), await response.text()]
        })
        expect(seen).to.deep.equal([status, location, 'over there'])
      }
      expect(visits).to.equal(0)
      expect(web.op.callsTo('other')).to.be.empty
    })
  }

  it('is a 401 as it came, without another attempt, a refresh or an end of the login', async () => {
    const [web, browser] = await startSignedIn({ response: { refresh_token: 'refresh-0' } })
    web.op.onResource(resourceError('invalid_token'))
    const seen = await run(browser, async (req, { op }) => {
      const response = await req.ciba.fetch(`${op.issuer}/resource`)
      return [response.status, response.headers.get('www-authenticate'), await response.json()]
    })
    expect(seen).to.deep.equal([401, 'Bearer error="invalid_token"', { error: 'invalid_token' }])
    expect(web.op.callsTo('resource')).to.have.length(1)
    expect(web.op.callsTo('token')).to.have.length(1)
    expect((await browser.get('/me')).body.signedIn).to.equal(true)
  })

  for (const answer of [
    resourceError('insufficient_scope', { status: 403 }),
    { status: 200, body: 'good', headers: { 'www-authenticate': 'Bearer' } },
    { status: 401, body: 'no challenge' },
    { status: 204, body: '' },
    { status: 304, body: '' },
    { status: 404, body: 'not found' },
    { status: 500, body: 'broken' },
  ] as { status: number; body?: string; headers?: Record<string, string> }[]) {
    it(`is passed on as it came: ${JSON.stringify(answer)}`, async () => {
      const [web, browser] = await startSignedIn()
      web.op.onResource(answer)
      const seen = await run(browser, async (req, { op }) => {
        const response = await req.ciba.fetch(`${op.issuer}/resource`)
        return [response.status, response.ok, await response.text()]
      })
      const { status, body = '{"error":"insufficient_scope"}' } = answer
      expect(seen).to.deep.equal([status, status < 300, body])
    })
  }

  it('may be larger than any answer of the OP', async () => {
    const [, browser] = await startSignedIn()
    const url = await serve((_req, res) => void res.end(Buffer.alloc(5 * 1024 * 1024, 'x')))
    const length = await run(browser, async (req) => {
      return (await (await req.ciba.fetch(url)).arrayBuffer()).byteLength
    })
    expect(length).to.equal(5 * 1024 * 1024)
  })

  it('is decompressed, as fetch does it', async () => {
    const [, browser] = await startSignedIn()
    const url = await serve((_req, res) => {
      res.setHeader('content-encoding', 'gzip').end(gzipSync('the resource'))
    })
    expect(await run(browser, async (req) => (await req.ciba.fetch(url)).text())).to.equal('the resource')
  })

  it('is there before it has ended: it is read as it comes', async () => {
    const [, browser] = await startSignedIn()
    const sending = later<ServerResponse>()
    const url = await serve((_req, res) => {
      res.write('first, ')
      sending.resolve(res)
    })
    const seen = await run(browser, async (req) => {
      const response = await req.ciba.fetch(url)
      const reader = (response.body as ReadableStream<Uint8Array>).getReader()
      const first = Buffer.from((await reader.read()).value ?? []).toString()
      ;(await sending.promise).end('second')
      const second = Buffer.from((await reader.read()).value ?? []).toString()
      return [first, second, (await reader.read()).done]
    })
    expect(seen).to.deep.equal(['first, ', 'second', true])
  })

  it('fails as fetch does when the resource is down', async () => {
    const [web, browser] = await startSignedIn()
    const url = await serve(() => {})
    await new Promise((resolve) => servers.pop()?.close(resolve))
    const error = await failure(browser, web, (req) => req.ciba.fetch(url))
    expect(error).to.be.an.instanceOf(TypeError)
    expect((error.cause as NodeJS.ErrnoException).code).to.equal('ECONNREFUSED')
  })

  describe('and an abort signal', () => {
    const reason = new Error('the app has lost interest')

    it('sends nothing when it is aborted already', async () => {
      const [web, browser] = await startSignedIn()
      const signal = AbortSignal.abort(reason)
      const error = await failure(browser, web, (req, { op }) =>
        req.ciba.fetch(`${op.issuer}/resource`, { signal }),
      )
      expect(error).to.equal(reason)
      expect(web.op.callsTo('resource')).to.be.empty
    })

    it('ends the wait for an answer', async () => {
      const [web, browser] = await startSignedIn()
      const gone = new AbortController()
      const url = await serve(() => gone.abort(reason))
      const error = await failure(browser, web, (req) => req.ciba.fetch(url, { signal: gone.signal }))
      expect(error).to.equal(reason)
    })

    it('ends the answer', async () => {
      const [web, browser] = await startSignedIn()
      const gone = new AbortController()
      let isClosed = false
      const url = await serve((_req, res) => {
        res.write('first, ')
        res.once('close', () => {
          isClosed = true
        })
      })
      const error = await failure(browser, web, async (req) => {
        const response = await req.ciba.fetch(url, { signal: gone.signal })
        gone.abort(reason)
        return response.text()
      })
      expect(error).to.equal(reason)
      await until('the connection is closed', () => isClosed)
    })

    it('ends the wait for a fresh token, while the refresh goes on', async () => {
      const [web, browser] = await startSignedIn(expired)
      const gone = new AbortController()
      const answer = later<Answer>()
      web.op.onToken(() => {
        gone.abort(reason)
        return answer.promise
      })
      const error = await failure(browser, web, (req, { op }) => {
        return req.ciba.fetch(`${op.issuer}/resource`, { signal: gone.signal })
      })
      expect(error).to.equal(reason)
      expect(web.op.callsTo('resource')).to.be.empty
      answer.resolve(await web.op.refreshed({ response: { access_token: 'access-1', id_token: undefined } }))
      const { status } = await run(browser, async (req, { op }) => {
        return { status: (await req.ciba.fetch(`${op.issuer}/resource`)).status }
      })
      expect(status).to.equal(200)
      expect(web.op.callsTo('token')).to.have.length(2)
      expect(web.op.callsTo('resource')[0]?.headers.authorization).to.equal('Bearer access-1')
    })
  })

  it('leaves no connection behind after close()', async () => {
    const [web, browser] = await startSignedIn()
    const url = await serve((_req, res) => void res.end('the resource'))
    expect(await run(browser, async (req) => (await req.ciba.fetch(url)).text())).to.equal('the resource')
    const [server] = servers as [Server]
    const connections = () =>
      new Promise<number>((resolve, reject) => {
        server.getConnections((error, count) => (error ? reject(error) : resolve(count)))
      })
    expect(await connections()).to.equal(1)
    await web.auth.close()
    await until('it is closed', async () => (await connections()) === 0)
  })
})
