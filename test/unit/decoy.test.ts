import { expect } from 'chai'
import { Decoys } from '../../lib/decoy.ts'

const appearance = (expiresIn: number) => ({ expiresIn, interval: 3, tookMs: 40 })

describe('Decoys (ERR-5)', () => {
  let decoys: Decoys
  /** What a hundred decoys look like, each look once. */
  const looks = (requestedExpiry?: string) =>
    [...new Set(Array.from({ length: 200 }, () => decoys.make(requestedExpiry).expiresIn))].sort(
      (a, b) => a - b,
    )

  beforeEach(() => {
    decoys = new Decoys()
  })

  it('guesses as long as there was no real start', () => {
    expect(decoys.make(undefined)).to.deep.equal({ expiresIn: 120, interval: 5, tookMs: 0 })
    expect(decoys.make('300')).to.deep.equal({ expiresIn: 300, interval: 5, tookMs: 0 })
  })

  it('looks as a real start did, in every visible way', () => {
    decoys.remember(appearance(90), undefined)
    expect(decoys.make(undefined)).to.deep.equal(appearance(90))
  })

  it('goes by real starts with the same requested expiry only', () => {
    decoys.remember(appearance(90), undefined)
    decoys.remember(appearance(250), '300')
    expect(looks()).to.deep.equal([90])
    expect(looks('300')).to.deep.equal([250])
    expect(looks('60')).to.deep.equal([60])
  })

  it('varies as the real ones do', () => {
    for (const expiresIn of [90, 91, 92]) decoys.remember(appearance(expiresIn), undefined)
    expect(looks()).to.deep.equal([90, 91, 92])
  })

  it('takes as long as a real token request did, or no time before there was one', () => {
    expect(decoys.tokenRequestMs()).to.equal(0)
    for (const tookMs of [30, 40]) decoys.rememberTokenRequest(tookMs)
    const times = new Set(Array.from({ length: 200 }, () => decoys.tokenRequestMs()))
    expect([...times].sort()).to.deep.equal([30, 40])
    expect(decoys.make(undefined).tookMs, 'another matter').to.equal(0)
  })

  it('forgets all but the latest sixteen', () => {
    for (let index = 0; index < 17; index++) decoys.remember(appearance(index < 1 ? 1 : 2), undefined)
    expect(looks()).to.deep.equal([2])
    decoys = new Decoys()
    for (let index = 0; index < 16; index++) decoys.remember(appearance(index < 1 ? 1 : 2), undefined)
    const all = Array.from({ length: 1_000 }, () => decoys.make(undefined).expiresIn)
    expect(all).to.include(1)
  })
})
