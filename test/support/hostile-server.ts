/** A server that says whatever a test likes, or never stops saying it. Knows nothing of HTTP but how a request ends. */
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'

export interface HostileServer {
  readonly origin: string
  /** How many requests have come. */
  requests(): number
  /** How much was sent, in bytes, before the other side had enough. */
  sent(): number
  close(): Promise<void>
}

/** @param answer - to a socket from which a request has come */
export async function startHostileServer(answer: (socket: Socket) => void): Promise<HostileServer> {
  const sockets = new Set<Socket>()
  let requests = 0
  let sent = 0
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {}) // it had enough
    socket.once('close', () => {
      sent += socket.bytesWritten
      sockets.delete(socket)
    })
    socket.once('data', () => {
      requests += 1
      answer(socket)
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests: () => requests,
    sent: () => sent,
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

const head = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n'

/** JSON that goes on for ever, as fast as it is read. */
export function endless(socket: Socket): void {
  const chunk = `${(65_536).toString(16)}\r\n${'x'.repeat(65_536)}\r\n`
  const more = () => {
    while (socket.writable && socket.write(chunk));
  }
  socket.on('drain', more)
  socket.write(`${head}7\r\n{"keys"\r\n`)
  more()
}

/** Header after header. */
export function endlessHead(socket: Socket): void {
  const line = `x-header: ${'x'.repeat(8_000)}\r\n`
  const more = () => {
    while (socket.writable && socket.write(line));
  }
  socket.on('drain', more)
  socket.write('HTTP/1.1 200 OK\r\n')
  more()
}

/** A byte now and then, for ever. */
export function trickle(socket: Socket): void {
  socket.write(head)
  const timer = setInterval(() => socket.writable && socket.write('1\r\n \r\n'), 50)
  socket.once('close', () => clearInterval(timer))
}

/** Another protocol. */
export function noHttp(socket: Socket): void {
  socket.end('SSH-2.0-OpenSSH_9.2p1\r\n')
}
