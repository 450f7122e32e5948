/**
 * Traps at the borders of an app instance: a process that comes by one kills itself, stops, fails or hangs there. Knows
 * nothing of the lib but the interfaces that an app can wrap.
 */
import session, { type SessionData } from 'express-session'
import type { CibaOptions } from '../../lib/index.ts'
import { deriveKeys } from '../../lib/keys.ts'
import { recordSealer } from '../../lib/record.ts'
import type { StoredRecord, TransactionStore } from '../../lib/store.ts'
import type { Transaction } from '../../lib/transaction.ts'
import { endpointOf } from './scripted-answers.ts'

/** Of all instances. */
export const instanceSecret = 'of all instances'

/** What happens to who comes by. */
export interface Trap {
  readonly point: string
  /** `kill`: SIGKILL; `freeze`: SIGSTOP; `fail`: an error; `hang`: nothing, until the traps are opened. */
  readonly does: 'kill' | 'freeze' | 'fail' | 'hang'
  /** How often. @default 1 */
  readonly times?: number
  /** How much time has passed when a frozen process goes on. */
  readonly frozenMs?: number
}

/** The traps of one process. */
export class Traps {
  readonly #set = new Map<string, { trap: Trap; left: number }>()
  readonly #say: (point: string) => void
  readonly #onThaw: (frozenMs: number) => void
  #open: (() => void)[] = []

  constructor(say: (point: string) => void, onThaw: (frozenMs: number) => void) {
    this.#say = say
    this.#onThaw = onThaw
  }

  set(trap: Trap): void {
    this.#set.set(trap.point, { trap, left: trap.times ?? 1 })
  }

  /** Removes all, and lets go whoever hangs. */
  open(): void {
    this.#set.clear()
    for (const open of this.#open.splice(0)) open()
  }

  /** Somebody comes by; a killed process does not return from here. */
  pass(point: string): Promise<void> | undefined {
    const found = this.#set.get(point)
    if (!found || found.left <= 0) return undefined
    found.left -= 1
    const { does, frozenMs = 0 } = found.trap
    this.#say(point)
    if (does === 'kill') process.kill(process.pid, 'SIGKILL')
    if (does === 'freeze') {
      process.kill(process.pid, 'SIGSTOP')
      this.#onThaw(frozenMs)
    }
    if (does === 'fail') return Promise.reject(new Error(`trapped: ${point}`))
    if (does === 'hang') return new Promise((resolve) => this.#open.push(resolve))
    return undefined
  }

  /** `before` and `after` what is done. */
  async around<Result>(name: string, act: () => Promise<Result>): Promise<Result> {
    await this.pass(`${name}:before`)
    const result = await act()
    await this.pass(`${name}:after`)
    return result
  }
}

/** Points `discovery`, `jwks`, `backchannel`, `token`, `userinfo` and `revocation`. */
export function trappedFetch(traps: Traps): NonNullable<CibaOptions['customFetch']> {
  return (url, init) =>
    traps.around(endpointOf(new URL(url).pathname), async () => {
      const answer = await fetch(url, init as RequestInit)
      // All of it is there, as the built-in transport has it.
      return new Response(await answer.text(), answer)
    })
}

/** Points `record.read`, and `….write` with what {@link moveOf} says. */
export function trappedStore(traps: Traps, inner: TransactionStore): TransactionStore {
  return {
    read: (id) => traps.around('record.read', () => inner.read(id)),
    write: (record, expectedVersion) =>
      traps.around(`${moveOf(record)}.write`, () => inner.write(record, expectedVersion)),
    watch: (id, listener) => inner.watch(id, listener),
    now: () => inner.now?.() ?? Date.now(),
  }
}

const sealer = recordSealer(deriveKeys([instanceSecret]))

/** What is in a record; `undefined` if it is no transaction. */
export function transactionOf(record: StoredRecord): Transaction | undefined {
  try {
    return sealer.open(record)
  } catch {
    return undefined
  }
}

/** What a record that is written is about to say. */
function moveOf(record: StoredRecord): string {
  const transaction = transactionOf(record)
  if (!transaction) return 'other'
  switch (transaction.state) {
    case 'pending':
      if (transaction.authReqId === undefined) return 'created'
      return transaction.lease ? 'leased' : 'waiting'
    case 'complete':
      if (transaction.delivery !== 'undelivered') return transaction.delivery
      if (!transaction.claim) return 'complete'
      return transaction.arrival?.holder === transaction.claim.holder ? 'sent' : 'claimed'
    default:
      return transaction.state
  }
}

type Done = (error?: unknown, result?: never) => void

/** Points `session.get`, `.set`, `.destroy` and `.touch`; `login.set` where the session is signed in. */
export class TrappedSessions extends session.Store {
  readonly #traps: Traps
  readonly #inner: session.Store

  constructor(traps: Traps, inner: session.Store) {
    super()
    this.#traps = traps
    this.#inner = inner
  }

  override get(id: string, done: Done): void {
    this.#act('session.get', (inner) => this.#inner.get(id, inner as never), done)
  }

  override set(id: string, data: SessionData, done?: Done): void {
    const name = data.ciba?.login ? 'login.set' : 'session.set'
    this.#act(name, (inner) => this.#inner.set(id, data, inner), done)
  }

  override destroy(id: string, done?: Done): void {
    this.#act('session.destroy', (inner) => this.#inner.destroy(id, inner), done)
  }

  override touch(id: string, data: SessionData, done?: Done): void {
    this.#act('session.touch', (inner) => this.#inner.touch?.(id, data, inner), done)
  }

  #act(name: string, act: (done: Done) => void, done: Done = () => {}): void {
    const acted = () =>
      new Promise<never>((resolve, reject) => {
        act((error, result) => (error ? reject(error) : resolve(result as never)))
      })
    this.#traps.around(name, acted).then(
      // Outside of the promise: what the caller throws is his.
      (result) => setImmediate(done, null, result),
      (error) => setImmediate(done, error),
    )
  }
}
