/**
 * Several app instances on one redis-server, their scripted OP, and people at browsers whom a balancer sends to this or
 * that instance. For the tests that do harm to them.
 */
import { expect } from 'chai'
import type { CibaOptions } from '../../lib/index.ts'
import type { Transaction } from '../../lib/transaction.ts'
import type { InstanceSettings } from './instance-process.ts'
import { type Instance, type Instances, instances } from './instances.ts'
import { type RedisServer, redisServer } from './redis-server.ts'
import { type ScriptedOp, startScriptedOp } from './scripted-op.ts'
import { transactionOf } from './traps.ts'

/** What a route answered. */
export interface Answer {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
  readonly headers: Headers
}

/** One person at one browser, which keeps its cookie wherever the balancer sends it. */
export class Visitor {
  cookie = ''
  #instance: Instance

  constructor(instance: Instance, cookie = '') {
    this.#instance = instance
    this.cookie = cookie
  }

  /** The id in the session cookie. */
  get sessionId(): string | undefined {
    return decodeURIComponent(this.cookie).match(/s:([^.]+)\./)?.[1]
  }

  /** The balancer sends it to another instance from now on. */
  moveTo(instance: Instance): void {
    this.#instance = instance
  }

  /** Another window, or a thief, with the cookie of this moment. */
  copy(instance = this.#instance): Visitor {
    return new Visitor(instance, this.cookie)
  }

  async send(method: string, path: string, json?: object, signal?: AbortSignal): Promise<Answer> {
    const headers = { 'content-type': 'application/json', ...(this.cookie && { cookie: this.cookie }) }
    const response = await fetch(this.#instance.origin + path, {
      method,
      headers,
      ...(json && { body: JSON.stringify(json) }),
      ...(signal && { signal }),
    })
    const text = await response.text()
    this.cookie = response.headers.getSetCookie().at(-1)?.split(';', 1)[0] ?? this.cookie
    return { status: response.status, body: text === '' ? {} : JSON.parse(text), headers: response.headers }
  }

  start(loginHint = 'alice'): Promise<Answer> {
    return this.send('POST', '/ciba/start', { loginHint })
  }

  /** Starts, and returns the handle. */
  async begin(loginHint = 'alice'): Promise<string> {
    const { status, body } = await this.start(loginHint)
    expect(status, JSON.stringify(body)).to.equal(202)
    return String(body['transaction'])
  }

  poll(transaction: string, wait = 0, signal?: AbortSignal): Promise<Answer> {
    return this.send('POST', '/ciba/poll', { transaction, wait }, signal)
  }

  /** Polls until it is over. */
  async outcome(transaction: string): Promise<Answer['body']> {
    for (let polls = 0; polls < 20; polls++) {
      const { status, body } = await this.poll(transaction, 5)
      expect(status, JSON.stringify(body)).to.equal(200)
      if (body['status'] !== 'pending') return body
    }
    throw new Error('it is pending for ever')
  }

  /** Who is signed in. */
  async user(): Promise<unknown> {
    const { status, body } = await this.send('GET', '/me')
    return status === 200 ? body['sub'] : undefined
  }
}

/** What became of a request that nobody may answer any more. */
export function fate(answer: Promise<Answer>): Promise<string> {
  return answer.then(
    ({ status }) => `answered ${status}`,
    () => 'cut off',
  )
}

interface KnownSession {
  readonly id: string
  /** The handle of the login. */
  readonly login?: string
  readonly user?: string
}

export interface Stage {
  readonly redis: RedisServer
  readonly op: ScriptedOp
  readonly travel: Instances['travel']
  instance(options?: CibaOptions, more?: Partial<InstanceSettings>): Promise<Instance>
  /** All that are in Redis. */
  sessions(): Promise<KnownSession[]>
  /** The record in Redis. */
  transaction(id: string): Promise<Transaction | undefined>
}

export function faultStage({ keepsData = false } = {}): Stage {
  let op: ScriptedOp
  beforeEach(async () => {
    op = await startScriptedOp()
  })
  afterEach(() => op.stop())
  const own = instances()
  const redis = redisServer({ keepsData })
  return {
    redis,
    get op() {
      return op
    },
    travel: own.travel,
    instance(options, more) {
      const { issuer: issuerBaseURL, clientId: clientID, clientSecret } = op
      return own.start({
        options: { issuerBaseURL, clientID, clientSecret, ...options },
        redis: { socket: { path: redis.socketPath, tls: false } },
        ...more,
      })
    },
    async sessions() {
      const keys = (await redis.command('KEYS', 'sess:*')) as string[]
      return Promise.all(
        keys.map(async (key) => {
          const { ciba } = JSON.parse(String(await redis.command('GET', key)))
          const known = ciba?.login && { login: ciba.login.transaction, user: ciba.login.user.sub }
          return { id: key.slice('sess:'.length), ...known }
        }),
      )
    },
    async transaction(id) {
      const [version, purgeAt, ...data] = String(await redis.command('GET', `ciba:${id}`)).split(':')
      return transactionOf({ id, version: Number(version), purgeAt: Number(purgeAt), data: data.join(':') })
    },
  }
}

/**
 * The one whom `visitor` has signed in as by `transaction` is so everywhere and once: in a new session, with nothing left to
 * claim, whoever comes with the cookie of before.
 */
export async function expectSignedInOnce(
  stage: Stage,
  { visitor, before, transaction }: { visitor: Visitor; before: Visitor; transaction: string },
  orphans = 0,
): Promise<void> {
  expect(await visitor.user()).to.equal('alice')
  const sessions = await stage.sessions()
  expect(sessions).to.deep.include({ id: visitor.sessionId, login: transaction, user: 'alice' })
  expect(sessions.filter(({ login }) => login)).to.have.length(1 + orphans)
  expect(sessions.map(({ id }) => id)).not.to.include(before.sessionId)
  const record = await stage.transaction(transaction)
  expect(record).to.include({ state: 'complete', delivery: 'delivered' }).and.not.have.property('grant')
  const again = await before.poll(transaction)
  expect(again.status, JSON.stringify(again.body)).to.equal(404)
  expect(await before.user()).to.equal(undefined)
}
