/**
 * Sends one HTTP request just as a test describes it, on a connection of its own. Knows nothing of what is in it.
 */
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { request as requestByTls } from 'node:https'
import { text } from 'node:stream/consumers'

export interface PingOptions {
  /** Instead of the token of the backchannel call; `''` sends no Authorization header. */
  token?: string
  /** Whose token to send, and what to name. The most recent call if nothing was acknowledged with it (yet). */
  authReqId?: string
  /** The whole body, e.g. of a push. */
  body?: string
  /** `''` sends no Content-Type header. */
  contentType?: string
  method?: string
  /** Added last; an array is sent as several header lines. */
  headers?: Record<string, string | readonly string[]>
}

export interface Pong {
  readonly status: number
  readonly headers: Headers
  readonly text: string
}

interface Message {
  readonly method: string
  readonly headers: Readonly<Record<string, string | readonly string[]>>
  readonly body: string
  readonly signal?: AbortSignal
}

export async function send(url: string, { method, headers, body, signal }: Message): Promise<Pong> {
  const options = { method, agent: false, ...(signal && { signal }) } as const
  // The conformance suite takes any certificate, too [PING-18].
  const sent = url.startsWith('https:')
    ? requestByTls(url, { ...options, rejectUnauthorized: false })
    : request(url, options)
  sent.on('error', () => {}) // after the answer, e.g. to a body that was not read to its end
  for (const [name, value] of Object.entries(headers)) sent.setHeader(name, value)
  sent.end(body)
  const [res] = (await once(sent, 'response')) as [IncomingMessage]
  const lines = Object.entries(res.headersDistinct).flatMap(([name, values = []]) =>
    values.map((value): [string, string] => [name, value]),
  )
  return { status: res.statusCode ?? 0, headers: new Headers(lines), text: await text(res) }
}
