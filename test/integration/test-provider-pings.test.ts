/** How the test kit pings, as a real `ciba()` app gets to know it. */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'chai'
import { type KitOptions, kits } from '../support/test-provider.ts'

describe('startTestProvider(), pinging', function () {
  this.timeout(20_000)

  const startKit = kits()

  /** `order` grows as pings arrive and acknowledgements reach the app. */
  async function start(provider: NonNullable<KitOptions['provider']>) {
    const order: string[] = []
    const kit = await startKit({
      provider,
      before: (app) => {
        app.use('/ciba/notification', (_req, _res, next) => {
          order.push('ping')
          next()
        })
        app.use('/ciba/start', (_req, res, next) => {
          res.once('finish', () => order.push('started'))
          next()
        })
      },
    })
    const look = async (transaction: string) => (await kit.browser.poll(transaction)).body.status
    return { ...kit, order, look }
  }

  it('once: the decision has reached the app when it resolves', async () => {
    const { op, browser, ended, order } = await start({})
    expect(op.pings).to.equal('once')
    const transaction = await browser.begin()
    await op.approve('alice')
    expect(order).to.deep.equal(['started', 'ping'])
    expect(await ended(transaction)).to.equal('complete')
    expect(op.counts).to.include({ ping: 1, token: 1 })
  })

  it('twice: the second one makes no difference', async () => {
    const { op, browser, ended, order } = await start({ pings: 'twice' })
    const transaction = await browser.begin()
    await op.deny('alice')
    expect(order).to.deep.equal(['started', 'ping', 'ping'])
    expect(await ended(transaction)).to.equal('denied: access_denied')
    expect(op.counts).to.include({ ping: 2, token: 1 })
  })

  it('never: the app does not know, and does not ask', async () => {
    const { op, browser, look, order } = await start({ pings: 'never' })
    const transaction = await browser.begin()
    await op.approve('alice')
    expect(op.requests.size, 'decided').to.equal(0)
    expect(await look(transaction)).to.equal('pending')
    expect(order).to.deep.equal(['started'])
    expect(op.counts).to.include({ ping: 0, token: 0 })
  })

  it('held: comes when it is released, and not again', async () => {
    const { op, browser, ended, look, order } = await start({ pings: 'held' })
    const transaction = await browser.begin()
    await op.approve('alice')
    expect(await look(transaction)).to.equal('pending')
    expect(op.counts).to.include({ ping: 0, token: 0 })
    op.pings = 'once'
    expect(op.counts.ping, 'kept').to.equal(0)
    await op.releasePings()
    expect(order).to.deep.equal(['started', 'ping'])
    expect(await ended(transaction)).to.equal('complete')
    await op.releasePings()
    expect(op.counts).to.include({ ping: 1, token: 1 })
  })

  it('late: comes by itself', async () => {
    const { op, browser, ended, order } = await start({ pings: { afterMs: 300 } })
    const transaction = await browser.begin()
    const before = performance.now()
    await op.approve('alice')
    expect(op.counts.ping, 'not yet').to.equal(0)
    const outcome = ended(transaction)
    while (op.counts.ping === 0) await sleep(5)
    expect(performance.now() - before).to.be.at.least(290)
    expect(await outcome).to.equal('complete')
    expect(order).to.deep.equal(['started', 'ping'])
  })

  it('early, and approved by itself: overtakes the acknowledgement with the decision', async () => {
    const { op, browser, ended, order } = await start({ pings: 'early', autoApprove: true })
    const transaction = await browser.begin()
    expect(order).to.deep.equal(['ping', 'started'])
    expect(await ended(transaction)).to.equal('complete')
    expect(op.counts).to.include({ ping: 1, token: 1 })
  })

  it('early, and nothing decided: comes for nothing, and again with the decision', async () => {
    const { op, browser, ended, order } = await start({ pings: 'early' })
    const transaction = await browser.begin()
    expect(order).to.deep.equal(['ping', 'started'])
    // Once the app has asked in vain: FAPI-CIBA §7.8 lets a ping skip the interval only once.
    while (op.counts.token === 0) await sleep(5)
    expect((await browser.poll(transaction)).body).to.have.property('status', 'pending')
    await op.approve('alice')
    expect(await ended(transaction)).to.equal('complete')
    expect(op.counts).to.include({ ping: 2, token: 2 })
  })

  it('changes its ways while it runs', async () => {
    const { op, browser, ended } = await start({})
    for (const [pings, count] of [['twice', 2] as const, ['once', 3] as const]) {
      op.pings = pings
      const transaction = await browser.begin()
      await op.approve('alice')
      expect(await ended(transaction)).to.equal('complete')
      expect(op.counts.ping).to.equal(count)
    }
    expect(() => Object.assign(op, { pings: 'pign' })).to.throw(
      TypeError,
      '"pings" must be "once", "twice", "never", "held", "early" or { afterMs }, received "pign"',
    )
    expect(op.pings).to.equal('once')
  })

  it('lets go of pings that were not sent when it is closed', async () => {
    for (const pings of ['held', { afterMs: 60_000 }] as const) {
      const { op, browser } = await start({ pings })
      await browser.begin()
      await op.approve('alice')
      await op.close()
      await op.releasePings()
      expect(op.counts.ping).to.equal(0)
    }
  })

  context('deciding by itself', () => {
    it('approves everything, after the acknowledgement', async () => {
      const { op, browser, ended, order } = await start({ autoApprove: true })
      for (const loginHint of ['alice', 'bob']) {
        expect(await ended(await browser.begin({ loginHint }))).to.equal('complete')
        expect(await browser.user()).to.equal(loginHint)
      }
      expect(order.filter((step) => step === 'ping')).to.have.length(2)
      expect(op.requests.size).to.equal(0)
    })

    it('does as a function says, and leaves the rest', async () => {
      const { op, browser, ended, look } = await start({
        autoApprove: async ({ accountId, bindingMessage }) =>
          accountId === 'bob' ? 'deny' : bindingMessage === 'good' ? 'approve' : undefined,
      })
      expect(await ended(await browser.begin({ loginHint: 'bob' }))).to.equal('denied: access_denied')
      const good = await browser.begin({ loginHint: 'alice', bindingMessage: 'good' })
      expect(await ended(good)).to.equal('complete')
      const open = await browser.begin({ loginHint: 'alice' })
      expect(await look(open)).to.equal('pending')
      expect([...op.requests.values()]).to.have.length(1)
      await op.approve('alice')
      expect(await ended(open)).to.equal('complete')
    })

    it('begins and stops while it runs', async () => {
      const { op, browser, ended, look } = await start({})
      expect(op.autoApprove).to.equal(false)
      op.autoApprove = () => 'deny'
      expect(await ended(await browser.begin())).to.equal('denied: access_denied')
      op.autoApprove = false
      expect(await look(await browser.begin())).to.equal('pending')
      expect(() => Object.assign(op, { autoApprove: 'yes' })).to.throw(TypeError, '"autoApprove" must be')
    })

    for (const [what, autoApprove, message] of [
      [
        'fails',
        () => {
          throw new Error('of the test')
        },
        'of the test',
      ],
      ['says something else', () => 'yes' as 'approve', '"autoApprove" must return "approve", "deny" or'],
    ] as const) {
      it(`says why where a function ${what}, and the OP fails`, async () => {
        const warnings: string[] = []
        const listen = (warning: Error) => warnings.push(warning.message)
        process.on('warning', listen)
        try {
          const { browser } = await start({ autoApprove })
          expect(await browser.start()).to.have.property('status', 502)
          // Warnings come with the next tick.
          await new Promise(setImmediate)
          expect(warnings.join()).to.include(message)
        } finally {
          process.off('warning', listen)
        }
      })
    }
  })
})
