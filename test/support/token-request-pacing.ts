/**
 * Judges when a client asked for tokens, from the OP's own record of it. Pure.
 */
import { authenticationRequest, type Call, type Endpoint } from './scripted-answers.ts'

/** A ping that the OP sent. */
export interface Ping {
  readonly at: number
  readonly token: string
  readonly authReqId: unknown
  answeredAt?: number
  status?: number
}

/** What is wrong with the token requests for one `auth_req_id`; see `ScriptedOp.violations()`. */
export function violationsOf(id: string, calls: readonly Call[], sentPings: readonly Ping[]): string[] {
  const to = (endpoint: Endpoint) => calls.filter((call) => call.endpoint === endpoint)
  const asked = to('token').filter((call) => call.params.get('auth_req_id') === id)
  const start = to('backchannel').findLast((call) => call.answer?.['auth_req_id'] === id)
  const deadline = start ? start.at + Number(start.answer?.['expires_in']) * 1000 : Number.NaN
  const interval = Number(start?.answer?.['interval'] ?? 5)
  const token = start && authenticationRequest(start)['client_notification_token']
  const pings = new Set(sentPings.filter((ping) => ping.authReqId === id && ping.token === token))
  return asked.flatMap((call, index) => {
    const earlier = asked.slice(0, index)
    const name = `token request ${index + 1} for ${id}`
    const late = call.at > deadline ? [`${name} came ${call.at - deadline} ms after the deadline`] : []
    const running = earlier.findIndex((other) => (other.endedAt ?? Infinity) > call.at)
    if (running >= 0) return [...late, `${name} overlaps request ${running + 1}`]
    const previous = earlier.at(-1)
    if (!previous) return late
    const challenges = earlier.slice(-2).filter((other) => other.answer?.['error'] === 'use_dpop_nonce')
    if (challenges.length === 2) return [...late, `${name} came after a second DPoP challenge`]
    if (challenges.at(-1) === previous) return late
    const slowDowns = earlier.filter((other) => other.answer?.['error'] === 'slow_down').length
    const last = Math.max(...earlier.map((other) => other.answeredAt ?? other.at))
    const tooEarly = last + (interval + 5 * slowDowns) * 1000 - call.at
    if (!(tooEarly > 0)) return late
    const excuse = [...pings].find(
      (ping) =>
        (ping.status ?? 0) < 300 && ping.at <= call.at && previous.at <= (ping.answeredAt ?? Infinity),
    )
    return excuse && pings.delete(excuse) ? late : [...late, `${name} came ${tooEarly} ms early`]
  })
}
