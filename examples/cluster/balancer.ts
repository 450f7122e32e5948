/**
 * A small reverse proxy: whoever has waited longest for a request gets the next one, so that a browser hardly ever meets
 * the same instance twice. Knows instances by their ports only.
 */
import { type IncomingHttpHeaders, type IncomingMessage, request, type ServerResponse } from 'node:http'
import { pipeline } from 'node:stream'

/** Who takes requests. */
export interface Upstream {
  readonly port: number
}

/** They concern one connection, not the next one (RFC 9110 §7.6.1). */
const HOP_BY_HOP = ['connection', 'keep-alive', 'proxy-connection', 'upgrade']

export class Balancer<Instance extends Upstream> {
  readonly #living: () => readonly Instance[]
  readonly #onRequest: (instance: Instance, method: string, path: string) => void
  /** When each was last asked, in turns. */
  readonly #askedAt = new WeakMap<Instance, number>()
  #turn = 0

  constructor(
    living: () => readonly Instance[],
    onRequest: (instance: Instance, method: string, path: string) => void,
  ) {
    this.#living = living
    this.#onRequest = onRequest
  }

  /** A `RequestListener`. */
  readonly handle = (req: IncomingMessage, res: ServerResponse): void => {
    const askedAt = (instance: Instance) => this.#askedAt.get(instance) ?? 0
    this.#ask(
      this.#living().toSorted((one, other) => askedAt(one) - askedAt(other)),
      req,
      res,
    )
  }

  #ask([instance, ...others]: readonly Instance[], req: IncomingMessage, res: ServerResponse): void {
    if (!instance) {
      refuse(res, 503, 'No instance is up. Try again soon.')
      return
    }
    this.#askedAt.set(instance, ++this.#turn)
    const { method = 'GET', url: path = '/' } = req
    const headers = forwarded(req)
    // A connection for each request: what is refused was never sent, so that another instance may get it.
    const attempt = request({ host: '127.0.0.1', port: instance.port, method, path, headers, agent: false })
    attempt.once('socket', (socket) => {
      socket.once('connect', () => {
        this.#onRequest(instance, method, path)
        req.pipe(attempt)
      })
    })
    attempt.on('error', (error: NodeJS.ErrnoException) => {
      if (res.destroyed) return
      if (error.code === 'ECONNREFUSED') this.#ask(others, req, res)
      // It may have done what it was asked to: whether to ask again is up to the browser.
      else refuse(res, 502, 'The instance has not answered. Try again.')
    })
    attempt.once('response', (answer) => {
      res.writeHead(answer.statusCode ?? 502, endToEnd(answer.headers))
      pipeline(answer, res, () => {})
    })
    res.once('close', () => attempt.destroy())
  }
}

function refuse(res: ServerResponse, status: number, text: string): void {
  if (res.headersSent) res.destroy()
  else res.writeHead(status, { 'Content-Type': 'text/plain', 'Retry-After': '1' }).end(text)
}

/** Overwrites what the browser may have said about itself. */
function forwarded(req: IncomingMessage): IncomingHttpHeaders {
  return {
    ...endToEnd(req.headers),
    'x-forwarded-for': req.socket.remoteAddress,
    'x-forwarded-host': req.headers.host,
    'x-forwarded-proto': 'http',
  }
}

function endToEnd(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !HOP_BY_HOP.includes(name)))
}
