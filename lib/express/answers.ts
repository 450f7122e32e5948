/**
 * How our routes answer: JSON that is never stored, and one form for all errors. Knows nothing of what is asked.
 */

import type { NextFunction, Request, Response } from 'express'
import { CibaError } from '../errors.ts'

/** Seconds: what a 503 says when nobody knows better. */
const soon = 5

/**
 * Sends `body` as JSON; nothing that we say may be cached [SEC-8]. Not by `res.json()`, which would compute an `ETag` for what
 * nobody may keep, and look at the app's settings of how its own JSON is to look.
 */
export function sendJson(res: Response, status: number, body: object): void {
  const bytes = Buffer.from(JSON.stringify(body))
  res.statusCode = status
  res.setHeader('Cache-Control', 'no-store')
  res.setHeader('Content-Type', 'application/json; charset=utf-8')
  res.setHeader('Content-Length', bytes.length)
  res.end(bytes)
}

/** Sends no body at all. */
export function sendEmpty(res: Response, status: number): void {
  res.statusCode = status
  res.setHeader('Cache-Control', 'no-store')
  res.end()
}

/** Answers 405 to every other method; `false` if it did. */
export function takesOnly(methods: readonly string[], req: Request, res: Response): boolean {
  if (methods.includes(req.method)) return true
  res.set('Allow', methods.join(', '))
  sendEmpty(res, 405)
  return false
}

/**
 * Answers what went wrong: errors that the caller can do something about as JSON, all others by `next(error)`.
 */
export function sendError(res: Response, error: unknown, next: NextFunction): void {
  const known = answerTo(error)
  if (!known || res.headersSent) {
    next(asError(error))
    return
  }
  const retryAfter = retryAfterOf(known)
  if (retryAfter !== undefined) res.set('Retry-After', String(retryAfter))
  // What is left of the body is not worth reading.
  if (known.status === 413) res.set('Connection', 'close')
  sendJson(res, known.status, { error: known.error, error_description: known.message })
}

/** What may be said about an error to whoever asked; `undefined`: nothing, it is a fault. */
export function answerTo(error: unknown): Answerable | undefined {
  const known = error instanceof CibaError ? error : fromApp(error)
  return known?.expose ? known : undefined
}

/** Seconds after which trying again makes sense, for the header. */
export function retryAfterOf({ status, retryAfter }: Answerable): number | undefined {
  return retryAfter ?? (status === 503 ? soon : undefined)
}

/** For `next()`: Express takes nothing, and some texts, for "go on". */
export function asError(error: unknown): Error {
  if (error instanceof Error) return error
  return new Error('something that is no Error was thrown', { cause: error })
}

/** What an answer needs of an error. */
export type Answerable = Pick<CibaError, 'status' | 'expose' | 'error' | 'message'> & {
  readonly retryAfter?: number
}

/** An error of the app's own hooks, in the way of http-errors: a 4xx `status` is an answer, not a fault. */
function fromApp(error: unknown): Answerable | undefined {
  const status = clientErrorStatus(error)
  if (!(error instanceof Error) || status === undefined) return undefined
  const { expose } = error as { expose?: unknown }
  return { status, expose: expose !== false, error: 'request_refused', message: error.message }
}

/** The 4xx status of an error that carries one, as http-errors and most web errors do. */
export function clientErrorStatus(error: unknown): number | undefined {
  const { status, statusCode } = (error ?? {}) as { status?: unknown; statusCode?: unknown }
  const code = Number(status ?? statusCode)
  return code >= 400 && code < 500 ? code : undefined
}
