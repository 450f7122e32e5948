/** Logins that wait for their approval in openid-client's own loop. */
import * as oidc from 'openid-client'
import { inParallel } from './in-parallel.ts'
import { clientID, clientSecret } from './op.ts'
import { runSubject } from './subject.ts'
import { type WaitingConfig, waits } from './waiting-terms.ts'

type Started = Awaited<ReturnType<typeof oidc.initiateBackchannelAuthentication>>

await runSubject(async ({ issuer, interval }: WaitingConfig) => {
  const config = await oidc.discovery(
    new URL(issuer),
    clientID,
    { id_token_signed_response_alg: 'ES256' },
    oidc.ClientSecretBasic(clientSecret),
    { execute: [oidc.allowInsecureRequests, oidc.enableNonRepudiationChecks] },
  )
  const started: Started[] = []
  return {
    answers: {
      async start(count: number) {
        await inParallel(Array(count).keys(), 32, async (number) => {
          const parameters = { scope: 'openid', login_hint: `person-${number}` }
          started.push(await oidc.initiateBackchannelAuthentication(config, parameters))
        })
      },
      ...waits(started, interval, (acknowledgement, signal) =>
        oidc.pollBackchannelAuthenticationGrant(config, acknowledgement, undefined, { signal }),
      ),
    },
  }
})
