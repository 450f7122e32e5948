/** Several processes that share a store refresh the tokens of one login [SEC-10, TOK-23]. */
import { expect } from 'chai'
import type { Clock } from '../../lib/clock.ts'
import type { HeldGrant } from '../../lib/grant.ts'
import type { RefreshAnswer } from '../../lib/protocol/refresh.ts'
import type { StoredRecord } from '../../lib/store.ts'
import { settle } from '../support/fake-clock.ts'
import { failureOf, later } from '../support/outcomes.ts'
import { type Instance, leaseMs, login, Refreshing } from '../support/refreshing.ts'

describe('TokenKeeper, at several instances', () => {
  let world: Refreshing
  let [a, b, c]: [Instance, Instance, Instance] = [] as never

  beforeEach(() => {
    world = new Refreshing()
    ;[a, b, c] = [world.instance(), world.instance(), world.instance()]
  })
  afterEach(() => {
    world.store.close()
    expect(world.isBurnt, 'an old refresh token came back').to.equal(false)
  })

  /** A refresh that `one` has begun; the OP answers it when told to. */
  async function begin(one: Instance, copy?: HeldGrant) {
    const answer = later<RefreshAnswer>()
    world.answers.push(answer.promise)
    const count = world.used.length + 1
    const token = one.token(copy)
    token.catch(() => {})
    await settle()
    expect(world.used).to.have.length(count)
    return {
      token,
      finish: (given?: RefreshAnswer) => answer.resolve(given ?? world.answer(world.grant(count - 1, 0))),
    }
  }

  /** A request that waits for another instance. */
  async function wait(one: Instance, copy?: HeldGrant): Promise<Promise<string>[]> {
    const token = one.token(copy)
    token.catch(() => {})
    await settle()
    return [token] // a promise would be waited for
  }

  describe('fresh()', () => {
    it('refreshes once for twenty requests at three instances, which all get the new token', async () => {
      const all = Array.from({ length: 20 }, (_, n) => ([a, b, c][n % 3] as Instance).token())
      expect(await Promise.all(all)).to.deep.equal(Array(20).fill('access-1'))
      expect(world.used).to.deep.equal(['refresh-0'])
      expect(world.session?.tokens.refreshToken).to.equal('refresh-1')
      expect(world.clock.timers, 'no timer is left').to.equal(0)
    })

    it('goes on with the newest refresh token, whoever got it', async () => {
      world.lifetime = 0
      for (const [n, one] of [a, b, c, a, c, b].entries())
        expect(await one.token()).to.equal(`access-${n + 1}`)
    })

    it('stores the session before it lets the others go on', async () => {
      const save = later()
      world.beforeSave = () => save.promise
      const refresh = await begin(a)
      const [token] = await wait(b)
      refresh.finish()
      await settle()
      expect(world.store.last).to.have.property('lease')
      save.resolve()
      expect(await token).to.equal('access-1')
    })

    it('takes seconds longer when the wake-up is lost', async () => {
      world.store.losesWakeUps = true
      const refresh = await begin(a)
      const [token] = await wait(b)
      refresh.finish()
      await refresh.token
      await world.clock.advance(5_000)
      expect(await token).to.equal('access-1')
    })

    it('gives the old token, after five seconds, to who waits for another instance while it is valid', async () => {
      world.session = world.grant(0, 30)
      await begin(a)
      const [token] = await wait(b)
      await world.clock.advance(5_000)
      expect(await token).to.equal('access-0')
      expect(world.used).to.have.length(1)
    })

    it('waits for an instance that was killed until its lease is over, and then asks itself', async () => {
      await begin(a)
      a.die()
      const [token] = await wait(b)
      await world.clock.advance(leaseMs - 1)
      expect(world.used).to.have.length(1)
      await world.clock.advance(1)
      expect(await token).to.equal('access-1')
      expect(world.used).to.deep.equal(['refresh-0', 'refresh-0'])
    })

    it('takes what a killed instance has saved into the session, and asks nobody', async () => {
      const refresh = await begin(a)
      world.beforeSave = async () => {
        world.session = world.grant(1, 3_600)
        a.die()
      }
      refresh.finish()
      await settle()
      const [token] = await wait(b, world.grant(0, 0))
      await world.clock.advance(leaseMs)
      expect(await token).to.equal('access-1')
      expect(world.used).to.have.length(1)
    })

    it('says what the OP has said to the killed one: the next one counts', async () => {
      await begin(a)
      world.answer(world.grant(0, 0)) // the OP has answered, into the void
      a.die()
      const [token] = await wait(b)
      await world.clock.advance(leaseMs)
      expect(await failureOf(token as Promise<string>)).to.include({ code: 'ERR_CIBA_INVALID_TOKEN' })
      world.isBurnt = false // it was
    })

    it('heals a session that a slow request at another instance has written back', async () => {
      const old = world.session
      await a.token()
      world.session = old
      expect(await b.token()).to.equal('access-1')
      await world.clock.advance(290_000)
      world.session = old
      expect(await c.token()).to.equal('access-2')
      expect(world.used).to.deep.equal(['refresh-0', 'refresh-1'])
    })

    it('takes the session where the store knows less: by count', async () => {
      await a.token()
      world.answer(world.grant(1, 0))
      world.session = world.grant(2, 0)
      expect(await b.token(world.grant(0, 0))).to.equal('access-3')
      expect(world.used).to.deep.equal(['refresh-0', 'refresh-2'])
    })

    it('keeps a DPoP key where it is, and gives it with tokens that another instance got [AUTH-7]', async () => {
      const dpopKey = { kty: 'EC', d: 'the private part' }
      const old = { ...world.grant(0, 0), dpopKey }
      world.session = old
      const refresh = await begin(a)
      await settle()
      const granted = world.answer(world.grant(0, 0))
      if (granted.type !== 'granted') throw new Error('it is granted')
      refresh.finish({ ...granted, grant: { ...granted.grant, dpopKey } })
      await refresh.token
      world.session = old
      expect(await b.keeper.fresh(b.holder, old)).to.deep.include({ refreshes: 1, dpopKey })
      for (const { data } of world.store.written) expect(data).to.not.include('the private part')
    })

    it('keeps that key out of the store also while tokens are refreshed again [AUTH-7]', async () => {
      const old = { ...world.grant(1, 0), dpopKey: { d: 'the private part' } }
      world.session = old
      world.answers.push({ type: 'granted', grant: { ...world.grant(2, 300), dpopKey: old.dpopKey } })
      await a.keeper.fresh(a.holder, old)
      expect(world.store.written).to.have.length(2)
      for (const { data } of world.store.written) expect(data).to.not.include('the private part')
    })

    it('goes on with the newest refresh token although the refresh before brought nothing', async () => {
      const old = world.grant(0, 0)
      world.lifetime = 0
      await a.token()
      world.answers.push({ type: 'unavailable', sent: false, retryAfterMs: 0 })
      await failureOf(a.token())
      world.session = old
      world.lifetime = 300
      expect(await b.token()).to.equal('access-2')
      expect(world.used).to.deep.equal(['refresh-0', 'refresh-1', 'refresh-1'])
    })

    it('looks once for each time that it is woken up', async () => {
      await begin(a)
      b.token().catch(() => {})
      await settle()
      const [lease] = world.store.written as [StoredRecord]
      const read = world.store.read.bind(world.store)
      let reads = 0
      world.store.read = (id) => (++reads > 3 ? new Promise(() => {}) : read(id))
      await world.store.write({ ...lease, version: 2 }, 1) // nothing new
      for (let turn = 0; turn < 10; turn++) await settle()
      expect(reads).to.equal(1)
    })

    it('goes by the time that the instances share where others read it, and by its own for tokens', async () => {
      const ahead = (ms: number): Clock => ({
        now: () => world.clock.now(),
        here: () => world.clock.now() + ms,
        after: (delay, callback) => world.clock.after(delay, callback),
      })
      const hour = 3_600_000
      const [slow, quick] = [world.instance({ clock: ahead(-hour) }), world.instance({ clock: ahead(hour) })]
      world.session = world.grant(0, 300)
      expect(await a.token()).to.equal('access-0')
      expect(await slow.token()).to.equal('access-0')
      world.session = world.grant(0, -3_000)
      expect(await slow.token(), 'it has most of an hour').to.equal('access-0')
      world.store.fails = 'before'
      world.session = { ...world.grant(0, -3_590), since: 0 }
      expect(await slow.token(), 'it has ten seconds').to.equal('access-0')
      world.store.fails = 'never'
      expect(world.used).to.be.empty
      world.session = world.grant(0, 0)
      const refresh = await begin(quick)
      const [token] = await wait(a)
      await world.clock.advance(leaseMs - 10_000)
      expect(world.used).to.have.length(1)
      refresh.finish()
      expect(await refresh.token).to.equal('access-1')
      expect(await token).to.equal('access-1')
      expect(world.session).to.have.property('since', world.clock.now() + hour)
    })

    it('tells the others at once when the OP refuses, and asks it once for all who wait', async () => {
      const refresh = await begin(a)
      const tokens = [...(await wait(b)), ...(await wait(c))]
      refresh.finish({ type: 'failed', error: 'invalid_client' })
      for (const token of [refresh.token, ...tokens]) {
        expect(await failureOf(token)).to.include({ code: 'ERR_CIBA_OP_FAILED' })
      }
      expect(world.used).to.have.length(1)
      expect(await b.token(), 'who comes later asks again').to.equal('access-1')
    })

    it('leaves an OP alone that has just failed, at all instances, as long as the token is valid', async () => {
      world.session = world.grant(0, 50)
      world.answers.push({ type: 'unavailable', sent: false, retryAfterMs: 20_000 })
      for (const one of [a, b, c]) expect(await one.token()).to.equal('access-0')
      await world.clock.advance(19_999)
      for (const one of [a, b, c]) expect(await one.token()).to.equal('access-0')
      expect(world.used).to.have.length(1)
      await world.clock.advance(1)
      expect(await c.token()).to.equal('access-1')
    })

    it('lets nobody have two tokens of one refresh where an instance has slept through its lease', async () => {
      const refresh = await begin(a)
      await world.clock.advance(leaseMs)
      const other = world.grant(1, 300)
      const tokens = { ...other.tokens, accessToken: 'access of the other' }
      world.answers.push({ type: 'granted', grant: { ...other, tokens } })
      expect(await b.token()).to.equal('access of the other')
      refresh.finish()
      expect(await refresh.token).to.equal('access of the other')
      expect(world.session?.tokens.accessToken).to.equal('access of the other')
      expect(a.keeper.newest(login)?.tokens.accessToken).to.equal('access of the other')
    })
  })

  describe('close()', () => {
    it('is listened to by nobody who has what he asked for, or has told it', async () => {
      const { addEventListener, removeEventListener } = AbortSignal.prototype
      let listeners = 0
      AbortSignal.prototype.addEventListener = function (...rest: Parameters<typeof addEventListener>) {
        listeners++
        addEventListener.apply(this, rest)
      }
      AbortSignal.prototype.removeEventListener = function (...rest: Parameters<typeof removeEventListener>) {
        listeners--
        removeEventListener.apply(this, rest)
      }
      try {
        world.lifetime = 0
        for (const one of [a, a, b]) await one.token()
        world.store.fails = 'before'
        const ended = a.keeper.end(login, { refreshToken: 'the one in the session' })
        await world.clock.advance(1_000)
        await ended
        world.store.fails = 'never'
        await world.clock.advance(2_000)
      } finally {
        Object.assign(AbortSignal.prototype, { addEventListener, removeEventListener })
      }
      expect(listeners).to.equal(0)
    })

    it('does not wait for other instances', async () => {
      await begin(a)
      const [without] = await wait(b)
      await b.keeper.close()
      expect(await failureOf(without as Promise<string>)).to.include({ code: 'ERR_CIBA_CLOSED', status: 503 })
      world.session = world.grant(0, 1)
      const [withOne] = await wait(c)
      await c.keeper.close()
      expect(await withOne).to.equal('access-0')
    })
  })
})
