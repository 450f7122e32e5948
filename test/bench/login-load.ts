/**
 * Browsers that sign in, and the OP's pings: the load of the login benchmark. Fails when an answer is not what a login that
 * goes well gets. Knows nothing of what is measured.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { Agent, request } from 'undici'
import type { Subject } from './harness.ts'
import { inParallel } from './in-parallel.ts'
import { notificationPath } from './login-terms.ts'
import type { OpRequest, OpStats } from './op.ts'

const atATime = 32
/** The OP's, in seconds: the shortest there is. */
export const interval = 1
/** Longer than the interval and the margins of either side: every login is due. */
const untilDueMs = interval * 1000 + 400

const dispatcher = new Agent({ connections: atATime, keepAliveTimeout: 30_000 })
let people = 0

interface Answer {
  readonly status: number
  readonly json: Readonly<Record<string, unknown>>
}

/** One person's browser. */
export class Browser {
  readonly #origin: string
  readonly #hint = `person-${++people}@example.com`
  #cookie = ''
  #transaction = ''

  constructor(origin: string) {
    this.#origin = origin
  }

  get cookie(): string {
    return this.#cookie
  }

  get transaction(): string {
    return this.#transaction
  }

  async start(): Promise<void> {
    const { status, json } = await this.#send('/ciba/start', { loginHint: this.#hint })
    if (status !== 202) throw new Error(`start: ${status} ${JSON.stringify(json)}`)
    this.#transaction = String(json['transaction'])
  }

  /** Once, at a time when the OP has approved and may be asked. */
  async poll(): Promise<void> {
    const { status, json } = await this.#send('/ciba/poll', { transaction: this.#transaction })
    if (json['status'] !== 'complete') throw new Error(`poll: ${status} ${JSON.stringify(json)}`)
  }

  /** The next page: what this package takes as the sign that the login has arrived. */
  async visit(): Promise<void> {
    const { json } = await this.#send('/me')
    if (json['sub'] !== this.#hint) throw new Error(`signed in as ${String(json['sub'])}`)
  }

  async #send(path: string, body?: object): Promise<Answer> {
    const answer = await request(this.#origin + path, {
      dispatcher,
      headers: {
        ...(this.#cookie && { cookie: this.#cookie }),
        ...(body && { 'content-type': 'application/json' }),
      },
      ...(body && { method: 'POST', body: JSON.stringify(body) }),
    })
    const cookie = answer.headers['set-cookie']
    if (cookie !== undefined) this.#cookie = String([cookie].flat()[0]).split(';')[0] ?? ''
    const text = await answer.body.text()
    if (answer.statusCode >= 400) throw new Error(`${path}: ${answer.statusCode} ${text}`)
    return { status: answer.statusCode, json: JSON.parse(text) as Answer['json'] }
  }
}

/** So many browsers, each with a login that has started. */
export async function startLogins(app: Subject, count: number): Promise<Browser[]> {
  const browsers = Array.from({ length: count }, () => new Browser(app.origin))
  await inParallel(browsers, atATime, (browser) => browser.start())
  return browsers
}

/**
 * So many whole logins: they all start, the OP approves, they all poll and go on to the next page. Three requests each, and
 * the ping.
 */
export async function logIn(app: Subject, op: Subject, count: number, mode: 'poll' | 'ping'): Promise<void> {
  await op.ask('reset')
  const browsers = await startLogins(app, count)
  if (mode === 'poll') await sleep(untilDueMs)
  else await pingAll(app, op, count)
  await inParallel(browsers, atATime, async (browser) => {
    await browser.poll()
    await browser.visit()
  })
  const { granted, early, atOnce } = await op.ask<OpStats>('stats')
  if (granted !== count) throw new Error(`${granted} of ${count} logins were granted`)
  if (early + atOnce > 0) throw new Error(`${early} token requests too early, ${atOnce} beside another`)
  // What goes on behind the answers belongs to them.
  await sleep(100)
}

async function pingAll(app: Subject, op: Subject, count: number): Promise<void> {
  const requests = await op.ask<OpRequest[]>('requests')
  if (requests.length !== count) throw new Error(`${requests.length} of ${count} logins can be pinged`)
  await inParallel(requests, atATime, async ({ authReqId, notificationToken }) => {
    const { statusCode, body } = await request(app.origin + notificationPath, {
      dispatcher,
      method: 'POST',
      headers: { authorization: `Bearer ${notificationToken}`, 'content-type': 'application/json' },
      body: JSON.stringify({ auth_req_id: authReqId }),
    })
    await body.dump()
    if (statusCode !== 204) throw new Error(`ping: ${statusCode}`)
  })
  // Some ask for the tokens now, some when the browser comes.
  await sleep(untilDueMs / 2)
}
