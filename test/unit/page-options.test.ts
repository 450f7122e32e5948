import { expect } from 'chai'
import type { Request } from 'express'
import type { ResolvedLoginPage } from '../../lib/express/login-page-options.ts'
import { defaultTexts } from '../../lib/express/page-texts.ts'
import { refusal, resolve } from '../support/option-rules.ts'

const message = (options: object) => refusal(options).message
const req = {} as Request
const look = (loginPage: object | undefined) => resolve({ loginPage }).loginPage as ResolvedLoginPage

describe('resolveOptions(): the login page', () => {
  it('is on, in English, and goes to "/"', () => {
    expect(look(undefined)).to.include({ title: 'Sign in', logo: undefined, lang: 'en', returnTo: '/' })
    expect(look({}).texts(req)).to.deep.equal(defaultTexts)
    expect(resolve({}).routes).to.include({ login: '/ciba/login', clientScript: '/ciba/client.js' })
  })

  it('can be switched off', () => {
    expect(resolve({ loginPage: false }).loginPage).to.equal(false)
    expect(resolve({ routes: { login: false, clientScript: false } }).routes).to.include({
      login: false,
      clientScript: false,
    })
  })

  it('takes what it offers', () => {
    for (const logo of ['/logo.svg', 'data:image/png;base64,AAAA', 'data:image/svg+xml,%3Csvg%3E']) {
      expect(look({ logo }).logo).to.equal(logo)
    }
    expect(look({ title: 'Bank', lang: 'pt-br', returnTo: '/home?a#b' })).to.include({
      title: 'Bank',
      lang: 'pt-BR',
      returnTo: '/home?a#b',
    })
    expect(look({ texts: { lead: 'Hallo', send: undefined } }).texts(req)).to.deep.equal({
      ...defaultTexts,
      lead: 'Hallo',
    })
    const texts = ({ url }: Request) => ({ lead: url })
    expect(look({ texts }).texts({ url: '/x' } as Request).lead).to.equal('/x')
  })

  for (const [options, problem] of [
    [{ loginPage: true }, '"loginPage" option must be an object, or false, received true'],
    [{ loginPage: { titel: 'x' } }, '"loginPage.titel" option is unknown, did you mean "loginPage.title"?'],
    [{ loginPage: { title: ' ' } }, '"loginPage.title" option must be a non-empty string, received " "'],
    [
      { loginPage: { logo: 'https://cdn.example/logo.svg' } },
      '"loginPage.logo" option must be a path such as "/logo.svg", or a data:image/ URL, received "https://cdn.example/logo.svg"',
    ],
    [
      { loginPage: { logo: 'data:text/html,x' } },
      '"loginPage.logo" option must be a path such as "/logo.svg", or a data:image/ URL, received "data:text/html,x"',
    ],
    [
      { loginPage: { lang: 'not a language' } },
      '"loginPage.lang" option must be a language tag such as "en" or "pt-BR", received "not a language"',
    ],
    [
      { loginPage: { returnTo: '//evil.example' } },
      '"loginPage.returnTo" option must be a path such as "/", received "//evil.example"',
    ],
    [
      { loginPage: { texts: { leed: 'x' } } },
      '"loginPage.texts.leed" option is unknown, did you mean "loginPage.texts.lead"?',
    ],
    [{ loginPage: { texts: { lead: 7 } } }, '"loginPage.texts.lead" option must be a string, received 7'],
    [
      { loginPage: { texts: 'x' } },
      '"loginPage.texts" option must be an object of texts, or a function, received "x"',
    ],
    [
      { routes: { login: '/login', start: false } },
      '"routes.login" option needs "routes.start" and "routes.poll", which are false',
    ],
  ] as [object, string][]) {
    it(`refuses ${JSON.stringify(options)}`, () => {
      expect(message(options)).to.equal(problem)
    })
  }

  it('refuses unknown texts of a function when it is asked', () => {
    const { texts } = look({ texts: () => ({ leed: 'x' }) })
    expect(() => texts(req)).to.throw(TypeError, '"loginPage.texts.leed" option is unknown')
  })
})
