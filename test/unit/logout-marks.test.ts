import { expect } from 'chai'
import { deriveKeys } from '../../lib/keys.ts'
import { LogoutMarks } from '../../lib/logout-marks.ts'
import type { StoredRecord } from '../../lib/store.ts'
import { MemoryTransactionStore } from '../../lib/stores/memory.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { failureOf } from '../support/outcomes.ts'

const secret = 'a secret of the test'
const issuer = 'https://op.test/'
const day = 24 * 3_600_000

/** Keeps every record that was ever written. */
class WatchedStore extends MemoryTransactionStore {
  readonly written: StoredRecord[] = []
  isDown = false

  override async read(id: string): Promise<StoredRecord | undefined> {
    if (this.isDown) throw new Error('the database is down')
    return super.read(id)
  }

  override async write(record: StoredRecord, expectedVersion: number): Promise<boolean> {
    if (this.isDown) throw new Error('the database is down')
    this.written.push(record)
    return super.write(record, expectedVersion)
  }
}

describe('LogoutMarks', () => {
  let store: WatchedStore
  let clock: FakeClock
  let marks: LogoutMarks
  let tokens: number

  const marksOf = (secrets: [string, ...string[]]) => new LogoutMarks(store, deriveKeys(secrets), clock)

  /** A logout token with a `jti` of its own. */
  const token = (about: { sub?: string; sid?: string }, jti = `token ${++tokens}`) => ({
    iss: issuer,
    jti,
    validUntil: clock.now() + 300_000,
    ...about,
  })

  const login = (about: { iss?: string; sub?: string; sid?: string } = {}) => ({
    iss: issuer,
    sub: 'alice',
    at: clock.now(),
    ...about,
  })

  beforeEach(() => {
    store = new WatchedStore()
    clock = new FakeClock()
    marks = marksOf([secret])
    tokens = 0
  })

  afterEach(() => store.close())

  it('knows nothing of a login that nobody has ended', async () => {
    await marks.add(token({ sub: 'bob' }))
    expect(await marks.has(login())).to.equal(false)
    expect(await marks.has(login({ sid: 'bob' }))).to.equal(false)
  })

  it('ends all logins of a person that were there before [BCL-2.7]', async () => {
    const logins = [login(), login({ sid: 'one' }), login({ sid: 'two' })]
    await clock.advance(1)
    await marks.add(token({ sub: 'alice' }))
    for (const one of logins) expect(await marks.has(one)).to.equal(true)
  })

  it('ends no login that comes later', async () => {
    await marks.add(token({ sub: 'alice' }))
    await clock.advance(1)
    expect(await marks.has(login())).to.equal(false)
  })

  it('ends a login of a session at the OP that is over, also when it comes later', async () => {
    await marks.add(token({ sid: 'one' }))
    await clock.advance(1)
    expect(await marks.has(login({ sid: 'one' }))).to.equal(true)
  })

  it('ends the logins of one session at the OP, and none of the person else, when the token has a sid', async () => {
    await marks.add(token({ sub: 'alice', sid: 'one' }))
    expect(await marks.has(login({ sid: 'one' }))).to.equal(true)
    expect(await marks.has(login({ sid: 'two' }))).to.equal(false)
    expect(await marks.has(login())).to.equal(false)
  })

  it('takes no sub for a sid', async () => {
    await marks.add(token({ sid: 'alice' }))
    expect(await marks.has(login())).to.equal(false)
    await marks.add(token({ sub: 'one' }))
    expect(await marks.has(login({ sid: 'one' }))).to.equal(false)
  })

  it('takes a token once: it ends no login that comes between', async () => {
    await marks.add(token({ sub: 'alice' }, 'the same'))
    await clock.advance(1_000)
    const later = login()
    await clock.advance(1_000)
    await marks.add(token({ sub: 'alice' }, 'the same'))
    expect(await marks.has(later)).to.equal(false)
  })

  it('moves the mark with every new token', async () => {
    await marks.add(token({ sub: 'alice' }))
    await clock.advance(1_000)
    const later = login()
    await marks.add(token({ sub: 'alice' }))
    expect(await marks.has(later)).to.equal(true)
  })

  it('takes many tokens about one person at once', async () => {
    const one = login()
    await clock.advance(1)
    await Promise.all(Array.from({ length: 10 }, () => marks.add(token({ sub: 'alice' }))))
    expect(await marks.has(one)).to.equal(true)
  })

  it('is shared by all that have the store and the secret [SEC-10]', async () => {
    await marks.add(token({ sub: 'alice' }, 'the same'))
    const others = marksOf([secret])
    expect(await others.has(login())).to.equal(true)
    await clock.advance(1_000)
    await others.add(token({ sub: 'alice' }, 'the same'))
    expect(await others.has(login())).to.equal(false)
  })

  it('goes on with marks of the secret before', async () => {
    await marks.add(token({ sub: 'alice' }))
    await marks.add(token({ sid: 'one' }))
    const rotated = marksOf(['a new secret', secret])
    expect(await rotated.has(login())).to.equal(true)
    expect(await rotated.has(login({ sub: 'bob', sid: 'one' }))).to.equal(true)
    await rotated.add(token({ sub: 'carol' }))
    expect(await rotated.has(login({ sub: 'carol' }))).to.equal(true)
  })

  it('keeps the logins of two OPs apart', async () => {
    await marks.add(token({ sub: 'alice' }))
    expect(await marks.has(login({ iss: 'https://other.test/' }))).to.equal(false)
    await marks.add(token({ sid: 'one' }))
    expect(await marks.has(login({ iss: 'https://other.test/', sid: 'one' }))).to.equal(false)
  })

  it('remembers a logout for 30 days, and a token for as long as it could be sent again', async () => {
    const { validUntil } = token({})
    await marks.add({ iss: issuer, jti: 'one', sub: 'alice', validUntil })
    expect(store.written.map(({ purgeAt }) => purgeAt)).to.have.members([clock.now() + 30 * day, validUntil])
  })

  it('shows the store neither who was logged out nor which token did it [SEC-9]', async () => {
    await marks.add({
      iss: issuer,
      jti: 'jti-value',
      sub: 'alice',
      sid: 'sid-value',
      validUntil: clock.now() + 1000,
    })
    await marks.add(token({ sub: 'alice' }))
    expect(store.written).to.have.length(4)
    for (const { id, version, data } of store.written) {
      expect(id).to.match(/^[A-Za-z0-9_-]{1,64}$/)
      expect(version).to.equal(1)
      for (const value of ['alice', 'sid-value', 'jti-value']) expect(id + data).to.not.include(value)
    }
    expect(new Set(store.written.map(({ id }) => id)).size).to.equal(4)
  })

  it('does not forget a token that could not be marked: the OP may send it again', async () => {
    const one = login()
    store.isDown = true
    const sent = token({ sub: 'alice' })
    expect(await failureOf(marks.add(sent))).to.include({ code: 'ERR_CIBA_STORE_FAILED', status: 503 })
    store.isDown = false
    expect(await marks.has(one)).to.equal(false)
    await marks.add(sent)
    expect(await marks.has(one)).to.equal(true)
  })

  it('rejects when the store is down: nobody passes for signed in meanwhile', async () => {
    store.isDown = true
    expect(await failureOf(marks.has(login()))).to.include({ code: 'ERR_CIBA_STORE_FAILED', status: 503 })
  })
})
