/** A long way to a server: everything arrives late, in both directions. Knows nothing of what passes. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

export interface SlowProxy {
  readonly port: number
  close(): Promise<void>
}

/** @param path - of the server's socket */
export async function startSlowProxy(path: string, delayMs: number): Promise<SlowProxy> {
  const sockets = new Set<Socket>()
  const pass = (from: Socket, to: Socket) => {
    sockets.add(from)
    from.on('data', (chunk) => setTimeout(() => to.writable && to.write(chunk), delayMs))
    from.once('close', () => {
      sockets.delete(from)
      to.destroy()
    })
    from.on('error', () => {}) // it closes
  }
  const server = createServer((socket) => {
    const far = connect(path)
    pass(socket, far)
    pass(far, socket)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
