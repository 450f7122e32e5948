/** The surroundings of a flow in a test's hands: an OP that answers when told to, a store that fails when told to. */
import type { Clock } from '../../lib/clock.ts'
import { Flow } from '../../lib/flow.ts'
import type { Expectations, Grant } from '../../lib/grant.ts'
import { deriveKeys } from '../../lib/keys.ts'
import { Ledger } from '../../lib/ledger.ts'
import type { Acknowledgement } from '../../lib/protocol/acknowledgement.ts'
import {
  type AuthenticationRequestParameters,
  type CheckedRequest,
  checkAuthenticationRequest,
} from '../../lib/protocol/authentication-request.ts'
import type { Answered } from '../../lib/protocol/granted.ts'
import { notificationTokens } from '../../lib/protocol/notification.ts'
import type { Op, Prepared } from '../../lib/protocol/op.ts'
import type { Push, PushAnswer } from '../../lib/protocol/push.ts'
import type { TokenAnswer } from '../../lib/protocol/token-request.ts'
import type { RecordSealer } from '../../lib/record.ts'
import type { StoredRecord, TransactionStore } from '../../lib/store.ts'
import { MemoryTransactionStore } from '../../lib/stores/memory.ts'
import type { DeliveryMode, Transaction } from '../../lib/transaction.ts'
import { FakeClock, settle } from './fake-clock.ts'

export const grant: Grant = {
  claims: { iss: 'https://op.example.com', sub: 'alice', aud: 'client', exp: 4_000_000_000, iat: 1 },
  tokens: {
    accessToken: 'the-access-token',
    tokenType: 'bearer',
    scope: 'openid',
    idToken: 'the-id-token',
    refreshToken: 'the-refresh-token',
  },
}
export const granted = { type: 'granted', grant } as const satisfies TokenAnswer
export const stillPending = { type: 'stillPending' } as const satisfies TokenAnswer

/** One token request that the OP has received. */
export interface ReceivedTokenRequest {
  readonly authReqId: string
  readonly at: number
  readonly timeoutMs: number
  /** Answers it, once. */
  readonly answer: (answer: TokenAnswer) => void
}

class FakeOp implements Op {
  readonly authentications: { request: CheckedRequest; notificationToken: string | undefined }[] = []
  readonly tokenRequests: ReceivedTokenRequest[] = []
  /** Answers for the next token requests; without one a request stays in flight until its `answer` is called. */
  readonly answers: TokenAnswer[] = []
  /** The most token requests that were ever in flight together. */
  mostInFlight = 0
  onAuthenticate: (notificationToken: string | undefined) => Promise<Acknowledgement> = async () => ({
    authReqId: `auth-req-${this.authentications.length}`,
    expiresIn: 120,
    interval: 5,
  })
  readonly #clock: Clock
  #inFlight = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Rejects when the OP does not take the request. */
  onPrepare: () => Promise<Prepared> = async () => ({})
  /** Everything that was pushed and looked at. */
  readonly pushes: { push: Push; expectations: Expectations }[] = []
  /** What the OP pushed comes to. */
  onPush: (push: Push) => Promise<PushAnswer> = async ({ error }) =>
    error === undefined ? granted : { type: 'failed', error }

  prepare(): Promise<Prepared> {
    return this.onPrepare()
  }

  authenticate(request: CheckedRequest, notificationToken?: string): Promise<Acknowledgement> {
    this.authentications.push({ request, notificationToken })
    return this.onAuthenticate(notificationToken)
  }

