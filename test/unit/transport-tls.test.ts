import { createPrivateKey, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import type { RequestListener } from 'node:http'
import { createServer, type Server, type ServerOptions } from 'node:https'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import type { TLSSocket } from 'node:tls'
import { expect } from 'chai'
import {
  type ClientCertificate,
  type CustomFetchInit,
  createResourceTransport,
  createTransport,
  type Transport,
  type TransportOptions,
  wasNeverSent,
} from '../../lib/protocol/transport.ts'
import { type TestCertificates, testCertificates } from '../support/certificates.ts'

const post: CustomFetchInit = { method: 'POST', headers: {}, redirect: 'manual', body: 'a=b' }
const fingerprintOf = (pem: string) => new X509Certificate(pem).fingerprint256

for (const create of [createTransport, createResourceTransport]) {
  describe(`${create.name}() by TLS`, () => {
    let certificates: TestCertificates
    let handler: RequestListener
    /** What was shown with each request. */
    let seen: (string | undefined)[]
    const servers: Server[] = []
    const transports: Transport[] = []

    before(async () => {
      certificates = await testCertificates()
    })

    beforeEach(() => {
      seen = []
      handler = (_req, res) => res.end('x')
    })

    afterEach(async () => {
      for (const transport of transports.splice(0)) await transport.close()
      for (const server of servers.splice(0)) {
        server.closeAllConnections()
        await new Promise((resolve) => server.close(resolve))
      }
    })

    async function serve(options: ServerOptions = {}): Promise<string> {
      const { server, ca } = certificates
      const tls = { ...server, ca, requestCert: true, rejectUnauthorized: false, ...options }
      const listening = createServer(tls, (req, res) => {
        seen.push((req.socket as TLSSocket).getPeerCertificate().fingerprint256)
        handler(req, res)
      }).listen(0, '127.0.0.1')
      servers.push(listening)
      await once(listening, 'listening')
      return `https://127.0.0.1:${(listening.address() as AddressInfo).port}/`
    }

    function open(certificate?: ClientCertificate | { ca: string }): Transport {
      const options: TransportOptions = {
        connectTimeoutMs: 5_000,
        certificate: certificate as ClientCertificate | undefined,
      }
      const transport = create(options)
      transports.push(transport)
      return transport
    }
    const failure = (promise: Promise<unknown>): Promise<unknown> =>
      promise.then(
        () => expect.fail('it was answered'),
        (error: unknown) => error,
      )

    it('shows the certificate in every request [AUTH-5, AUTH-6]', async () => {
      const url = await serve()
      const { client, ca } = certificates
      const transport = open({ ...client, ca })
      for (let count = 0; count < 3; count++) {
        expect(await (await transport.fetch(url, post)).text()).to.equal('x')
      }
      expect(seen).to.deep.equal(Array(3).fill(fingerprintOf(client.cert)))
    })

    it('shows none where there is none [AUTH-5]', async () => {
      const url = await serve()
      await open({ ca: certificates.ca }).fetch(url, post)
      expect(seen).to.deep.equal([undefined])
    })

    it('takes Buffers, several authorities and a passphrase [AUTH-5]', async () => {
      const url = await serve()
      const { client, selfSigned, ca } = certificates
      const passphrase = 'a passphrase'
      const format = { type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase } as const
      const key = Buffer.from(createPrivateKey(client.key).export(format))
      const transport = open({
        cert: Buffer.from(client.cert),
        key,
        ca: [selfSigned.cert, Buffer.from(ca)],
        passphrase,
      })
      await transport.fetch(url, post)
      expect(seen).to.deep.equal([fingerprintOf(client.cert)])
    })

    it('sends nothing to a server that nobody vouches for [FAPI-4, REQ-16]', async () => {
      const url = await serve()
      for (const certificate of [undefined, certificates.client, { ca: certificates.selfSigned.cert }]) {
        expect(wasNeverSent(await failure(open(certificate).fetch(url, post)))).to.equal(true)
      }
      expect(seen).to.deep.equal([])
    })

    it('sends nothing to a server by another name [FAPI-4, REQ-16]', async () => {
      const url = await serve({ ...certificates.client })
      const error = await failure(open({ ca: certificates.ca }).fetch(url, post))
      expect(wasNeverSent(error)).to.equal(true)
      expect(seen).to.deep.equal([])
    })

    it('speaks no TLS before 1.2 [FAPI-4]', async () => {
      const url = await serve({ minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' })
      await failure(open({ ca: certificates.ca }).fetch(url, post))
      expect(seen).to.deep.equal([])
    })

    it('knows that a request without the certificate was never looked at, where TLS says so [REQ-16]', async () => {
      const url = await serve({ rejectUnauthorized: true, maxVersion: 'TLSv1.2' })
      const error = await failure(open({ ca: certificates.ca }).fetch(url, post))
      expect(wasNeverSent(error)).to.equal(true)
      expect(seen).to.deep.equal([])
    })

    it('gives back a redirect as it is, and shows the certificate to nobody else [ERR-4]', async () => {
      const { client, ca } = certificates
      const elsewhere = await serve()
      handler = (_req, res) => res.writeHead(307, { location: elsewhere }).end()
      const response = await open({ ...client, ca }).fetch(await serve(), post)
      expect([response.status, response.headers.get('location')]).to.deep.equal([307, elsewhere])
      expect(seen).to.have.length(1)
    })
  })
}

describe('createResourceTransport()', () => {
  let certificates: TestCertificates
  let server: Server
  let url: string
  let transport: Transport
  let handler: RequestListener

  beforeEach(async () => {
    certificates = await testCertificates()
    server = createServer(certificates.server, (req, res) => handler(req, res)).listen(0, '127.0.0.1')
    await once(server, 'listening')
    url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/`
    transport = createResourceTransport({
      connectTimeoutMs: 5_000,
      certificate: { ...certificates.client, ca: certificates.ca },
    })
  })

  afterEach(async () => {
    await transport.close()
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })

  it('gives answers of any size, as they come', async () => {
    handler = (_req, res) => res.end('x'.repeat(3_000_000))
    expect(await (await transport.fetch(url, { ...post, method: 'POST' })).text()).to.have.length(3_000_000)
    let finish = () => {}
    handler = (_req, res) => {
      res.write('first')
      finish = () => res.end('last')
    }
    const { body } = await transport.fetch(url, post)
    const reader = body?.getReader() ?? expect.fail('no body')
    expect(Buffer.from((await reader.read()).value ?? []).toString()).to.equal('first')
    finish()
    expect(Buffer.from((await reader.read()).value ?? []).toString()).to.equal('last')
  })

  it('sends bodies of every kind', async () => {
    handler = async (req, res) => res.end(`${req.headers['content-type'] ?? ''}|${await text(req)}`)
    const send = async (body: CustomFetchInit['body'], more = {}) =>
      (await transport.fetch(url, { ...post, body: body as never, ...more })).text()
    expect(await send(Buffer.from('bytes'))).to.equal('|bytes')
    expect(await send(new URLSearchParams({ a: 'b c' }))).to.match(
      /^application\/x-www-form-urlencoded.*\|a=b\+c$/,
    )
    expect(await send(new Blob(['blob'], { type: 'text/plain' }))).to.equal('text/plain|blob')
    expect(await send(new Blob(['stream']).stream(), { duplex: 'half' })).to.equal('|stream')
  })
})
