/** The balancer of `npm start cluster`: whom it asks, what it says of the browser, and what it does about the dead. */
import { once } from 'node:events'
import { createServer, type RequestListener, request, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect } from 'chai'
import { Balancer, type Upstream } from '../../examples/cluster/balancer.ts'

describe('the balancer of npm start cluster', () => {
  const servers: Server[] = []
  let instances: Upstream[]

  beforeEach(() => {
    instances = []
  })
  afterEach(() => {
    for (const server of servers.splice(0)) {
      server.close()
      server.closeAllConnections()
    }
  })

  async function listen(listener: RequestListener): Promise<number> {
    const server = createServer(listener)
    servers.push(server)
    await once(server.listen(0, '127.0.0.1'), 'listening')
    return (server.address() as AddressInfo).port
  }

  const start = async (listener: RequestListener) => {
    const instance = { port: await listen(listener) }
    instances.push(instance)
    return instance
  }
  const named = (name: string) => start((_req, res) => res.end(name))
  const balance = async () =>
    `http://127.0.0.1:${await listen(
      new Balancer(
        () => instances,
        () => {},
      ).handle,
    )}`

  /** A port at which nobody listens any more. */
  async function dead(): Promise<Upstream> {
    const port = await listen(() => {})
    const server = servers.pop() as Server
    server.close()
    await once(server, 'close')
    return { port }
  }

  const answers = async (url: string, times: number) => {
    const texts: string[] = []
    while (texts.length < times) texts.push(await (await fetch(url)).text())
    return texts.join('')
  }

  it('asks all in turn, also when one goes and comes back', async () => {
    const [, b] = [await named('a'), await named('b'), await named('c')]
    const url = await balance()
    expect(await answers(url, 5)).to.equal('abcab')
    instances = instances.filter((one) => one !== b)
    expect(await answers(url, 3)).to.equal('cac')
    await named('d')
    expect(await answers(url, 4)).to.equal('dacd')
  })

  it('asks the next one when nobody listens, with the whole body', async () => {
    instances.push(await dead(), await dead())
    await start((req, res) => req.pipe(res))
    const body = 'x'.repeat(100_000)
    expect(await (await fetch(await balance(), { method: 'POST', body })).text()).to.equal(body)
  })

  it('asks nobody else once an instance has the request', async () => {
    await start((req) => req.socket.destroy())
    let asked = 0
    await start((_req, res) => res.end(String(++asked)))
    const { status } = await fetch(await balance(), { method: 'POST', body: 'once' })
    expect([status, asked]).to.deep.equal([502, 0])
  })

  it('answers 503 when there is nobody', async () => {
    const { status, headers } = await fetch(await balance())
    expect([status, headers.get('retry-after')]).to.deep.equal([503, '1'])
  })

  it('cuts off an answer that its instance has not finished', async () => {
    await start((req, res) => {
      res.writeHead(200, { 'content-length': '10' }).write('half', () => req.socket.destroy())
    })
    const answer = await fetch(await balance())
    expect(await answer.text().catch(() => 'cut off')).to.equal('cut off')
  })

  it('says where the request came from, whatever it says itself, and keeps cookies apart', async () => {
    await start(({ headers }, res) => {
      res.setHeader('set-cookie', ['a=1', 'b=2']).end(JSON.stringify(headers))
    })
    const url = await balance()
    const forged = { 'x-forwarded-for': '10.0.0.1', 'x-forwarded-host': 'evil', 'x-forwarded-proto': 'https' }
    const answer = await fetch(url, { headers: forged })
    expect(answer.headers.getSetCookie()).to.deep.equal(['a=1', 'b=2'])
    expect(await answer.json()).to.include({
      host: new URL(url).host,
      'x-forwarded-host': new URL(url).host,
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'http',
    })
  })

  it('lets go of the instance when the browser goes', async () => {
    let gone: Promise<unknown> | undefined
    const asked = new Promise<void>((resolve) => {
      void start((req) => {
        gone = once(req.socket, 'close')
        resolve()
      })
    })
    const browser = request(await balance())
    browser.on('error', () => {})
    browser.end()
    await asked
    browser.destroy()
    await gone
  })
})
