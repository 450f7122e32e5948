/**
 * An app and its scripted OP, for tests of what passes between the two, and a look into everything that is kept of
 * it: records, sessions, debug output. Knows nothing of what is asserted.
 */
import { format } from 'node:util'
import createDebug from 'debug'
import session from 'express-session'
import {
  type CibaOptions,
  type CibaSession,
  MemoryTransactionStore,
  type StoredRecord,
} from '../../lib/index.ts'
import { deriveKeys } from '../../lib/keys.ts'
import { recordSealer } from '../../lib/record.ts'
import type { Transaction } from '../../lib/transaction.ts'
import { type AppOptions, type Browser, type Status, startApp, type TestApp } from './app.ts'
import { type Answer, type ScriptedOp, type ScriptedOpOptions, startScriptedOp } from './scripted-op.ts'

/** What to seal with: {@link RecordingStore} opens what was sealed with it. */
export const sceneSecret = 'the secret of this scene'

/** Remembers every record that was ever written. */
export class RecordingStore extends MemoryTransactionStore {
  readonly written: StoredRecord[] = []

  override async write(record: StoredRecord, expectedVersion: number): Promise<boolean> {
    const isWritten = await super.write(record, expectedVersion)
    if (isWritten) this.written.push(record)
    return isWritten
  }

  /** All of them in the clear. */
  transactions(): Transaction[] {
    const { open } = recordSealer(deriveKeys([sceneSecret]))
    return this.written.map((record) => open(record) as Transaction)
  }
}

/** Remembers everything that was ever saved of a session. */
export class RecordingSessions extends session.MemoryStore {
  readonly written: string[] = []

  override set(id: string, data: session.SessionData, done?: (error?: unknown) => void): void {
    this.written.push(JSON.stringify(data))
    super.set(id, data, done)
  }

  /** What we keep in the one that was saved last. */
  last(): CibaSession | undefined {
    return JSON.parse(this.written.at(-1) ?? '{}').ciba
  }
}

export interface SceneOptions {
  /** Of `ciba()`. @default ping mode, with {@link sceneSecret} and the store of the scene */
  readonly ciba?: CibaOptions | ((op: ScriptedOp) => CibaOptions)
  readonly op?: ScriptedOpOptions
  readonly after?: AppOptions['after']
}

export interface Scene {
  readonly op: ScriptedOp
  readonly app: TestApp
  readonly browser: Browser
  readonly store: RecordingStore
  readonly sessions: RecordingSessions
  /** Another process with the same options and stores; what was in the memory of the first is lost. */
  restart(): Promise<TestApp>
  /** Starts, and lets the OP answer the token requests like this after a ping. @default with good tokens */
  login(answer?: Answer | readonly Answer[], browser?: Browser): Promise<Status>
}

/** Sets scenes that end with the test that set them. */
export function scenes(): (options?: SceneOptions) => Promise<Scene> {
  const cleanup: (() => unknown)[] = []

  afterEach(async () => {
    for (const end of cleanup.splice(0).reverse()) await end()
  })

  return async ({ ciba, op: opOptions, after } = {}) => {
    const op = await startScriptedOp(opOptions)
    cleanup.push(() => op.stop())
    const store = new RecordingStore()
    cleanup.push(() => store.close())
    const sessions = new RecordingSessions()
    const start = async () => {
      const options: CibaOptions = {
        issuerBaseURL: op.issuer,
        deliveryMode: 'ping',
        secret: sceneSecret,
        store,
        ...(typeof ciba === 'function' ? ciba(op) : ciba),
      }
      const app = await startApp({ options, session: { store: sessions }, ...(after && { after }) })
      cleanup.push(() => app.close())
      return app
    }
    const app = await start()
    const browser = app.browser()
    return {
      op,
      app,
      browser,
      store,
      sessions,
      restart: start,
      async login(answer, who = browser) {
        const transaction = await who.begin()
        op.onToken(...[answer ?? (await op.tokens())].flat())
        await op.ping(app.notificationUrl)
        return who.outcome(transaction)
      },
    }
  }
}

/** Collects what `DEBUG=express-ciba:*` shows, in this process, until the test ends. */
export function debugLines(): string[] {
  const lines: string[] = []
  let before = ''
  const { log } = createDebug
  beforeEach(() => {
    lines.length = 0
    before = createDebug.disable()
    createDebug.enable('express-ciba,express-ciba:*')
    createDebug.log = (...words: unknown[]) => void lines.push(format(...words))
  })
  afterEach(() => {
    createDebug.log = log
    createDebug.enable(before)
  })
  return lines
}
