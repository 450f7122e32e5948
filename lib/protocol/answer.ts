/**
 * Reads what the OP answered, whatever it is: JSON, an OAuth error, a proxy's HTML. Knows nothing of what was
 * asked.
 */

/** An answer of the OP, read to its end. */
export interface OpAnswer {
  readonly status: number
  readonly text: string
  /** The body, if it is a JSON object; decided by parsing, not by the content type [ERR-1]. */
  readonly json?: Readonly<Record<string, unknown>>
  /** The OAuth `error` code of a 4xx: also where a `WWW-Authenticate` header stands in front of it [ERR-1]. */
  readonly error?: string
  /** Untrusted text, shortened, without control characters [ERR-6]. */
  readonly errorDescription?: string
  /** How long the OP wants to be left alone (RFC 9110 §10.2.3); 0 if it did not say. */
  readonly retryAfterMs: number
}

const longestDescription = 200

/** Rejects only when the body cannot be read to its end. */
export async function readAnswer(response: Response): Promise<OpAnswer> {
  const { status } = response
  const text = await response.text()
  const json = parseObject(text)
  const retryAfterMs = parseRetryAfter(response.headers.get('retry-after'), Date.now())
  const answer = { status, text, retryAfterMs, ...(json && { json }) }
  if (status < 400 || status >= 500 || typeof json?.['error'] !== 'string' || json['error'] === '') {
    return answer
  }
  const description = json['error_description']
  return {
    ...answer,
    error: safeCode(json['error']),
    ...(typeof description === 'string' && { errorDescription: safeText(description) }),
  }
}

/** `Retry-After` in milliseconds from `now`: seconds or an HTTP date; 0 for the past, garbage and absence [POLL-8]. */
export function parseRetryAfter(value: string | null, now: number): number {
  if (value === null) return 0
  if (/^\s*\d{1,9}\s*$/.test(value)) return Number(value) * 1000
  // Every form of an HTTP date names its month; Date.parse() alone would also read "1.5" as a date. The form of C's
  // asctime() names no zone and means GMT (RFC 9110 §5.6.7).
  const zoned = /GMT|UTC|[+-]\d{4}\s*$/.test(value) ? value : `${value} GMT`
  const date = /[A-Za-z]{3}/.test(value) ? Date.parse(zoned) : Number.NaN
  return Number.isNaN(date) ? 0 : Math.max(0, date - now)
}

function parseObject(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      return value as Record<string, unknown>
    }
  } catch {
    // Not JSON is a finding here, not a fault.
  }
  return undefined
}

/** An error code as far as RFC 6749 §5.2 allows it: it goes to logs and browsers [ERR-6]. */
export function safeCode(code: string): string {
  return /^[\x20-\x21\x23-\x5B\x5D-\x7E]{1,100}$/.test(code) ? code : 'unknown_error'
}

function safeText(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ').slice(0, longestDescription)
}
