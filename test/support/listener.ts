/**
 * One port on loopback, plain or by TLS, that can be given up and taken again. Knows nothing of what is served.
 */
import { once } from 'node:events'
import { createServer as createPlain, type IncomingMessage, type RequestListener } from 'node:http'
import { createServer as createTls } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'

type Pem = string | Buffer

export interface TlsOptions {
  readonly cert: Pem
  readonly key: Pem
  /** Whose client certificates are good. */
  readonly ca?: Pem | Pem[]
  /** Asks for a client certificate. */
  readonly requestCert?: boolean
  /** Ends the connection of a client without a good certificate. @default false: whatever it shows is recorded */
  readonly rejectUnauthorized?: boolean
  /** For the name in the certificate. @default '127.0.0.1' */
  readonly host?: string
}

export class Listener {
  readonly #server
  readonly #base: string
  #port = 0

  constructor(serve: RequestListener, tls?: TlsOptions) {
    const { host = '127.0.0.1', ...options } = tls ?? {}
    this.#base = `${tls ? 'https' : 'http'}://${host}`
    this.#server = tls ? createTls({ rejectUnauthorized: false, ...options }, serve) : createPlain(serve)
    // An idle connection must not end between two polls: the client could not tell it from a lost request.
    Object.assign(this.#server, { keepAliveTimeout: 600_000, requestTimeout: 0 })
  }

  get origin(): string {
    return `${this.#base}:${this.#port}`
  }

  /** Listens, again on the same port. */
  async up(): Promise<void> {
    this.#server.listen(this.#port, '127.0.0.1')
    await once(this.#server, 'listening')
    this.#port = (this.#server.address() as AddressInfo).port
  }

  /** Ends all connections and refuses new ones. */
  async down(): Promise<void> {
    if (!this.#server.listening) return
    const closed = once(this.#server, 'close')
    this.#server.close()
    this.#server.closeAllConnections()
    await closed
  }
}

/** SHA-256 fingerprint of the certificate that the client showed, as Node writes it: `AB:CD:…`. */
export function fingerprintOf({ socket }: IncomingMessage): string | undefined {
  return 'getPeerCertificate' in socket
    ? (socket as TLSSocket).getPeerCertificate().fingerprint256
    : undefined
}
