/**
 * Has the scripted OP misbehave by chance towards many people at once, and remembers for each what it really did. Knows
 * nothing of the app behind it.
 */
import type { Dice } from './chaos-dice.ts'
import type { Answer, Call, ScriptedOp } from './scripted-op.ts'
import { pending, tokenError, unavailable } from './scripted-op.ts'

/** One authentication request. */
export interface Asked {
  readonly authReqId: string
  readonly person: string
  readonly verdict: 'approve' | 'deny'
  readonly decidedAt: number
  consumedAt?: number
  /** The tokens were sent off, and reset on the way. */
  isLost?: true
}

/** How often what goes wrong. */
const rates = {
  resetBefore: 0.04,
  lost: 0.03,
  busy: 0.05,
  slow: 0.04,
  pingLost: 0.2,
  pingTwice: 0.2,
  denied: 0.1,
}
/** The lease of a request whose process was killed is waited for. */
const expiresIn = 600

export class ChaosScript {
  readonly asked = new Map<string, Asked>()
  readonly #op: ScriptedOp
  readonly #dice: Dice
  readonly #from = performance.now()
  #isStorm = true

  /** @param notificationUrl - of any process that runs; `undefined` in poll mode */
  constructor(op: ScriptedOp, dice: Dice, notificationUrl?: () => string | undefined) {
    this.#op = op
    this.#dice = dice
    const acknowledge = (call: Call): Answer => {
      op.onBackchannel(acknowledge)
      return this.#acknowledge(call, notificationUrl)
    }
    const answer = async (call: Call): Promise<Answer> => {
      op.onToken(answer)
      return this.#answer(call)
    }
    op.onBackchannel(acknowledge)
    op.onToken(answer)
  }

  calm(): void {
    this.#isStorm = false
  }

  /** Whether a token request is just being answered. */
  get isBusy(): boolean {
    return this.#op.callsTo('token').some(({ endedAt }) => endedAt === undefined)
  }

  /** Not that of clocks: tests turn those. */
  get #now(): number {
    return performance.now() - this.#from
  }

  #chance(rate: keyof typeof rates): boolean {
    return this.#dice.chance(rates[rate]) && this.#isStorm
  }

  #acknowledge(call: Call, notificationUrl: (() => string | undefined) | undefined): Answer {
    const person = String(call.params.get('login_hint'))
    const authReqId = `${person}.${this.asked.size + 1}`
    const verdict = this.#dice.chance(rates.denied) ? 'deny' : 'approve'
    const waitMs = this.#dice.between(0, 6_000)
    this.asked.set(authReqId, { authReqId, person, verdict, decidedAt: this.#now + waitMs })
    if (notificationUrl && !this.#chance('pingLost')) {
      const times = this.#chance('pingTwice') ? 2 : 1
      for (let n = 0; n < times; n++) this.#pingIn(waitMs + n * 1_500 + 20, authReqId, notificationUrl)
    }
    if (this.#chance('resetBefore')) return { reset: 'before-answer' }
    return { json: { auth_req_id: authReqId, expires_in: expiresIn, interval: 1 } }
  }

  #pingIn(ms: number, authReqId: string, notificationUrl: () => string | undefined, triesLeft = 5): void {
    const timer = setTimeout(async () => {
      const url = notificationUrl()
      const pong =
        url === undefined ? undefined : await this.#op.ping(url, { authReqId }).catch(() => undefined)
      if ((pong?.status ?? 500) >= 500 && triesLeft > 0) {
        this.#pingIn(1_000, authReqId, notificationUrl, triesLeft - 1)
      }
    }, ms)
    timer.unref()
  }

  async #answer(call: Call): Promise<Answer> {
    const asked = this.asked.get(String(call.params.get('auth_req_id')))
    if (!asked) return tokenError('invalid_grant')
    if (this.#chance('resetBefore')) return { reset: 'before-answer' }
    if (this.#chance('busy')) return unavailable('1')
    const delay = this.#chance('slow') ? { delayMs: this.#dice.between(100, 3_000) } : {}
    if (asked.consumedAt !== undefined) return tokenError('invalid_grant')
    if (this.#now < asked.decidedAt) return { ...(pending() as object), ...delay } as Answer
    if (asked.verdict === 'deny') return tokenError('access_denied')
    const { authReqId, person } = asked
    asked.consumedAt = this.#now
    const tokens = await this.#op.tokens({ authReqId, claims: { sub: person } })
    if (!this.#chance('lost')) return { ...(tokens as object), ...delay } as Answer
    asked.isLost = true
    return { reset: this.#dice.pick(['before-answer', 'mid-body'] as const) }
  }
}
