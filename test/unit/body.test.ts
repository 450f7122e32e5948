import { PassThrough } from 'node:stream'
import { expect } from 'chai'
import type { Request } from 'express'
import { readBody } from '../../lib/express/body.ts'

describe('readBody()', () => {
  const events = ['data', 'end', 'error', 'close']

  function requestOf(chunks: readonly string[]): PassThrough {
    const req = Object.assign(new PassThrough(), { headers: { 'content-type': 'application/json' } })
    for (const chunk of chunks) req.write(chunk)
    return req
  }

  for (const [what, chunks, outcome] of [
    ['whole', ['{"a":1}'], 'read'],
    ['in pieces', ['{"a"', ':1}'], 'read'],
    ['too large', ['x'.repeat(20_000)], 'ERR_CIBA_BODY_TOO_LARGE'],
    ['broken off', ['{"a"'], 'ERR_CIBA_INVALID_REQUEST'],
  ] as const) {
    it(`leaves no listener behind that every request would call when it closes: ${what}`, async () => {
      const req = requestOf(chunks)
      const before = events.map((name) => req.listenerCount(name))
      const reading = readBody(req as unknown as Request, ['json']).then(
        () => 'read',
        ({ code }) => code,
      )
      if (what === 'broken off') req.destroy()
      else if (what !== 'too large') req.end()
      // At once: the request closes before whoever waits for the body goes on.
      if (what === 'whole') req.once('end', () => expect(req.listenerCount('close')).to.equal(before[3]))
      expect(await reading).to.equal(outcome)
      expect(events.map((name) => req.listenerCount(name))).to.deep.equal(before)
    })
  }
})
