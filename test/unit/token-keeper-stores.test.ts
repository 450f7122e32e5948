/** Refreshes and ends of logins while the store that the instances share is away, slow or full [SEC-10]. */
import { expect } from 'chai'
import { CibaError } from '../../lib/errors.ts'
import { deriveKeys } from '../../lib/keys.ts'
import type { RefreshAnswer } from '../../lib/protocol/refresh.ts'
import { sealer } from '../../lib/seal.ts'
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
    return {
      token,
      finish: (given?: RefreshAnswer) => answer.resolve(given ?? world.answer(world.grant(0, 0))),
    }
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

    it('gives a valid token to who joins a refresh that fails for others', async () => {
      const gone = later()
      const holder = {
        ...a.holder,
        load: async () => {
          await gone.promise
          throw new CibaError('ERR_CIBA_STORE_FAILED', 'the session store is away')
        },
      }
      const expired = failureOf(a.keeper.fresh(holder, world.grant(0, 0)))
      const valid = a.keeper.fresh(holder, world.grant(1, 30))
      const expiring = failureOf(a.keeper.fresh(holder, world.grant(1, 3)))
      await world.clock.advance(4_000)
      gone.resolve()
      for (const failure of [await expired, await expiring]) {
        expect(failure).to.include({ code: 'ERR_CIBA_STORE_FAILED' })
      }
      expect(await valid).to.include({ refreshes: 1 })
    })

    it('loses no token although both stores are away for minutes after the OP granted it', async () => {
      world.lifetime = 3_600
      const refresh = await begin()
      world.store.fails = 'before'
      world.beforeSave = async () => {
        throw new Error('the session store is away')
      }
      refresh.finish()
      await world.clock.advance(290_000)
      expect(await refresh.token).to.equal('access-1')
      world.store.fails = 'never'
      world.beforeSave = async () => {}
      await world.clock.advance(2_000)
      expect(await b.token()).to.equal('access-1')
    })

    it('sends nothing to the OP when the store took so long to grant the lease that it may be over', async () => {
      const write = world.store.write.bind(world.store)
      world.store.write = async (record, version) => {
        await new Promise<void>((resolve) => world.clock.after(60_000, resolve))
        return write(record, version)
      }
      const failure = failureOf(a.token())
      await world.clock.advance(130_000)
      expect(await failure).to.include({ code: 'ERR_CIBA_OP_UNREACHABLE' })
      expect(world.used).to.be.empty
    })

    it('does without wake-ups where the store cannot watch', async () => {
      world.store.watch = () => {
        throw new Error('the client is closed')
      }
      expect(await a.token()).to.equal('access-1')
    })

    it('does not refresh while the record of the login cannot be opened: the secret is being rotated', async () => {
      const [before, after] = [['old secret'], ['new secret', 'old secret']].map((secrets) =>
        world.instance({ sealer: sealer(deriveKeys(secrets as [string]), 'refresh') }),
      ) as [Instance, Instance]
      world.answers.push(later<RefreshAnswer>().promise)
      after.token().catch(() => {})
      await settle()
      expect(await failureOf(before.token())).to.include({ code: 'ERR_CIBA_STORE_FAILED' })
      world.session = world.grant(0, 30)
      expect(await before.token()).to.equal('access-0')
      expect(world.used).to.have.length(1)
      expect(world.store.written, 'nothing is written over it').to.have.length(1)
    })

    context('when the store is full', () => {
      beforeEach(() => {
        world.store.write = async () => {
          throw new CibaError('ERR_CIBA_STORE_FULL', 'full')
        }
      })

      it('refreshes all the same where it is in the memory of this process', async () => {
        const alone = world.instance({ recordsStayHere: true })
        expect(await alone.token()).to.equal('access-1')
        await end(alone)
        await alone.keeper.close()
      })

      it('leaves an OP alone there too that has just failed', async () => {
        const alone = world.instance({ recordsStayHere: true })
        world.session = world.grant(0, 50)
        for (let request = 0; request < 2; request++) {
          world.answers.push({ type: 'unavailable', sent: false, retryAfterMs: 20_000 })
          expect(await alone.token()).to.equal('access-0')
        }
        expect(world.used).to.have.length(1)
      })

      it('does not refresh where others may', async () => {
        expect(await failureOf(a.token())).to.include({ code: 'ERR_CIBA_STORE_FULL', status: 503 })
        expect(world.used).to.be.empty
      })
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
    })

    it('gives them again when it is tried again', async () => {
      world.lifetime = 0
      await a.token()
      await end(b) // and then the session store fails
      for (const one of [b, a]) {
        expect((await (await end(one)).newest())?.tokens.refreshToken).to.equal('refresh-1')
      }
    })

    it('has what comes of a refresh revoked, wherever it was learned from meanwhile', async () => {
      const refresh = await begin()
      await logout(b)
      await a.keeper.isOver(login) // for another request
      refresh.finish()
      expect(await failureOf(refresh.token)).to.include({ code: 'ERR_CIBA_UNAUTHENTICATED' })
      expect(a.revoked).to.have.length(1)
    })

    it('has it revoked also in its own process, while the store is away', async () => {
      const refresh = await begin()
      world.store.fails = 'before'
      const ending = logout(a)
      await world.clock.advance(1_000)
      await ending
      refresh.finish()
      const failure = failureOf(refresh.token)
      await world.clock.advance(5_000)
      expect(await failure).to.include({ code: 'ERR_CIBA_UNAUTHENTICATED' })
      expect(a.revoked).to.have.length(1)
      world.store.fails = 'never'
      await world.clock.advance(2_000)
      expect(a.revoked, 'once').to.have.length(1)
    })

    it('has it revoked after a save that took long and a store that failed meanwhile', async () => {
      const refresh = await begin()
      const save = later()
      world.beforeSave = () => save.promise
      refresh.finish()
      await world.clock.advance(4_999)
      await end(b)
      const read = world.store.read.bind(world.store)
      world.store.read = async () => {
        world.store.read = read
        throw new Error('the store hiccups')
      }
      await world.clock.advance(1)
      save.resolve()
      await world.clock.advance(100)
      expect(await failureOf(refresh.token)).to.include({ code: 'ERR_CIBA_UNAUTHENTICATED' })
      expect([a.revoked.length, world.session]).to.deep.equal([1, undefined])
    })

    it('says that the login has ended to who was refused meanwhile', async () => {
      const refresh = await begin()
      await end(b)
      refresh.finish({ type: 'unavailable', sent: true, retryAfterMs: 0 })
      expect(await failureOf(refresh.token)).to.include({ code: 'ERR_CIBA_UNAUTHENTICATED' })
      expect(world.session).to.equal(undefined)
    })

    it('is made up for by who finds a session that was written back', async () => {
      await logout(b)
      world.session = world.grant(1, 50)
      expect(await failureOf(world.instance().token())).to.include({ code: 'ERR_CIBA_UNAUTHENTICATED' })
      expect(world.session).to.equal(undefined)
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
