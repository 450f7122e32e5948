import { expect } from 'chai'
import { CompactEncrypt, decodeProtectedHeader } from 'jose'
import { deriveKeys } from '../../lib/keys.ts'
import { sealer } from '../../lib/seal.ts'

const secret = 'a secret of the test'
const keys = deriveKeys([secret])
const text = '{"kty":"EC","d":"what nobody shall see","name":"Jos\u00e9"}'

function refusal(open: () => unknown): string {
  try {
    open()
  } catch (error) {
    return (error as Error).message
  }
  return 'it was opened'
}

describe('sealer()', () => {
  const { seal, open } = sealer(keys, 'dpop key')

  it('opens what it has sealed', () => {
    expect(open(seal(text))).to.equal(text)
    expect(open(seal(''))).to.equal('')
  })

  it('shows nothing of the text, and never the same twice [SEC-9]', () => {
    const [one, other] = [seal(text), seal(text)]
    expect(one).to.not.equal(other)
    for (const part of one.split('.')) {
      expect(Buffer.from(part, 'base64url').toString()).to.not.include('what nobody shall see')
    }
  })

  it('encrypts with A256GCM, directly, and names the secret', () => {
    expect(decodeProtectedHeader(seal(text))).to.deep.equal({
      alg: 'dir',
      enc: 'A256GCM',
      kid: keys[0].keyId,
      typ: 'dpop key',
    })
  })

  it('opens what was sealed with a secret before, and seals with the first', () => {
    const rotated = sealer(deriveKeys(['a new secret', secret]), 'dpop key')
    expect(rotated.open(seal(text))).to.equal(text)
    expect(refusal(() => open(rotated.seal(text)))).to.equal(
      'it was sealed with a secret that is not configured',
    )
  })

  it('refuses what was sealed for another purpose', () => {
    const other = sealer(keys, 'transaction').seal(text)
    expect(refusal(() => open(other))).to.equal('it was sealed for another purpose')
  })

  for (const [index, part] of ['header', 'key', 'iv', 'ciphertext', 'tag'].entries()) {
    it(`refuses what was changed in the ${part}`, () => {
      const parts = seal(text).split('.')
      const bytes = Buffer.from(parts[index] ?? '', 'base64url')
      parts[index] = Buffer.concat([bytes.subarray(0, -1), Buffer.from([(bytes.at(-1) ?? 0) ^ 1])]).toString(
        'base64url',
      )
      expect(refusal(() => open(parts.join('.')))).to.not.equal('it was opened')
    })
  }

  it('refuses another encryption under the right key', async () => {
    const [{ keyId, sealing }] = keys
    const header = { alg: 'A256KW', enc: 'A256GCM', kid: keyId, typ: 'dpop key' }
    const jwe = await new CompactEncrypt(Buffer.from(text)).setProtectedHeader(header).encrypt(sealing)
    expect(refusal(() => open(jwe))).to.not.equal('it was opened')
  })

  for (const junk of ['', 'junk', 'a.b.c', 'a.b.c.d.e']) {
    it(`refuses ${JSON.stringify(junk)}`, () => {
      expect(refusal(() => open(junk))).to.not.equal('it was opened')
    })
  }
})
