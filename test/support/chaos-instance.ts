/**
 * One process of an app, played in this one: Express, express-session and `ciba()` over stores that all share, with a clock
 * and a death of its own. Knows nothing of who calls it.
 */
import express, { type ErrorRequestHandler } from 'express'
import session from 'express-session'
import { ciba } from '../../lib/ciba.ts'
import { coreOf, createCibaClient } from '../../lib/client.ts'
import { type Clock, systemClock } from '../../lib/clock.ts'
import { Flow } from '../../lib/flow.ts'
import { requireCiba } from '../../lib/index.ts'
import { deriveKeys } from '../../lib/keys.ts'
import { Ledger } from '../../lib/ledger.ts'
import { notificationTokens } from '../../lib/protocol/notification.ts'
import type { Op } from '../../lib/protocol/op.ts'
import { recordSealer } from '../../lib/record.ts'
import type { TransactionStore } from '../../lib/store.ts'
import type { DeliveryMode } from '../../lib/transaction.ts'
import type { Border } from './chaos-border.ts'
import { type Answer, type App, type Ask, Exchange } from './chaos-http.ts'
import { here, type Place } from './chaos-time.ts'

const secret = 'the secret of all instances'
const keys = deriveKeys([secret])
/** Opens what all of them store. */
export const sharedSealer = recordSealer(keys)

export interface InstanceParts {
  readonly border: Border
  readonly op: Op
  readonly store: TransactionStore
  readonly sessions: session.Store
  readonly deliveryMode: DeliveryMode
  /** Whether every answer sets the session cookie again. */
  readonly rolls: boolean
}

const validationTimeoutMs = 20_000

export class Instance implements Place {
  readonly name: string
  readonly skewMs: number
  isAlive = true
  diedAt = Number.POSITIVE_INFINITY
  /** The balancer sends it nothing any more. */
  isRetired = false
  readonly #border: Border
  readonly #rolls: boolean
  readonly #app: App
  readonly #close: () => Promise<void>
  readonly #breaks = new Set<() => void>()
  #hasDied = () => {}
  readonly dead: Promise<void> = new Promise((resolve) => {
    this.#hasDied = resolve
  })

  constructor(name: string, skewMs: number, parts: InstanceParts) {
    this.name = name
    this.skewMs = skewMs
    this.#border = parts.border
    this.#rolls = parts.rolls
    const [app, close] = here.run({ place: this, about: '' }, () => appOf(parts))
    this.#app = app as unknown as App
    this.#close = close
  }

  /** Sends a request to it; `undefined` when the connection breaks before the answer has arrived. */
  ask(ask: Ask, about: string): { readonly answer: Promise<Answer | undefined>; abort(): void } {
    const { dice, weather, time } = this.#border
    const within = <Result>(act: () => Result) => here.run({ place: this, about }, act)
    const isBroken = dice.chance(weather.answerBreaks)
    const isLost = dice.chance(weather.answerIsLost)
    // Where each answer sets the cookie, one that overtakes another undoes it: nobody can do anything about that.
    const travelMs = dice.between(0.1, 20)
    const backMs = this.#rolls ? 5 : travelMs
    let breakOff = () => {}
    const broken = new Promise<undefined>((resolve) => {
      breakOff = () => resolve(undefined)
    })
    this.#breaks.add(breakOff)
    const leave = (sent: () => void) => {
      if (dice.chance(weather.kill)) this.#border.kill(this, 'before the answer has left')
      if (!this.isAlive) return
      if (isBroken) {
        this.#border.note(`the answer to ${ask.path} BREAKS`)
        time.after(travelMs, () => abort())
        return
      }
      sent()
      if (dice.chance(weather.kill)) this.#border.kill(this, 'after the answer has left')
    }
    const exchange = within(() => new Exchange(this.#app, ask, leave))
    const abort = () => {
      if (this.isAlive) within(() => exchange.abort())
      breakOff()
    }
    const arrived = exchange.sent.then(async (answer) => {
      this.#breaks.delete(breakOff)
      await time.sleep(backMs)
      if (isLost) this.#border.note(`the answer to ${ask.path} is LOST`, about, this.name)
      return isLost ? undefined : answer
    })
    const answer = Promise.race([arrived, broken]).finally(() => this.#breaks.delete(breakOff))
    return { answer, abort }
  }

  /** Nothing that it has begun goes on. */
  die(): void {
    this.isAlive = false
    this.diedAt = this.#border.time.now
    this.#hasDied()
    for (const breakOff of this.#breaks) breakOff()
  }

  close(): Promise<void> {
    this.isRetired = true
    return here.run({ place: this, about: '' }, this.#close)
  }
}

function appOf({
  border,
  op,
  store,
  sessions,
  deliveryMode,
  rolls: rolling,
}: InstanceParts): [express.Express, () => Promise<void>] {
  const client = createCibaClient({
    issuerBaseURL: 'https://op.test',
    clientID: 'client',
    clientSecret: 'the secret of the client',
    baseURL: 'https://app.test',
    secret,
    store,
    deliveryMode,
  })
  const core = coreOf(client)
  if (!core) throw new Error('that is no client')
  const clock: Clock = { ...systemClock, now: () => store.now?.() ?? Date.now() }
  const flow = new Flow({
    op,
    ledger: new Ledger(store, sharedSealer, clock),
    clock,
    deliveryMode,
    notificationTokens: notificationTokens(keys),
    tokenTimeoutMs: core.options.tokenTimeoutMs,
    validationTimeoutMs,
  })
  // The flow's own OP would be asked over a real network.
  Object.assign(core, { flow })
  const auth = ciba({
    client,
    startLimiter: false,
    loginPage: false,
    routes: { clientScript: false },
    afterAuthentication: () => hook(border),
  })
  const app = express().set('env', 'test') // it logs no errors
  app.use(
    session({ secret: 'of the sessions', resave: false, saveUninitialized: false, rolling, store: sessions }),
  )
  app.use(auth)
  app.get('/me', requireCiba(), (req, res) => {
    const { user, tokens } = req.ciba
    res.json({ sub: user?.sub, accessToken: tokens?.accessToken })
  })
  // A handler of the app that takes its time, and then writes its old copy of the session back.
  app.get('/slow', async (req, res) => {
    await border.time.sleep(border.dice.between(10, 4_000))
    await border.alive('in a slow request')
    if (req.session.ciba) Object.assign(req.session, { seen: border.time.now })
    res.json({})
  })
  const report: ErrorRequestHandler = (error, _req, res, _next) => {
    // express-session reports what it could not save behind the answer.
    if (!res.headersSent) res.status(500).json({ error: (error as Error).message })
  }
  app.use(report)
  const close = async () => {
    await flow.close()
    await client.close()
  }
  return [app, close]
}

/** What an app may do before a session is written. */
async function hook(border: Border): Promise<void> {
  const { dice, weather, time } = border
  if (dice.chance(weather.hookIsSlow)) await time.sleep(dice.between(0, 14_000))
  await border.alive('in afterAuthentication')
  if (dice.chance(weather.hookFails)) throw new Error('the profile could not be read')
}
