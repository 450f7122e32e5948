import { expect } from 'chai'
import { parseRetryAfter, readAnswer } from '../../lib/protocol/answer.ts'

const now = Date.UTC(2026, 8, 13, 12, 26, 40)

describe('parseRetryAfter()', () => {
  const table: [string, string | null, number][] = [
    ['no header', null, 0],
    ['an empty header', '', 0],
    ['seconds', '120', 120_000],
    ['no seconds at all', '0', 0],
    ['seconds between spaces', ' 7 ', 7_000],
    ['seconds before the start', '-5', 0],
    ['a fraction of seconds', '1.5', 0],
    ['more digits than anybody means', '99999999999', 0],
    ['a word', 'soon', 0],
    ['seconds and a word', '5 seconds', 0],
    ['hexadecimal seconds', '0x10', 0],
    ['an IMF-fixdate', new Date(now + 90_000).toUTCString(), 90_000],
    ['an RFC 850 date', 'Sunday, 13-Sep-26 12:27:40 GMT', 60_000],
    ['an asctime date', 'Sun Sep 13 12:27:40 2026', 60_000],
    ['a date in the past', new Date(now - 90_000).toUTCString(), 0],
    ['this very instant', new Date(now).toUTCString(), 0],
    ['a date that does not exist', 'Sun, 99 Sep 2026 12:27:40 GMT', 0],
    ['an ISO date, which is none of HTTP', '2026-09-13T12:27:40Z', 0],
  ]
  for (const [what, value, expected] of table) {
    it(`reads ${expected} ms from ${what} [POLL-8]`, () => {
      expect(parseRetryAfter(value, now)).to.equal(expected)
    })
  }
})

describe('parseRetryAfter() far from Greenwich', () => {
  let zone: string | undefined

  before(() => {
    zone = process.env['TZ']
    process.env['TZ'] = 'America/New_York'
  })

  after(() => {
    if (zone === undefined) delete process.env['TZ']
    else process.env['TZ'] = zone
  })

  for (const date of [
    'Sun, 13 Sep 2026 12:27:40 GMT',
    'Sunday, 13-Sep-26 12:27:40 GMT',
    'Sun Sep 13 12:27:40 2026',
  ]) {
    // RFC 9110 §5.6.7: all three forms are in UTC, also the one that does not say so.
    it(`reads ${date} in UTC [POLL-8]`, () => {
      expect(new Date(now).getTimezoneOffset(), 'the zone of this test').to.equal(240)
      expect(parseRetryAfter(date, now)).to.equal(60_000)
    })
  }
})

describe('readAnswer()', () => {
  const read = (body: string | null, init: ResponseInit) => readAnswer(new Response(body, init))

  it('reads a JSON object, whatever its media type [ERR-1]', async () => {
    const headers = { 'content-type': 'text/html' }
    expect(await read('{"a":1}', { status: 200, headers })).to.deep.equal({
      status: 200,
      text: '{"a":1}',
      json: { a: 1 },
      retryAfterMs: 0,
    })
  })

  for (const body of ['[1]', 'null', '5', '"text"', '<html>', '{', '']) {
    it(`finds no JSON object in ${JSON.stringify(body)} [ERR-1]`, async () => {
      expect(await read(body, { status: 400 })).to.have.all.keys('status', 'text', 'retryAfterMs')
    })
  }

  it('finds the error of a 4xx, and behind a challenge too [ERR-1]', async () => {
    for (const status of [400, 401, 403, 429, 499]) {
      const headers = { 'www-authenticate': 'Basic realm="op"' }
      const answer = await read('{"error":"slow_down"}', { status, headers })
      expect(answer).to.include({ status, error: 'slow_down' })
    }
  })

  for (const status of [200, 302, 500, 503]) {
    it(`finds no error in ${status} [ERR-1]`, async () => {
      expect(await read('{"error":"slow_down"}', { status })).to.not.have.property('error')
    })
  }

  for (const error of [5, null, '', ['x'], { code: 'x' }, undefined]) {
    it(`finds no error in an "error" of ${JSON.stringify(error)} [ERR-1]`, async () => {
      expect(await read(JSON.stringify({ error }), { status: 400 })).to.not.have.property('error')
    })
  }

  // RFC 6749 §5.2: %x20-21 / %x23-5B / %x5D-7E
  for (const code of ['a"b', 'a\\b', 'a\nb', 'a\u0000', 'a\u007f', 'ü', 'x'.repeat(101)]) {
    it(`replaces an error code that may not be one: ${JSON.stringify(code.slice(0, 10))} [ERR-6]`, async () => {
      const answer = await read(JSON.stringify({ error: code }), { status: 400 })
      expect(answer.error).to.equal('unknown_error')
    })
  }

  it('keeps every code that RFC 6749 allows [ERR-2]', async () => {
    const allowed = Array.from({ length: 95 }, (_, index) => String.fromCharCode(0x20 + index))
      .join('')
      .replace(/["\\]/g, '')
    expect((await read(JSON.stringify({ error: allowed }), { status: 400 })).error).to.equal(allowed)
  })

  it('takes control and format characters out of a description, and shortens it [ERR-6]', async () => {
    const error_description = `a\r\n\u001b[31mb\u202ec\u2028d${'x'.repeat(500)}`
    const answer = await read(JSON.stringify({ error: 'x', error_description }), { status: 400 })
    expect(answer.errorDescription).to.match(/^a \[31mb c dx+$/)
    expect(answer.errorDescription).to.have.length(200)
  })

  it('leaves a description out that is no text [ERR-6]', async () => {
    const answer = await read('{"error":"x","error_description":{"a":1}}', { status: 400 })
    expect(answer).to.not.have.property('errorDescription')
  })

  it('reads how long the OP wants to be left alone [POLL-8]', async () => {
    expect(await read('', { status: 503, headers: { 'retry-after': '3' } })).to.have.property(
      'retryAfterMs',
      3_000,
    )
  })

  it('rejects when the body breaks off', async () => {
    const broken = new ReadableStream({
      start: (controller) => controller.error(new Error('other side closed')),
    })
    const outcome = await readAnswer(new Response(broken)).catch((error: Error) => error.message)
    expect(outcome).to.equal('other side closed')
  })
})
