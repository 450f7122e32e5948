/** What the test provider says to wrong options: before it listens anywhere, and before it loads oidc-provider. */
import { expect } from 'chai'
import { startTestProvider, type TestProviderOptions } from '../../lib/testing/index.ts'

const refusals: readonly (readonly [given: object, message: string])[] = [
  [
    { pigns: 'once' },
    '"pigns" is no option; there are baseURL, deliveryMode, notificationEndpoint, clients,',
  ],
  [{ toString: 1 }, '"toString" is no option'],
  [
    { baseURL: 'localhost:3000' },
    '"baseURL" must be the http URL of the app under test, received "localhost:3000"',
  ],
  [{ baseURL: 'https://127.0.0.1:3000' }, '"baseURL" must be the http URL of the app under test'],
  [{ deliveryMode: 'push' }, '"deliveryMode" must be "poll" or "ping", received "push"'],
  [{ notificationEndpoint: '/pings' }, '"notificationEndpoint" must be an http URL, received "/pings"'],
  [{ clients: [] }, '"clients" must be a list of at least one client, received []'],
  [{ clients: ['app'] }, '"clients" must be a list of at least one client, received ["app"]'],
  [{ clients: [{}] }, '"clientID" is required of every client'],
  [{ clients: [{ clientID: 'a', clientId: 'a' }] }, '"clientId" is no option; there are clientID,'],
  [{ clients: [{ clientID: '' }] }, '"clientID" must be a text, received ""'],
  [
    { clients: [{ clientID: 'a' }, { clientID: 'b', idTokenSigningAlg: 'HS256' }] },
    '"idTokenSigningAlg" must be "RS256", "ES256" or "EdDSA", received "HS256"',
  ],
  [
    { clients: [{ clientID: 'a', clientAuthMethod: 'none' }] },
    '"clientAuthMethod" must be "client_secret_basic" or "client_secret_post", received "none"',
  ],
  [{ clients: [{ clientID: 'a', userCode: '1234' }] }, '"userCode" must be true or false, received "1234"'],
  [
    { deliveryMode: 'ping' },
    'The client test-client is pinged: "baseURL" (or "notificationEndpoint") must say',
  ],
  [{ clients: [{ clientID: 'a', deliveryMode: 'ping' }] }, 'The client a is pinged: "baseURL"'],
  [{ accounts: [] }, '"accounts" must be a list of at least one id, or object with a "sub", received []'],
  [{ accounts: ['alice', { name: 'Bob' }] }, '"accounts" must be a list of at least one id'],
  [{ expiresIn: 0 }, '"expiresIn" must be a positive number of whole seconds, received 0'],
  [{ interval: 0.5 }, '"interval" must be a positive number of whole seconds, received 0.5'],
  [{ authorizationDetailsTypes: [''] }, '"authorizationDetailsTypes" must be a list of texts, received [""]'],
  [{ pings: { after: 5 } }, '"pings" must be "once", "twice", "never", "held", "early" or { afterMs }'],
  [{ pings: null }, '"pings" must be'],
  [{ autoApprove: 'all' }, '"autoApprove" must be true, false or a function, received "all"'],
  [{ port: -1 }, '"port" must be a port, or 0 for a free one, received -1'],
  [{ device: {} }, '"device" must be a function, received {}'],
]

describe('startTestProvider(), given wrong options', () => {
  for (const [given, message] of refusals) {
    it(`refuses ${JSON.stringify(given)}`, async () => {
      const refusal = await startTestProvider(given as TestProviderOptions).then(
        async (provider) => {
          await provider.close()
          expect.fail('it started')
        },
        (error: unknown) => error,
      )
      expect(refusal).to.be.instanceOf(TypeError).with.property('message').that.includes(message)
    })
  }

  it('takes undefined for absent', async () => {
    const names = ['baseURL', 'deliveryMode', 'clients', 'accounts', 'pings', 'autoApprove', 'port', 'device']
    const provider = await startTestProvider(Object.fromEntries(names.map((name) => [name, undefined])))
    await provider.close()
    expect(provider.accounts).to.deep.equal(['alice', 'bob'])
  })
})