  async requestTokens({ authReqId }: Answered, timeoutMs: number): Promise<TokenAnswer> {
    this.#inFlight += 1
    this.mostInFlight = Math.max(this.mostInFlight, this.#inFlight)
    const answer = await new Promise<TokenAnswer>((resolve) => {
      this.tokenRequests.push({ authReqId, at: this.#clock.now(), timeoutMs, answer: resolve })
      const ready = this.answers.shift()
      if (ready) resolve(ready)
    })
    this.#inFlight -= 1
    return answer
  }

  processPush(push: Push, expectations: Expectations): Promise<PushAnswer> {
    this.pushes.push({ push, expectations })
    return this.onPush(push)
  }
}

/** Seals nothing and waits for nothing: with real sealing, a settled clock would not mean settled work. */
export const plainSealer: RecordSealer = {
  seal(transaction, version) {
    return {
      id: transaction.id,
      version,
      purgeAt: transaction.expiresAt + 300_000,
      data: JSON.stringify(transaction),
    }
  },
  open: ({ data }) => JSON.parse(data) as Transaction,
}

/** A memory store that can be out of order, and remembers every transaction that was written. */
export class FakeStore implements TransactionStore {
  readonly written: Transaction[] = []
  /** While it returns true, reads or writes reject; a rejected write stores nothing. */
  failsRead: () => boolean = () => false
  failsWrite: (transaction: Transaction) => boolean = () => false
  /** Takes effect before each write: somebody else may be faster. */
  beforeWrite: (transaction: Transaction) => Promise<void> = async () => {}
  losesWakeUps = false
  listeners = 0
  readonly #memory = new MemoryTransactionStore()

  async read(id: string): Promise<StoredRecord | undefined> {
    if (this.failsRead()) throw new Error('the store is down')
    return this.#memory.read(id)
  }

  async write(record: StoredRecord, expectedVersion: number): Promise<boolean> {
    const transaction = JSON.parse(record.data) as Transaction
    await this.beforeWrite(transaction)
    if (this.failsWrite(transaction)) throw new Error('the store is down')
    const stored = await this.#memory.write(record, expectedVersion)
    if (stored) this.written.push(transaction)
    return stored
  }

  watch(id: string, listener: () => void): () => void {
    this.listeners += 1
    const stop = this.#memory.watch(id, () => {
      if (!this.losesWakeUps) listener()
    })
    return () => {
      this.listeners -= 1
      stop()
    }
  }

  close(): void {
    this.#memory.close()
  }
}

export const tokenTimeoutMs = 60_000
export const validationTimeoutMs = 10_000

/** One OP and one store, and as many instances of the flow as a test needs. */
export class FakeWorld {
  readonly clock = new FakeClock()
  readonly op = new FakeOp(this.clock)
  readonly store = new FakeStore()
  readonly ledger = new Ledger(this.store, plainSealer, this.clock)
  readonly flow: Flow
  readonly #deliveryMode: DeliveryMode

  constructor(deliveryMode: DeliveryMode) {
    this.#deliveryMode = deliveryMode
    this.flow = this.newFlow()
  }

  /** Another instance on the same store. */
  newFlow(): Flow {
    const { op, ledger, clock } = this
    const tokens = notificationTokens(deriveKeys(['the secret of all instances']))
    return new Flow({
      op,
      ledger,
      clock,
      tokenTimeoutMs,
      validationTimeoutMs,
      notificationTokens: tokens,
      deliveryMode: this.#deliveryMode,
    })
  }

  /** Starts a transaction. */
  start(parameters: AuthenticationRequestParameters = {}, hideUnknownUser = false): Promise<Transaction> {
    const request = checkAuthenticationRequest({ loginHint: 'alice', ...parameters })
    return this.flow.start(request, { owner: 'owner', hideUnknownUser })
  }

  /** The OP answers the latest token request. */
  async answer(result: TokenAnswer): Promise<void> {
    this.op.tokenRequests.at(-1)?.answer(result)
    await settle()
  }

  /** Ends whatever goes on about a transaction; gives the numbers of listeners and timers that are left behind. */
  async end(id: string): Promise<number[]> {
    this.store.failsRead = this.store.failsWrite = () => false
    await this.flow.cancel(id)
    for (const request of this.op.tokenRequests) request.answer(stillPending)
    await this.clock.advance(5_000)
    this.store.close()
    return [this.store.listeners, this.clock.timers]
  }

  async stored(id: string): Promise<Transaction | undefined> {
    return (await this.ledger.read(id))?.transaction
  }
}

/** What has become of a promise by now. */
export interface Seen<Value> {
  over: boolean
  value?: Value
  error?: unknown
}

/** Looks at a promise without waiting for it. */
export function see<Value>(promise: Promise<Value>): Seen<Value> {
  const seen: Seen<Value> = { over: false }
  promise.then(
    (value) => Object.assign(seen, { over: true, value }),
    (error: unknown) => Object.assign(seen, { over: true, error }),
  )
  return seen
}
