/** Logins that wait for their approval in `createCibaClient()`, in poll mode. */
import { setTimeout as sleep } from 'node:timers/promises'
import { createCibaClient, MemoryTransactionStore } from '../../lib/index.ts'
import { inParallel } from './in-parallel.ts'
import { clientID, clientSecret } from './op.ts'
import { runSubject } from './subject.ts'
import { type WaitingConfig, waits } from './waiting-terms.ts'

await runSubject(({ issuer, interval }: WaitingConfig) => {
  const client = createCibaClient({
    issuerBaseURL: issuer,
    clientID,
    clientSecret,
    secret: 'a secret of more than 32 bytes, the same everywhere',
    store: new MemoryTransactionStore(),
    allowInsecureRequests: true,
  })
  const started: string[] = []
  return {
    answers: {
      async start(count: number) {
        await inParallel(Array(count).keys(), 32, async (number) => {
          started.push((await client.start({ loginHint: `person-${number}` })).transaction)
        })
        // From now on every one is due, as if the process had been started anew.
        await sleep(interval * 1000)
      },
      ...waits(started, interval, (transaction, signal) => client.wait(transaction, { signal })),
    },
  }
})
