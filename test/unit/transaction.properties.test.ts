import { expect } from 'chai'
import {
  isOpen,
  nextStep,
  pushGraceMs,
  type Transaction,
  type TransactionEvent,
} from '../../lib/transaction.ts'
import { transition } from '../../lib/transition.ts'
import { grant } from '../support/fake-op.ts'
import { always, answerTypes, type Step } from '../support/transaction-plays.ts'

const secrets = Object.values(grant.tokens).filter((token) => /^the-/.test(token))
const leasesOf = (steps: Step[]) => steps.filter((step) => step.event.type === 'leased' && step.after)

describe('any sequence of events', function () {
  this.timeout(60_000)

  it('reaches every state (so that the properties below mean something)', () => {
    const reached = new Set<string>()
    let pingsInFlight = 0
    let takenOver = 0
    const pushes = { kept: 0, applied: 0, discarded: 0, direct: 0 }
    always((steps) => {
      for (const { before, after, event } of steps) {
        if (!after) continue
        reached.add(after.state === 'complete' ? after.delivery : after.state)
        if (event.type === 'used') reached.add('used')
        if (after.state === 'complete' && after.arrival) reached.add('arriving')
        if (after.approval && !isOpen(after)) reached.add(`approval ${after.state}`)
        if (after.state === 'ready' && after.lease) pingsInFlight += 1
        if (event.type === 'leased' && isOpen(before) && before.lease) takenOver += 1
        if (event.type === 'pushed') pushes[isOpen(after) ? 'kept' : 'direct'] += 1
        const isEarly = event.type === 'acknowledged' && 'earlyPush' in before
        if (isEarly) pushes[isOpen(after) ? 'discarded' : 'applied'] += 1
      }
    })
    expect([...reached]).to.have.members(
      [
        'pending ready undelivered arriving delivered used refused denied expired failed cancelled'.split(
          ' ',
        ),
        ['complete', 'denied', 'expired', 'failed', 'cancelled'].map((state) => `approval ${state}`),
      ].flat(),
    )
    expect(Math.min(pingsInFlight, takenOver, ...Object.values(pushes))).to.be.greaterThan(10)
  })

  it('never has two leases held at once (POLL-2)', () => {
    always((steps) => {
      let held: { holder: string; until: number } | undefined
      for (const { event, at, after } of steps) {
        if (!after) continue
        if (event.type === 'leased') {
          expect(held === undefined || at >= held.until, 'a second token request in flight').to.equal(true)
          held = event
        } else if (answerTypes.some((type) => type === event.type)) held = undefined
      }
    })
  })

  it('never lets anybody but the holder of the lease answer (POLL-2)', () => {
    always((steps) => {
      for (const { before, event, after } of steps) {
        if (!after || !answerTypes.some((type) => type === event.type)) continue
        expect(isOpen(before) && before.lease?.holder).to.equal('holder' in event && event.holder)
      }
    })
  })

  it('never asks before the interval has passed, unless after a ping (POLL-1)', () => {
    always((steps) => {
      for (const { before, at } of leasesOf(steps)) {
        if (!isOpen(before)) throw new Error('leased when over')
        if (before.state === 'pending') expect(at).to.be.at.least(before.nextTokenRequestAt)
      }
    })
  })

  it('never asks twice within an interval because of pings (PING-10)', () => {
    always((steps) => {
      let last = Number.NEGATIVE_INFINITY
      for (const { before, event, at, after } of steps) {
        if (event.type !== 'pinged' || after?.state !== 'ready' || !isOpen(before)) continue
        expect(at - last).to.be.at.least(before.interval * 1000)
        last = at
      }
    })
  })

  it('never asks without an auth_req_id, or from the deadline on (POLL-5)', () => {
    always((steps) => {
      for (const { before, at } of leasesOf(steps)) {
        const isHidden = isOpen(before) && before.hidden === true
        expect(before.authReqId === undefined).to.equal(isHidden)
        expect(at).to.be.below(before.expiresAt)
      }
    })
  })

  it('never asks the OP that pushes, though nothing was pushed for long (PUSH-8)', () => {
    always((steps) => {
      for (const { before, after, at } of steps) {
        if (before.deliveryMode !== 'push') continue
        expect(nextStep(after ?? before, at, 'a').do).to.not.equal('requestTokens')
        if (after) expect(after).to.not.have.property('lease')
      }
    })
  })

  it('never believes a push for another auth_req_id, early or not (PUSH-4)', () => {
    always((steps) => {
      for (const { after } of steps) {
        if (!after || isOpen(after)) continue
        const told = after.state === 'complete' ? after.grant?.claims.sub : after.error
        if (told?.startsWith('pushed')) expect(told).to.equal(`pushed for ${after.authReqId}`)
      }
    })
  })

  it('never gives up on a push before its deadline and ten seconds (PUSH-9)', () => {
    always((steps) => {
      for (const { before, event, at, after } of steps) {
        if (before.deliveryMode !== 'push' || event.type !== 'timedOut' || !after) continue
        expect(at).to.be.at.least(before.expiresAt + 10_000)
      }
    })
  })

  it('never shrinks the interval, or moves the deadline, once acknowledged (POLL-3)', () => {
    always((steps) => {
      for (const { before, after } of steps) {
        if (!after || !isOpen(before) || before.authReqId === undefined) continue
        expect(after).to.include({ authReqId: before.authReqId, expiresAt: before.expiresAt })
        if (isOpen(after)) expect(after.interval).to.be.at.least(before.interval)
      }
    })
  })

  it('never leaves a terminal state (POLL-12)', () => {
    always((steps) => {
      for (const { before, after } of steps) {
        if (isOpen(before)) continue
        if (before.state === 'complete') expect(after?.state ?? 'complete').to.equal('complete')
        else expect(after).to.equal(undefined)
      }
    })
  })

  it('has the tokens from the approval to the delivery, and never else (SEC-9)', () => {
    always((steps) => {
      for (const { after } of steps) {
        if (!after) continue
        const kept = secrets.filter((secret) => JSON.stringify(after).includes(secret))
        const early = after.state === 'pending' && after.earlyPush?.outcome.type === 'granted'
        const due = early || (after.state === 'complete' && after.delivery === 'undelivered')
        expect(kept).to.have.length(due ? secrets.length : 0)
      }
    })
  })

  it('never has two claims held at once, nor a word from anybody but the claimant (SEC-7)', () => {
    always((steps) => {
      for (const { before, event, at, after } of steps) {
        if (before.state !== 'complete' || before.approval || !after) continue
        const { claim } = before
        const own = 'holder' in event && claim?.holder === event.holder
        const isFree = event.type === 'claimed' && (!claim || at >= claim.until)
        // A browser that has shown up: nobody else says that.
        expect(own || isFree || event.type === 'delivered').to.equal(true)
      }
    })
  })

  it('remembers a session from its answer on, until another answer has left (SEC-7)', () => {
    always((steps) => {
      for (const { before, event, after } of steps) {
        if (after?.state !== 'complete' || before.state !== 'complete') continue
        if (event.type !== 'sent') expect(after.arrival).to.deep.equal(before.arrival)
        else expect(after.arrival).to.have.property('holder', after.claim?.holder)
      }
    })
  })

  it('has no approval used twice, nor before it was given, nor claimed; and no login used (SEC-9)', () => {
    always((steps) => {
      const uses = steps.filter(({ event, after }) => event.type === 'used' && after)
      expect(uses.length).to.be.at.most(1)
      for (const { before, event, after } of uses) {
        expect(before)
          .to.include({ state: 'complete', delivery: 'undelivered' })
          .and.have.property('approval')
        expect(after).to.include({ usedBy: 'holder' in event && event.holder })
      }
      for (const { after } of steps) {
        if (!after) continue
        if (!after.approval) expect(after).to.not.have.property('usedBy')
        else expect(after).to.not.have.any.keys('claim', 'arrival')
      }
    })
  })

  it('never forgets what an approval is for, nor makes a login one', () => {
    always((steps) => {
      for (const { before, after } of steps) {
        if (after) expect(after.approval).to.deep.equal(before.approval)
      }
    })
  })

  it('survives JSON unchanged (POLL-17)', () => {
    always((steps) => {
      for (const { after } of steps) if (after) expect(JSON.parse(JSON.stringify(after))).to.deep.equal(after)
    })
  })

  it('waits for instants to come, and never beyond the lease or the deadline (POLL-15)', () => {
    always((steps) => {
      for (const { after, at } of steps) {
        if (!after) continue
        const step = nextStep(after, at, 'a')
        if (step.do !== 'wait') continue
        if (!isOpen(after)) throw new Error('waits for nothing')
        const leased = after.lease && at < after.lease.until
        expect(step.until).to.be.greaterThan(at)
        const lastChance = after.expiresAt + (after.deliveryMode === 'push' ? pushGraceMs : 0)
        expect(step.until).to.be.at.most(leased ? Number(after.lease?.until) : lastChance)
      }
    })
  })

  it('grants a lease exactly when the next step is to ask, and times out exactly when it is to expire', () => {
    always((steps) => {
      for (const { before, after, at } of steps) {
        const transaction = after ?? before
        const step = nextStep(transaction, at, 'a').do
        const leased = transition(transaction, { type: 'leased', holder: 'a', until: at + 1 }, at)
        expect(leased !== undefined).to.equal(step === 'requestTokens')
        expect(transition(transaction, { type: 'timedOut' }, at) !== undefined).to.equal(step === 'expire')
      }
    })
  })

  it('comes to an end for whoever waits as told, though the OP never says anything else (POLL-5)', () => {
    always((steps) => {
      const last = steps.at(-1)
      if (!last) return
      let transaction: Transaction = last.after ?? last.before
      let at = last.at
      for (let turn = 0; isOpen(transaction); turn++) {
        expect(turn, 'turns').to.be.below(1_000)
        const step = nextStep(transaction, at, 'w')
        if (step.do === 'wait') at = step.until
        const leased: TransactionEvent = { type: 'leased', holder: 'w', until: at + 65_000 }
        const asked: Transaction | false | undefined =
          step.do === 'requestTokens' && transition(transaction, leased, at)
        const next: Transaction | undefined = asked
          ? transition(asked, { type: 'stillPending', holder: 'w' }, at)
          : transition(transaction, { type: 'timedOut' }, at)
        transaction = next ?? transaction
      }
    })
  })
})
