/**
 * How our routes answer: JSON that is never stored, and one form for all errors. Knows nothing of what is asked.
 */

import type { NextFunction, Response } from 'express'
import { CibaError } from '../errors.ts'

/** Sends `body` as JSON; nothing that we say may be cached [SEC-8]. */
export function sendJson(res: Response, status: number, body: object): void {
  res.status(status).set('Cache-Control', 'no-store').json(body)
}

/** Sends no body at all. */
export function sendEmpty(res: Response, status: number): void {
  res.status(status).set('Cache-Control', 'no-store').end()
}

/**
 * Answers what went wrong: errors that the caller can do something about as JSON, all others by `next(error)`.
 */
export function sendError(res: Response, error: unknown, next: NextFunction): void {
  const known = error instanceof CibaError ? error : fromApp(error)
  if (!known?.expose || res.headersSent) {
    next(error)
    return
  }
  if (known.retryAfter !== undefined) res.set('Retry-After', String(known.retryAfter))
  // What is left of the body is not worth reading.
  if (known.status === 413) res.set('Connection', 'close')
  sendJson(res, known.status, { error: known.error, error_description: known.message })
}

/** An error of the app's own hooks, in the way of http-errors: a 4xx `status` is an answer, not a fault. */
function fromApp(
  error: unknown,
): { status: number; expose: boolean; error: string; message: string; retryAfter?: number } | undefined {
  if (!(error instanceof Error)) return undefined
  const { status, statusCode, expose } = error as { status?: unknown; statusCode?: unknown; expose?: unknown }
  const code = Number(status ?? statusCode)
  if (!(code >= 400 && code < 500)) return undefined
  return { status: code, expose: expose !== false, error: 'request_refused', message: error.message }
}
