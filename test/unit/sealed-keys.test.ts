import { expect } from 'chai'
import type { PrivateJwk } from '../../lib/grant.ts'
import { deriveKeys } from '../../lib/keys.ts'
import { type Sealer, sealer } from '../../lib/seal.ts'
import { sealedKeys } from '../../lib/sealed-keys.ts'
import { failureOf } from '../support/outcomes.ts'
import { privateJwk } from '../support/real-op.ts'

const key = privateJwk('ES256') as PrivateJwk
const sealerOf = (...secrets: [string, ...string[]]) => sealer(deriveKeys(secrets), 'dpop key')
const keysOf = (...secrets: [string, ...string[]]) => sealedKeys(sealerOf(...secrets))

describe('sealedKeys()', () => {
  it('brings back the key that was sealed, which nobody can see', async () => {
    const sealed = keysOf('the first secret').seal(key)
    expect(sealed).not.to.include(String(key['d']))
    expect(await keysOf('the first secret').open(sealed)).to.deep.equal(key)
  })

  it('opens with a secret that was rotated, and not with another one', async () => {
    const sealed = keysOf('the first secret').seal(key)
    expect(await keysOf('the second secret', 'the first secret').open(sealed)).to.deep.equal(key)
    const error = await failureOf(keysOf('the second secret').open(sealed))
    expect(error).to.include({ code: 'ERR_CIBA_INVALID_TOKEN', status: 401 })
    expect(error.message).to.match(/another secret/)
    expect(JSON.stringify(error) + error.message + String(error.cause)).not.to.include(String(key['d']))
  })

  for (const [what, sealed] of [
    ['nothing', ''],
    ['text', 'not sealed at all'],
    ['a number', 5],
    ['null', null],
  ] as const) {
    it(`refuses ${what} instead of a sealed key`, async () => {
      const error = await failureOf(keysOf('the first secret').open(sealed as string))
      expect(error.code).to.equal('ERR_CIBA_INVALID_TOKEN')
    })
  }

  it('refuses what was sealed for another purpose', async () => {
    const sealed = sealer(deriveKeys(['the first secret']), 'transaction').seal(JSON.stringify(key))
    expect((await failureOf(keysOf('the first secret').open(sealed))).code).to.equal('ERR_CIBA_INVALID_TOKEN')
  })

  it('opens a key once: the same object each time, also to those who come at once', async () => {
    let opened = 0
    const { seal, open } = sealerOf('the first secret')
    const counting: Sealer = {
      seal,
      open(sealed) {
        opened += 1
        return open(sealed)
      },
    }
    const keys = sealedKeys(counting)
    const sealed = keys.seal(key)
    const [first, ...others] = await Promise.all([1, 2, 3].map(() => keys.open(sealed)))
    for (const other of [...others, await keys.open(sealed)]) expect(other).to.equal(first)
    expect(opened).to.equal(1)
  })

  it('tries again what could not be opened', async () => {
    let fails = true
    const { seal, open } = sealerOf('the first secret')
    const keys = sealedKeys({
      seal,
      open: (sealed) => {
        if (fails) throw new Error('no')
        return open(sealed)
      },
    })
    const sealed = keys.seal(key)
    await failureOf(keys.open(sealed))
    fails = false
    expect(await keys.open(sealed)).to.deep.equal(key)
  })

  it('keeps the latest thousand open, however many there are', async function () {
    this.timeout(10_000)
    const opened: string[] = []
    const keys = sealedKeys({
      seal: (text) => text,
      open(sealed) {
        opened.push(sealed)
        return '{}'
      },
    })
    for (let index = 0; index < 1_001; index += 1) await keys.open(String(index))
    const before = opened.length
    await keys.open('1000')
    await keys.open('1')
    expect(opened.length - before, 'still open').to.equal(0)
    await keys.open('0')
    expect(opened.length - before, 'the oldest is not').to.equal(1)
  })
})
