import { expect } from 'chai'
import { Holds } from '../../lib/express/holds.ts'

/** A poll that goes on until it is ended. */
function poll(holds: Holds, owner: string | undefined, waitMs = 1_000) {
  let end = (_error?: Error) => {}
  let given: number | undefined
  const result = holds.run(owner, waitMs, (ms) => {
    given = ms
    return new Promise<void>((resolve, reject) => {
      end = (error) => (error ? reject(error) : resolve())
    })
  })
  return { result, end: (error?: Error) => end(error), waitMs: given }
}

describe('Holds', () => {
  it('lets so many polls of one session wait, and others only look', () => {
    const holds = new Holds(2)
    expect([1, 2, 3, 4].map(() => poll(holds, 'a').waitMs)).to.deep.equal([1_000, 1_000, 0, 0])
  })

  it('counts each session for itself, and nobody who has none or only looks', () => {
    const holds = new Holds(1)
    for (const owner of ['a', 'b', undefined, undefined]) expect(poll(holds, owner).waitMs).to.equal(1_000)
    poll(holds, 'c', 0)
    expect(poll(holds, 'c').waitMs).to.equal(1_000)
  })

  it('has room again as soon as one has ended, however it ended', async () => {
    const holds = new Holds(1)
    for (const error of [undefined, new Error('the store failed')]) {
      const first = poll(holds, 'a')
      expect(first.waitMs).to.equal(1_000)
      const second = poll(holds, 'a')
      expect(second.waitMs).to.equal(0)
      second.end()
      await second.result
      expect(poll(holds, 'a').waitMs, 'while the first still waits').to.equal(0)
      first.end(error)
      expect(await first.result.catch((reason: Error) => reason)).to.equal(error)
    }
  })

  it('gives up its place where a poll cannot even begin', async () => {
    const holds = new Holds(1)
    const begun = holds.run('a', 1_000, async () => {
      throw new Error('no')
    })
    expect(await begun.catch((reason: Error) => reason.message)).to.equal('no')
    expect(poll(holds, 'a').waitMs).to.equal(1_000)
  })
})
