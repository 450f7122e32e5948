import { expect } from 'chai'
import { CompactEncrypt, decodeProtectedHeader } from 'jose'
import { deriveKeys } from '../../lib/keys.ts'
import { sealer } from '../../lib/seal.ts'

const secret = 'a secret of the test'
const keys = deriveKeys([secret])
const text = '{"kty":"EC","d":"what nobody shall see","name":"Jos\u00e9"}'

async function refusal(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'it was opened',
    (error: Error) => error.message,
  )
}

describe('sealer()', () => {
  const { seal, open } = sealer(keys, 'dpop key')

  it('opens what it has sealed', async () => {
    expect(await open(await seal(text))).to.equal(text)
    expect(await open(await seal(''))).to.equal('')
  })

  it('shows nothing of the text, and never the same twice [SEC-9]', async () => {
    const [one, other] = [await seal(text), await seal(text)]
    expect(one).to.not.equal(other)
    for (const part of one.split('.')) {
      expect(Buffer.from(part, 'base64url').toString()).to.not.include('what nobody shall see')
    }
  })

  it('encrypts with A256GCM, directly, and names the secret', async () => {
    expect(decodeProtectedHeader(await seal(text))).to.deep.equal({
      alg: 'dir',
      enc: 'A256GCM',
      kid: keys[0].keyId,
      typ: 'dpop key',
    })
  })

  it('opens what was sealed with a secret before, and seals with the first', async () => {
    const rotated = sealer(deriveKeys(['a new secret', secret]), 'dpop key')
    expect(await rotated.open(await seal(text))).to.equal(text)
    expect(await refusal(open(await rotated.seal(text)))).to.equal(
      'it was sealed with a secret that is not configured',
    )
  })

  it('refuses what was sealed for another purpose', async () => {
    const other = await sealer(keys, 'transaction').seal(text)
    expect(await refusal(open(other))).to.equal('it was sealed for another purpose')
  })

  for (const [index, part] of ['header', 'key', 'iv', 'ciphertext', 'tag'].entries()) {
    it(`refuses what was changed in the ${part}`, async () => {
      const parts = (await seal(text)).split('.')
      const bytes = Buffer.from(parts[index] ?? '', 'base64url')
      parts[index] = Buffer.concat([bytes.subarray(0, -1), Buffer.from([(bytes.at(-1) ?? 0) ^ 1])]).toString(
        'base64url',
      )
      expect(await refusal(open(parts.join('.')))).to.not.equal('it was opened')
    })
  }

  it('refuses another encryption under the right key', async () => {
    const [{ keyId, sealing }] = keys
    const header = { alg: 'A256KW', enc: 'A256GCM', kid: keyId, typ: 'dpop key' }
    const jwe = await new CompactEncrypt(Buffer.from(text)).setProtectedHeader(header).encrypt(sealing)
    expect(await refusal(open(jwe))).to.not.equal('it was opened')
  })

  for (const junk of ['', 'junk', 'a.b.c', 'a.b.c.d.e']) {
    it(`refuses ${JSON.stringify(junk)}`, async () => {
      expect(await refusal(open(junk))).to.not.equal('it was opened')
    })
  }
})
