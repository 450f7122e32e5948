/**
 * Thousands of logins over three processes in storms of random faults, in simulated time. What must be true all the same:
 *
 *   I1  never two token requests in flight for one `auth_req_id`
 *   I2  never one earlier than the interval allows, but for the one that a ping allows
 *   I3  never tokens in another session than the one that started
 *   I4  never two deliveries
 *   I5  no login lost, except where the OP had redeemed the `auth_req_id` and its answer was lost, and that is said
 *   I6  nothing left behind
 *
 * `SEED=… LOGINS=25` plays one run again, on the same version of Node; `LOGINS=50000` goes on for longer.
 */
import { expect } from 'chai'
import { type Outcome, runWorld } from '../support/chaos-world.ts'

const loginsPerRun = 25
const { SEED, LOGINS } = process.env
const logins = Number(LOGINS ?? 3_000)
const firstSeed = Number(SEED ?? 20_260_101)
const runs = Math.ceil(logins / loginsPerRun)

describe('thousands of logins in storms of faults', function () {
  this.timeout(60_000 + logins * 40)

  it(`keep every promise: ${logins} of them, from seed ${firstSeed}`, async () => {
    const totals: Record<string, number> = {}
    const broken: string[] = []
    let first: Outcome | undefined
    for (let run = 0; run < runs; run++) {
      const outcome = await runWorld(firstSeed + run, Math.min(loginsPerRun, logins))
      for (const [what, count] of Object.entries(outcome.counts)) totals[what] = (totals[what] ?? 0) + count
      broken.push(...outcome.violations.map((one) => `${one.rule}: ${one.what} [SEED=${outcome.seed}]`))
      if (broken.length > 0) first ??= outcome
    }
    if (LOGINS) console.table(totals)
    expect(broken, first && explain(first)).to.deep.equal([])
    expect(totals['complete']).to.be.above(logins / 2)
  })

  it('can be had again: a seed plays the same run', async () => {
    const [one, other] = [await runWorld(firstSeed, 5), await runWorld(firstSeed, 5)]
    expect(one.timeline).to.equal(other.timeline).and.not.to.equal('')
  })
})

/** The trace of the first login that went wrong. */
function explain({ seed, violations, trace }: Outcome): string {
  return `SEED=${seed} LOGINS=${loginsPerRun}\n${trace(violations[0]?.about ?? '')}\n`
}
