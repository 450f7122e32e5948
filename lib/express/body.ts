/**
 * Reads the small JSON and form bodies of our routes, whether or not the app has parsed them already. Knows
 * nothing of what is in them.
 */

import type { Request } from 'express'
import { CibaError } from '../errors.ts'

/** Which media types a route takes. */
export type BodyType = 'json' | 'form'

const mediaTypes: Record<BodyType, string> = {
  json: 'application/json',
  form: 'application/x-www-form-urlencoded',
}
const largestBodyBytes = 16 * 1024
/** Tokens may be long, above all encrypted ones. */
export const largestPushBytes: number = 64 * 1024

/**
 * The parsed body, an object.
 *
 * Rejects with a {@link CibaError}: 413 `ERR_CIBA_BODY_TOO_LARGE`, 415 `ERR_CIBA_UNSUPPORTED_MEDIA_TYPE`, 400
 * `ERR_CIBA_INVALID_REQUEST`.
 */
export async function readBody(
  req: Request,
  types: readonly BodyType[],
  mostBytes: number = largestBodyBytes,
): Promise<Record<string, unknown>> {
  const said = req.headers['content-length']
  if (Number(said ?? 0) > mostBytes) throw tooLarge(mostBytes)
  const parsed: unknown = req.body
  const isConsumed = req.readableDidRead || req.readableEnded
  // body-parser 1 leaves an empty object where it did not read anything.
  const isParsed = isConsumed || (parsed !== undefined && !isEmptyObject(parsed))
  const type = mediaTypeOf(req, types)
  if (isParsed && !isText(parsed)) {
    // Of a body in chunks nobody knows the size any more.
    if (said === undefined && sizeOf(parsed ?? {}) > mostBytes) throw tooLarge(mostBytes)
    return asObject(parsed ?? {})
  }
  const bytes = isParsed ? Buffer.from(parsed as string | Buffer) : await readBytes(req, mostBytes)
  if (bytes.length > mostBytes) throw tooLarge(mostBytes)
  if (bytes.length === 0) return {}
  if (type === undefined) throw unsupported(types)
  return parse(bytes, type)
}

/** Nested deeper than the engine can write it, a body is too large as well. */
function sizeOf(parsed: unknown): number {
  try {
    return JSON.stringify(parsed).length
  } catch {
    return Number.POSITIVE_INFINITY
  }
}

/** `undefined` if the request does not say; a body then is not acceptable, an empty one is. */
function mediaTypeOf({ headers }: Request, types: readonly BodyType[]): BodyType | undefined {
  const [essence = '', ...parameters] = (headers['content-type'] ?? '').split(';').map((part) => part.trim())
  if (essence === '') return undefined
  const type = types.find((candidate) => mediaTypes[candidate] === essence.toLowerCase())
  const charset = parameters.find((parameter) => /^charset=/i.test(parameter))
  const encoding = headers['content-encoding'] ?? 'identity'
  if (
    type === undefined ||
    encoding.toLowerCase() !== 'identity' ||
    (charset && !/^charset="?utf-?8"?$/i.test(charset))
  ) {
    throw unsupported(types)
  }
  return type
}

async function readBytes(req: Request, mostBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let length = 0
  // Not for await: leaving that early destroys the socket, and with it the answer.
  await new Promise<void>((resolve, reject) => {
    // At once, and not when the promise is done: every request closes at last, and nobody shall make an error of that.
    const settle = (act: () => void) => {
      req.off('data', take).off('end', finish).off('error', breakOff).off('close', breakOff)
      act()
    }
    const finish = () => settle(resolve)
    const breakOff = () =>
      settle(() => reject(new CibaError('ERR_CIBA_INVALID_REQUEST', 'the request broke off')))
    const take = (chunk: Buffer) => {
      length += chunk.length
      if (length <= mostBytes) chunks.push(chunk)
      else settle(() => reject(tooLarge(mostBytes)))
    }
    req.on('data', take).on('end', finish).on('error', breakOff).on('close', breakOff)
  })
  return chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks)
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

function parse(bytes: Buffer, type: BodyType): Record<string, unknown> {
  let text: string
  try {
    text = utf8.decode(bytes)
  } catch {
    throw new CibaError('ERR_CIBA_INVALID_REQUEST', 'the body is not UTF-8')
  }
  if (type === 'form') return Object.fromEntries(new URLSearchParams(text))
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new CibaError('ERR_CIBA_INVALID_REQUEST', 'the body is not JSON')
  }
  return asObject(value)
}

function asObject(value: unknown): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>
  throw new CibaError('ERR_CIBA_INVALID_REQUEST', 'the body must be a JSON object or a form')
}

function isText(value: unknown): value is string | Buffer {
  return typeof value === 'string' || Buffer.isBuffer(value)
}

function isEmptyObject(value: unknown): boolean {
  return (
    typeof value === 'object' && value !== null && !Buffer.isBuffer(value) && Object.keys(value).length === 0
  )
}

function tooLarge(mostBytes: number): CibaError {
  return new CibaError('ERR_CIBA_BODY_TOO_LARGE', `the body is larger than ${mostBytes} bytes`)
}

function unsupported(types: readonly BodyType[]): CibaError {
  const accepted = types.map((type) => mediaTypes[type]).join(' or ')
  return new CibaError('ERR_CIBA_UNSUPPORTED_MEDIA_TYPE', `the body must be ${accepted}, in UTF-8`)
}
