import { expect } from 'chai'
import type { AuthorizationServer } from 'oauth4webapi'
import { discovery } from '../../lib/protocol/discovery.ts'
import type { CustomFetch, CustomFetchInit } from '../../lib/protocol/transport.ts'

const issuer = 'https://op.test/tenant'
const hourMs = 3_600_000

describe('discovery()', () => {
  /** What the OP publishes; a function may do anything. */
  let published: object | (() => Response | Promise<Response>)
  let asked: { url: string; init: CustomFetchInit }[]
  let checked: AuthorizationServer[]
  let misfit: Error | undefined
  const realNow = Date.now

  beforeEach(() => {
    published = { issuer, token_endpoint: 'https://op.test/token' }
    asked = []
    checked = []
    misfit = undefined
  })

  afterEach(() => {
    Date.now = realNow
  })

  const fetch: CustomFetch = async (url, init) => {
    asked.push({ url, init })
    return typeof published === 'function' ? published() : Response.json(published)
  }
  const start = (options: Partial<Parameters<typeof discovery>[0]> = {}) =>
    discovery({
      issuer: new URL(issuer),
      fetch,
      allowInsecureRequests: false,
      timeoutMs: 1_000,
      check(server) {
        checked.push(server)
        if (misfit) throw misfit
      },
      ...options,
    })
  const failure = (promise: Promise<unknown>): Promise<Error & { code?: string; retryAfter?: number }> =>
    promise.then(
      () => {
        throw new Error('it did not fail')
      },
      (error) => error,
    )
  const later = (ms: number) => {
    const now = Date.now() + ms
    Date.now = () => now
  }
  /** Until everything that was set off in the background has happened. */
  const settled = () => new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve)))

  it('asks nobody before it is needed [CFG-1]', () => {
    start()
    expect(asked).to.have.length(0)
  })

  it('asks at the well-known place, once for many callers, and checks once [CFG-1]', async () => {
    const discover = start()
    const servers = await Promise.all([discover(), discover(), discover(), discover(), discover()])
    expect(new Set(servers).size).to.equal(1)
    expect(asked.map(({ url }) => url)).to.deep.equal([`${issuer}/.well-known/openid-configuration`])
    expect(asked[0]?.init).to.include({ method: 'GET', redirect: 'manual' })
    expect(checked).to.have.length(1)
    await discover()
    expect(asked).to.have.length(1)
  })

  it('keeps the exact path of the issuer [CFG-1]', async () => {
    published = { issuer: `${issuer}/` }
    await start({ issuer: new URL(`${issuer}/`) })()
    const error = await failure(start()())
    expect(error).to.include({ code: 'ERR_CIBA_INVALID_OP_METADATA' })
    expect(error.message).to.include('trailing slash')
  })

  context('it fails', () => {
    const failures: [string, () => Response, string, number][] = [
      ['500', () => new Response(null, { status: 500 }), 'ERR_CIBA_OP_FAILED', 3],
      ['404', () => new Response(null, { status: 404 }), 'ERR_CIBA_OP_FAILED', 1],
      ['a redirect', () => new Response(null, { status: 302 }), 'ERR_CIBA_OP_FAILED', 1],
      ['HTML', () => new Response('<html>'), 'ERR_CIBA_INVALID_OP_METADATA', 1],
      ['an array', () => Response.json([]), 'ERR_CIBA_INVALID_OP_METADATA', 1],
      ['no issuer', () => Response.json({}), 'ERR_CIBA_INVALID_OP_METADATA', 1],
      [
        'a foreign issuer',
        () => Response.json({ issuer: 'https://evil.test' }),
        'ERR_CIBA_INVALID_OP_METADATA',
        1,
      ],
    ]
    for (const [what, answer, code, times] of failures) {
      it(`says ${code} of ${what}, and asks anew at the next call [CFG-1]`, async () => {
        const discover = start()
        published = answer
        expect(await failure(discover())).to.have.property('code', code)
        expect(asked).to.have.length(times)
        expect(checked).to.have.length(0)
        published = { issuer }
        expect(await discover()).to.have.property('issuer', issuer)
      })
    }

    it('says ERR_CIBA_OP_UNREACHABLE when there is no answer, and when to come again [CFG-1]', async () => {
      published = () => Promise.reject(new TypeError('fetch failed'))
      const error = await failure(start()())
      expect(error).to.include({ code: 'ERR_CIBA_OP_UNREACHABLE', retryAfter: 5, status: 503 })
      expect(error.cause).to.have.property('message', 'fetch failed')
    })

    it('fails for all who wait, and once [CFG-1]', async () => {
      published = () => new Response(null, { status: 404 })
      const discover = start()
      const errors = await Promise.all([failure(discover()), failure(discover())])
      expect(errors[0]).to.equal(errors[1])
      expect(asked).to.have.length(1)
    })

    it('gives up after its timeout', async () => {
      const discover = start({
        timeoutMs: 50,
        fetch: (_url, { signal }) =>
          new Promise((_, reject) => {
            if (signal?.aborted) reject(signal.reason as Error)
            signal?.addEventListener('abort', () => reject(signal.reason as Error))
          }),
      })
      const before = Date.now()
      // AbortSignal.timeout() does not keep a process alive; a server does.
      const alive = setTimeout(() => {}, 5_000)
      try {
        expect(await failure(discover())).to.have.property('code', 'ERR_CIBA_OP_UNREACHABLE')
      } finally {
        clearTimeout(alive)
      }
      expect(Date.now() - before).to.be.below(1_000)
    })

    it('does not keep metadata that does not fit [CFG-2]', async () => {
      misfit = new Error('no fit')
      const discover = start()
      expect(await failure(discover())).to.equal(misfit)
      misfit = undefined
      await discover()
      expect(asked).to.have.length(2)
    })

    it('refuses a plain http issuer unless that is allowed [CFG-2]', async () => {
      published = { issuer: 'http://op.test' }
      const plain = new URL('http://op.test')
      expect(await failure(start({ issuer: plain })())).to.have.property('code')
      expect(asked).to.have.length(0)
      expect(await start({ issuer: plain, allowInsecureRequests: true })()).to.have.property('issuer')
    })
  })

  context('the metadata has become old', () => {
    it('answers with the old set at once, and asks for the new one once [CFG-1]', async () => {
      const discover = start()
      const old = await discover()
      later(hourMs - 5_000) // real time passes, too
      await discover()
      expect(asked).to.have.length(1)
      published = { issuer, token_endpoint: 'https://op.test/token2' }
      later(5_000)
      expect(await Promise.all([discover(), discover()])).to.deep.equal([old, old])
      expect(asked).to.have.length(2)
      await settled()
      expect(await discover()).to.have.property('token_endpoint', 'https://op.test/token2')
      expect(checked).to.have.length(2)
    })

    it('keeps the very same object when nothing has changed: the JWKS cache hangs on it [TOK-22]', async () => {
      const discover = start()
      const old = await discover()
      later(hourMs)
      await discover()
      await settled()
      expect(await discover()).to.equal(old)
      expect(asked).to.have.length(2)
      expect(checked).to.have.length(1)
    })

    const troubles: [string, object | (() => Response | Promise<Response>)][] = [
      ['cannot be reached', () => Promise.reject(new TypeError('fetch failed'))],
      ['answers 404', () => new Response(null, { status: 404 })],
      ['publishes nonsense', () => new Response('<html>')],
      ['publishes another issuer', { issuer: 'https://evil.test', token_endpoint: 'https://evil.test' }],
    ]
    for (const [what, answer] of troubles) {
      it(`goes on with the old set where the OP ${what}, and asks again a minute later [CFG-1]`, async () => {
        const discover = start()
        const old = await discover()
        published = answer
        later(hourMs)
        expect(await discover()).to.equal(old)
        while (asked.length < (what === 'cannot be reached' ? 4 : 2))
          await new Promise((resolve) => setTimeout(resolve, 5))
        await settled()
        const { length } = asked
        later(59_000)
        expect(await discover()).to.equal(old)
        expect(asked).to.have.length(length)
        published = { issuer, token_endpoint: 'https://op.test/token2' }
        later(1_000)
        await discover()
        await settled()
        expect(await discover()).to.have.property('token_endpoint', 'https://op.test/token2')
      })
    }

    it('goes on with the old set where the new one does not fit [CFG-2]', async () => {
      const discover = start()
      const old = await discover()
      misfit = new Error('no fit')
      published = { issuer }
      later(hourMs)
      await discover()
      await settled()
      expect(checked).to.have.length(2)
      expect(await discover()).to.equal(old)
    })
  })
})
