import { expect } from 'chai'
import { Doorbell } from '../../lib/doorbell.ts'
import { FakeClock, settle } from '../support/fake-clock.ts'

describe('Doorbell', () => {
  let clock: FakeClock
  let bell: Doorbell
  let asleep: boolean

  beforeEach(() => {
    clock = new FakeClock(1_000)
    bell = new Doorbell()
  })
  afterEach('no timer stays behind', () => expect(clock.timers).to.equal(0))

  const sleepUntil = (instant: number) => {
    asleep = true
    void bell.sleepUntil(instant, clock).then(() => {
      asleep = false
    })
  }

  it('sleeps until the instant', async () => {
    sleepUntil(3_000)
    await clock.advance(1_999)
    expect(asleep).to.equal(true)
    await clock.advance(1)
    expect(asleep).to.equal(false)
  })

  it('does not sleep for an instant that has passed', async () => {
    sleepUntil(10)
    await clock.advance(0)
    expect(asleep).to.equal(false)
  })

  it('wakes when it rings', async () => {
    const { ring } = bell
    sleepUntil(3_000)
    await settle()
    ring()
    await settle()
    expect(asleep).to.equal(false)
  })

  it('remembers a ring of before the sleep, until it is quiet (POLL-2)', async () => {
    bell.ring()
    for (let sleep = 0; sleep < 2; sleep++) {
      sleepUntil(3_000)
      await settle()
      expect(asleep).to.equal(false)
    }
    bell.quiet()
    sleepUntil(3_000)
    await settle()
    expect(asleep).to.equal(true)
    await clock.advance(2_000)
    expect(asleep).to.equal(false)
  })

  it('remembers a ring that comes between waking up and the next sleep', async () => {
    sleepUntil(1_100)
    await clock.advance(100)
    bell.ring()
    sleepUntil(3_000)
    await settle()
    expect(asleep).to.equal(false)
  })

  it('rings when a signal aborts, or has aborted, until that is taken back', async () => {
    const [one, other] = [new AbortController(), new AbortController()]
    bell.ringOnAbort(one.signal, undefined)
    const takeBack = bell.ringOnAbort(other.signal)
    sleepUntil(3_000)
    one.abort()
    await settle()
    expect(asleep).to.equal(false)
    takeBack()
    bell.quiet()
    sleepUntil(3_000)
    other.abort()
    await settle()
    expect(asleep).to.equal(true)
    await clock.advance(2_000)
    bell.quiet()
    bell.ringOnAbort(other.signal)
    sleepUntil(9_000)
    await settle()
    expect(asleep).to.equal(false)
  })

  it('sleeps again after an earlier sleep ended by time, or by a ring', async () => {
    for (const wake of [() => clock.advance(100), async () => bell.ring()]) {
      bell.quiet()
      sleepUntil(clock.now() + 100)
      await wake()
      await settle()
      expect(asleep).to.equal(false)
    }
    bell.quiet()
    sleepUntil(clock.now() + 100)
    await settle()
    expect(asleep).to.equal(true)
    await clock.advance(100)
  })
})
