/**
 * The acknowledgement of an authentication request (CIBA Core §7.3): strict where a login would be lost for good,
 * lenient where the person has been asked already. Knows nothing of how it arrived.
 */

/** The OP has asked the person, or is about to. */
export interface Acknowledgement {
  /** Opaque: sent back exactly as it came [ACK-6]. */
  readonly authReqId: string
  /** Seconds, a positive integer. */
  readonly expiresIn: number
  /** Seconds, a positive integer. */
  readonly interval: number
}

/** CIBA Core §7.3: what the interval is when the OP does not say. */
const defaultInterval = 5
const longestAuthReqId = 4096
/** A month: past any real request, and short enough for every clock and store. */
const longestLife = 30 * 24 * 3600

/**
 * The acknowledgement in the JSON of a 200 answer, or what is wrong with it.
 *
 * `auth_req_id` and `expires_in` are required [ACK-2, ACK-3]. A senseless `interval` does not cost the login,
 * though oauth4webapi refuses it: text and fractions are read and rounded up, anything else, 0 included, counts
 * as absent [ACK-4]. Unknown members are ignored [ACK-5].
 */
export function parseAcknowledgement(
  json: Readonly<Record<string, unknown>> | undefined,
): Acknowledgement | string {
  if (json === undefined) return 'is not a JSON object'
  const { auth_req_id: authReqId, expires_in, interval } = json
  if (!isAuthReqId(authReqId)) return 'has no usable "auth_req_id"'
  const expiresIn = Math.min(Math.floor(seconds(expires_in)), longestLife)
  if (!(expiresIn > 0)) return 'has no positive "expires_in"'
  const asked = Math.min(Math.ceil(seconds(interval)), longestLife)
  return { authReqId, expiresIn, interval: asked > 0 ? asked : defaultInterval }
}

/** Whether it can be an `auth_req_id`: any text, but no more of it than anyone could want to keep [ACK-6]. */
export function isAuthReqId(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= longestAuthReqId
}

/** A JSON number, or a string that is nothing but one; NaN for the rest. */
function seconds(value: unknown): number {
  if (typeof value === 'number') return value
  return typeof value === 'string' && /^\d+(\.\d+)?$/.test(value) ? Number(value) : Number.NaN
}
