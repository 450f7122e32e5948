import { expect } from 'chai'
import { relativeLink, withQuery } from '../../lib/express/page-links.ts'
import { returnToOf } from '../../lib/express/return-to.ts'

describe('relativeLink()', () => {
  for (const [from, to, link] of [
    ['/ciba/login', '/ciba/start', './start'],
    ['/ciba/login/', '/ciba/start', '../start'],
    ['/ciba/login', '/ciba/login', './login'],
    ['/login', '/ciba/start', './ciba/start'],
    ['/ciba/login', '/start', '../start'],
    ['/a/b/c', '/a/x/y', '../x/y'],
    ['/a/b/', '/a', '../../a'],
    ['/', '/ciba/login', './ciba/login'],
    ['/deep//er/account', '/deep/ciba/login', '../../ciba/login'],
    ['/ciba', '/ciba/login', './ciba/login'],
    ['/CIBA/Login', '/ciba/start', '../ciba/start'],
  ] as const) {
    it(`leads from ${from} to ${to} by ${link}, behind any prefix`, () => {
      expect(relativeLink(from, to)).to.equal(link)
      for (const prefix of ['', '/app', '/deep/er']) {
        const { pathname } = new URL(link, `https://app.example${prefix}${from}`)
        expect(pathname).to.equal(prefix + to)
      }
    })
  }
})

describe('withQuery()', () => {
  it('adds what has a value, encoded', () => {
    expect(withQuery('./login', { transaction: undefined })).to.equal('./login')
    expect(withQuery('./login', { a: '/x?y=1&z', b: undefined })).to.equal('./login?a=%2Fx%3Fy%3D1%26z')
  })
})

describe('returnToOf()', () => {
  for (const path of [
    '/',
    '/account',
    '/a?b=c&d=//e#f',
    '/ä/%2F',
    '/a:b@c',
    `/${'a'.repeat(1_999)}`,
    `/${'ä'.repeat(333)}`,
    '/😀',
  ]) {
    it(`takes ${path.slice(0, 20)}`, () => {
      expect(returnToOf(path)).to.equal(path)
    })
  }

  for (const value of [
    undefined,
    '',
    'account',
    '//evil.example',
    '/\\evil.example',
    '\\\\evil.example',
    '/a\\b',
    '/\t/evil.example',
    '/\n/evil.example',
    ' /account',
    '/a\u0000',
    '/a\u0085',
    '/.//evil.example',
    '/x/..//evil.example',
    'https://evil.example',
    'javascript:alert(1)',
    ['/account'],
    { path: '/' },
    `/${'a'.repeat(2_000)}`,
    `/${'ä'.repeat(334)}`, // 2,005 characters in a header
    `/${'%'.repeat(700)}`,
    '/a\ud83d',
    '/\udc00b',
  ]) {
    it(`refuses ${JSON.stringify(value)?.slice(0, 40)}`, () => {
      expect(returnToOf(value)).to.equal(undefined)
    })
  }
})
