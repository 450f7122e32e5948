/**
 * The load generator: requests that are bytes before the clock starts, over connections that stay open. Knows nothing of what
 * is asked, only what has to be in the answers.
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/** One request as an app's client would send it. */
export interface Wire {
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  /** JSON. */
  readonly body: object
}

/** What every answer must be. */
export interface Expected {
  readonly status: number
  /** Somewhere in headers or body. */
  readonly text?: string
}

/** What a run came to. */
export interface Run {
  readonly count: number
  readonly seconds: number
}

export function wire(origin: string, { path, headers = {}, body }: Wire): Buffer {
  const text = JSON.stringify(body)
  const all = {
    Host: new URL(origin).host,
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(text),
    ...headers,
  }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
  return Buffer.from(`POST ${path} HTTP/1.1\r\n${lines.join('')}\r\n${text}`)
}

/** One connection that carries one request at a time. */
export class Connection {
  readonly #socket: Socket
  #received = ''
  #resolve: ((answer: string) => void) | undefined
  #reject: ((error: Error) => void) | undefined

  constructor(origin: string) {
    const { hostname, port } = new URL(origin)
    this.#socket = connect({ host: hostname, port: Number(port), noDelay: true })
    this.#socket.setEncoding('latin1')
    this.#socket.on('data', (chunk: string) => this.#take(chunk))
    this.#socket.on('error', (error) => this.#reject?.(error))
    this.#socket.on('close', () => this.#reject?.(new Error('the server has closed the connection')))
  }

  async open(): Promise<this> {
    await once(this.#socket, 'connect')
    return this
  }

  /** Resolves to the whole answer, in Latin-1. */
  send(request: Buffer): Promise<string> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
      this.#socket.write(request)
    })
  }

  close(): void {
    this.#reject = undefined
    this.#socket.destroy()
  }

  #take(chunk: string): void {
    const text = this.#received + chunk
    const end = text.indexOf('\r\n\r\n')
    const length = end < 0 ? undefined : /\r\ncontent-length: (\d+)/i.exec(text.slice(0, end))?.[1]
    if (end < 0 || text.length < end + 4 + Number(length ?? 0)) {
      this.#received = text
      return
    }
    this.#received = ''
    this.#reject = undefined
    this.#resolve?.(text)
  }
}

/** Many connections to one server. */
export class Load {
  readonly #connections: readonly Connection[]

  private constructor(connections: readonly Connection[]) {
    this.#connections = connections
  }

  static async open(origin: string, connections = 32): Promise<Load> {
    const opened = Array.from({ length: connections }, () => new Connection(origin).open())
    return new Load(await Promise.all(opened))
  }

  /** Sends for so long, each connection its share of the requests over and over. */
  forTime(requests: readonly Buffer[], durationMs: number, expected: Expected): Promise<Run> {
    const until = performance.now() + durationMs
    return this.#run(requests, expected, (sent, share) =>
      performance.now() < until ? share[sent % share.length] : undefined,
    )
  }

  /** Sends each request once. */
  once(requests: readonly Buffer[], expected: Expected): Promise<Run> {
    return this.#run(requests, expected, (sent, share) => share[sent])
  }

  close(): void {
    for (const connection of this.#connections) connection.close()
  }

  async #run(
    requests: readonly Buffer[],
    expected: Expected,
    next: (sent: number, share: readonly Buffer[]) => Buffer | undefined,
  ): Promise<Run> {
    const start = `HTTP/1.1 ${expected.status} `
    const text = expected.text ?? start
    const shares = this.#connections.map((_, index) =>
      requests.filter((_request, number) => number % this.#connections.length === index),
    )
    let count = 0
    const from = performance.now()
    await Promise.all(
      this.#connections.map(async (connection, index) => {
        const share = shares[index] ?? []
        let request = next(0, share)
        for (let sent = 1; request; sent++) {
          const answer = await connection.send(request)
          if (!answer.startsWith(start) || !answer.includes(text)) throw new Error(`unexpected: ${answer}`)
          count++
          request = next(sent, share)
        }
      }),
    )
    return { count, seconds: (performance.now() - from) / 1000 }
  }
}
