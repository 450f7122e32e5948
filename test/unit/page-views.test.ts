import { expect } from 'chai'
import { html, jsonBlock } from '../../lib/express/page-html.ts'
import { defaultTexts, fill, inWords, onTheClock } from '../../lib/express/page-texts.ts'
import {
  contentSecurityPolicy,
  noticeOf,
  type Page,
  renderPage,
  type View,
} from '../../lib/express/page-views.ts'

const attack = `"'><script>alert(1)</script>`
const escaped = '&quot;&#39;&gt;&lt;script&gt;alert(1)&lt;/script&gt;'

function page(view: View, more: Partial<Page> = {}): string {
  return renderPage({
    view,
    title: 'Sign in',
    logo: undefined,
    lang: 'en',
    texts: defaultTexts,
    links: {
      start: './start',
      poll: './poll',
      cancel: './cancel',
      login: './login',
      again: './login?again=1',
      here: './login?transaction=T',
    },
    returnTo: undefined,
    defaultReturnTo: '/',
    asksUserCode: false,
    nonce: 'NONCE',
    script: 'the script',
    ...more,
  })
}

/** The views that are visible. */
const visible = (text: string) =>
  [...text.matchAll(/<section data-view="([\w-]+)"([^>]*)>/g)]
    .filter(([, , attributes = '']) => !attributes.includes('hidden'))
    .map(([, name]) => name)

const waiting: View = {
  name: 'waiting',
  transaction: 'T',
  expiresIn: 90,
  interval: 5,
  bindingMessage: 'ABC-DEF',
}

describe('html', () => {
  it('escapes what it is given, and leaves out what is nothing', () => {
    expect(html`<p title="${attack}">${attack}${undefined}${false}${0}${[html`<b>`, '<']}`.text).to.equal(
      `<p title="${escaped}">${escaped}0<b>&lt;`,
    )
  })

  it('lets no JSON end its block', () => {
    const { text } = jsonBlock({ attack: '</script><!--' })
    expect(text).not.to.include('<')
    expect(JSON.parse(text)).to.deep.equal({ attack: '</script><!--' })
  })
})

describe('renderPage()', () => {
  for (const [view, heading] of [
    [{ name: 'form' }, 'Sign in'],
    [waiting, 'Look at your phone – Sign in'],
    [{ name: 'outcome', status: 'denied', error: 'access_denied' }, 'Denied – Sign in'],
    [{ name: 'signed-in', continueTo: '/' }, 'You are signed in already – Sign in'],
  ] as [View, string][]) {
    it(`shows one view: ${view.name}`, () => {
      const text = page(view)
      expect(visible(text)).to.deep.equal([view.name])
      expect(text).to.include(`<title>${heading}</title>`)
    })
  }

  it('refreshes itself by and by where no script runs, only while it waits', () => {
    expect(page(waiting)).to.include(
      '<noscript><meta http-equiv="refresh" content="5;url=./login?transaction=T"></noscript>',
    )
    expect(page({ ...waiting, interval: 20 })).to.include('content="20;url=')
    expect(page({ name: 'form' })).not.to.include('http-equiv')
  })

  it('refreshes itself in every browser where it has no script', () => {
    const text = page(waiting, { script: undefined })
    expect(text).to.include('<meta http-equiv="refresh" content="5;url=./login?transaction=T">')
    expect(text).not.to.include('noscript')
  })

  it('shows the time that is left, of a time that is usual', () => {
    const text = page(waiting)
    expect(text).to.include('>1:30</span>').and.include('--total: 120s; --since: -30s;')
  })

  it('escapes everything that is not its own', () => {
    const texts = Object.fromEntries(Object.keys(defaultTexts).map((name) => [name, attack]))
    const more = {
      title: attack,
      logo: attack,
      returnTo: attack,
      defaultReturnTo: attack,
      script: undefined,
      texts,
    } as object
    for (const view of [
      { name: 'form', notice: { text: attack, detail: attack } },
      { name: 'form', notice: { text: attack, field: 'loginHint' } },
      { ...waiting, transaction: attack, bindingMessage: attack },
      { name: 'outcome', status: 'failed', error: attack },
      { name: 'signed-in', continueTo: attack },
    ] as View[]) {
      const text = page(view, more)
      expect(text.match(/<script/g), view.name).to.have.length(1) // the data block
      expect(text).not.to.include('">\'')
    }
  })

  it('has no inline style, no event handler, and its nonce on whatever runs', () => {
    const text = page(waiting, { logo: '/logo.svg' })
    expect(text).not.to.match(/\sstyle=|\son\w+=/)
    for (const [tag] of text.matchAll(/<(?:script|style)[^>]*>/g)) {
      expect(tag).to.match(/nonce="NONCE"|type="application\/json"/)
    }
  })

  it('asks for a user code where there is one, and cannot cancel where there is no route', () => {
    expect(page({ name: 'form' })).not.to.include('name="userCode"')
    expect(page({ name: 'form' }, { asksUserCode: true })).to.include('name="userCode"')
    const links = { start: './s', poll: './p', cancel: undefined, login: './l', again: './l', here: './l' }
    expect(page(waiting)).to.include('id="cancel"')
    expect(page(waiting, { links })).not.to.include('id="cancel"')
  })

  it('runs from right to left for languages that do', () => {
    expect(page({ name: 'form' }, { lang: 'ar-EG' })).to.include('<html lang="ar-EG" dir="rtl">')
    expect(page({ name: 'form' }, { lang: 'de' })).to.include('<html lang="de" dir="ltr">')
  })
})

