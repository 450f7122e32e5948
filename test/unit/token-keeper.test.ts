import { expect } from 'chai'
import { CibaError } from '../../lib/errors.ts'
import type { Grant, HeldGrant } from '../../lib/grant.ts'
import type { RefreshAnswer } from '../../lib/protocol/refresh.ts'
import { RefreshLeases } from '../../lib/refresh-leases.ts'
import { MemoryTransactionStore } from '../../lib/stores/memory.ts'
import { type GrantHolder, TokenKeeper } from '../../lib/token-keeper.ts'
import { FakeClock, settle } from '../support/fake-clock.ts'
import { failureOf, later } from '../support/outcomes.ts'

const claims = { iss: 'https://op.test', sub: 'alice', aud: 'client', exp: 0, iat: 0 }

describe('TokenKeeper', () => {
  let clock: FakeClock
  /** What the OP was sent, newest last. */
  let used: (string | undefined)[]
  let answers: (RefreshAnswer | Promise<RefreshAnswer>)[]
  let stored: HeldGrant | undefined
  let faults: { load?: Error; save?: Error }
  let keeper: TokenKeeper
  let holder: GrantHolder
  let store: MemoryTransactionStore
  let revoked: (string | undefined)[]

  /** The tokens after `refreshes` refreshes, an hour old, with `seconds` left. */
  function grant(refreshes: number, seconds?: number): HeldGrant {
    const expiresAt = seconds === undefined ? {} : { expiresAt: clock.now() + seconds * 1000 }
    const names = {
      accessToken: `access-${refreshes}`,
      refreshToken: `refresh-${refreshes}`,
      idToken: 'a.b.c',
    }
    const tokens = { ...names, tokenType: 'bearer', scope: 'openid', ...expiresAt } as const
    return { claims, tokens, refreshes, since: clock.now() - 3_600_000 }
  }

  const granted = (refreshes: number, seconds = 300): RefreshAnswer => {
    const { claims, tokens } = grant(refreshes, seconds)
    return { type: 'granted', grant: { claims, tokens } }
  }
  const refused: RefreshAnswer = { type: 'refused', error: 'invalid_grant' }
  const away: RefreshAnswer = { type: 'unavailable', sent: false, retryAfterMs: 0, cause: new Error('down') }

  beforeEach(() => {
    clock = new FakeClock()
    used = []
    answers = []
    revoked = []
    faults = {}
    stored = grant(0, 0)
    store = new MemoryTransactionStore()
    const sealer = { seal: (text: string) => text, open: (text: string) => text }
    keeper = new TokenKeeper({
      clock,
      leases: new RefreshLeases({
        store,
        sealer,
        registration: 'client https://op.test',
        recordsStayHere: true,
        clock,
      }),
      revoke: async ({ refreshToken }) => void revoked.push(refreshToken),
      tokenTimeoutMs: 60_000,
      validationTimeoutMs: 10_000,
      async refresh({ tokens }: Grant) {
        used.push(tokens.refreshToken)
        return answers.shift() ?? granted(used.length)
      },
    })
    holder = {
      id: 'the transaction',
      async load() {
        if (faults.load) throw faults.load
        return stored
      },
      async save(newer) {
        if (faults.save) throw faults.save
        stored = newer
      },
    }
  })
  afterEach(() => {
    store.close()
    expect(clock.timers, 'no timer is left').to.equal(0)
  })

  describe('isFresh()', () => {
    for (const [seconds, isFresh] of [
      [undefined, true],
      [3600, true],
      [61, true],
      [59, false],
      [0, false],
      [-10, false],
    ] as const) {
      it(`is ${isFresh} with ${seconds ?? 'nobody knows how many'} seconds left`, () => {
        expect(keeper.isFresh(grant(0, seconds))).to.equal(isFresh)
      })
    }
  })

  it('leaves tokens that live for less than two minutes alone for half their life', () => {
    for (const [life, left, isFresh] of [
      [30, 16, true],
      [30, 14, false],
      [100, 51, true],
      [100, 49, false],
      [0, 0, false],
    ] as const) {
      const since = clock.now() - (life - left) * 1000
      expect(keeper.isFresh({ ...grant(0, left), since }), `${left} of ${life} seconds`).to.equal(isFresh)
    }
  })

  describe('fresh()', () => {
    it('gives a token that is still valid when the OP takes its time, and stores what comes of it later', async () => {
      const answer = later<RefreshAnswer>()
      answers.push(answer.promise)
      const waiting = keeper.fresh(holder, grant(0, 30))
      await settle()
      const joined = keeper.fresh(holder, grant(0, 30))
      await clock.advance(5_000)
      for (const given of [await waiting, await joined]) expect(given.tokens.accessToken).to.equal('access-0')
      answer.resolve(granted(1))
      await keeper.close()
      expect(stored?.tokens.accessToken).to.equal('access-1')
      expect(used).to.deep.equal(['refresh-0'])
    })

    it('waits once for an OP that takes its time, not anew for each caller', async () => {
      answers.push(new Promise<RefreshAnswer>(() => {}))
      const first = keeper.fresh(holder, grant(0, 30))
      await clock.advance(5_000)
      await first
      const second = keeper.fresh(holder, grant(0, 25))
      await clock.advance(1)
      await second
      expect(used).to.deep.equal(['refresh-0'])
    })

    it('leaves an OP alone for a while that has just refused or failed, as long as the token is valid', async () => {
      for (const [answer, pauseMs] of [
        [away, 5_000],
        [{ ...away, retryAfterMs: 20_000 } as RefreshAnswer, 20_000],
        [refused, 25_000],
      ] as const) {
        stored = grant(0, 60)
        answers.push(answer)
        used = []
        await keeper.fresh(holder, stored)
        await clock.advance(pauseMs - 1)
        await keeper.fresh(holder, stored)
        expect(used).to.have.length(1)
        await clock.advance(60_000)
      }
    })

    it('waits as long as it takes for who has no valid token', async () => {
      const answer = later<RefreshAnswer>()
      answers.push(answer.promise)
      const waiting = keeper.fresh(holder, grant(0, 0))
      await clock.advance(30_000)
      answer.resolve(granted(1))
      expect((await waiting).tokens.accessToken).to.equal('access-1')
    })

    it('says that the OP failed, not that the person has to come back, for a reason of ours', async () => {
      answers.push({ type: 'failed', error: 'invalid_client' })
      const failure = (await failureOf(keeper.fresh(holder, grant(0, 0)))) as CibaError
      expect(failure.code).to.equal('ERR_CIBA_OP_FAILED')
      expect(failure.message).to.include('invalid_client')
    })

    for (const seconds of [0, 30]) {
      it(`refreshes a token with ${seconds} seconds left, and stores the result before it gives it [TOK-23]`, async () => {
        const fresh = await keeper.fresh(holder, grant(0, seconds))
        expect(used).to.deep.equal(['refresh-0'])
        expect(fresh.tokens.accessToken).to.equal('access-1')
        expect(stored).to.equal(fresh)
        expect(fresh.refreshes).to.equal(1)
      })
    }

    it('refreshes once for all who ask at the same time', async () => {
      const all = Array.from({ length: 20 }, () => keeper.fresh(holder, grant(0, 0)))
      const tokens = (await Promise.all(all)).map(({ tokens }) => tokens.accessToken)
      expect(tokens).to.deep.equal(Array(20).fill('access-1'))
      expect(used).to.deep.equal(['refresh-0'])
    })

    it('refreshes each of two logins', async () => {
      const other = { ...holder, id: 'another transaction' }
      await Promise.all([keeper.fresh(holder, grant(0, 0)), keeper.fresh(other, grant(0, 0))])
      expect(used).to.have.length(2)
    })

    it('uses the rotated refresh token next [TOK-23]', async () => {
      await keeper.fresh(holder, grant(0, 0))
      await clock.advance(290_000)
      await keeper.fresh(holder, stored as HeldGrant)
      expect(used).to.deep.equal(['refresh-0', 'refresh-1'])
      expect(stored?.refreshes).to.equal(2)
    })

    it('takes what another request has stored instead of asking the OP', async () => {
      stored = grant(4, 300)
      expect(await keeper.fresh(holder, grant(3, 0))).to.equal(stored)
      expect(used).to.be.empty
    })

    it('uses the stored refresh token where the caller holds an older one [TOK-23]', async () => {
      stored = grant(4, 0)
      await keeper.fresh(holder, grant(3, 0))
      expect(used).to.deep.equal(['refresh-4'])
    })

    it('gives the newest token though somebody has written an old copy over it [TOK-23]', async () => {
      const old = stored as HeldGrant
      const fresh = await keeper.fresh(holder, old)
      stored = old
      expect(await keeper.fresh(holder, old)).to.equal(fresh)
      expect(used).to.have.length(1)
    })

    it('uses the newest refresh token though somebody has written an old copy over it [TOK-23]', async () => {
      const old = stored as HeldGrant
      answers.push(granted(1, 120))
      await keeper.fresh(holder, old)
      stored = old
      await clock.advance(90_000)
      await keeper.fresh(holder, old)
      expect(used).to.deep.equal(['refresh-0', 'refresh-1'])
    })

    it('gives the new token also when it cannot be stored, and does not ask again', async () => {
      faults.save = new Error('the store is down')
      const fresh = await keeper.fresh(holder, grant(0, 0))
      expect(fresh.tokens.accessToken).to.equal('access-1')
      expect(await keeper.fresh(holder, grant(0, 0))).to.equal(fresh)
      expect(used).to.have.length(1)
    })

    for (const [what, answer] of [
      ['the OP refuses', refused],
      ['the OP is away', away],
    ] as const) {
      it(`gives the old token when ${what}, as long as it is valid`, async () => {
        answers.push(answer, answer)
        stored = grant(0, 59)
        expect(await keeper.fresh(holder, stored)).to.equal(stored)
        await clock.advance(58_999)
        expect(await keeper.fresh(holder, stored)).to.equal(stored)
      })
    }

    for (const [what, expectation, answer] of [
      ['the OP refuses', { code: 'ERR_CIBA_INVALID_TOKEN', status: 401 }, refused],
      ['the OP was not reached', { code: 'ERR_CIBA_OP_UNREACHABLE', status: 503 }, away],
      [
        'the OP did not answer',
        { code: 'ERR_CIBA_OP_FAILED', status: 502 },
        { type: 'unavailable', sent: true, retryAfterMs: 0 },
      ],
      [
        'the OP wants to be left alone',
        { code: 'ERR_CIBA_OP_UNREACHABLE', status: 503, retryAfter: 8 },
        { type: 'unavailable', sent: false, retryAfterMs: 7_001 },
      ],
    ] as const) {
      it(`rejects when ${what} and the token has expired: ${expectation.code}`, async () => {
        answers.push(answer)
        expect(await failureOf(keeper.fresh(holder, grant(0, 0)))).to.include(expectation)
        expect(used).to.have.length(1)
      })
    }

    it('rejects with what kept the OP from being found', async () => {
      const cause = new CibaError('ERR_CIBA_INVALID_OP_METADATA', 'nonsense')
      answers.push({ type: 'unavailable', sent: false, retryAfterMs: 0, cause })
      expect(await failureOf(keeper.fresh(holder, grant(0, 0)))).to.equal(cause)
    })

    it('asks the OP again after a failure', async () => {
      answers.push(away)
      await failureOf(keeper.fresh(holder, grant(0, 0)))
      expect((await keeper.fresh(holder, grant(0, 0))).tokens.accessToken).to.equal('access-2')
    })

    it('takes what another instance has stored when the OP refuses the used refresh token', async () => {
      const answer = later<RefreshAnswer>()
      answers.push(answer.promise)
      const fresh = keeper.fresh(holder, grant(0, 0))
      await settle()
      const others = grant(1, 300)
      stored = others
      answer.resolve(refused)
      expect(await fresh).to.equal(others)
    })

    context('without a refresh token', () => {
      const without = (seconds: number): HeldGrant => {
        const { tokens, ...rest } = grant(0, seconds)
        const { refreshToken: _, ...others } = tokens
        return { ...rest, tokens: others }
      }

      it('gives the old token as long as it is valid', async () => {
        stored = without(1)
        expect(keeper.isFresh(stored), 'as fresh as it gets').to.equal(true)
        expect(await keeper.fresh(holder, stored)).to.equal(stored)
      })

      it('rejects after that: ERR_CIBA_INVALID_TOKEN', async () => {
        stored = without(0)
        expect(await failureOf(keeper.fresh(holder, stored))).to.include({ code: 'ERR_CIBA_INVALID_TOKEN' })
        expect(used).to.be.empty
      })
    })

    context('when the store fails', () => {
      beforeEach(() => {
        faults.load = new CibaError('ERR_CIBA_STORE_FAILED', 'down')
      })

      it('gives the old token as long as it is valid', async () => {
        const current = grant(0, 1)
        expect(await keeper.fresh(holder, current)).to.equal(current)
        expect(used).to.be.empty
      })

      it('rejects after that, and uses no refresh token', async () => {
        expect(await failureOf(keeper.fresh(holder, grant(0, 0)))).to.equal(faults.load)
        expect(used).to.be.empty
      })
    })

    context('when nobody is signed in any more in the store', () => {
      beforeEach(() => {
        stored = undefined
      })

      it('rejects: ERR_CIBA_UNAUTHENTICATED, and uses no refresh token', async () => {
        expect(await failureOf(keeper.fresh(holder, grant(0, 0)))).to.include({
          code: 'ERR_CIBA_UNAUTHENTICATED',
        })
        expect(used).to.be.empty
      })

      it('gives a token that is still valid: the login may not be stored yet', async () => {
        const current = grant(0, 1)
        expect(await keeper.fresh(holder, current)).to.equal(current)
        expect(used).to.be.empty
      })
    })
  })

  describe('end()', () => {
    const end = async (id: string) =>
      (await keeper.end(id, { refreshToken: 'the one in the session' })).newest()

    it('gives nothing for a login that was never refreshed here', async () => {
      expect(await end('the transaction')).to.equal(undefined)
    })

    it('revokes the tokens of a refresh that is under way, gives them to nobody, and has none kept', async () => {
      const answer = later<RefreshAnswer>()
      answers.push(answer.promise)
      const seen: boolean[] = []
      const save: GrantHolder['save'] = async (_, hasEnded) => void seen.push(await hasEnded())
      const fresh = failureOf(keeper.fresh({ ...holder, save }, grant(0, 0)))
      await settle()
      const ending = end('the transaction')
      answer.resolve(granted(1))
      expect(await fresh).to.include({ code: 'ERR_CIBA_UNAUTHENTICATED' })
      expect(await ending).to.equal(undefined)
      expect(revoked).to.deep.equal(['refresh-1'])
      expect(new Set(seen)).to.deep.equal(new Set([true]))
    })

    it('gives the last known tokens when a refresh that is under way fails', async () => {
      answers.push(granted(1, 120))
      const first = await keeper.fresh(holder, grant(0, 0))
      await clock.advance(120_000)
      const answer = later<RefreshAnswer>()
      answers.push(answer.promise)
      const fresh = failureOf(keeper.fresh(holder, first))
      await settle()
      const ending = end('the transaction')
      answer.resolve(refused)
      expect(await ending).to.equal(first)
      expect(await fresh).to.include({ code: 'ERR_CIBA_UNAUTHENTICATED' })
    })

    it('forgets the login: an old copy brings nothing back', async () => {
      await keeper.fresh(holder, grant(0, 0))
      expect((await end('the transaction'))?.refreshes).to.equal(1)
      expect(keeper.newest('the transaction')).to.equal(undefined)
    })

    it('gives one login nothing of another', async () => {
      await keeper.fresh(holder, grant(0, 0))
      expect(await end('another transaction')).to.equal(undefined)
    })
  })

  describe('close()', () => {
    it('waits for a refresh under way until its result is stored', async () => {
      const answer = later<RefreshAnswer>()
      answers.push(answer.promise)
      const fresh = keeper.fresh(holder, grant(0, 0))
      await settle()
      let isClosed = false
      const closing = keeper.close().then(() => {
        isClosed = true
      })
      await settle()
      expect(isClosed).to.equal(false)
      answer.resolve(granted(1))
      await closing
      expect(stored?.tokens.refreshToken).to.equal('refresh-1')
      expect((await fresh).refreshes).to.equal(1)
    })

    it('resolves when nothing is under way, and after a failure', async () => {
      await keeper.close()
      answers.push(refused)
      await failureOf(keeper.fresh(holder, grant(0, 0)))
      await keeper.close()
    })
  })
})
