/**
 * An OP that misbehaves by chance, and each process's network to it, which loses things. Knows nothing of transactions.
 */
import { CibaError, RequestRefusedError } from '../../lib/errors.ts'
import type { Grant } from '../../lib/grant.ts'
import type { Acknowledgement } from '../../lib/protocol/acknowledgement.ts'
import type { Op } from '../../lib/protocol/op.ts'
import type { PushAnswer } from '../../lib/protocol/push.ts'
import type { TokenAnswer } from '../../lib/protocol/token-request.ts'
import type { DeliveryMode } from '../../lib/transaction.ts'
import { type Border, isDead } from './chaos-border.ts'
import { enter, type Notice, type Prompt, type TokenRequest } from './chaos-prompts.ts'
import { type Here, here, never, type Place } from './chaos-time.ts'

/** How the OP reaches the app; `undefined` when no answer comes. */
export type Notify = (
  prompt: Prompt,
  body: Readonly<Record<string, unknown>>,
) => Promise<{ readonly status: number } | undefined>

/** What a run hears of: a rule that was broken. */
export type Report = (rule: string, about: string, what: string) => void

const unanswered = (sent: boolean): TokenAnswer => ({ type: 'unanswered', sent, cause: new Error('broken') })

export class ChaosOp {
  readonly prompts = new Map<string, Prompt>()
  readonly #border: Border
  readonly #mode: DeliveryMode
  readonly #notify: Notify
  readonly #report: Report

  constructor(border: Border, mode: DeliveryMode, notify: Notify, report: Report) {
    this.#border = border
    this.#mode = mode
    this.#notify = notify
    this.#report = report
  }

  /** As a process of the app sees it. */
  readonly seen: Op = {
    prepare: async () => ({}),
    authenticate: (request, token) => this.#authenticate(request.hint, token),
    requestTokens: ({ authReqId }, timeoutMs) => this.#requestTokens(authReqId, timeoutMs),
    processPush: async ({ authReqId, error }) => this.#pushed(authReqId, error),
  }

  /** The connections of a process are reset. */
  hasDied(place: Place): void {
    for (const { requests } of this.prompts.values()) {
      for (const request of requests) if (request.by === place) request.endedAt ??= this.#now
    }
  }

  /** How many token requests of a process are under way. */
  inFlight(place: Place): number {
    const all = [...this.prompts.values()].flatMap(({ requests }) => requests)
    return all.filter(({ by, endedAt }) => by === place && endedAt === undefined).length
  }

