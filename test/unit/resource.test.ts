import { expect } from 'chai'
import type { OpConfig } from '../../lib/protocol/registration.ts'
import { fetchResource } from '../../lib/protocol/resource.ts'
import type { CustomFetchInit } from '../../lib/protocol/transport.ts'
import { connectionTo } from '../support/connection.ts'

describe('fetchResource()', () => {
  let sent: [string, CustomFetchInit][]
  const tokens = { accessToken: 'access-0', tokenType: 'bearer', scope: 'openid', idToken: 'a.b.c' } as const

  beforeEach(() => {
    sent = []
  })

  function ask(url: string | URL, config: Partial<OpConfig> = {}, init?: RequestInit, isFapi?: boolean) {
    const connection = connectionTo('https://op.test', {
      async customFetch(to, sentInit) {
        sent.push([to, sentInit])
        return new Response('the resource')
      },
      ...config,
    })
    return fetchResource(connection, { tokens }, url, init, isFapi)
  }

  const notHttps = [
    'ftp://api.test/',
    'data:text/plain,x',
    'file:///etc/passwd',
    'javascript:1',
    '/relative',
    '',
    'api.test',
  ]
  for (const [allowInsecureRequests, urls] of [
    [false, ['http://api.test/', 'http://127.0.0.1/', 'HTTP://api.test/', ...notHttps]],
    [true, notHttps],
  ] as const) {
    for (const url of urls) {
      it(`refuses ${JSON.stringify(url)}, with allowInsecureRequests ${allowInsecureRequests}`, async () => {
        const error = await ask(url, { allowInsecureRequests }).catch((reason: unknown) => reason)
        expect(error).to.be.an.instanceOf(TypeError)
        expect(String(error)).to.not.include('access-0')
        expect(sent).to.be.empty
      })
    }
  }

  it('sends to https, and to http where that is allowed, by customFetch if there is one', async () => {
    expect(await (await ask('https://api.test/a')).text()).to.equal('the resource')
    expect((await ask(new URL('http://api.test/b'), { allowInsecureRequests: true })).status).to.equal(200)
    expect(sent.map(([url]) => url)).to.deep.equal(['https://api.test/a', 'http://api.test/b'])
    for (const [, { redirect, headers }] of sent) {
      expect(redirect).to.equal('manual')
      expect(headers['authorization']).to.equal('Bearer access-0')
    }
  })

  it('adds a new x-fapi-interaction-id each time under the FAPI profile [FAPI-6]', async () => {
    await ask('https://api.test/', {}, {}, true)
    await ask('https://api.test/', {}, {}, true)
    const ids = sent.map(([, { headers }]) => headers['x-fapi-interaction-id'])
    expect(new Set(ids).size).to.equal(2)
    for (const id of ids) expect(id).to.match(/^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/)
  })

  it('keeps an x-fapi-interaction-id that the app has given [FAPI-6]', async () => {
    const id = '770aef3-6784-41f7-8e0e-ff5f97bddb3a'
    await ask('https://api.test/', {}, { headers: { 'X-FAPI-Interaction-ID': id } }, true)
    expect(sent[0]?.[1].headers['x-fapi-interaction-id']).to.equal(id)
  })
})
