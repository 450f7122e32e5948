import { expect } from 'chai'
import { timerMarginMs } from '../../lib/transition.ts'
import { settle } from '../support/fake-clock.ts'
import { FakeWorld, granted, see } from '../support/fake-op.ts'

describe('Flow.wait(), a look whose read is overtaken by its own token request', () => {
  it('answers with what that brought, not with what the store said before', async () => {
    const world = new FakeWorld('poll')
    const { id } = await world.start()
    await world.clock.advance(5_000 + timerMarginMs)
    const read = world.store.read.bind(world.store)
    let held: { release(): void } | undefined
    let reads = 0
    world.store.read = async (one) => {
      const record = await read(one) // as it is when Redis gets the command
      reads += 1
      if (reads === 2) await new Promise<void>((resolve) => (held = { release: resolve }))
      return record
    }
    const seen = see(world.flow.wait(id, { timeoutMs: 0, owner: 'owner' }))
    await settle() // leased: the write rings, and the second read is on its way
    await world.answer(granted)
    held?.release()
    await settle()
    expect(seen.value?.state).to.equal('complete')
    await world.end(id)
  })
})
