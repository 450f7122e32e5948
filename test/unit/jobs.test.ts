import { expect } from 'chai'
import { Jobs } from '../../lib/jobs.ts'
import { settle } from '../support/fake-clock.ts'

describe('Jobs', () => {
  /** Work that ends when told to. */
  const work = () => {
    let end = () => {}
    let fail = (_: Error) => {}
    const promise = new Promise<void>((resolve, reject) => {
      end = resolve
      fail = reject
    })
    return { promise, end, fail }
  }
  /** Whether the promise has been fulfilled by now; a rejection fails the test. */
  const watch = (promise: Promise<void>) => {
    const seen = { fulfilled: false }
    void promise.then(() => {
      seen.fulfilled = true
    })
    return seen
  }

  it('says when the work has ended', async () => {
    const one = work()
    const seen = watch(new Jobs().run(() => one.promise))
    await settle()
    expect(seen.fulfilled).to.equal(false)
    one.end()
    await settle()
    expect(seen.fulfilled).to.equal(true)
  })

  it('hands on what the work came to', async () => {
    expect(await new Jobs().run(async () => 7)).to.equal(7)
    const fault = new Error('no')
    const outcome = await new Jobs().run(() => Promise.reject(fault)).catch((error) => error)
    expect(outcome).to.equal(fault)
  })

  it('is left alone with a failure that nobody listens to', async () => {
    const unhandled: unknown[] = []
    const listener = (reason: unknown) => unhandled.push(reason)
    process.prependListener('unhandledRejection', listener)
    try {
      const jobs = new Jobs()
      jobs.leave(() => Promise.reject(new Error('no')))
      await jobs.ended()
      await settle()
    } finally {
      process.off('unhandledRejection', listener)
    }
    expect(unhandled).to.deep.equal([])
  })

  it('has nothing to wait for at first, and again when all is done', async () => {
    const jobs = new Jobs()
    await jobs.ended()
    await jobs.run(async () => {})
    await jobs.ended()
  })

  it('waits for all work, also for what fails and for what begins meanwhile', async () => {
    const jobs = new Jobs()
    const [first, second, third] = [work(), work(), work()]
    jobs.leave(() => first.promise)
    jobs.leave(async () => {
      await second.promise
      jobs.leave(() => third.promise)
    })
    const ended = watch(jobs.ended())
    first.fail(new Error('no'))
    await settle()
    expect(ended.fulfilled, 'one of two').to.equal(false)
    second.end()
    await settle()
    expect(ended.fulfilled, 'what began meanwhile').to.equal(false)
    third.end()
    await settle()
    expect(ended.fulfilled).to.equal(true)
  })
})
