import { expect } from 'chai'
import { MemoryLimiter } from '../../lib/express/memory-limiter.ts'

/** How often `key` gets through until it is refused, and how long it is then told to wait. */
async function untilRefused(
  limiter: MemoryLimiter,
  key: string,
): Promise<{ passed: number; waitMs: number }> {
  for (let passed = 0; ; passed++) {
    const refusal = await limiter.consume(key).then(
      () => undefined,
      (reason: { msBeforeNext: number }) => reason,
    )
    if (refusal) return { passed, waitMs: refusal.msBeforeNext }
  }
}

describe('MemoryLimiter', () => {
  const { now } = performance
  let ms: number

  beforeEach(() => {
    ms = 1_000
    performance.now = () => ms
  })
  afterEach(() => {
    performance.now = now
  })

  it('refuses what is too many for one key, until its window ends', async () => {
    const limiter = new MemoryLimiter(3, 60_000)
    expect(await untilRefused(limiter, 'a')).to.deep.equal({ passed: 3, waitMs: 60_000 })
    ms += 59_999
    expect(await untilRefused(limiter, 'a')).to.deep.equal({ passed: 0, waitMs: 1 })
    ms += 1
    expect(await untilRefused(limiter, 'a')).to.deep.equal({ passed: 3, waitMs: 60_000 })
  })

  it('counts each key for itself', async () => {
    const limiter = new MemoryLimiter(2, 60_000)
    await untilRefused(limiter, 'a')
    expect(await untilRefused(limiter, 'b')).to.deep.include({ passed: 2 })
  })

  it('forgets the oldest where there would be too many keys, and no other', async () => {
    const limiter = new MemoryLimiter(1, 60_000, 3)
    for (const key of ['a', 'b', 'c', 'd']) await limiter.consume(key)
    for (const key of ['b', 'c', 'd']) expect(await untilRefused(limiter, key)).to.deep.include({ passed: 0 })
    expect(await untilRefused(limiter, 'a')).to.deep.include({ passed: 1 })
  })

  it('forgets what has ended before what counts', async () => {
    const limiter = new MemoryLimiter(1, 60_000, 3)
    await limiter.consume('a')
    await limiter.consume('b')
    ms += 30_000
    await limiter.consume('c')
    ms += 30_000
    for (const key of ['d', 'e']) await limiter.consume(key)
    for (const key of ['c', 'd', 'e']) expect(await untilRefused(limiter, key)).to.deep.include({ passed: 0 })
  })

  it('begins a window anew behind those that began before', async () => {
    const limiter = new MemoryLimiter(1, 60_000, 2)
    await limiter.consume('a')
    ms += 30_000
    await limiter.consume('b')
    ms += 30_000
    await limiter.consume('a')
    await limiter.consume('c')
    expect(await untilRefused(limiter, 'a')).to.deep.include({ passed: 0 })
    expect(await untilRefused(limiter, 'b')).to.deep.include({ passed: 1 })
  })
})
