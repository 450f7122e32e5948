/** Starts and stops servers on loopback. Knows nothing of what they serve. */
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'

/** Resolves with the port; rejects when `port` is in use. */
export function listen(server: Server, port: number): Promise<number> {
  // A client cannot tell a connection that ends between two polls, five seconds apart, from a lost request.
  server.keepAliveTimeout = 60_000
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', () => {
      server.off('error', reject)
      resolve((server.address() as AddressInfo).port)
    })
  })
}

/** Ends its connections, too. */
export function stop(server: Server): Promise<void> {
  if (!server.listening) return Promise.resolve()
  return new Promise((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
  })
}
