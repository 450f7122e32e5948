/**
 * The login page: from what is to be shown to the text of an answer. One view is visible, the page's script shows the others.
 * Knows nothing of requests, routes and sessions.
 */

import { Html, type HtmlValue, html, jsonBlock } from './page-html.ts'
import { ringStyle, style } from './page-style.ts'
import {
  fill,
  inWords,
  type LoginPageTexts,
  noticeKindOf,
  noticeKinds,
  onTheClock,
  type TextName,
} from './page-texts.ts'

/** What went wrong, as the form shows it. */
export interface Notice {
  readonly text: string
  /** Untrusted, or the app's own words. */
  readonly detail?: string
  readonly field?: 'loginHint' | 'userCode'
}

/** What a page is about. */
export type View =
  | { readonly name: 'form'; readonly notice?: Notice }
  | { readonly name: 'signed-in'; readonly continueTo: string }
  | {
      readonly name: 'waiting'
      readonly transaction: string
      readonly expiresIn: number
      readonly interval: number
      readonly bindingMessage?: string
    }
  | {
      readonly name: 'outcome'
      readonly status: 'denied' | 'expired' | 'failed' | 'cancelled'
      readonly error: string
    }

/** Everything else that a page consists of. */
export interface Page {
  readonly view: View
  readonly title: string
  readonly logo: string | undefined
  readonly lang: string
  readonly texts: LoginPageTexts
  /** References to our routes, from where this page is shown. */
  readonly links: {
    readonly start: string
    readonly poll: string
    readonly cancel: string | undefined
    /** The page without a transaction. */
    readonly login: string
    /** The same with the form, also for somebody who is signed in. */
    readonly again: string
    /** The page of the transaction that the view is about. */
    readonly here: string
  }
  /** Where to go after a login, where the visitor was told to; the start takes it along. */
  readonly returnTo: string | undefined
  /** Where to go if nothing else is said. */
  readonly defaultReturnTo: string
  readonly asksUserCode: boolean
  readonly nonce: string
  /** The page's script; without it the page does what it can. */
  readonly script: string | undefined
}

const rightToLeft = ['ar', 'dv', 'fa', 'he', 'ku', 'ps', 'sd', 'ug', 'ur', 'yi']

/** What is left of the policy is in the header: the nonce opens it for this style and this script alone. */
export function contentSecurityPolicy({ nonce, logo }: Pick<Page, 'nonce' | 'logo'>): string {
  return [
    "default-src 'none'",
    `script-src 'nonce-${nonce}'`,
    `style-src 'nonce-${nonce}'`,
    "connect-src 'self'",
    `img-src ${logo === undefined ? '' : "'self' "}data:`,
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ].join('; ')
}

export function renderPage(page: Page): string {
  const { view, title, logo, lang, texts, links, nonce, script } = page
  const { language } = new Intl.Locale(lang)
  const isWaiting = view.name === 'waiting'
  const heading = headingOf(page)
  const left = isWaiting ? view.expiresIn : 0
  const total = scaleOf(left)
  const data = { texts, lang, notices: noticeKinds, total, returnTo: page.defaultReturnTo }
  return html`<!doctype html>
<html lang="${lang}" dir="${rightToLeft.includes(language) ? 'rtl' : 'ltr'}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<link rel="icon" href="data:,">
<title>${heading === title ? title : `${heading} – ${title}`}</title>
<style nonce="${nonce}">${new Html(style)}${new Html(ringStyle(total, left))}</style>
${isWaiting && refresh(view.interval, links.here, script !== undefined)}
</head>
<body>
<main data-poll="${links.poll}" data-cancel="${links.cancel}" data-login="${links.login}" data-transaction="${isWaiting && view.transaction}">
${logo !== undefined && html`<img class="logo" src="${logo}" alt="">`}
<p class="said" id="said" aria-live="polite"></p>
${view.name === 'signed-in' && signedIn(page, view.continueTo)}
${form(page)}
${waiting(page)}
${outcome(page)}
</main>
<script type="application/json" id="data">${jsonBlock(data)}</script>
${script !== undefined && html`<script type="module" nonce="${nonce}">${new Html(script)}</script>`}
</body>
</html>
`.text
}

function headingOf({ view, title, texts }: Page): string {
  if (view.name === 'waiting') return texts.waiting
  if (view.name === 'signed-in') return texts.signedIn
  return view.name === 'outcome' ? texts[view.status] : title
}

/** Nobody knows how long it was in the beginning: the next time that is usual. */
function scaleOf(seconds: number): number {
  return [30, 60, 120, 180, 300, 600, 900, 1800, 3600].find((usual) => usual >= seconds) ?? seconds
}

function refresh(interval: number, here: string, hasScript: boolean): Html {
  const seconds = Math.max(5, Math.ceil(interval))
  const tag = html`<meta http-equiv="refresh" content="${seconds};url=${here}">`
  return hasScript ? html`<noscript>${tag}</noscript>` : tag
}

