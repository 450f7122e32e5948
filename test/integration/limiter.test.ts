import { expect } from 'chai'
import { RateLimiterMemory, RateLimiterUnion } from 'rate-limiter-flexible'
import type { StartLimiter } from '../../lib/index.ts'
import { expressVersions, type Web, webs } from '../support/web.ts'

/** Lets everybody pass, and remembers the keys. */
class Recorder implements StartLimiter {
  readonly keys: string[] = []

  async consume(key: string): Promise<void> {
    this.keys.push(key)
  }
}

const startOf = (web: Web, loginHint: string) => web.browser().post('/ciba/start', { loginHint })

for (const { name, express } of expressVersions) {
  describe(`POST /ciba/start: startLimiter (${name})`, () => {
    const start = webs()

    it('lets five starts for a person pass in five minutes, and answers 429 to the sixth [SEC-3]', async () => {
      const web = await start({ express })
      for (let n = 0; n < 5; n++) expect((await startOf(web, 'alice')).status).to.equal(202)
      const answer = await startOf(web, 'alice')
      expect(answer.status).to.equal(429)
      expect(answer.body).to.deep.equal({
        error: 'too_many_requests',
        error_description: 'too many requests, try again later',
      })
      expect(Number(answer.headers['retry-after'])).to.be.within(290, 300)
      expect(answer.headers['cache-control']).to.equal('no-store')
      expect(web.op.callsTo('backchannel')).to.have.length(5)
      expect((await startOf(web, 'bob')).status).to.equal(202)
    })

    it('counts the spellings of a hint as one person', async () => {
      const web = await start({ express })
      const spellings = [
        'alice@example.com',
        'ALICE@example.com',
        ' alice@example.com ',
        'Alice @example.com',
        '\uff41lice@example.com',
      ]
      for (const spelling of spellings) expect((await startOf(web, spelling)).status).to.equal(202)
      expect((await startOf(web, 'aLiCe@eXaMpLe.CoM')).status).to.equal(429)
      expect((await startOf(web, 'alice2@example.com')).status).to.equal(202)
    })

    it('counts what the OP refuses, too: hints cannot be guessed at will', async () => {
      const web = await start({ express, ciba: { unknownUser: 'reveal' } })
      for (let n = 0; n < 5; n++) {
        web.op.onBackchannel({ status: 400, json: { error: 'unknown_user_id' } })
        expect((await startOf(web, 'nobody')).status).to.equal(400)
      }
      expect((await startOf(web, 'nobody')).status).to.equal(429)
    })

    it('lets twenty starts of a session pass, whoever they are for', async () => {
      const web = await start({ express })
      const browser = web.browser()
      for (let n = 0; n < 20; n++) await browser.begin(`person-${n}`)
      const answer = await browser.post('/ciba/start', { loginHint: 'person-20' })
      expect(answer.status).to.equal(429)
      expect(Number(answer.headers['retry-after'])).to.be.within(1, 300)
      expect(web.op.callsTo('backchannel')).to.have.length(20)
      expect((await startOf(web, 'person-20')).status).to.equal(202)
    })

    it("does not use up a person's starts by a session that has none left", async () => {
      const session = new RateLimiterMemory({ points: 1, duration: 60 })
      const web = await start({ express, ciba: { startLimiter: { session } } })
      const greedy = web.browser()
      await greedy.begin('somebody')
      for (let n = 0; n < 10; n++) await greedy.post('/ciba/start', { loginHint: 'alice' })
      expect((await startOf(web, 'alice')).status).to.equal(202)
    })

    it('counts the starts of own routes, too', async () => {
      const web = await start({
        express,
        own: (app) =>
          app.post('/own', (req, res, next) => {
            req.ciba.start({ loginHint: 'alice' }).then((started) => res.json(started), next)
          }),
      })
      for (let n = 0; n < 5; n++) await startOf(web, 'alice')
      expect((await web.browser().post('/own')).status).to.equal(429)
      expect(web.errors[0]).to.include({ code: 'ERR_CIBA_TOO_MANY_STARTS', status: 429 })
    })

    it('counts nobody with false', async () => {
      const web = await start({ express, ciba: { startLimiter: false } })
      const browser = web.browser()
      for (let n = 0; n < 25; n++) await browser.begin('alice')
      expect(web.op.callsTo('backchannel')).to.have.length(25)
    })

    it('takes one limiter for persons and sessions alike, and shows it pseudonyms only [SEC-11]', async () => {
      const limiter = new Recorder()
      const web = await start({ express, ciba: { startLimiter: limiter } })
      const browser = web.browser()
      await browser.begin('alice@example.com')
      await browser.begin('alice@example.com')
      expect(limiter.keys).to.have.length(4)
      expect(new Set(limiter.keys).size).to.equal(2)
      expect(limiter.keys.slice(0, 2)).to.deep.equal(limiter.keys.slice(2))
      for (const key of limiter.keys) {
        expect(key).to.match(/^(session|hint):[\w-]{43}$/)
        expect(key)
          .to.not.include('alice')
          .and.not.include(browser.sessionId as string)
      }
    })

    it('gives a person the same pseudonym on every instance with the same secret, another with another', async () => {
      const keys: string[] = []
      for (const secret of ['the first secret', 'the first secret', 'the second secret']) {
        const hint = new Recorder()
        const web = await start({ express, ciba: { secret, startLimiter: { hint } } })
        await startOf(web, 'alice')
        keys.push(...hint.keys)
      }
      expect(keys).to.have.length(3)
      expect(keys[0]).to.equal(keys[1])
      expect(keys[2]).to.not.equal(keys[0])
    })

    it('keeps the default for what { hint, session } leaves out', async () => {
      const hint = new RateLimiterMemory({ points: 1, duration: 60 })
      const web = await start({ express, ciba: { startLimiter: { hint } } })
      const browser = web.browser()
      await browser.begin('alice')
      expect((await browser.post('/ciba/start', { loginHint: 'alice' })).status).to.equal(429)
      for (let n = 0; n < 18; n++) await browser.begin(`person-${n}`)
      const last = await browser.post('/ciba/start', { loginHint: 'person-19' })
      expect(last.status).to.equal(429)
    })

    it('says for how long, as the limiter does', async () => {
      const startLimiter: StartLimiter = {
        consume: () => Promise.reject(Object.assign(new Error('limited'), { msBeforeNext: 41_200 })),
      }
      const web = await start({ express, ciba: { startLimiter } })
      const answer = await startOf(web, 'alice')
      expect(answer.status).to.equal(429)
      expect(answer.headers['retry-after']).to.equal('42')
    })

    it('understands a union of limiters, and heeds the one that says longest', async () => {
      const limiter = (keyPrefix: string, points: number, duration: number) =>
        new RateLimiterMemory({ keyPrefix, points, duration })
      const startLimiter = new RateLimiterUnion(limiter('minute', 1, 60), limiter('hour', 1, 3_600))
      const web = await start({ express, ciba: { startLimiter: { hint: startLimiter } } })
      expect((await startOf(web, 'alice')).status).to.equal(202)
      const answer = await startOf(web, 'alice')
      expect(answer.status).to.equal(429)
      expect(Number(answer.headers['retry-after'])).to.be.within(3_500, 3_600)
    })

    it('takes a phone number for the same however it is written', async () => {
      const keys = new Set<string>()
      const consume = async (key: string) => keys.add(key)
      const web = await start({ express, ciba: { startLimiter: { hint: { consume } } } })
      for (const hint of ['+49 170 123', '0049-170-123', '+49 (170) 123', '+49/170.123', '+49\u200b170123']) {
        expect((await startOf(web, hint)).status).to.equal(202)
      }
      expect(keys.size).to.equal(1)
      await startOf(web, '+49 170 124')
      expect(keys.size).to.equal(2)
    })

    for (const [what, consume] of [
      ['rejects', () => Promise.reject(new Error('redis://user:password@host is down'))],
      // biome-ignore lint/nursery/usePromiseRejectErrors: limiters of others do
      ['rejects with nothing', () => Promise.reject()],
      [
        'throws',
        () => {
          throw new Error('redis://user:password@host is down')
        },
      ],
    ] as const) {
      it(`answers 503 and asks nobody when the limiter ${what}`, async () => {
        const web = await start({ express, ciba: { startLimiter: { consume } } })
        const answer = await startOf(web, 'alice')
        expect(answer.status).to.equal(503)
        expect(answer.body).to.deep.equal({
          error: 'temporarily_unavailable',
          error_description: 'the start limiter failed',
        })
        expect(web.op.callsTo('backchannel')).to.be.empty
      })
    }
  })
}
