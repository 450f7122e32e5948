/** What can be paid: reads a payment from a request body. Knows nothing of who approves it. */
import type { NextFunction, Request, Response } from 'express'

export interface Payment {
  /** With two decimals: '9.90'. */
  readonly amount: string
  readonly to: string
}

/**
 * Leaves a {@link Payment} and nothing else in `req.body`, so that everything after this speaks of the same two
 * values, spelled in one way.
 */
export function checkPayment(req: Request, res: Response, next: NextFunction): void {
  const { amount, to } = (req.body ?? {}) as Record<string, unknown>
  const cents = /^\d{1,5}([.,]\d{1,2})?$/.test(String(amount).trim())
    ? Math.round(Number(String(amount).replace(',', '.')) * 100)
    : 0
  const payee = typeof to === 'string' ? to.trim() : ''
  if (cents > 0 && /^[\p{L}\p{N} .&-]{1,40}$/u.test(payee)) {
    req.body = { amount: (cents / 100).toFixed(2), to: payee } satisfies Payment
    next()
    return
  }
  res.status(400).json({
    error: 'invalid_payment',
    error_description: cents > 0 ? 'Name a payee.' : 'The amount must be 0.01 to 99999.99.',
  })
}
