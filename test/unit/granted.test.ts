import { expect } from 'chai'
import { checkEcosystem, ecosystemTimeoutMs } from '../../lib/protocol/granted.ts'
import type { ValidateIdTokenClaims } from '../../lib/protocol/registration.ts'
import { connectionTo } from '../support/connection.ts'

const claims = { iss: 'https://op.test', sub: 'alice', aud: 'client', exp: 1, iat: 0 }

describe('checkEcosystem()', () => {
  const { setTimeout: reallyWait } = globalThis

  afterEach(() => {
    globalThis.setTimeout = reallyWait
  })

  function check(validateIdTokenClaims?: ValidateIdTokenClaims): Promise<void> {
    const connection = connectionTo('https://op.test', {
      customFetch: async () => new Response(),
      ...(validateIdTokenClaims && { validateIdTokenClaims }),
    })
    return checkEcosystem(connection, claims, false)
  }

  it('gives up on a check that hangs: the request is redeemed, and somebody waits [POLL-2]', async () => {
    const waits: unknown[] = []
    globalThis.setTimeout = ((callback: () => void, ms?: number, ...more: []) => {
      waits.push(ms)
      return reallyWait(callback, ms === ecosystemTimeoutMs ? 1 : ms, ...more)
    }) as typeof setTimeout
    const outcome = await check(() => new Promise<void>(() => {})).catch((error: Error) => error.message)
    expect(outcome).to.equal('the "validateIdTokenClaims" option refused the ID token')
    expect(waits).to.include(ecosystemTimeoutMs)
  })

  it('passes what the check passes, and leaves no timer behind', async () => {
    await check()
    await check(() => {})
    await check(async () => {})
    expect(process.getActiveResourcesInfo().filter((name) => name === 'Timeout')).to.have.length.below(2)
  })
})
