/**
 * Requests by the thousand, over sockets that know no more of HTTP than where an answer begins: whoever sends them must be
 * faster than who answers. Knows nothing of what is asked.
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/** How often each status was answered. */
export type Statuses = Record<number, number>

export interface FloodOptions {
  /** @default 20 */
  readonly connections?: number
  /** Requests that are sent on each connection before their answers come. @default 25 */
  readonly ahead?: number
}

/** Sends `count` requests, which `make` writes, and resolves when all are answered. */
export async function flood(
  origin: string,
  count: number,
  make: (n: number) => string,
  { connections = 20, ahead = 25 }: FloodOptions = {},
): Promise<Statuses> {
  const statuses: Statuses = {}
  let next = 0
  async function send(): Promise<void> {
    const wire = await open(origin)
    while (next < count) {
      const batch = Math.min(ahead, count - next)
      const from = next
      next += batch
      wire.socket.write(Array.from({ length: batch }, (_, n) => make(from + n)).join(''))
      for (const status of await wire.answers(batch)) statuses[status] = (statuses[status] ?? 0) + 1
    }
    wire.socket.destroy()
  }
  await Promise.all(Array.from({ length: connections }, send))
  return statuses
}

/** One connection, from which answers come. */
export interface Wire {
  readonly socket: Socket
  /** The statuses of the next answers; rejects when the connection ends before. */
  answers(count: number): Promise<number[]>
  /** What has come. */
  readonly text: string
  /** The next answer, as soon as the end of its JSON has come. */
  whole(): Promise<string>
}

export async function open(origin: string): Promise<Wire> {
  const { hostname, port } = new URL(origin)
  const socket = connect(Number(port), hostname)
  let text = ''
  let statuses: number[] = []
  let wake = () => {}
  socket
    .setEncoding('latin1')
    .on('error', () => {}) // it closes, too
    .on('close', () => wake())
    .on('data', (chunk: string) => {
      text += chunk
      statuses = [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => Number(status))
      wake()
    })
  await once(socket, 'connect')
  async function have(enough: () => boolean): Promise<{ text: string; statuses: number[] }> {
    while (!enough()) {
      if (socket.destroyed) throw new Error(`the connection has ended: ${text}`)
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
    const had = { text, statuses }
    text = ''
    statuses = []
    return had
  }
  return {
    socket,
    get text() {
      return text
    },
    async answers(count) {
      return (await have(() => statuses.length >= count)).statuses
    },
    async whole() {
      return (await have(() => text.endsWith('}'))).text
    },
  }
}

/** A POST as it goes over the wire. */
export function post(path: string, body: string, headers: Readonly<Record<string, string>> = {}): string {
  const lines = Object.entries({
    host: 'app.test',
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(body)),
    ...headers,
  }).map(([name, value]) => `${name}: ${value}\r\n`)
  return `POST ${path} HTTP/1.1\r\n${lines.join('')}\r\n${body}`
}
