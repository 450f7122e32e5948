/**
 * HTTP to the OP, behind oauth4webapi's `customFetch`. Knows nothing of what is sent.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { rootCertificates } from 'node:tls'
import { Agent, request, fetch as undiciFetch } from 'undici'
import { CibaError } from '../errors.ts'

/** What a {@link CustomFetch} is asked to send; a subset of `RequestInit`. */
export interface CustomFetchInit {
  readonly method: string
  readonly headers: Record<string, string>
  /** A form for everything but `req.ciba.fetch()`, which passes on what the app gave. */
  readonly body?: RequestInit['body']
  /** Goes with a `body` that is a stream. */
  readonly duplex?: 'half' | undefined
  /** Redirects must come back as they are: credentials stay at the endpoint that was configured [ERR-4]. */
  readonly redirect: 'manual'
  readonly signal?: AbortSignal | undefined
}

/** Sends one request to the OP. The global `fetch` fits, and so does undici's with a dispatcher. */
export type CustomFetch = (url: string, init: CustomFetchInit) => Promise<Response>

/** A client certificate, as Node.js takes it: PEM (RFC 8705). */
export interface ClientCertificate {
  readonly cert: string | Buffer
  readonly key: string | Buffer
  /** Who may have signed the certificate of the OP; by default whom Node.js trusts. */
  readonly ca?: string | Buffer | readonly (string | Buffer)[] | undefined
  /** Of `key`. */
  readonly passphrase?: string | undefined
}

/** How connections are made. */
export interface TransportOptions {
  readonly connectTimeoutMs: number
  readonly certificate?: ClientCertificate | undefined
}

/** A {@link CustomFetch} with connections to let go of. */
export interface Transport {
  readonly fetch: CustomFetch
  close(): Promise<void>
}

/** No answer of an OP is anywhere near this size; a longer one is cut off with an error. */
const largestAnswerBytes = 1024 * 1024
const connectionsPerOrigin = 256

/**
 * Keeps connections alive and reads whole answers of bounded size. Through `undici.request()`, since it costs a
 * third of the CPU of the global `fetch`; it follows no redirects.
 */
export function createTransport(options: TransportOptions): Transport {
  const agent = createAgent(options, { maxResponseSize: largestAnswerBytes })
  return {
    async fetch(url, { method, headers, body, signal }) {
      const answer = await untilAborted(
        request(url, {
          dispatcher: agent,
          method: method as 'GET' | 'POST',
          // Nothing here would decompress.
          headers: { ...headers, 'accept-encoding': 'identity' },
          ...(body ? { body: String(body) } : {}),
          ...(signal === undefined ? {} : { signal }),
        }),
        signal,
      )
      const text = await answer.body.text()
      return wholeResponse(text, { status: answer.statusCode, headers: toHeaders(answer.headers) })
    },
    // Whoever waited for an answer has been let go before.
    close: () => agent.destroy(),
  }
}

/**
 * A response that has been read to its end. The streams that a `Response` puts around a text, only to read it again, are
 * what costs most about it; whoever reads OP answers asks for text or JSON.
 */
function wholeResponse(text: string, init: ResponseInit): Response {
  return Object.assign(new Response(null, init), {
    text: async () => text,
    json: async () => JSON.parse(text) as unknown,
    clone: () => wholeResponse(text, init),
  })
}

/** For protected resources: whole `fetch` semantics, and answers of any size that are read as they come. */
export function createResourceTransport(options: TransportOptions): Transport {
  const { ca, ...certificate } = options.certificate ?? {}
  // A private authority of the OP's says nothing about those of others.
  const authorities = ca && { ca: [...rootCertificates, ...[ca].flat()] }
  const agent = createAgent(
    { ...options, certificate: { ...certificate, ...authorities } as ClientCertificate },
    { headersTimeout: 0, bodyTimeout: 0 },
  )
  return {
    async fetch(url, init) {
      type Init = NonNullable<Parameters<typeof undiciFetch>[1]>
      const response = await undiciFetch(url, { ...(init as unknown as Init), dispatcher: agent })
      return response as unknown as Response
    },
    close: () => agent.destroy(),
  }
}

