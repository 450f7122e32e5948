import { expect } from 'chai'
import { deriveKeys } from '../../lib/keys.ts'

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')

describe('deriveKeys()', () => {
  it('derives the same keys in every version and on every instance, or all records were lost', () => {
    const [{ keyId, sealing, notification, pseudonym }] = deriveKeys(['a secret of the test'])
    expect(keyId).to.equal('EFc2Nn6P')
    expect(hex(sealing)).to.equal('a2ac7f303531f43057d2a259227f08d1babee33a0e83224a9a15dee31094383d')
    expect(hex(notification)).to.equal('ba87bc856c67f32d95eff857313972ef9a8811f46aab3ffdf02d4ad375a9e6e9')
    expect(hex(pseudonym)).to.equal('9bbc5336ae2e927c6df4639648e1953c58c1cca8502486337e48573aeb575d89')
  })

  it('derives one set for each secret, in order', () => {
    const ring = deriveKeys(['one secret', 'other secret', 'third secret'])
    expect(ring).to.have.length(3)
    expect(ring[1]).to.deep.equal(deriveKeys(['other secret'])[0])
    expect(ring[2]).to.deep.equal(deriveKeys(['third secret'])[0])
  })

  it('shares nothing between secrets and purposes', () => {
    const values = deriveKeys(['one secret', 'one secreu', 'other secret ä']).flatMap(
      ({ keyId, sealing, notification, pseudonym }) => [
        keyId,
        ...[sealing, notification, pseudonym].map(hex),
      ],
    )
    expect(new Set(values).size).to.equal(12)
    for (const value of values) expect(values.filter((other) => other.includes(value))).to.deep.equal([value])
  })
})