  get #now(): number {
    return this.#border.time.now
  }

  /** On its way; `undefined` if it took longer than `mostMs`. */
  async #travel(mostMs = Number.POSITIVE_INFINITY): Promise<true | undefined> {
    const { dice, weather, time } = this.#border
    const isSlow = dice.chance(weather.opIsSlow)
    const ms = isSlow && dice.chance(0.3) ? dice.between(0, 75_000) : dice.between(1, isSlow ? 5_000 : 20)
    await time.sleep(Math.min(ms, mostMs))
    return ms <= mostMs ? true : undefined
  }

  async #authenticate(person: string, token: string | undefined): Promise<Acknowledgement> {
    const { dice, weather } = this.#border
    const broken = () => new CibaError('ERR_CIBA_OP_FAILED', 'the connection broke')
    await this.#border.alive('before the authentication request')
    if (dice.chance(weather.opIsDown)) throw new CibaError('ERR_CIBA_OP_UNREACHABLE', 'it is down')
    const isThere = await this.#travel(5_000)
    if (isDead()) return never
    if (!isThere || dice.chance(weather.opResetsBefore)) throw broken()
    if (person.startsWith('nobody')) throw new RequestRefusedError('unknown_user_id', undefined)
    const { authReqId, interval, expiresIn } = this.#ask(person, token)
    await this.#border.alive('after the authentication request')
    const isLost = dice.chance(weather.opAnswerIsLost)
    const isBack = await this.#travel(5_000)
    if (isDead()) return never
    if (isLost || !isBack) {
      this.#border.note(`the acknowledgement of ${authReqId} is LOST`)
      throw broken()
    }
    return { authReqId, interval, expiresIn }
  }

  /** The person's device lights up. */
  #ask(person: string, notificationToken: string | undefined): Prompt {
    const { dice, time } = this.#border
    const likes = dice.next()
    const expiresIn = likes >= 0.93 || dice.chance(0.15) ? 120 : 600
    const authReqId = `${person}.${this.prompts.size + 1}`
    const prompt: Prompt = {
      authReqId,
      person,
      notificationToken,
      interval: dice.pick([1, 2, 5, 5]),
      expiresIn,
      expiresAt: time.now + expiresIn * 1000,
      verdict: likes < 0.86 ? 'approve' : likes < 0.93 ? 'deny' : 'never',
      decidedAt: time.now + this.#decidesInMs(expiresIn),
      accessToken: `tokens of ${authReqId}`,
      requests: [],
      notices: [],
    }
    this.prompts.set(authReqId, prompt)
    const { interval, verdict, decidedAt } = prompt
    const when = `${((decidedAt - time.now) / 1000).toFixed(1)} s`
    this.#border.note(
      `asks ${authReqId}: interval ${interval}, lives ${expiresIn} s, ${verdict} in ${when}`,
      person,
    )
    if (this.#mode !== 'poll' && verdict !== 'never') this.#tell(prompt)
    return prompt
  }

  /** At once, after a while, or in the last moment. */
  #decidesInMs(expiresIn: number): number {
    const { dice } = this.#border
    const isLate = dice.chance(0.3) && expiresIn < 300
    const soonMs = dice.between(0, dice.chance(0.3) ? 300 : 60_000)
    return isLate ? expiresIn * 1000 - dice.between(0, 8_000) : soonMs
  }

  #tell(prompt: Prompt): void {
    const { dice, weather, time } = this.#border
    if (this.#mode === 'ping' && dice.chance(weather.pingIsEarly)) {
      time.after(dice.between(0, 2_000), () => void this.#send(prompt))
    }
    if (this.#mode === 'ping' && dice.chance(weather.pingIsLost)) return
    const late = dice.chance(weather.pingIsLate) ? dice.between(0, 20_000) : dice.between(0, 50)
    const times = this.#mode === 'ping' && dice.chance(weather.pingIsRepeated) ? dice.pick([2, 3, 5]) : 1
    for (let n = 0; n < times; n++) {
      const again = n === 0 ? 0 : dice.between(0, 10_000)
      time.after(prompt.decidedAt - time.now + late + again, () => void this.#send(prompt))
    }
  }

  /** Notifies; a failure is tried again a few times, as good OPs do. */
  async #send(prompt: Prompt, triesLeft = 3): Promise<void> {
    const { authReqId: auth_req_id, accessToken: access_token, person, verdict } = prompt
    const notice: Notice = { at: this.#now }
    prompt.notices.push(notice)
    const pushed = verdict === 'approve' ? { access_token } : { error: 'access_denied' }
    const answer = await this.#notify(
      prompt,
      this.#mode === 'ping' ? { auth_req_id } : { auth_req_id, ...pushed },
    )
    notice.endedAt = this.#now
    if (answer) notice.status = answer.status
    this.#border.note(`${this.#mode} for ${auth_req_id}: ${answer?.status ?? 'no answer'}`, person)
    if ((answer?.status ?? 500) < 500 || triesLeft === 0) return
    this.#border.time.after(2_000, () => void this.#send(prompt, triesLeft - 1))
  }

  async #requestTokens(authReqId: string, timeoutMs: number): Promise<TokenAnswer> {
    const { dice, weather, time } = this.#border
    const prompt = this.prompts.get(authReqId) as Prompt
    const until = time.now + timeoutMs
    await this.#border.alive('before the token request')
    if (dice.chance(weather.opIsDown)) return unanswered(false)
    await time.sleep(dice.between(0.1, 5))
    if (isDead()) return never
    const { place } = here.getStore() as Here
    const number = prompt.requests.length + 1
    this.#border.note(`token request ${number} for ${authReqId}`)
    for (const { rule, what } of enter(prompt, place, time.now)) this.#report(rule, prompt.person, what)
    const request = prompt.requests[number - 1] as TokenRequest
    if (dice.chance(weather.opResetsBefore)) {
      request.endedAt = time.now
      request.isLost = true
      return unanswered(true)
    }
    if (dice.chance(weather.retire * 3)) this.#border.retire(place)
    const answer = await this.#answer(prompt, request, until)
    request.isLost = answer === undefined || answer.type === 'busy'
    const sent = `answer to ${authReqId} ${number}: ${answer?.type ?? 'LOST'}`
    this.#border.note(isDead() ? `${sent}, and nobody is there` : sent)
    if (isDead() && answer?.type === 'granted') prompt.lost = 'its process has died'
    if (isDead()) return never
    if (answer?.type === 'granted') prompt.received = { by: place, at: time.now }
    await this.#border.alive('after the token answer')
    request.isSlowDown = answer?.type === 'slowedDown'
    return answer ?? unanswered(true)
  }

  /** `undefined`: the answer did not come back in time, whatever it was. */
  async #answer(prompt: Prompt, request: TokenRequest, until: number): Promise<TokenAnswer | undefined> {
    const { dice, weather, time } = this.#border
    const isThere = await this.#travel(until - time.now)
    if (!isThere) {
      request.endedAt ??= time.now
      // It may still do what it was asked.
      if (dice.chance(0.5)) this.#decide(prompt)
      if (prompt.consumedAt === time.now) prompt.lost = 'the OP took too long'
      return undefined
    }
    const answer = this.#decide(prompt)
    const isLost = dice.chance(weather.opAnswerIsLost)
    if (answer.type === 'granted' && isLost) prompt.lost = 'the answer was lost'
    request.answeredAt = time.now
    request.endedAt ??= time.now
    if (isLost) await time.sleep(dice.chance(0.5) ? 0 : until - time.now)
    else if (answer.type !== 'granted' || prompt.consumedAt !== time.now || !dice.chance(weather.opGateway)) {
      await time.sleep(dice.between(0.1, 5))
      return answer
    } else {
      prompt.lost = 'a gateway answered instead'
      return { type: 'busy', retryAfterMs: 0, sent: true }
    }
    return undefined
  }

  #decide(prompt: Prompt): TokenAnswer {
    const { dice, weather, time } = this.#border
    const { verdict, decidedAt, expiresAt, consumedAt } = prompt
    if (dice.chance(weather.opIsBusy))
      return { type: 'busy', retryAfterMs: dice.pick([0, 0, 3_000]), sent: false }
    if (consumedAt !== undefined) return { type: 'failed', error: 'invalid_grant', reason: 'used' }
    if (time.now >= expiresAt) return { type: 'expired', error: 'expired_token' }
    if (dice.chance(weather.opSaysSlowDown)) return { type: 'slowedDown', retryAfterMs: 0 }
    if (verdict === 'never' || time.now < decidedAt) return { type: 'stillPending' }
    if (verdict === 'deny') return { type: 'denied', error: 'access_denied' }
    prompt.consumedAt = time.now
    return { type: 'granted', grant: grantOf(prompt) }
  }

  #pushed(authReqId: string, error: string | undefined): PushAnswer {
    const { dice, weather } = this.#border
    const prompt = this.prompts.get(authReqId)
    if (!prompt) return { type: 'invalid' }
    if (dice.chance(weather.pushFails)) return { type: 'unavailable', cause: new Error('no keys') }
    return error === undefined ? { type: 'granted', grant: grantOf(prompt) } : { type: 'denied', error }
  }
}

function grantOf({ person, accessToken }: Prompt): Grant {
  const claims = { iss: 'https://op.test', sub: person, aud: 'client', exp: 4_000_000_000, iat: 1 }
  return { claims, tokens: { accessToken, tokenType: 'bearer', scope: 'openid', idToken: 'an ID token' } }
}
