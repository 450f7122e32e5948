import { expect } from 'chai'
import { type Core, createCore } from '../../lib/core.ts'
import type { HeldGrant } from '../../lib/grant.ts'
import { resolveClientOptions } from '../../lib/options.ts'
import type { StoredRecord } from '../../lib/store.ts'
import { MemoryTransactionStore } from '../../lib/stores/memory.ts'
import { settle } from '../support/fake-clock.ts'
import { failureOf, later } from '../support/outcomes.ts'

const hour = 3_600_000

describe('createCore(), with a store that has a clock of its own', () => {
  let store: MemoryTransactionStore & { now(): number }
  let written: StoredRecord[]
  let cores: Core[]
  /** Who has sent anything to the OP, which does not answer. */
  let asking: string[]
  let answer = later<Response>()

  beforeEach(() => {
    store = Object.assign(new MemoryTransactionStore(), { now: () => Date.now() + hour })
    written = []
    const write = store.write.bind(store)
    store.write = async (record, version) => {
      written.push(record)
      return write(record, version)
    }
    cores = []
    asking = []
    answer = later()
  })
  afterEach(async () => {
    answer.resolve(Response.error())
    await Promise.all(cores.map((core) => core.close()))
    store.close()
  })

  function instance(name: string): Core {
    const options = {
      issuerBaseURL: 'https://op.test',
      clientID: 'app',
      clientSecret: 'a secret of the client',
      secret: 'of all instances',
      store,
      customFetch: async () => {
        asking.push(name)
        return answer.promise
      },
    }
    const core = createCore(resolveClientOptions(options, {}))
    cores.push(core)
    return core
  }

  const claims = { iss: 'https://op.test', sub: 'alice', aud: 'app', exp: 0, iat: 0 }

  function grant(seconds: number): HeldGrant {
    const expiresAt = Date.now() + seconds * 1000
    const names = { accessToken: 'access', refreshToken: 'refresh', idToken: 'a.b.c', scope: 'openid' }
    return { claims, tokens: { ...names, tokenType: 'bearer', expiresAt }, refreshes: 0, since: 0 }
  }

  const refresh = (by: Core) =>
    by.keeper.fresh({ id: 'a login', load: async () => grant(0), save: async () => {} }, grant(0))

  it('goes by that one for refreshes that others have begun', async () => {
    const failures = [failureOf(refresh(instance('one')))]
    await settle()
    failures.push(failureOf(refresh(instance('other'))))
    await settle()
    expect(asking).to.deep.equal(['one'])
    const closing = cores[1]?.close()
    answer.resolve(Response.error())
    await Promise.all([...failures, closing])
  })

  it('goes by it for how long the ends of logins are kept', async () => {
    const { keeper, logoutMarks } = instance('one')
    await keeper.end('a login', { refreshToken: 'refresh' })
    await logoutMarks.add({ iss: 'https://op.test', jti: 'one', sub: 'alice', validUntil: Date.now() + hour })
    const hours = written.map(({ purgeAt }) => Math.round((purgeAt - Date.now()) / hour))
    expect(hours).to.deep.equal([2, 30 * 24 + 1, 2])
  })

  it("goes by this host's for tokens, and for who was signed in when the OP ended logins", async () => {
    const { keeper, logoutMarks } = instance('one')
    expect([61, 59].map((seconds) => keeper.isFresh(grant(seconds)))).to.deep.equal([true, false])
    const { iss, sub } = claims
    await logoutMarks.add({ iss, jti: 'one', sub, validUntil: Date.now() + hour })
    expect(await logoutMarks.has({ iss, sub, at: Date.now() - 1 })).to.equal(true)
    expect(await logoutMarks.has({ iss, sub, at: Date.now() + 1_000 })).to.equal(false)
  })
})
