import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { expect } from 'chai'
import { type ApprovalUse, useApproval } from '../../lib/approval.ts'
import type { ApprovalMessage } from '../../lib/index.ts'
import { Ledger } from '../../lib/ledger.ts'
import type { Transaction } from '../../lib/transaction.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { FakeStore, FakeWorld, grant, plainSealer, see } from '../support/fake-op.ts'
import { failureOf } from '../support/outcomes.ts'
import { acknowledged, approved, complete, ended, terms, used } from '../support/transactions.ts'

const { id, owner } = approved

describe('useApproval()', () => {
  let clock: FakeClock
  let store: FakeStore
  let ledger: Ledger
  let messages: ApprovalMessage[]
  const listener = (message: unknown) => void messages.push(message as ApprovalMessage)

  beforeEach(() => {
    clock = new FakeClock()
    store = new FakeStore()
    ledger = new Ledger(store, plainSealer, clock)
    messages = []
    subscribe('express-ciba:approval', listener)
  })
  afterEach(() => {
    unsubscribe('express-ciba:approval', listener)
    store.close()
  })

  /** With a deadline to come, as the store would forget it otherwise. */
  const create = (transaction: Transaction = approved) =>
    ledger.create({ ...transaction, expiresAt: clock.now() + 100_000 })
  const use = (holder = 'me', about = terms, by = owner) => useApproval(ledger, id, by, about, holder)

  it('hands out the grant once, drops it from the record and says so', async () => {
    await create()
    expect(await use()).to.deep.equal({ verdict: 'used', grant })
    const stored = (await ledger.read(id))?.transaction
    expect(stored).to.deep.equal({ ...used, expiresAt: stored?.expiresAt })
    expect(JSON.stringify(store.written.at(-1))).to.not.include(grant.tokens.accessToken)
    expect(await use('another')).to.deep.equal({ verdict: 'alreadyUsed' })
    const about = { transaction: 'the-id…', action: 'the-digest', requester: 'alice' }
    expect(messages[0]).to.include({ ...about, event: 'used', subject: 'alice' })
    expect(messages[0]).to.have.property('durationMs').that.is.a('number')
    expect(messages[1]).to.deep.equal({ ...about, event: 'refused', error: 'approval_used' })
    expect(messages)
      .to.have.length(2)
      .and.to.satisfy((all: object[]) => all.every(Object.isFrozen))
  })

  it('does not take its own name for a second use', async () => {
    await create()
    await use('me')
    expect(await use('me')).to.deep.equal({ verdict: 'alreadyUsed' })
  })

  it('hands it to one of twenty at once, on all instances', async () => {
    await create()
    const ledgers = [ledger, new Ledger(store, plainSealer, clock)]
    const uses = await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        useApproval(ledgers[n % 2] as Ledger, id, owner, terms, `holder ${n}`),
      ),
    )
    expect(uses.filter(({ verdict }) => verdict === 'used')).to.have.length(1)
    expect(uses.filter(({ verdict }) => verdict === 'alreadyUsed')).to.have.length(19)
    expect(messages.filter(({ event }) => event === 'used')).to.have.length(1)
  })

  for (const [what, { transaction, ...given }, expected, error] of [
    [
      'is pending',
      { transaction: { ...acknowledged, approval: terms } },
      { verdict: 'pending', interval: 5 },
      'approval_pending',
    ],
    [
      'was denied',
      { transaction: { ...ended, approval: terms } },
      { verdict: 'refused', state: 'denied' },
      'approval_refused',
    ],
    ['was used', { transaction: used }, { verdict: 'alreadyUsed' }, 'approval_used'],
    [
      'was for another action',
      { about: { ...terms, action: 'other' } },
      { verdict: 'wrongAction' },
      'wrong_action',
    ],
    [
      'has the beginning of the action',
      { about: { ...terms, action: 'the-diges' } },
      { verdict: 'wrongAction' },
      'wrong_action',
    ],
  ] as [
    what: string,
    given: { transaction?: Transaction; about?: typeof terms },
    expected: ApprovalUse,
    error: string,
  ][]) {
    it(`refuses one that ${what}, says so, and writes nothing`, async () => {
      await create(transaction)
      const action = given.about?.action ?? terms.action
      expect(await use('me', given.about)).to.deep.equal(expected)
      expect(messages).to.deep.equal([
        { transaction: 'the-id…', action, requester: 'alice', event: 'refused', error },
      ])
      expect(store.written).to.have.length(1)
    })
  }

  const { iss } = terms.requester ?? expect.fail()
  for (const [what, transaction, about, by] of [
    ['a login', complete, terms, owner],
    ['one of another session', approved, terms, 'somebody else'],
    ['one of another person', approved, { ...terms, requester: { iss, sub: 'bob' } }, owner],
    [
      'one of a person of another OP',
      approved,
      { ...terms, requester: { iss: 'https://b.example', sub: 'alice' } },
      owner,
    ],
    ['one of somebody who has signed out', approved, { action: terms.action }, owner],
  ] as const) {
    it(`knows nothing of ${what}, and tells who listens of the attempt`, async () => {
      await create(transaction)
      expect(await use('me', about, by)).to.deep.equal({ verdict: 'unknown' })
      const expected = what === 'a login' ? [] : ['unknown_transaction']
      expect(messages.map((message) => 'error' in message && message.error)).to.deep.equal(expected)
      expect(store.written).to.have.length(1)
    })
  }

  it('knows nothing of one that is no more, or is forgotten while it is used', async () => {
    expect(await use()).to.deep.equal({ verdict: 'unknown' })
    await create()
    const records = [await store.read(id)]
    store.read = async () => records.shift()
    store.write = async () => false
    expect(await use()).to.deep.equal({ verdict: 'unknown' })
    expect(messages).to.deep.equal([])
  })

  it('lets nobody who signs in later use what was asked for while nobody was signed in', async () => {
    await create({ ...approved, approval: { action: terms.action } })
    expect(await use('me', terms)).to.have.property('verdict', 'unknown')
    expect(await use('me', { action: terms.action })).to.have.property('verdict', 'used')
  })

  context('a store that fails', () => {
    it('recognises its own use, where the outcome of a write was unknown', async () => {
      await create()
      const { write } = store
      let isFirst = true
      store.write = async function (record, version) {
        const written = await write.call(this, record, version)
        if (isFirst) {
          isFirst = false
          throw new Error('the connection was lost')
        }
        return written
      }
      const seen = see(use())
      await clock.advance(1_000)
      expect(seen).to.deep.equal({ over: true, value: { verdict: 'used', grant } })
      expect(store.written.filter((one) => one.state === 'complete' && one.usedBy)).to.have.length(1)
      expect((await use('another')).verdict).to.equal('alreadyUsed')
      expect(messages.map(({ event }) => event)).to.deep.equal(['used', 'refused'])
    })

    it('does not recognise the use of somebody who was faster than an unknown write', async () => {
      await create()
      let isFirst = true
      store.failsWrite = () => isFirst
      const seen = see(use('slow'))
      await clock.advance(10)
      isFirst = false
      expect((await use('fast')).verdict).to.equal('used')
      await clock.advance(1_000)
      expect(seen.value).to.deep.equal({ verdict: 'alreadyUsed' })
    })

    it('is given five seconds; what is not known then is not handed out', async () => {
      await create()
      store.failsWrite = () => true
      const failure = failureOf(use())
      await clock.advance(6_000)
      expect(await failure).to.have.property('code', 'ERR_CIBA_STORE_FAILED')
      expect(messages).to.deep.equal([])
      expect(clock.timers).to.equal(0)
      store.failsWrite = () => false
      expect((await use('later')).verdict, 'nothing was written').to.equal('used')
    })

    it('fails at once when the record cannot be read', async () => {
      await create()
      store.failsRead = () => true
      expect(await failureOf(use())).to.have.property('code', 'ERR_CIBA_STORE_FAILED')
    })
  })
})

