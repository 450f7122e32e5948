/**
 * HTTP without a network: one exchange between a browser, or an OP, and an app in this process, which may break at any
 * moment. Node's own requests and responses on both ends of nothing. Knows nothing of what is asked.
 */
import { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'

export interface Ask {
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly cookie?: string | undefined
  readonly authorization?: string
  readonly body?: object
}

export interface Answer {
  readonly status: number
  readonly body: Record<string, unknown>
  /** The session cookie that it sets. */
  readonly cookie?: string
}

/** What carries the bytes; `holdMs` keeps the answer from leaving. */
class Wire extends Duplex {
  readonly chunks: string[] = []
  readonly #whenSent: (sent: () => void) => void

  constructor(whenSent: (sent: () => void) => void) {
    super()
    this.#whenSent = whenSent
  }

  override _read(): void {}

  override _write(chunk: Buffer | string, _encoding: string, done: () => void): void {
    this.chunks.push(String(chunk))
    this.#whenSent(done)
  }
}

/** An app as `http.createServer()` takes it. */
export type App = (req: IncomingMessage, res: ServerResponse) => void

/** One request under way. */
export class Exchange {
  /** The whole answer, when its last byte has left. Never, if it breaks before. */
  readonly sent: Promise<Answer>
  readonly #wire: Wire

  /** @param whenSent - decides when bytes have left */
  constructor(app: App, ask: Ask, whenSent: (sent: () => void) => void) {
    const wire = new Wire(whenSent)
    this.#wire = wire
    const req = requestOf(ask, wire)
    const res = new ServerResponse(req)
    res.assignSocket(wire as unknown as Socket)
    this.sent = new Promise((resolve) => {
      res.once('finish', () => {
        resolve(answerOf(res, wire))
        wire.destroy() // and the response learns that it is over
      })
    })
    app(req, res)
  }

  /** Whoever asked has gone. */
  abort(): void {
    this.#wire.destroy()
  }
}

function requestOf({ method, path, cookie, authorization, body }: Ask, wire: Wire): IncomingMessage {
  const req = new IncomingMessage(wire as unknown as Socket)
  const text = body && JSON.stringify(body)
  const headers: Record<string, string> = {
    host: 'app.test',
    ...(cookie !== undefined && { cookie }),
    ...(authorization !== undefined && { authorization }),
    ...(text !== undefined && {
      'content-type': 'application/json',
      'content-length': String(Buffer.byteLength(text)),
    }),
  }
  const headersDistinct = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value]]))
  Object.assign(req, { method, url: path, httpVersion: '1.1', httpVersionMajor: 1, httpVersionMinor: 1 })
  Object.assign(req, { headers, headersDistinct, complete: true })
  if (text !== undefined) req.push(text)
  req.push(null)
  return req
}

function answerOf(res: ServerResponse, { chunks }: Wire): Answer {
  const text = chunks.join('')
  const body = text.slice(text.indexOf('\r\n\r\n') + 4)
  const set = res.getHeader('set-cookie') as string | string[] | undefined
  const cookie = [set ?? []].flat()[0]?.split(';', 1)[0]
  return {
    status: res.statusCode,
    body: body.startsWith('{') ? (JSON.parse(body) as Record<string, unknown>) : { text: body },
    ...(cookie !== undefined && { cookie }),
  }
}