function form({ view, title, texts, links, returnTo, asksUserCode }: Page): Html {
  const notice = view.name === 'form' ? view.notice : undefined
  const field = (name: 'loginHint' | 'userCode') => {
    const isWrong = notice?.field === name
    const attributes = html`id="${name}" name="${name}" required aria-describedby="${name}-error"${isWrong && html` aria-invalid="true" autofocus`}`
    const error = html`<p class="error" id="${name}-error"${!isWrong && html` hidden`}>${isWrong && notice.text}</p>`
    return { attributes, error }
  }
  const hint = field('loginHint')
  const code = field('userCode')
  const isAside = notice === undefined || notice.field !== undefined
  return section(
    'form',
    view.name === 'form',
    html`<h1 tabindex="-1">${title}</h1>
<p class="lead">${texts.lead}</p>
<div class="notice" id="notice" tabindex="-1"${isAside && html` hidden`}><p>${!isAside && notice.text}</p><p class="code">${!isAside && notice.detail}</p></div>
<form id="start" method="post" action="${links.start}">
<label for="loginHint">${texts.loginHint}</label>
<input ${hint.attributes} type="text" autocomplete="username" autocapitalize="none" autocorrect="off" spellcheck="false" maxlength="1000">
${hint.error}
${
  asksUserCode &&
  html`<label for="userCode">${texts.userCode}</label>
<input ${code.attributes} type="password" autocomplete="off" maxlength="1000">
${code.error}`
}
${hiddenReturnTo(returnTo)}
<button class="primary" id="send">${texts.send}</button>
</form>`,
  )
}

function waiting({ view, texts, links, returnTo }: Page): Html {
  const now = view.name === 'waiting' ? view : undefined
  const message = now?.bindingMessage
  return section(
    'waiting',
    now !== undefined,
    html`<h1 tabindex="-1">${texts.waiting}</h1>
<p class="lead">${texts.waitingText}</p>
<p class="compare" id="compare"${message === undefined && html` hidden`}>${texts.compare}</p>
<p class="${message !== undefined && message.length > 12 ? 'binding long' : 'binding'}" id="binding" translate="no"${message === undefined && html` hidden`}>${message}</p>
<div class="clock">
<svg class="ring" viewBox="0 0 100 100" aria-hidden="true"><circle class="track" cx="50" cy="50" r="44"/><circle class="left" id="left" cx="50" cy="50" r="44" pathLength="100"/></svg>
<div role="timer" aria-labelledby="time-left time"><span class="time" id="time">${now && onTheClock(now.expiresIn)}</span><span class="label" id="time-left">${texts.timeLeft}</span></div>
</div>
<p class="trouble" id="trouble" hidden>${texts.offline}</p>
<div class="choices">
<a class="button" id="check" href="${links.here}">${texts.checkNow}</a>
${
  links.cancel !== undefined &&
  html`<form id="cancel" method="post" action="${links.cancel}"><input type="hidden" name="transaction" value="${now?.transaction}">${hiddenReturnTo(returnTo)}<button>${texts.cancel}</button></form>`
}
</div>`,
  )
}

const icons = html`<svg class="icon denied" viewBox="0 0 32 32" aria-hidden="true"><circle cx="16" cy="16" r="14"/><path d="M11 11l10 10M21 11l-10 10"/></svg>
<svg class="icon failed" viewBox="0 0 32 32" aria-hidden="true"><circle cx="16" cy="16" r="14"/><path d="M16 9v9M16 23v.01"/></svg>
<svg class="icon expired" viewBox="0 0 32 32" aria-hidden="true"><circle cx="16" cy="16" r="14"/><path d="M16 8v8l5 4"/></svg>
<svg class="icon cancelled" viewBox="0 0 32 32" aria-hidden="true"><circle cx="16" cy="16" r="14"/><path d="M10 16h12"/></svg>
<svg class="icon complete" viewBox="0 0 32 32" aria-hidden="true"><circle cx="16" cy="16" r="14"/><path d="M10 16.5l4 4.5 8-10"/></svg>`

function outcome({ view, texts, links }: Page): Html {
  const now = view.name === 'outcome' ? view : undefined
  return section(
    'outcome',
    now !== undefined,
    html`${icons}
<h1 tabindex="-1" id="outcome-title">${now && texts[now.status]}</h1>
<p id="outcome-text">${now && texts[`${now.status}Text` as TextName]}</p>
<p class="code" id="outcome-code">${now && codeOf(now, texts)}</p>
<a class="button primary" id="again" href="${links.again}">${now?.status === 'expired' ? texts.sendAgain : texts.tryAgain}</a>`,
    now?.status,
  )
}

/** What the heading says already needs no code. */
function codeOf({ status, error }: { status: string; error: string }, { code }: LoginPageTexts): HtmlValue {
  return ![status, 'expired_token', 'access_denied'].includes(error) && fill(code, { code: error })
}

function signedIn({ texts, links }: Page, continueTo: string): Html {
  return section(
    'signed-in',
    true,
    html`<h1 tabindex="-1">${texts.signedIn}</h1>
<p class="lead">${texts.signedInText}</p>
<div class="choices"><a class="button primary" href="${continueTo}">${texts.continue}</a><a class="button" href="${links.again}">${texts.signInAgain}</a></div>`,
  )
}

function hiddenReturnTo(returnTo: string | undefined): HtmlValue {
  return returnTo !== undefined && html`<input type="hidden" name="returnTo" value="${returnTo}">`
}

function section(name: View['name'], isVisible: boolean, content: Html, status?: string): Html {
  return html`<section data-view="${name}"${status !== undefined && html` data-status="${status}"`}${!isVisible && html` hidden`}>
${content}
</section>`
}

/** What to say about an error, `retryAfter` in seconds. */
export function noticeOf(
  error: { readonly status: number; readonly error: string; readonly message: string },
  retryAfter: number | undefined,
  { texts, lang }: Pick<Page, 'texts' | 'lang'>,
): Notice {
  const kind = noticeKindOf(error.error, error.status)
  if (kind) {
    const text = fill(texts[kind.text], { time: inWords(retryAfter ?? 60, lang) })
    return { text, ...(kind.field && { field: kind.field }) }
  }
  // The app's own refusal is for people; what an OP says, its code, is for whoever they ask for help.
  const isOwn = error.error === 'request_refused'
  return { text: texts.refused, detail: isOwn ? error.message : fill(texts.code, { code: error.error }) }
}
