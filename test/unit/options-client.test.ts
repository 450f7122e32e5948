import { expect } from 'chai'
import { coreOf, createCibaClient } from '../../lib/client.ts'
import { type CibaOptions, resolveOptions } from '../../lib/express/options.ts'

const own: CibaOptions = {
  issuerBaseURL: 'https://op.example.com',
  clientID: 'the-client',
  clientSecret: 'hunter22-client-secret',
  baseURL: 'https://my-app.example.com',
  deliveryMode: 'ping',
}

describe('resolveOptions() with a "client"', () => {
  const client = createCibaClient(own)

  after(() => client.close())

  it('takes it for what it was made of, and needs no more', () => {
    const resolved = resolveOptions({ client }, {})
    expect(resolved.core).to.equal(coreOf(client)).and.to.be.an('object')
    expect(resolved.client).to.equal(coreOf(client)?.options)
    expect(resolved.client.op.deliveryMode).to.equal('ping')
  })

  it('does not look into the environment for what it has', () => {
    const env = { ISSUER_BASE_URL: 'no URL', CLIENT_ID: 'env-client', SECRET: 'short' }
    expect(resolveOptions({ client }, env).client.op.clientID).to.equal('the-client')
  })

  it('goes with the options that concern browsers', () => {
    const afterAuthentication = () => {}
    const options = { client, longPollTimeout: 5, routes: { start: false }, afterAuthentication } as const
    const { longPollTimeoutMs, routes, ...resolved } = resolveOptions(options, {})
    expect(longPollTimeoutMs).to.equal(5_000)
    expect(routes).to.include({ start: false, poll: '/ciba/poll' })
    expect(resolved.afterAuthentication).to.equal(afterAuthentication)
  })

  for (const name of ['issuerBaseURL', 'clientSecret', 'deliveryMode', 'baseURL'] as const) {
    it(`refuses "${name}" beside it, and shows no value (SEC-11)`, () => {
      expect(() => resolveOptions({ client, [name]: own[name] }, {}))
        .to.throw(
          TypeError,
          new RegExp(`^"${name}" option belongs to createCibaClient\\(\\) where there is a "client" option$`),
        )
        .with.property('option', name)
    })
  }

  it('takes undefined beside it for absent', () => {
    expect(resolveOptions({ client, clientID: undefined, store: undefined }, {}).client).to.equal(
      coreOf(client)?.options,
    )
  })

  it('knows no copy of one: what it is made of is not in it', () => {
    expect(() => resolveOptions({ client: { ...client } }, {})).to.throw(
      TypeError,
      '"client" option must be a client of createCibaClient(), received object',
    )
  })
})
