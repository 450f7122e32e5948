import { expect } from 'chai'
import fc from 'fast-check'
import { parseAcknowledgement } from '../../lib/protocol/acknowledgement.ts'

const month = 30 * 24 * 3600
const good = { auth_req_id: 'id', expires_in: 120, interval: 3 }

describe('parseAcknowledgement()', () => {
  it('reads the three members, and no others [ACK-5]', () => {
    expect(parseAcknowledgement({ ...good, x: 1, error: 'none' })).to.deep.equal({
      authReqId: 'id',
      expiresIn: 120,
      interval: 3,
    })
  })

  it('needs a JSON object [ACK-1]', () => {
    expect(parseAcknowledgement(undefined)).to.equal('is not a JSON object')
  })

  for (const id of [undefined, null, 5, true, '', [], ['id'], { id: 1 }, 'x'.repeat(4097)]) {
    it(`has no use for auth_req_id ${JSON.stringify(id)?.slice(0, 20)} [ACK-2, ACK-6]`, () => {
      expect(parseAcknowledgement({ ...good, auth_req_id: id })).to.equal('has no usable "auth_req_id"')
    })
  }

  for (const value of [
    undefined,
    null,
    0,
    -1,
    0.9,
    '0',
    '',
    ' ',
    'x',
    '120x',
    '1e3',
    '-5',
    '+5',
    true,
    [],
    {},
  ]) {
    it(`refuses expires_in ${JSON.stringify(value)} [ACK-3]`, () => {
      expect(parseAcknowledgement({ ...good, expires_in: value })).to.equal('has no positive "expires_in"')
    })
  }

  const lives: [unknown, number][] = [
    [1, 1],
    [1.9, 1],
    ['120', 120],
    ['1.5', 1],
    [1e12, month],
    [Number.POSITIVE_INFINITY, month], // what JSON.parse() makes of 1e999
  ]
  for (const [value, expiresIn] of lives) {
    it(`reads expires_in ${JSON.stringify(value)} as ${expiresIn} [ACK-3]`, () => {
      expect(parseAcknowledgement({ ...good, expires_in: value })).to.include({ expiresIn })
    })
  }

  const intervals: [unknown, number][] = [
    [undefined, 5],
    [null, 5],
    [0, 5],
    [-3, 5],
    ['', 5],
    ['x', 5],
    [true, 5],
    [[7], 5],
    [0.2, 1],
    [2.5, 3],
    ['7', 7],
    [31, 31],
    [1e12, month],
  ]
  for (const [value, interval] of intervals) {
    it(`reads interval ${JSON.stringify(value)} as ${interval} [ACK-4]`, () => {
      expect(parseAcknowledgement({ ...good, interval: value })).to.include({ interval })
    })
  }

  it('makes positive integers of any JSON, or says what is wrong, and leaves the id alone [ACK-3, ACK-4, ACK-6]', () => {
    const json = fc.dictionary(fc.constantFrom('auth_req_id', 'expires_in', 'interval', 'x'), fc.jsonValue())
    const likely = fc.record({
      auth_req_id: fc.string({ minLength: 1, unit: 'binary' }),
      expires_in: fc.oneof(fc.double(), fc.integer(), fc.string()),
      interval: fc.oneof(fc.double(), fc.integer(), fc.string()),
    })
    fc.assert(
      fc.property(fc.oneof(json, likely), (value) => {
        const parsed = parseAcknowledgement(value)
        if (typeof parsed === 'string') {
          expect(parsed).to.match(/^has no /)
          return
        }
        expect(parsed.authReqId).to.equal(value['auth_req_id'])
        for (const seconds of [parsed.expiresIn, parsed.interval]) {
          expect(Number.isSafeInteger(seconds) && seconds >= 1 && seconds <= month, `${seconds}`).to.equal(
            true,
          )
        }
      }),
    )
  })
})
