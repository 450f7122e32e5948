import { expect } from 'chai'
import { Memory } from '../../lib/memory.ts'

describe('Memory', () => {
  const now = 1_800_000_000_000
  const kept = (memory: Memory<number>, at = now, ids = ['a', 'b', 'c', 'd']) =>
    ids.map((id) => memory.get(id, at)).filter((value) => value !== undefined)

  it('knows nothing of what it was never told', () => {
    expect(new Memory(3).get('a', now)).to.equal(undefined)
  })

  it('forgets at the instant that was said, not before', () => {
    const memory = new Memory<number>(3)
    memory.set('a', 1, now + 10, now)
    expect(memory.get('a', now + 9)).to.equal(1)
    expect(memory.get('a', now + 10)).to.equal(undefined)
  })

  it('forgets on request, and takes what it has never heard of', () => {
    const memory = new Memory<number>(3)
    memory.set('a', 1, now + 10, now)
    memory.delete('a')
    memory.delete('b')
    expect(kept(memory)).to.deep.equal([])
  })

  it('lets the oldest go when there would be too many', () => {
    const memory = new Memory<number>(3)
    for (const [value, id] of ['a', 'b', 'c', 'd'].entries()) memory.set(id, value, now + 10, now)
    expect(kept(memory)).to.deep.equal([1, 2, 3])
  })

  it('counts what is said again as the newest, once', () => {
    const memory = new Memory<number>(3)
    for (const [value, id] of ['a', 'b', 'c', 'a', 'd'].entries()) memory.set(id, value, now + 10, now)
    expect(kept(memory)).to.deep.equal([3, 2, 4])
  })

  it('makes room with what is over, and keeps what is not', () => {
    const memory = new Memory<number>(3)
    memory.set('a', 1, now + 10, now)
    memory.set('b', 2, now + 10, now)
    memory.set('c', 3, now + 100, now)
    memory.set('d', 4, now + 100, now + 10)
    expect(kept(memory, now + 10)).to.deep.equal([3, 4])
  })

  it('never holds more than it may, whatever is put into it', () => {
    const memory = new Memory<number>(10)
    const ids = Array.from({ length: 1_000 }, (_, n) => `${n}`)
    for (const [value, id] of ids.entries()) memory.set(id, value, now + 1_000 - value, now)
    expect(kept(memory, now - 1_000, ids)).to.have.length(10)
  })
})
