/** Refreshes and ends of logins while the store that the instances share is away, slow or full [SEC-10]. */
import { expect } from 'chai'
import { CibaError } from '../../lib/errors.ts'
import type { RefreshAnswer } from '../../lib/protocol/refresh.ts'
import { settle } from '../support/fake-clock.ts'
import { failureOf, later } from '../support/outcomes.ts'
import { type Instance, login, Refreshing } from '../support/refreshing.ts'

describe('TokenKeeper, and the store that instances share', () => {
  let world: Refreshing
  let [a, b]: [Instance, Instance] = [] as never

  beforeEach(() => {
    world = new Refreshing()
    ;[a, b] = [world.instance(), world.instance()]
  })
  afterEach(() => {
    world.store.close()
    expect(world.isBurnt, 'an old refresh token came back').to.equal(false)
  })

  const end = (one: Instance) => one.keeper.end(login, { refreshToken: 'the one in the session' })

  /** A logout as a request does it. */
  async function logout(one: Instance) {
    const ended = await end(one)
    world.session = undefined
    return ended
  }

  /** A refresh that `a` has begun; the OP answers it when told to. */
  async function begin() {
    const answer = later<RefreshAnswer>()
    world.answers.push(answer.promise)
    const token = a.token()
    token.catch(() => {})
    await settle()
    return { token, finish: () => answer.resolve(world.answer(world.grant(0, 0))) }
  }

  describe('fresh()', () => {
    it('gives a valid token, and rejects without one, while nobody knows who refreshes', async () => {
      world.store.fails = 'before'
      expect(await failureOf(a.token())).to.include({ code: 'ERR_CIBA_STORE_FAILED', status: 503 })
      world.session = world.grant(0, 1)
      expect(await a.token()).to.equal('access-0')
      expect(world.used).to.be.empty
      world.store.fails = 'never'
      expect(await a.token(world.grant(0, 0))).to.equal('access-1')
    })

    it('takes up at once what it has begun itself when the connection was lost', async () => {
      const read = world.store.read.bind(world.store)
      world.store.read = async (id) => {
        const found = await read(id)
        world.store.fails = 'after'
        return found
      }
      expect(await failureOf(a.token())).to.include({ code: 'ERR_CIBA_STORE_FAILED' })
      expect(world.store.last).to.have.property('lease')
      Object.assign(world.store, { read, fails: 'never' })
      expect(await a.token()).to.equal('access-1')
    })

    it('gives the new token when the store is away, and tells the others when it is back', async () => {
      const refresh = await begin()
      world.store.fails = 'before'
      refresh.finish()
      await world.clock.advance(5_000)
      expect(await refresh.token).to.equal('access-1')
      expect(world.session?.refreshes).to.equal(1)
      const old = world.grant(0, 0)
      world.session = old
      world.store.fails = 'never'
      await world.clock.advance(2_000)
      expect(await b.token(old)).to.equal('access-1')
      expect(world.used).to.have.length(1)
    })

    it('gives the new token when neither store answers at all', async () => {
      const refresh = await begin()
      world.beforeSave = () => new Promise(() => {})
      world.store.write = () => new Promise(() => {})
      refresh.finish()
      await world.clock.advance(10_000)
      expect(await refresh.token).to.equal('access-1')
    })

    it('frees the others when a failure could not be told at first', async () => {
      const answer = later<RefreshAnswer>()
      world.answers.push(answer.promise)
      const first = failureOf(a.token())
      await settle()
      world.store.fails = 'before'
      answer.resolve({ type: 'unavailable', sent: true, retryAfterMs: 0 })
      await world.clock.advance(5_000)
      expect(await first).to.include({ code: 'ERR_CIBA_OP_FAILED' })
      world.store.fails = 'never'
      await world.clock.advance(2_000)
      expect(await b.token()).to.equal('access-1')
    })

    it('refreshes although a store in memory is full', async () => {
      world.store.write = async () => {
        throw new CibaError('ERR_CIBA_STORE_FULL', 'full')
      }
      expect(await a.token()).to.equal('access-1')
      await end(a)
      await a.keeper.close()
    })

    it('gives up at close() what it could not tell', async () => {
      const refresh = await begin()
      world.store.fails = 'before'
      refresh.finish()
      await settle()
      await a.keeper.close()
      expect(await refresh.token).to.equal('access-1')
      expect(world.clock.timers, 'no timer is left').to.equal(0)
    })
  })

  describe('end()', () => {
    it('lets a refresh at another instance store nothing more, and revokes what it brings', async () => {
      const refresh = await begin()
      await logout(b)
      refresh.finish()
      expect(await failureOf(refresh.token)).to.include({ code: 'ERR_CIBA_UNAUTHENTICATED' })
      expect(world.session).to.equal(undefined)
      expect(a.revoked.map(({ refreshToken }) => refreshToken)).to.deep.equal(['refresh-1'])
      expect([a.keeper.hasEnded(login), a.keeper.newest(login)]).to.deep.equal([true, undefined])
      for (const { data } of world.store.written) expect(data).to.not.include('refresh-1')
    })

    it('undoes a save of another instance that it did not see', async () => {
      const refresh = await begin()
      const save = later()
      const isSaving = later()
      world.beforeSave = () => {
        isSaving.resolve()
        return save.promise
      }
      refresh.finish()
      await isSaving.promise
      await end(b)
      save.resolve()
      await failureOf(refresh.token)
      expect(world.session).to.equal(undefined)
    })

    it('undoes a save of another instance that takes longer than anybody waits for it', async () => {
      const refresh = await begin()
      const save = later()
      world.beforeSave = () => save.promise
      refresh.finish()
      await world.clock.advance(5_000)
      expect(await refresh.token).to.equal('access-1')
      expect((await (await end(b)).newest())?.tokens.refreshToken).to.equal('refresh-1')
      save.resolve()
      await settle()
      expect(world.session).to.equal(undefined)
    })

    it('sends away who waits for a refresh, on every instance', async () => {
      await begin()
      const waiting = failureOf(b.token())
      await settle()
      await end(world.instance())
      expect(await waiting).to.include({ code: 'ERR_CIBA_UNAUTHENTICATED' })
    })

    it('gives the newest tokens of all instances', async () => {
      world.lifetime = 0
      await a.token()
      await b.token()
      const ended = await end(a)
      expect((await ended.newest())?.tokens.refreshToken).to.equal('refresh-2')
      expect(await (await end(world.instance())).newest(), 'once').to.equal(undefined)
    })

    it('gives the newest ones also while another instance refreshes them', async () => {
      world.lifetime = 0
      await b.token()
      await begin()
      const ended = await end(world.instance())
      expect((await ended.newest())?.tokens.refreshToken).to.equal('refresh-1')
      a.die()
    })

    it('holds nobody up for longer than a second while the store is away, and is known afterwards', async () => {
      const refresh = await begin()
      world.store.fails = 'before'
      let isEnded = false
      const ending = logout(b).then((ended) => {
        isEnded = true
        return ended
      })
      await world.clock.advance(999)
      expect(isEnded).to.equal(false)
      await world.clock.advance(1)
      expect(await (await ending).newest()).to.equal(undefined)
      world.store.fails = 'never'
      await world.clock.advance(2_000)
      refresh.finish()
      expect(await failureOf(refresh.token)).to.include({ code: 'ERR_CIBA_UNAUTHENTICATED' })
      expect(a.revoked).to.have.length(1)
    })

    it('does not ask the store about a login that has no refresh token', async () => {
      await a.keeper.end(login, {})
      expect(world.store.reads + world.store.written.length).to.equal(0)
      expect(a.keeper.hasEnded(login)).to.equal(true)
    })
  })

  describe('isOver()', () => {
    it('knows of logins that another instance has ended, and remembers them', async () => {
      expect(await a.keeper.isOver(login)).to.equal(false)
      await end(b)
      expect(a.keeper.hasEnded(login)).to.equal(false)
      expect(await a.keeper.isOver(login)).to.equal(true)
      world.store.fails = 'before'
      expect(await a.keeper.isOver(login)).to.equal(true)
    })

    it('takes a login for alive while the store is away', async () => {
      await end(b)
      world.store.fails = 'before'
      expect(await a.keeper.isOver(login)).to.equal(false)
    })
  })
})
