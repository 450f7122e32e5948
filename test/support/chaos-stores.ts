/**
 * The two stores that all processes of a run share, seen by each across its border: transactions with compare-and-set and
 * wake-ups, and sessions. Knows nothing of logins.
 */
import { type SessionData, Store } from 'express-session'
import type { StoredRecord, TransactionStore } from '../../lib/store.ts'
import { type Border, isDead, type Trouble } from './chaos-border.ts'
import { type Here, here, type Place } from './chaos-time.ts'

/** The records, where all processes find them. */
export class SharedRecords {
  readonly records = new Map<string, StoredRecord>()
  readonly #listeners = new Map<string, Set<{ readonly place: Place; readonly ring: () => void }>>()
  readonly #border: Border
  /** Looks at everything that is stored, and says it in a word. */
  readonly #onWrite: (record: StoredRecord) => string

  constructor(border: Border, onWrite: (record: StoredRecord) => string) {
    this.#border = border
    this.#onWrite = onWrite
  }

  /** Those of processes that live. */
  get listeners(): number {
    return [...this.#listeners.values()].flatMap((set) => [...set].filter(({ place }) => place.isAlive))
      .length
  }

  /** As one process sees them. */
  seen(): TransactionStore {
    const border = this.#border
    // It has asked what time it is there, and the answer took a while.
    const offMs = border.dice.between(-20, 20)
    return {
      now: () => Math.round(border.time.now + offMs),
      read: (id) =>
        border.cross(
          'read',
          this.#trouble,
          () => this.#alive(id),
          (record) => (record ? `v${record.version}` : 'nothing'),
        ),
      write: (record, expectedVersion) =>
        border.cross(
          'write',
          this.#trouble,
          () => this.#write(record, expectedVersion),
          (stored) => `v${record.version} ${stored ? this.#onWrite(record) : 'CONFLICT'}`,
        ),
      watch: (id, ring) => this.#watch(id, ring),
    }
  }

  get #trouble(): Trouble {
    const { storeFails, storeFailsAfterEffect, storeIsSlow, storeAway } = this.#border.weather
    return {
      fails: storeFails,
      failsAfterEffect: storeFailsAfterEffect,
      isSlow: storeIsSlow,
      away: storeAway,
    }
  }

  #alive(id: string): StoredRecord | undefined {
    const record = this.records.get(id)
    return record && this.#border.time.now < record.purgeAt ? record : undefined
  }

  #write(record: StoredRecord, expectedVersion: number): boolean {
    if ((this.#alive(record.id)?.version ?? 0) !== expectedVersion) return false
    const { id, version, purgeAt, data } = record
    this.records.set(id, { id, version, purgeAt, data })
    const { dice, weather, time } = this.#border
    for (const listener of this.#listeners.get(id) ?? []) {
      const isLost = dice.chance(weather.watchIsLost)
      const lateMs = dice.chance(weather.watchIsLate) ? dice.between(0, 3_000) : dice.between(0, 5)
      if (!isLost) time.after(lateMs, () => this.#ring(id, listener))
    }
    return true
  }

  #ring(id: string, listener: { readonly place: Place; readonly ring: () => void }): void {
    if (!listener.place.isAlive || !this.#listeners.get(id)?.has(listener)) return
    here.run({ place: listener.place, about: '' }, listener.ring)
  }

  #watch(id: string, ring: () => void): () => void {
    const { place } = here.getStore() as Here
    const listeners = this.#listeners.get(id) ?? new Set()
    const listener = { place, ring }
    this.#listeners.set(id, listeners.add(listener))
    return () => {
      listeners.delete(listener)
      if (listeners.size === 0) this.#listeners.delete(id)
    }
  }
}

type Done = (error?: unknown, data?: SessionData | null) => void

/** The sessions, as one process sees them; the map is everybody's. */
export class ChaosSessions extends Store {
  readonly #border: Border
  readonly #sessions: Map<string, string>
  readonly #onChange: (id: string, data: SessionData | undefined) => void

  constructor(
    border: Border,
    sessions: Map<string, string>,
    onChange: (id: string, data: SessionData | undefined) => void,
  ) {
    super()
    this.#border = border
    this.#sessions = sessions
    this.#onChange = onChange
  }

  override get(id: string, done: Done): void {
    const read = () => this.#sessions.get(id)
    this.#cross('get', id, read, (text) => (text === undefined ? 'nothing' : describe(text)), done)
  }

  override set(id: string, data: SessionData, done: Done = () => {}): void {
    const text = JSON.stringify(data)
    const write = () => {
      this.#sessions.set(id, text)
      this.#onChange(id, JSON.parse(text) as SessionData)
    }
    this.#cross('set', id, write, () => describe(text), done)
  }

  override destroy(id: string, done: Done = () => {}): void {
    const end = () => {
      this.#sessions.delete(id)
      this.#onChange(id, undefined)
    }
    this.#cross('destroy', id, end, () => '', done)
  }

  override touch(id: string, _data: SessionData, done: Done = () => {}): void {
    this.#cross('touch', id, () => {}, String, done)
  }

  #cross(
    name: string,
    id: string,
    act: () => unknown,
    tell: (result: string | undefined) => string,
    done: Done,
  ): void {
    const { sessionFails, sessionFailsAfterEffect, sessionIsSlow, sessionsAway } = this.#border.weather
    const trouble: Trouble = {
      fails: sessionFails,
      failsAfterEffect: sessionFailsAfterEffect,
      isSlow: sessionIsSlow,
      away: sessionsAway,
    }
    const told = (result: unknown) => tell(result as string | undefined)
    this.#border.cross(`session ${name} ${id.slice(0, 4)}`, trouble, act, told).then(
      (text) => isDead() || done(null, typeof text === 'string' ? JSON.parse(text) : undefined),
      (error: unknown) => isDead() || done(error),
    )
  }
}

function describe(text: string): string {
  const { ciba } = JSON.parse(text) as SessionData
  if (!ciba) return 'empty'
  const { login, origin } = ciba
  return login ? `login of ${login.user.sub}${origin ? ` from ${origin.from.slice(0, 4)}` : ''}` : 'owner'
}