describe('contentSecurityPolicy()', () => {
  it('opens nothing but what the page needs', () => {
    expect(contentSecurityPolicy({ nonce: 'N', logo: undefined })).to.equal(
      "default-src 'none'; script-src 'nonce-N'; style-src 'nonce-N'; connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    )
    expect(contentSecurityPolicy({ nonce: 'N', logo: '/logo.svg' })).to.include("img-src 'self' data:;")
  })
})

describe('noticeOf()', () => {
  const notice = (status: number, error: string, message = 'for developers', retryAfter?: number) =>
    noticeOf({ status, error, message }, retryAfter, { texts: defaultTexts, lang: 'en' })

  it('says it in the words of people', () => {
    expect(notice(429, 'too_many_requests', '', 200)).to.deep.equal({
      text: 'Too many requests. Try again in 4 minutes.',
    })
    expect(notice(503, 'temporarily_unavailable').text).to.equal(defaultTexts.unavailable)
    expect(notice(502, 'bad_gateway').text).to.equal(defaultTexts.uncertain)
    expect(notice(400, 'missing_user_code')).to.deep.equal({
      text: defaultTexts.missingUserCode,
      field: 'userCode',
    })
  })

  it('keeps the words of the app, and of an OP no more than the code', () => {
    expect(notice(403, 'request_refused', 'closed on Sundays').detail).to.equal('closed on Sundays')
    expect(notice(403, 'access_denied')).to.deep.equal({
      text: defaultTexts.refused,
      detail: 'Code: access_denied',
    })
  })
})

describe('noticeOf() a code that is the name of something else', () => {
  for (const error of ['constructor', 'toString', '__proto__', 'hasOwnProperty', 'valueOf']) {
    it(`shows ${error} as any other code`, () => {
      const notice = noticeOf({ status: 400, error, message: '' }, undefined, {
        texts: defaultTexts,
        lang: 'en',
      })
      expect(notice).to.deep.equal({ text: defaultTexts.refused, detail: `Code: ${error}` })
    })
  }
})

describe('the words for times and codes', () => {
  it('follow the language', () => {
    expect(inWords(1, 'en')).to.equal('1 second')
    expect(inWords(89, 'en')).to.equal('89 seconds')
    expect(inWords(90, 'en')).to.equal('2 minutes')
    expect(inWords(300, 'de')).to.equal('5 Minuten')
    expect(onTheClock(67)).to.equal('1:07')
  })

  it('are filled in once: what comes in is not looked through', () => {
    expect(fill('{code} {code} {other}', { code: '{code}$&' })).to.equal('{code}$& {code}$& {other}')
  })
})
