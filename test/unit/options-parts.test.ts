import { inspect } from 'node:util'
import { expect } from 'chai'
import { refusal, resolve } from '../support/option-rules.ts'

const message = (options: object) => refusal(options).message

describe('resolveOptions(): parts of options', () => {
  context('routes, limiters and "authorizationParams"', () => {
    for (const path of [
      'ciba',
      '/',
      '',
      '/a/',
      '/a b',
      '/:id',
      '/a*',
      '/a?b',
      '//x/..%2f',
      true,
      null,
      7,
      /a/,
    ]) {
      it(`refuses ${inspect(path)} for a route`, () => {
        const shown = path instanceof RegExp ? 'object' : JSON.stringify(path)
        expect(message({ routes: { start: path } })).to.equal(
          `"routes.start" option must be a path such as "/ciba/start", or false, received ${shown}`,
        )
      })
    }

    it('switches "jwks" and "backchannelLogout" on by a path, not by true', () => {
      for (const name of ['jwks', 'backchannelLogout'] as const) {
        expect(message({ routes: { [name]: true } })).to.equal(
          `"routes.${name}" option must be a path such as "/ciba/start", or false, received true`,
        )
        expect(resolve({ routes: { [name]: '/here' } }).routes[name]).to.equal('/here')
        expect(message({ routes: { [name]: '/ciba/poll' } })).to.include('"/ciba/poll" is there twice')
      }
    })

    it('refuses two routes in one place, but not two that are switched off', () => {
      expect(message({ routes: { poll: '/ciba/start' } })).to.equal(
        '"routes" option must all differ, but "/ciba/start" is there twice',
      )
      expect(resolve({ routes: { poll: false, start: false } }).routes).to.include({
        poll: false,
        start: false,
      })
    })

    it('keeps the default of a route that is explicitly undefined', () => {
      expect(resolve({ routes: { start: undefined } }).routes.start).to.equal('/ciba/start')
    })

    it('refuses limiters that do not limit', () => {
      for (const part of ['hint', 'session']) {
        expect(message({ startLimiter: { [part]: { points: 5 } } })).to.equal(
          `"startLimiter.${part}" option must be a limiter of rate-limiter-flexible, received object`,
        )
      }
    })

    it('refuses a hint in "authorizationParams": who is asked differs each time', () => {
      for (const hint of ['loginHint', 'loginHintToken', 'idTokenHint']) {
        expect(message({ authorizationParams: { [hint]: 'alice' } })).to.equal(
          `"authorizationParams" option must not contain "${hint}": who is asked differs each time`,
        )
      }
    })

    it('checks "authorizationParams" as every authentication request (REQ-2, REQ-10)', () => {
      expect(message({ authorizationParams: { scope: 'email' } })).to.equal(
        '"authorizationParams" option is not valid: "scope" must contain "openid"',
      )
      expect(message({ authorizationParams: { requestedExpiry: 0 } })).to.include('"requestedExpiry" must be')
      expect(message({ authorizationParams: { prompt: 'login' } })).to.include('"prompt" is not a member')
      expect(message({ authorizationParams: { extra: { client_id: 'other' } } })).to.include('"client_id"')
      expect(message({ authorizationParams: { resource: '/relative' } })).to.include('"resource" must be')
    })
  })

  context('paths of this app', () => {
    it('are below "baseURL", which may have a path of its own (CFG-5)', () => {
      for (const [base, url] of [
        ['https://my-app.example.com', 'https://my-app.example.com/ciba/notification'],
        ['https://my-app.example.com/', 'https://my-app.example.com/ciba/notification'],
        ['https://my-app.example.com/sub', 'https://my-app.example.com/sub/ciba/notification'],
        ['https://my-app.example.com/sub/', 'https://my-app.example.com/sub/ciba/notification'],
      ]) {
        expect(resolve({ baseURL: base }).client.absolute('/ciba/notification')).to.equal(url)
      }
    })

    it('are nowhere without one, while a URL stays what it is', () => {
      const { absolute } = resolve({}).client
      expect(absolute('/')).to.equal(undefined)
      expect(absolute('https://www.example.com/bye')).to.equal('https://www.example.com/bye')
    })

    it('take plain http for "postLogoutRedirect" only where that was allowed', () => {
      const postLogoutRedirect = 'http://localhost:3000/bye'
      expect(refusal({ postLogoutRedirect }).option).to.equal('postLogoutRedirect')
      const resolved = resolve({ postLogoutRedirect, allowInsecureRequests: true })
      expect(resolved.postLogoutRedirect).to.equal(postLogoutRedirect)
    })
  })
})
