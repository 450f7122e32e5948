import { inspect } from 'node:util'
import { expect } from 'chai'
import { CompactEncrypt } from 'jose'
import { deriveKeys } from '../../lib/keys.ts'
import { type RecordSealer, recordSealer } from '../../lib/record.ts'
import { sealer as sealerFor } from '../../lib/seal.ts'
import type { StoredRecord } from '../../lib/store.ts'
import { retentionMs } from '../../lib/transaction.ts'
import { acknowledged, complete, ended } from '../support/transactions.ts'

const sealerOf = (...secrets: [string, ...string[]]): RecordSealer => recordSealer(deriveKeys(secrets))

function refusal(open: () => unknown): Error {
  try {
    open()
  } catch (error) {
    return error as Error
  }
  return expect.fail('opened')
}

describe('recordSealer()', () => {
  const sealer = sealerOf('the secret')
  /** The record as a store brings it back: another object with the same content. */
  const fromStore = (record: StoredRecord, parts: Partial<StoredRecord> = {}) => ({ ...record, ...parts })

  for (const transaction of [acknowledged, complete, ended]) {
    it(`opens what it sealed: a transaction that is ${transaction.state}`, () => {
      const record = sealer.seal(transaction, 7)
      expect(record).to.include({ id: transaction.id, version: 7 })
      expect(sealer.open(fromStore(record))).to.deep.equal(transaction)
      expect(sealerOf('the secret').open(fromStore(record)), 'another instance').to.deep.equal(transaction)
    })
  }

  it('keeps the record five minutes past the deadline (PING-17)', () => {
    expect(sealer.seal(acknowledged, 1).purgeAt).to.equal(acknowledged.expiresAt + 300_000)
    expect(retentionMs).to.equal(300_000)
  })

  it('makes records that nobody can change', () => {
    expect(sealer.seal(acknowledged, 1)).to.satisfy(Object.isFrozen)
  })

  it('shows the store nothing of what is inside (SEC-9)', () => {
    const { data } = sealer.seal(
      {
        ...complete,
        authReqId: 'the-auth-req-id',
        expectations: { ...complete.expectations, expectedSubject: 'carol' },
      },
      1,
    )
    const readable = data.split('.').map((part) => Buffer.from(part, 'base64url').toString('latin1'))
    const seen = [data, ...readable].join('\n')
    const { tokens, claims } = complete.grant ?? expect.fail()
    for (const secret of [
      tokens.accessToken,
      tokens.idToken,
      tokens.refreshToken ?? '',
      claims.sub,
      'carol',
      'the-auth-req-id',
      complete.owner,
      'complete',
      'the secret',
    ]) {
      expect(seen).to.not.include(secret)
      expect(seen).to.not.include(Buffer.from(secret).toString('base64url'))
    }
  })

  it('is a compact JWE with AES-256-GCM under the name of the key', () => {
    const [header = '', encryptedKey, ...rest] = sealer.seal(acknowledged, 1).data.split('.')
    const { keyId } = deriveKeys(['the secret'])[0]
    const expected = { alg: 'dir', enc: 'A256GCM', kid: keyId, typ: 'transaction' }
    expect(JSON.parse(Buffer.from(header, 'base64url').toString())).to.deep.equal(expected)
    expect(encryptedKey).to.equal('')
    expect(rest).to.have.length(3)
  })

  it('never seals the same way twice', () => {
    const [once, again] = [sealer.seal(acknowledged, 1), sealer.seal(acknowledged, 1)]
    expect(once.data).to.not.equal(again.data)
  })

  it('opens nothing that another secret sealed, and says neither', () => {
    const record = sealerOf('another secret').seal(complete, 1)
    const error = refusal(() => sealer.open(record))
    expect(error.message).to.equal('it was sealed with a secret that is not configured')
  })

  it('opens nothing sealed with another secret under the name of ours', () => {
    const { keyId } = deriveKeys(['the secret'])[0]
    const forged = recordSealer([{ ...deriveKeys(['another secret'])[0], keyId }])
    refusal(() => sealer.open(forged.seal(complete, 1)))
  })

  it('opens nothing that was sealed for another purpose, with the same secret [SEC-9]', () => {
    const keys = deriveKeys(['the secret'])
    const record = sealer.seal(complete, 1)
    const data = sealerFor(keys, 'dpop key').seal(JSON.stringify(complete))
    const error = refusal(() => sealer.open({ ...record, data }))
    expect(error.message).to.equal('it was sealed for another purpose')
    refusal(() => sealerFor(keys, 'dpop key').open(record.data))
  })

  it('opens old records after the secret was rotated, and seals new ones with the new secret', () => {
    const rotated = sealerOf('new secret', 'the secret', 'older secret')
    for (const old of ['the secret', 'older secret']) {
      const record = sealerOf(old).seal(complete, 1)
      expect(rotated.open(fromStore(record))).to.deep.equal(complete)
    }
    const record = fromStore(rotated.seal(complete, 2))
    expect(sealerOf('new secret').open(record)).to.deep.equal(complete)
    refusal(() => sealer.open(record))
  })

  it("refuses one person's record under another id (SEC-6)", () => {
    const record = sealer.seal(complete, 1)
    const error = refusal(() => sealer.open(fromStore(record, { id: 'another-id' })))
    expect(error.message).to.equal('the record belongs to another transaction')
    const other = sealer.seal({ ...acknowledged, id: 'another-id' }, 1)
    refusal(() => sealer.open(fromStore(other, { data: record.data })))
  })

  for (const [index, part] of ['header', 'encrypted key', 'IV', 'ciphertext', 'tag'].entries()) {
    it(`refuses a record whose ${part} was tampered with`, () => {
      const record = sealer.seal(complete, 1)
      const parts = record.data.split('.')
      const bytes = Buffer.from(parts[index] ?? '', 'base64url')
      const changed = bytes.length === 0 ? Buffer.from([1]) : bytes
      changed[changed.length >> 1] = (changed[changed.length >> 1] ?? 0) ^ 1
      parts[index] = changed.toString('base64url')
      refusal(() => sealer.open(fromStore(record, { data: parts.join('.') })))
      sealer.open(fromStore(record))
    })
  }

  for (const [what, header] of [
    ['encryption', { alg: 'dir', enc: 'A128CBC-HS256' }],
    ['key management', { alg: 'A256KW', enc: 'A256GCM' }],
  ] as const) {
    it(`refuses every other ${what}, with the right key too`, async () => {
      const { keyId, sealing } = deriveKeys(['the secret'])[0]
      const data = await new CompactEncrypt(Buffer.from(JSON.stringify(complete)))
        .setProtectedHeader({ ...header, kid: keyId })
        .encrypt(sealing)
      refusal(() => sealer.open({ id: complete.id, version: 1, purgeAt: complete.expiresAt, data }))
    })
  }

  for (const data of ['', 'plain text', '{}', 'a.b.c.d.e', JSON.stringify(complete)]) {
    it(`refuses what is no sealed text: ${JSON.stringify(data).slice(0, 20)}`, () => {
      refusal(() => sealer.open({ id: complete.id, version: 1, purgeAt: complete.expiresAt, data }))
    })
  }

  context('for a store that keeps the objects it is given', () => {
    const here = recordSealer(deriveKeys(['the secret']), { stayHere: true, registration: 'us' })
    const record = here.seal(complete, 7)

    it('gives back the very same transaction', () => {
      expect(record).to.include({ id: complete.id, version: 7, purgeAt: complete.expiresAt + 300_000 })
      expect(here.open(record)).to.equal(complete)
      expect(record).to.satisfy(Object.isFrozen)
    })

    it('shows nothing of it to who looks or prints (SEC-9)', () => {
      const seen = inspect(record, { depth: 9, showHidden: true }) + JSON.stringify(record)
      const { tokens } = complete.grant ?? expect.fail()
      expect(seen).to.include(complete.id)
      for (const secret of [tokens.accessToken, complete.owner]) expect(seen).to.not.include(secret)
    })

    it('seals it for whoever asks for its data after all, once', () => {
      const { data } = record
      expect(data).to.equal(record.data)
      expect(data.split('.')).to.have.length(5)
      expect(sealer.open({ ...fromStore(record), data })).to.deep.equal(complete)
      expect(here.open({ id: record.id, version: 7, purgeAt: 0, data })).to.deep.equal(complete)
    })

    it('opens the records of others only if they are of the same registration', () => {
      const others = recordSealer(deriveKeys(['the secret']), { stayHere: true, registration: 'others' })
      expect(here.open(others.seal(complete, 1))).to.equal(undefined)
      const strangers = recordSealer(deriveKeys(['another secret']), { stayHere: true, registration: 'us' })
      refusal(() => here.open(strangers.seal(complete, 1)))
    })
  })
})