function createAgent(
  { connectTimeoutMs, certificate }: TransportOptions,
  limits: Pick<Agent.Options, 'maxResponseSize' | 'headersTimeout' | 'bodyTimeout'> = {},
): Agent {
  const connect = { ...(certificate as object | undefined), timeout: connectTimeoutMs }
  return new Agent({ ...limits, connections: connectionsPerOrigin, connect })
}

/** undici looks at the signal only once it has a connection; a request may have to queue for one. */
async function untilAborted<Result>(
  result: Promise<Result>,
  signal: AbortSignal | undefined,
): Promise<Result> {
  if (signal === undefined) return result
  let abort: () => void = () => {}
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason as Error)
  })
  signal.addEventListener('abort', abort)
  try {
    return await Promise.race([result, aborted])
  } finally {
    signal.removeEventListener('abort', abort)
    result.catch(() => {}) // it fails too, later
  }
}

function toHeaders(raw: Record<string, string | string[] | undefined>): Headers {
  const headers = new Headers()
  for (const [name, value] of Object.entries(raw)) {
    for (const one of Array.isArray(value) ? value : [value]) if (one !== undefined) headers.append(name, one)
  }
  return headers
}

/**
 * Tries a failed GET again, by default twice: discovery and the OP's keys are asked for at moments when a login hangs on
 * them, and asking twice does no harm. Never for the requests that may prompt a person [REQ-16].
 */
export function retrying(
  fetch: CustomFetch,
  pausesMs: readonly number[] = [100, 400],
  isGood: (response: Response) => boolean | Promise<boolean> = ({ status }) => status < 500,
): CustomFetch {
  return async (url, init) => {
    for (const pauseMs of pausesMs) {
      try {
        const response = await fetch(url, init)
        if (await isGood(response)) return response
      } catch {
        if (init.signal?.aborted) throw init.signal.reason
      }
      const options = init.signal ? { signal: init.signal } : {}
      await sleep(pauseMs, undefined, options).catch(() => {
        throw init.signal?.reason
      })
    }
    return fetch(url, init)
  }
}

/** Seconds after which an OP that is away is worth another try. */
export const retryAfterSeconds = 5

/** Nobody was asked, since nothing reached the OP. */
export function unreachable(cause: unknown): CibaError {
  return new CibaError('ERR_CIBA_OP_UNREACHABLE', 'the OP cannot be reached', {
    cause,
    retryAfter: retryAfterSeconds,
  })
}

/** Errors of the time before a request leaves: names, routes, ports and certificates. */
const beforeSending = new Set([
  'EAI_AGAIN',
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'UND_ERR_CONNECT_TIMEOUT',
  'CERT_HAS_EXPIRED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
])

/**
 * The OP does not like our certificate, or that we have none: it never looked at the request [AUTH-5]. Other alerts can
 * end a connection at any time.
 */
const certificateAlert =
  /^ERR_SSL_[\w/]+_ALERT_(?:\w*CERTIFICATE\w*|UNKNOWN_CA|ACCESS_DENIED|HANDSHAKE_FAILURE|PROTOCOL_VERSION)$/

/**
 * Whether a failed request certainly never reached the OP, so that nobody was asked and trying again is safe
 * [REQ-16]. In doubt it did.
 */
export function wasNeverSent(error: unknown): boolean {
  for (let at = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    const { code, syscall } = at as NodeJS.ErrnoException
    if (code !== undefined && (beforeSending.has(code) || (code === 'ETIMEDOUT' && syscall === 'connect'))) {
      return true
    }
    if (certificateAlert.test(code ?? '')) return true
    if (at instanceof AggregateError && at.errors.length > 0 && at.errors.every(wasNeverSent)) return true
  }
  return false
}
