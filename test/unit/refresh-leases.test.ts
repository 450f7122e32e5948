import { expect } from 'chai'
import { CibaError } from '../../lib/errors.ts'
import { deriveKeys } from '../../lib/keys.ts'
import { RefreshLeases } from '../../lib/refresh-leases.ts'
import { sealer } from '../../lib/seal.ts'
import { failureOf } from '../support/outcomes.ts'
import { leaseMs, login, Refreshing } from '../support/refreshing.ts'

const { signal } = new AbortController()

describe('RefreshLeases', () => {
  let world: Refreshing
  let one: RefreshLeases
  let other: RefreshLeases

  const leases = (
    registration = 'client https://op.test',
    secrets: [string, ...string[]] = ['of all instances'],
    recordsStayHere = false,
  ) => {
    const { store, clock } = world
    const parts = { store, clock, registration, recordsStayHere }
    return new RefreshLeases({ ...parts, sealer: sealer(deriveKeys(secrets), 'refresh') })
  }

  beforeEach(() => {
    world = new Refreshing()
    one = leases()
    other = leases()
  })
  afterEach(() => world.store.close())

  const take = async (by: RefreshLeases, id = login) => {
    const { version } = await by.read(id)
    return by.take(id, version, world.grant(0, 0), world.clock.now() + leaseMs)
  }

  async function refreshed(by = one, id = login): Promise<void> {
    const holder = (await take(by, id)) ?? expect.fail('it is taken')
    await by.granted(id, holder, world.grant(1, 300), signal)
  }

  it('is taken by one of many at a time', async () => {
    const taken = await Promise.all([one, other, leases(), one].map((by) => take(by)))
    expect(taken.filter((holder) => holder !== undefined)).to.have.length(1)
  })

  it('is held for the others until its end, and never for its own process', async () => {
    await take(one)
    const until = world.clock.now() + leaseMs
    expect(other.heldUntil(await other.read(login))).to.equal(until)
    expect(one.heldUntil(await one.read(login))).to.equal(undefined)
    await world.clock.advance(leaseMs)
    expect(other.heldUntil(await other.read(login))).to.equal(undefined)
  })

  it('is given back with what it has brought', async () => {
    await refreshed()
    const { grant, lease } = await other.read(login)
    expect(grant).to.deep.include({ refreshes: 1, tokens: world.grant(1, 300).tokens })
    expect(lease).to.equal(undefined)
  })

  it('is not given back by who held it before, and an older grant replaces no newer one', async () => {
    const before = (await take(one)) ?? ''
    await world.clock.advance(leaseMs)
    const holder = (await take(other)) ?? ''
    await one.failed(login, before, { answer: { type: 'refused', error: 'late' }, until: 0 }, signal)
    expect(await other.read(login)).to.have.nested.property('lease.holder', holder)
    await other.granted(login, holder, world.grant(2, 300), signal)
    expect(await one.granted(login, before, world.grant(1, 300), signal)).to.have.nested.property(
      'grant.refreshes',
      2,
    )
    expect(await other.read(login)).to.have.nested.property('grant.refreshes', 2)
  })

  it('leaves the lease of another where it brings a newer grant too late', async () => {
    const before = (await take(one)) ?? ''
    await world.clock.advance(leaseMs)
    const holder = (await take(other)) ?? ''
    await one.granted(login, before, world.grant(1, 300), signal)
    const { lease, grant } = await other.read(login)
    expect([lease?.holder, grant?.refreshes]).to.deep.equal([holder, 1])
  })

  it('tells why there are no tokens, and keeps the error behind it in the process', async () => {
    const holder = (await take(one)) ?? ''
    const answer = { type: 'unavailable', sent: false, retryAfterMs: 7, cause: new Error('secret') } as const
    await one.failed(login, holder, { answer, until: 5 }, signal)
    const { failure } = await other.read(login)
    expect(failure).to.deep.equal({
      answer: { type: 'unavailable', sent: false, retryAfterMs: 7 },
      until: 5,
    })
  })

  it('is of no use once the login has ended', async () => {
    const holder = (await take(one)) ?? ''
    await other.end(login, signal)
    expect(await one.granted(login, holder, world.grant(1, 300), signal)).to.include({ ended: true })
    const { ended, grant } = await one.read(login)
    expect([ended, grant]).to.deep.equal([true, undefined])
  })

  it('gives the newest tokens to each who ends the login, since a try may fail after it', async () => {
    await refreshed()
    for (const by of [one, other, one]) expect(await by.end(login, signal)).to.include({ refreshes: 1 })
    expect(await other.read(login)).to.deep.include({ ended: true })
  })

  it('tells for five minutes what a store that is away did not take', async () => {
    const holder = (await take(one)) ?? ''
    world.store.fails = 'before'
    const told = one.granted(login, holder, world.grant(1, 3_600), signal)
    await world.clock.advance(290_000)
    world.store.fails = 'never'
    await world.clock.advance(2_000)
    await told
    expect(await other.read(login)).to.have.nested.property('grant.refreshes', 1)
  })

  it('gives up after that', async () => {
    world.store.fails = 'before'
    const failure = failureOf(one.end(login, signal))
    await world.clock.advance(300_000)
    expect(await failure).to.include({ code: 'ERR_CIBA_STORE_FAILED' })
    expect(world.clock.timers, 'no timer is left').to.equal(0)
  })

  it('is had without a record where there is no room, by a process that is alone with its store', async () => {
    world.store.write = async () => {
      throw new CibaError('ERR_CIBA_STORE_FULL', 'full')
    }
    expect(await failureOf(take(one))).to.include({ code: 'ERR_CIBA_STORE_FULL' })
    expect(await take(leases(undefined, undefined, true))).to.be.a('string')
  })

  it('rings nobody where the store cannot watch', () => {
    world.store.watch = () => {
      throw new Error('the client is closed')
    }
    one.watch(login, () => {})()
  })

  it('keeps what it knows for an hour', async () => {
    await refreshed()
    await one.end(login, signal)
    const hours = world.store.written.map(({ purgeAt }) => (purgeAt - world.clock.now()) / 3_600_000)
    expect(hours).to.deep.equal([1, 1, 1])
  })

  it('shows the store neither tokens nor whose they are [SEC-9]', async () => {
    await refreshed()
    for (const { id, data } of world.store.written) {
      expect(id).to.match(/^[A-Za-z0-9_-]{1,64}$/)
      for (const text of [login, 'access-1', 'refresh-1', 'alice']) expect(id + data).to.not.include(text)
    }
  })

  it('keeps logins apart, and clients that share store and secret', async () => {
    await refreshed()
    expect(await one.read('another transaction')).to.deep.equal({ version: 0 })
    expect(await leases('client https://other.test').read(login)).to.deep.equal({ version: 0 })
  })

  it('is the same for instances whose newest secrets differ, while one is rotated', async () => {
    const before = leases(undefined, ['old', 'new'])
    const after = leases(undefined, ['new', 'old'])
    await take(before)
    expect(after.heldUntil(await after.read(login))).to.be.a('number')
    await world.clock.advance(leaseMs)
    await refreshed(after)
    expect(await before.read(login)).to.have.nested.property('grant.refreshes', 1)
  })

  for (const [what, forge] of [
    ['nonsense', () => 'nonsense'],
    ['the record of another login', () => world.store.written.at(-1)?.data ?? ''],
    [
      'a record under a secret that is not known here yet',
      () => sealer(deriveKeys(['new secret']), 'refresh').seal(JSON.stringify({ login, refresh: {} })),
    ],
  ] as const) {
    it(`starts not anew from ${what}: ERR_CIBA_STORE_FAILED`, async () => {
      await refreshed()
      const [{ id } = { id: '' }] = world.store.written
      await refreshed(one, 'another transaction')
      await world.store.write({ id, version: 3, purgeAt: world.clock.now() + 1_000, data: forge() }, 2)
      expect(await failureOf(one.read(login))).to.include({ code: 'ERR_CIBA_STORE_FAILED', status: 503 })
    })
  }
})
