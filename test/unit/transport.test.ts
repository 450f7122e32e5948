import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { expect } from 'chai'
import {
  type CustomFetch,
  type CustomFetchInit,
  createTransport,
  retrying,
  type Transport,
  wasNeverSent,
} from '../../lib/protocol/transport.ts'

const get: CustomFetchInit = { method: 'GET', headers: {}, redirect: 'manual' }

describe('createTransport()', () => {
  let transport: Transport
  let server: Server
  let handler: RequestListener
  let url: string

  beforeEach(async () => {
    transport = createTransport({ connectTimeoutMs: 5_000 })
    server = createServer((req, res) => handler(req, res)).listen(0, '127.0.0.1')
    await once(server, 'listening')
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/path?query`
  })

  afterEach(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => {
      server.close(resolve)
    })
    await transport.close()
  })

  const failure = (promise: Promise<unknown>): Promise<unknown> =>
    promise.then(
      () => undefined,
      (error: unknown) => error,
    )

  it('sends method, headers and form, and gives back status, headers and text [REQ-1]', async () => {
    let seen: object = {}
    handler = async (req, res) => {
      const { method, url: path, headers } = req
      seen = { method, path, type: headers['content-type'], accept: headers.accept, body: await text(req) }
      res.writeHead(401, { 'x-one': '1', 'set-cookie': ['a=1', 'b=2'] }).end('ünïcödé')
    }
    const response = await transport.fetch(url, {
      ...get,
      method: 'POST',
      headers: { accept: 'application/json', 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams({ a: 'b c', d: 'é&' }),
    })
    expect(seen).to.deep.equal({
      method: 'POST',
      path: '/path?query',
      type: 'application/x-www-form-urlencoded',
      accept: 'application/json',
      body: 'a=b+c&d=%C3%A9%26',
    })
    expect([response.status, response.headers.get('x-one')]).to.deep.equal([401, '1'])
    expect(response.headers.getSetCookie()).to.deep.equal(['a=1', 'b=2'])
    expect(await response.text()).to.equal('ünïcödé')
  })

  for (const status of [301, 302, 303, 307, 308]) {
    it(`gives back ${status} as it is, and follows nothing [ERR-4]`, async () => {
      const paths: (string | undefined)[] = []
      handler = (req, res) => {
        paths.push(req.url)
        res.writeHead(status, { location: '/elsewhere' }).end()
      }
      const response = await transport.fetch(url, {
        ...get,
        method: 'POST',
        body: new URLSearchParams('a=b'),
      })
      expect([response.status, response.headers.get('location')]).to.deep.equal([status, '/elsewhere'])
      expect(paths).to.deep.equal(['/path?query'])
    })
  }

  for (const status of [204, 205, 304]) {
    it(`gives back ${status}, which has no body`, async () => {
      handler = (_req, res) => res.writeHead(status).end()
      const response = await transport.fetch(url, get)
      expect([response.status, await response.text()]).to.deep.equal([status, ''])
    })
  }

  it('uses connections again for requests that follow each other', async () => {
    const ports = new Set<number | undefined>()
    handler = (req, res) => {
      ports.add(req.socket.remotePort)
      res.end('x')
    }
    for (let index = 0; index < 10; index++) await (await transport.fetch(url, get)).text()
    expect(ports.size).to.be.within(1, 2)
  })

  it('rejects an answer of more than a megabyte, with and without a length', async () => {
    for (const length of [{ 'content-length': 1_100_000 }, {}]) {
      handler = (_req, res) => res.writeHead(200, length).end('x'.repeat(1_100_000))
      expect(await failure(transport.fetch(url, get))).to.be.an('error')
    }
    handler = (_req, res) => res.end('x'.repeat(1_000_000))
    expect(await (await transport.fetch(url, get)).text()).to.have.length(1_000_000)
  })

  it('rejects when the answer breaks off, and does not ask again [REQ-16]', async () => {
    let count = 0
    handler = (_req, res) => {
      count++
      res.writeHead(200, { 'content-length': 10 }).write('x', () => res.destroy())
    }
    const error = await failure(
      transport.fetch(url, { ...get, method: 'POST', body: new URLSearchParams('a=b') }),
    )
    expect(error).to.be.an('error')
    expect(wasNeverSent(error)).to.equal(false)
    expect(count).to.equal(1)
  })

  it('rejects when the connection is reset before the answer, and does not ask again [REQ-16]', async () => {
    let count = 0
    handler = (req) => {
      count++
      req.socket.resetAndDestroy()
    }
    const error = await failure(
      transport.fetch(url, { ...get, method: 'POST', body: new URLSearchParams('a=b') }),
    )
    expect(error).to.be.an('error')
    expect(wasNeverSent(error)).to.equal(false)
    expect(count).to.equal(1)
  })

  it('gives up when the signal says so, also in the middle of an answer', async () => {
    for (const begin of [false, true]) {
      const abort = new AbortController()
      handler = (_req, res) => {
        if (begin) res.writeHead(200).write('x')
        setImmediate(() => abort.abort(new Error('time is up')))
      }
      const error = await failure(transport.fetch(url, { ...get, signal: abort.signal }))
      expect(error).to.have.property('message', 'time is up')
      expect(wasNeverSent(error)).to.equal(false)
    }
  })

  it('says of a refused connection that nothing was sent [REQ-16]', async () => {
    const { port } = server.address() as AddressInfo
    await new Promise((resolve) => {
      server.close(resolve)
    })
    const error = await failure(transport.fetch(`http://127.0.0.1:${port}/`, get))
    expect(error).to.have.property('code', 'ECONNREFUSED')
    expect(wasNeverSent(error)).to.equal(true)
    expect(
      wasNeverSent(await failure(transport.fetch(`http://localhost:${port}/`, get))),
      'all addresses',
    ).to.equal(true)
    expect(wasNeverSent(await failure(fetch(`http://127.0.0.1:${port}/`))), 'the global fetch').to.equal(true)
  })
})

