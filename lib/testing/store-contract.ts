/**
 * What every transaction store has to do, as cases for any test runner. With `node:assert`, so that a store that
 * lives elsewhere can use it without our test tools.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { StoredRecord, TransactionStore } from '../store.ts'

/** What the cases need of a test runner: mocha's, node:test's and vitest's `it` all fit. */
export type It = (title: string, run: () => Promise<void>) => unknown

/** Two views of the same records: two instances on one database, or twice the same object. */
export interface SharedStores {
  readonly one: TransactionStore
  readonly other: TransactionStore
}

/** How long a wake-up may take, before it counts as missing. */
const patienceMs = 2_000
/** How long nothing must have happened, to count as never. */
const silenceMs = 50

/** Declares the cases with the runner's `it`; `stores` is called within each, after the runner's own hooks. */
export function transactionStoreContract(it: It, stores: () => SharedStores): void {
  const now = () => stores().one.now?.() ?? Date.now()
  /** A record under a new id, unless an id is given. */
  const record = (parts: Partial<StoredRecord> = {}): StoredRecord => ({
    id: randomBytes(16).toString('base64url'),
    version: 1,
    purgeAt: now() + 60_000,
    data: 'sealed',
    ...parts,
  })
  const next = (last: StoredRecord, parts: Partial<StoredRecord> = {}) =>
    record({ id: last.id, version: last.version + 1, ...parts })
  const created = async (parts?: Partial<StoredRecord>) => {
    const first = record(parts)
    assert.equal(await stores().one.write(first, 0), true, 'created')
    return first
  }
  const assertStored = async (expected: StoredRecord | undefined, id = expected?.id ?? '') => {
    for (const store of Object.values(stores()) as TransactionStore[]) {
      const { version, purgeAt, data, ...rest } = (await store.read(id)) ?? {}
      const found = version === undefined ? undefined : { ...rest, version, purgeAt, data }
      assert.deepEqual(found, expected)
    }
  }

  it('knows no record that was never written', () => assertStored(undefined, 'never-written'))

  it('returns what was created, to everybody', async () => assertStored(await created()))

  it('creates only what does not exist yet', async () => {
    const first = await created({ data: 'first' })
    const again = record({ id: first.id, data: 'second' })
    assert.equal(await stores().one.write(again, 0), false)
    assert.equal(await stores().other.write(again, 0), false)
    await assertStored(first)
  })

  it('replaces the version that is expected', async () => {
    let last = await created()
    for (let time = 0; time < 20; time++) {
      const replacement = next(last, { data: `version ${last.version + 1}` })
      const store = time % 2 ? stores().one : stores().other
      assert.equal(await store.write(replacement, last.version), true)
      last = replacement
    }
    await assertStored(last)
  })

  it('refuses every other version, and changes nothing (SEC-10)', async () => {
    const first = await created()
    const second = next(first, { data: 'second' })
    assert.equal(await stores().one.write(second, 1), true)
    for (const expected of [0, 1, 3, 12]) {
      const late = record({ id: first.id, version: expected + 1, data: 'late' })
      assert.equal(await stores().other.write(late, expected), false, `expected version ${expected}`)
    }
    await assertStored(second)
  })

  it('refuses to replace what does not exist', async () => {
    const orphan = record({ version: 2 })
    assert.equal(await stores().one.write(orphan, 1), false)
    await assertStored(undefined, orphan.id)
  })

  it('lets exactly one of many concurrent creations win (SEC-10)', async () => {
    const { id } = record()
    const rivals = Array.from({ length: 10 }, (_, index) => record({ id, data: `rival ${index}` }))
    const { one, other } = stores()
    const results = await Promise.all(rivals.map((rival, index) => (index % 2 ? one : other).write(rival, 0)))
    assert.equal(results.filter(Boolean).length, 1)
    await assertStored(rivals[results.indexOf(true)])
  })

  it('lets exactly one of many concurrent writes win (SEC-10)', async () => {
    const first = await created()
    const rivals = Array.from({ length: 10 }, (_, index) => next(first, { data: `rival ${index}` }))
    const { one, other } = stores()
    const results = await Promise.all(rivals.map((rival, index) => (index % 2 ? one : other).write(rival, 1)))
    assert.equal(results.filter(Boolean).length, 1)
    await assertStored(rivals[results.indexOf(true)])
  })

  it('forgets a record when its time has come, and the id is free again (PING-17)', async () => {
    const first = await created({ purgeAt: now() + 100 })
    await assertStored(first)
    await sleep(first.purgeAt - now() + 5)
    await assertStored(undefined, first.id)
    assert.equal(await stores().one.write(next(first), 1), false, 'nothing is there to be replaced')
    const again = record({ id: first.id, data: 'again' })
    assert.equal(await stores().other.write(again, 0), true)
    await assertStored(again)
  })

  it('goes by the latest time to forget', async () => {
    const brief = await created({ purgeAt: now() + 100 })
    const long = await created()
    const prolonged = next(brief)
    const shortened = next(long, { purgeAt: now() + 100 })
    assert.equal(await stores().one.write(prolonged, 1), true)
    assert.equal(await stores().one.write(shortened, 1), true)
    await sleep(shortened.purgeAt - now() + 5)
    await assertStored(prolonged)
    await assertStored(undefined, long.id)
  })

  it('keeps many records apart', async () => {
    const many = Array.from({ length: 300 }, (_, index) => record({ data: `number ${index}` }))
    const { one, other } = stores()
    await Promise.all(many.map((each) => one.write(each, 0)))
    const found = await Promise.all(many.map(({ id }) => other.read(id)))
    assert.deepEqual(
      found.map((each) => each?.data),
      many.map(({ data }) => data),
    )
  })

  it('takes ids that differ in case and punctuation only for different ones', async () => {
    const id = randomBytes(8).toString('hex')
    const alike = [`${id}-aB_`, `${id}-Ab_`, `${id}_aB-`, `${id}-aB_`.padEnd(64, 'x')]
    for (const each of alike) await created({ id: each, data: each })
    for (const each of alike) assert.equal((await stores().other.read(each))?.data, each)
  })

  for (const [what, data] of [
    ['10 kB', randomBytes(7_500).toString('base64url')],
    ['every script, quotes and line ends', 'ä€😀 ’"\\\'`\r\n\t{}[]%s$x \u2028 \ud83d\ude00'],
    ['text that looks like something else', '{"id":"x","version":7}'],
    ['nothing', ''],
  ] as const) {
    it(`returns the data exactly as it was: ${what}`, async () => assertStored(await created({ data })))
  }

  it('keeps instants to the millisecond', async () =>
    assertStored(await created({ purgeAt: 4_102_444_800_123 })))

  const deadline = () => sleep(patienceMs, undefined, { ref: false })

  /** Counts the wake-ups for this id in the view `at`. */
  const watching = (id: string, at: keyof SharedStores = 'one') => {
    let count = 0
    let wake = () => {}
    const stop = stores()[at].watch(id, () => {
      count += 1
      wake()
    })
    const woken = new Promise<boolean>((resolve) => {
      wake = () => resolve(true)
    })
    return {
      stop,
      count: () => count,
      isWoken: async () => (await Promise.race([woken, deadline()])) ?? false,
    }
  }

  for (const writer of ['one', 'other'] as const) {
    it(`wakes the listeners of ${writer === 'one' ? 'the instance that writes' : 'other instances'}`, async () => {
      const first = await created()
      const listeners = [watching(first.id), watching(first.id)]
      assert.equal(await stores()[writer].write(next(first), 1), true)
      for (const { isWoken } of listeners) assert.equal(await isWoken(), true, 'woken')
      for (const { stop } of listeners) stop()
    })
  }

  it('wakes a listener that came before the record', async () => {
    const first = record()
    const { isWoken, stop } = watching(first.id, 'other')
    assert.equal(await stores().one.write(first, 0), true)
    assert.equal(await isWoken(), true)
    stop()
  })

  it('wakes again for each write', async () => {
    let last = await created()
    for (let time = 0; time < 3; time++) {
      const { isWoken, stop } = watching(last.id)
      const replacement = next(last)
      assert.equal(await stores().one.write(replacement, last.version), true)
      last = replacement
      assert.equal(await isWoken(), true, `write ${time}`)
      stop()
    }
  })

  it('finds the written record in place when it wakes', async () => {
    const first = await created()
    const found = new Promise<StoredRecord | undefined>((resolve) => {
      const stop = stores().other.watch(first.id, () => {
        stop()
        resolve(stores().other.read(first.id))
      })
    })
    assert.equal(await stores().one.write(next(first), 1), true)
    assert.equal((await Promise.race([found, deadline()]))?.version, 2)
  })

  it('does not wake for the write of another id', async () => {
    const [mine, another] = [await created(), await created()]
    const [bystander, control] = [watching(mine.id), watching(another.id)]
    // A store may call once when it has begun to watch.
    assert.equal(await stores().one.write(next(mine), 1), true)
    assert.equal(await bystander.isWoken(), true)
    await sleep(silenceMs)
    const before = bystander.count()
    assert.equal(await stores().one.write(next(another), 1), true)
    assert.equal(await control.isWoken(), true)
    await sleep(silenceMs)
    assert.equal(bystander.count(), before)
    bystander.stop()
    control.stop()
  })

  it('wakes nobody after the stop, and the others still', async () => {
    const first = await created()
    const [leaver, stayer] = [watching(first.id), watching(first.id)]
    leaver.stop()
    assert.equal(await stores().one.write(next(first), 1), true)
    assert.equal(await stayer.isWoken(), true)
    await sleep(silenceMs)
    assert.equal(leaver.count(), 0)
    stayer.stop()
  })

  it('stops once only: a later listener stays', async () => {
    const first = await created()
    const earlier = watching(first.id)
    earlier.stop()
    const later = watching(first.id)
    earlier.stop()
    assert.equal(await stores().one.write(next(first), 1), true)
    assert.equal(await later.isWoken(), true)
    later.stop()
  })
}
