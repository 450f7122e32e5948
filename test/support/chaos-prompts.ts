/**
 * What an OP keeps of the authentication requests of a run, and how it judges the token requests for them: never two at once,
 * never one too early. Pure but for the time it is given.
 */
import type { Place } from './chaos-time.ts'

/** One token request, as the OP sees it. */
export interface TokenRequest {
  readonly at: number
  readonly by: Place
  /** When its answer left. */
  answeredAt?: number
  /** Answered, reset, given up, or its process has died. */
  endedAt?: number
  /** No answer of the OP has come back for it. */
  isLost?: boolean
  /** The answer was `slow_down`, and has arrived. */
  isSlowDown?: boolean
}

/** A ping or a push. */
export interface Notice {
  readonly at: number
  /** When it was answered, or was given up. */
  endedAt?: number
  status?: number
}

/** One authentication request. */
export interface Prompt {
  readonly authReqId: string
  readonly person: string
  readonly notificationToken: string | undefined
  /** Seconds. */
  readonly interval: number
  /** Seconds. */
  readonly expiresIn: number
  readonly expiresAt: number
  readonly verdict: 'approve' | 'deny' | 'never'
  readonly decidedAt: number
  readonly accessToken: string
  readonly requests: TokenRequest[]
  readonly notices: Notice[]
  /** The tokens were granted: the `auth_req_id` is used up. */
  consumedAt?: number
  /** Why the tokens never came to a process that lived on. */
  lost?: string
  /** Where the tokens came to. */
  received?: { readonly by: Place; readonly at: number }
}

/** What is wrong with a token request that comes now; it is entered all the same. */
export function enter(
  prompt: Prompt,
  by: Place,
  now: number,
): { readonly rule: string; readonly what: string }[] {
  const { requests } = prompt
  const request: TokenRequest = { at: now, by }
  const name = `token request ${requests.length + 1} for ${prompt.authReqId}`
  const overlapping = requests.findIndex(({ endedAt }) => endedAt === undefined)
  const findings =
    overlapping >= 0
      ? [{ rule: 'I1', what: `${name} overlaps request ${overlapping + 1}` }]
      : earliness(prompt, now)
          .filter((earlyMs) => earlyMs > 0)
          .map((earlyMs) => ({
            rule: 'I2',
            what: `${name} is ${earlyMs.toFixed(1)} ms early${clocks(requests.at(-1), by, earlyMs)}`,
          }))
  requests.push(request)
  return findings
}

/** How much too early a request would be now; empty if it may come at any time. */
function earliness(prompt: Prompt, now: number): number[] {
  const { requests, interval } = prompt
  const previous = requests.at(-1)
  if (!previous) return []
  // A request that got no answer counts from its arrival.
  const last = Math.max(...requests.map(({ at, answeredAt }) => answeredAt ?? at))
  const slowDowns = requests.filter(({ isSlowDown, by }) => isSlowDown && by.isAlive).length
  const earlyMs = last + (interval + 5 * slowDowns) * 1000 - now
  return earlyMs > 0 && !excused(prompt, previous, now) ? [earlyMs] : []
}

/** Whether clocks that are apart explain it. */
function clocks(previous: TokenRequest | undefined, by: Place, earlyMs: number): string {
  const apartMs = by.skewMs - (previous?.by.skewMs ?? 0)
  return apartMs >= earlyMs ? `, by a clock that is ${apartMs} ms ahead` : ''
}

const excuses = new WeakSet<Notice>()

/** A ping allows one request, whatever the interval says (CIBA Core §10.1). */
function excused({ notices }: Prompt, previous: TokenRequest, now: number): boolean {
  const ping = notices.find(
    (notice) =>
      !excuses.has(notice) &&
      // It may have been taken although the answer says otherwise.
      notice.status !== 401 &&
      notice.at <= now &&
      previous.at <= (notice.endedAt ?? Number.POSITIVE_INFINITY),
  )
  if (ping) excuses.add(ping)
  return ping !== undefined
}