describe('Flow.useApproval()', () => {
  const allowed = async () => true
  let world: FakeWorld

  beforeEach(() => {
    world = new FakeWorld('poll')
  })
  afterEach(() => world.store.close())

  it('asks the OP first if that is due, and not again once used', async () => {
    const { op, flow, clock } = world
    const request = { parameters: {}, expectations: { scope: 'openid' }, hint: 'alice', isContextText: false }
    const { id } = await flow.start(request, { owner: 'owner', approval: terms })
    expect((await flow.useApproval(id, 'owner', terms, allowed)).verdict).to.equal('pending')
    expect(op.tokenRequests).to.have.length(0)
    await clock.advance(6_000)
    op.answers.push({ type: 'granted', grant })
    expect(await flow.useApproval(id, 'owner', terms, allowed)).to.deep.equal({ verdict: 'used', grant })
    expect((await world.newFlow().useApproval(id, 'owner', terms, allowed)).verdict).to.equal('alreadyUsed')
    expect(op.tokenRequests).to.have.length(1)
    expect([world.store.listeners, clock.timers]).to.deep.equal([0, 0])
  })

  it('never asks for what is of another session', async () => {
    const { op, flow, clock } = world
    const { id } = await world.start()
    await clock.advance(6_000)
    expect((await flow.useApproval(id, 'somebody else', terms, allowed)).verdict).to.equal('unknown')
    expect(op.tokenRequests).to.have.length(0)
    await world.end(id)
  })

  it('is unknown to whom it is not allowed any more, and stays usable', async () => {
    const { op, flow, clock } = world
    const request = { parameters: {}, expectations: { scope: 'openid' }, hint: 'alice', isContextText: false }
    const { id } = await flow.start(request, { owner: 'owner', approval: terms })
    await clock.advance(6_000)
    op.answers.push({ type: 'granted', grant })
    expect((await flow.useApproval(id, 'owner', terms, async () => false)).verdict).to.equal('unknown')
    expect((await flow.useApproval(id, 'owner', terms, allowed)).verdict).to.equal('used')
  })

  it('asks no store for what is no handle', async () => {
    world.store.failsRead = () => true
    for (const id of ['', '../../etc/passwd', 'x'.repeat(65), 'a b', 7 as unknown as string]) {
      expect((await world.flow.useApproval(id, 'owner', terms, allowed)).verdict).to.equal('unknown')
      expect(await world.flow.wait(id, { owner: 'owner', timeoutMs: 1_000 })).to.equal(undefined)
      expect(await world.flow.cancel(id, 'owner')).to.equal(false)
    }
    expect(world.store.listeners).to.equal(0)
  })
})
