import { expect } from 'chai'
import { RedisClock } from '../../lib/stores/redis-clock.ts'
import { settle } from '../support/fake-clock.ts'

/** What Redis answers to TIME when it is `aheadMs` ahead of this host. */
function timeAhead(aheadMs: number): [string, string] {
  const there = Date.now() + aheadMs
  return [String(Math.floor(there / 1000)), String((there % 1000) * 1000)]
}

/** How far the clock is ahead of that of this host. */
function aheadOf(clock: RedisClock): number {
  return clock.now() - Date.now()
}

describe('RedisClock', () => {
  const { now } = performance
  let passedMs = 0
  beforeEach(() => {
    passedMs = 0
    const started = now.call(performance)
    performance.now = () => started + passedMs
  })
  afterEach(() => {
    performance.now = now
  })

  /** A clock of a Redis whose answers can be held back. */
  function clockOf(answer: () => unknown, tookMs = 0) {
    const asked: number[] = []
    const clock = new RedisClock(async () => {
      asked.push(passedMs)
      passedMs += tookMs
      return answer()
    })
    return { clock, asked }
  }

  for (const aheadMs of [5_000, -5_000, 3_600_000]) {
    it(`goes by Redis's clock, which is ${aheadMs} ms ahead`, async () => {
      const { clock } = clockOf(() => timeAhead(aheadMs))
      await settle()
      expect(aheadOf(clock)).to.be.closeTo(aheadMs, 20)
    })
  }

  it('is the clock of this host until Redis has answered', () => {
    expect(aheadOf(new RedisClock(() => new Promise(() => {})))).to.be.closeTo(0, 5)
  })

  it('counts half of what the answer took as its way back', async () => {
    const { clock } = clockOf(() => timeAhead(1_000), 40)
    await settle()
    expect(aheadOf(clock)).to.be.closeTo(980, 15)
  })

  it('asks once a minute, however often it is asked', async () => {
    let aheadMs = 5_000
    const { clock, asked } = clockOf(() => timeAhead(aheadMs))
    await settle()
    for (let time = 0; time < 100; time++) clock.now()
    expect(asked).to.have.length(1)
    aheadMs = 7_000
    passedMs += 60_001
    clock.now()
    await settle()
    expect(asked).to.have.length(2)
    expect(aheadOf(clock)).to.be.closeTo(7_000, 20)
  })

  it('asks again soon after a slow answer, and believes slow ones no more than they can know', async () => {
    let aheadMs = 5_000
    let tookMs = 400
    const asked: number[] = []
    const clock = new RedisClock(async () => {
      asked.push(passedMs)
      passedMs += tookMs
      return timeAhead(aheadMs)
    })
    const again = async () => {
      passedMs += 1_001
      clock.now()
      await settle()
    }
    await settle()
    expect(aheadOf(clock), 'better than none').to.be.closeTo(4_800, 20)
    aheadMs = 5_150
    await again()
    expect(asked).to.have.length(2)
    expect(aheadOf(clock), 'nothing new').to.be.closeTo(4_800, 20)
    aheadMs = 9_000
    await again()
    expect(aheadOf(clock), 'that far off a slow answer cannot be').to.be.closeTo(8_800, 20)
    tookMs = 0
    await again()
    expect(aheadOf(clock)).to.be.closeTo(9_000, 20)
  })

  it('asks again soon when the first question fails', async () => {
    let fails = true
    const { clock, asked } = clockOf(() => {
      if (fails) throw new Error('LOADING')
      return timeAhead(5_000)
    })
    await settle()
    fails = false
    passedMs += 1_001
    clock.now()
    await settle()
    expect(asked).to.have.length(2)
    expect(aheadOf(clock)).to.be.closeTo(5_000, 20)
  })

  for (const [what, answer] of [
    ['rejects', () => Promise.reject(new Error('NOPERM'))],
    ['answers nothing', () => null],
    ['answers nonsense', () => ['soon', {}]],
    ['answers half of it', () => ['1790000000']],
  ] as const) {
    it(`stays with what it knows when Redis ${what}`, async () => {
      const { clock } = clockOf(answer)
      await settle()
      expect(aheadOf(clock)).to.be.closeTo(0, 5)
    })
  }
})