describe('wasNeverSent()', () => {
  const coded = (code: string, more: object = {}) => Object.assign(new Error(code), { code, ...more })
  const refused = coded('ECONNREFUSED')
  const lost = coded('ECONNRESET')

  const cases: [string, unknown, boolean][] = [
    ['a refused connection', refused, true],
    ['an unknown name', coded('ENOTFOUND'), true],
    ['no connection in time', coded('UND_ERR_CONNECT_TIMEOUT'), true],
    ['a certificate that has expired', coded('CERT_HAS_EXPIRED'), true],
    ['ETIMEDOUT while connecting', coded('ETIMEDOUT', { syscall: 'connect' }), true],
    ['ETIMEDOUT while reading', coded('ETIMEDOUT', { syscall: 'read' }), false],
    ['a reset', lost, false],
    ['a closed socket', coded('UND_ERR_SOCKET'), false],
    ['no headers in time', coded('UND_ERR_HEADERS_TIMEOUT'), false],
    ['a timeout', new DOMException('time is up', 'TimeoutError'), false],
    ['a cause', new TypeError('fetch failed', { cause: refused }), true],
    ['a cause of a cause', new Error('a', { cause: new Error('b', { cause: refused }) }), true],
    ['a cause that may have been sent', new TypeError('fetch failed', { cause: lost }), false],
    ['every address refused', new AggregateError([refused, coded('ENETUNREACH')], 'all'), true],
    ['one address that may have been reached', new AggregateError([refused, lost], 'all'), false],
    ['no address', new AggregateError([], 'none'), false],
    ['a certificate that the OP misses', coded('ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED'), true],
    ['a certificate that has run out', coded('ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED'), true],
    ['a certificate of a stranger', coded('ERR_SSL_TLSV1_ALERT_UNKNOWN_CA'), true],
    ['a handshake that failed', coded('ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE'), true],
    ['an alert at any time', coded('ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR'), false],
    ['an alert about a damaged record', coded('ERR_SSL_SSLV3_ALERT_BAD_RECORD_MAC'), false],
    ['no error', 'ECONNREFUSED', false],
    ['nothing', undefined, false],
  ]
  for (const [what, error, expected] of cases) {
    it(`is ${expected} for ${what} [REQ-16]`, () => {
      expect(wasNeverSent(error)).to.equal(expected)
    })
  }

  it('comes to an end with an error that is its own cause', () => {
    const error = new Error('a')
    error.cause = error
    expect(wasNeverSent(error)).to.equal(false)
  })
})

describe('retrying()', () => {
  /** Answers each call with the next of `results`, and counts. */
  function scripted(...results: (number | Error)[]): { fetch: CustomFetch; count: () => number } {
    let count = 0
    const fetch: CustomFetch = async () => {
      const result = results[count++]
      if (result === undefined) throw new Error('asked too often')
      if (typeof result !== 'number') throw result
      return new Response(null, { status: result })
    }
    return { fetch, count: () => count }
  }

  const cases: [string, (number | Error)[], number][] = [
    ['200 at once', [200], 1],
    ['404, which another try does not change', [404], 1],
    ['429, which another try makes worse', [429], 1],
    ['500, then 200', [500, 200], 2],
    ['two failures, then 200', [new Error('lost'), 503, 200], 3],
    ['503 three times', [503, 503, 503], 3],
  ]
  for (const [what, results, times] of cases) {
    it(`asks ${times} times: ${what} [CFG-1]`, async () => {
      const { fetch, count } = scripted(...results)
      expect((await retrying(fetch)('https://op.test', get)).status).to.equal(results.at(-1))
      expect(count()).to.equal(times)
    })
  }

  it('rejects with the last failure of three', async () => {
    const { fetch, count } = scripted(new Error('1'), new Error('2'), new Error('3'))
    const error = await retrying(fetch)('https://op.test', get).catch((reason: Error) => reason.message)
    expect([error, count()]).to.deep.equal(['3', 3])
  })

  it('does not try again when the time is up', async () => {
    const abort = new AbortController()
    const fetch: CustomFetch = async (_url, { signal }) => {
      signal?.throwIfAborted()
      abort.abort(new Error('time is up'))
      throw new Error('lost')
    }
    const before = Date.now()
    const attempt = retrying(fetch)('https://op.test', { ...get, signal: abort.signal })
    expect(await attempt.catch((error: Error) => error.message)).to.equal('time is up')
    expect(Date.now() - before, 'no pause before giving up').to.be.below(90)
  })
})
