/**
 * The login page's script: no reloads between the views, and a login that goes on by itself. What it does not do, the page
 * does without it. Knows the ids of the views, and no word of what they say.
 */

import { type CibaPending, type CibaRequestError, type CibaRun, type CibaState, startCiba } from './client.ts'

interface Data {
  readonly texts: Readonly<Record<string, string>>
  readonly lang: string
  readonly notices: Readonly<Record<string, { readonly text: string; readonly field?: string }>>
  /** Seconds for a whole turn of the ring, for a transaction that was started elsewhere. */
  total: number
  readonly returnTo: string
}

const one = <Kind extends HTMLElement = HTMLElement>(id: string) => document.getElementById(id) as Kind
const { texts, lang, notices, returnTo, ...ring } = JSON.parse(one('data').textContent as string) as Data
const main = document.querySelector('main') as HTMLElement
const startForm = one<HTMLFormElement>('start')
const formTitle = document.querySelector('[data-view=form] h1')?.textContent ?? ''
/** Seconds before the end at which it is said. */
const lastCall = 30

/** Absolute while the address is still the one that the page was made for. */
const absolute = (link = '') => new URL(link, location.href).href
const urls = {
  start: startForm.action,
  poll: absolute(main.dataset['poll']),
  cancel: absolute(main.dataset['cancel']),
}
const loginURL = absolute(main.dataset['login'])
startForm.action = urls.start

/** What is being followed, and how to stop following it. */
let run: CibaRun | undefined
let leaving = new AbortController()
/** The transaction that the waiting view is about. */
let shown: string | undefined
let goingTo: string | undefined
let endsAt = 0
let ticking: ReturnType<typeof setInterval> | undefined
let endBusy: (() => void) | undefined

const text = (name: string, values: Readonly<Record<string, string>> = {}) =>
  (texts[name] ?? '').replace(/\{(\w+)\}/g, (whole, key: string) =>
    Object.hasOwn(values, key) ? (values[key] as string) : whole,
  )

function inWords(seconds: number): string {
  const isShort = seconds < 90
  const unit = isShort ? 'second' : 'minute'
  const format = new Intl.NumberFormat(lang, { style: 'unit', unit, unitDisplay: 'long' })
  return format.format(isShort ? seconds : Math.ceil(seconds / 60))
}

function say(words: string): void {
  one('said').textContent = words
}

/** Shows one view, and takes those along who cannot see it. */
function show(name: string): void {
  for (const view of main.querySelectorAll<HTMLElement>('[data-view]')) {
    view.hidden = view.dataset['view'] !== name
    if (view.hidden) continue
    const heading = view.querySelector('h1') as HTMLElement
    document.title = name === 'form' ? formTitle : `${heading.textContent} – ${formTitle}`
    heading.focus()
  }
  scrollTo(0, 0)
}

function setAddress(transaction?: string): void {
  const url = new URL(loginURL)
  if (transaction) url.searchParams.set('transaction', transaction)
  history.replaceState({ transaction, total: ring.total }, '', url)
  one<HTMLAnchorElement>('check').href = url.href
}

function setBusy(button: HTMLElement): void {
  const label = button.textContent
  button.setAttribute('aria-disabled', 'true')
  button.textContent = text('sending')
  endBusy = () => {
    endBusy = undefined
    button.removeAttribute('aria-disabled')
    button.textContent = label
  }
}

function begin(button: HTMLElement): void {
  if (endBusy) return
  setBusy(button)
  clearNotice()
  void follow(Object.fromEntries(new FormData(startForm)))
}

async function follow(body: object, transaction?: string): Promise<void> {
  leaving.abort()
  leaving = new AbortController()
  const { signal } = leaving
  const resumed = transaction === undefined ? {} : { transaction }
  const started = startCiba(body, { ...urls, ...resumed, signal, onTrouble })
  run = started
  shown = undefined
  try {
    for await (const state of started) {
      if (state.status === 'pending') wait(state)
      else finish(state)
    }
  } catch (error) {
    if (!signal.aborted) fail(error)
  }
}

function onTrouble(error?: unknown): void {
  const trouble = one('trouble')
  if (trouble.hidden === Boolean(error)) say(text(error ? 'offline' : 'waitingText'))
  trouble.hidden = !error
}

function wait(state: CibaPending): void {
  endBusy?.()
  const { transaction, bindingMessage = '', expiresIn } = state
  if (shown !== transaction) {
    const kept = history.state as { transaction?: string; total: number } | null
    if (kept?.transaction === transaction) ring.total = kept.total
    else if (main.dataset['transaction'] !== transaction) ring.total = expiresIn
    shown = transaction
    one('compare').hidden = one('binding').hidden = bindingMessage === ''
    one('binding').textContent = bindingMessage
    one('binding').classList.toggle('long', bindingMessage.length > 12)
    one('trouble').hidden = true
    setAddress(transaction)
    countDown(expiresIn)
    if (isHidden('waiting')) show('waiting')
    say(bindingMessage ? `${text('compare')} ${bindingMessage}` : text('waitingText'))
  } else if (Math.abs(endsAt - Date.now() - expiresIn * 1000) > 2_000) countDown(expiresIn)
}

const isHidden = (name: string) => main.querySelector<HTMLElement>(`[data-view=${name}]`)?.hidden === true

function countDown(expiresIn: number): void {
  endsAt = Date.now() + expiresIn * 1000
  const left = one('left')
  left.style.setProperty('--total', `${ring.total}s`)
  left.style.setProperty('--since', `${Math.min(0, expiresIn - ring.total)}s`)
  // From the beginning, with the delay of now.
  left.style.animation = 'none'
  left.getBoundingClientRect()
  left.style.animation = ''
  let before = expiresIn
  const tick = () => {
    const seconds = Math.max(0, Math.ceil((endsAt - Date.now()) / 1000))
    one('time').textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`
    if (seconds <= lastCall && before > lastCall) say(`${text('timeLeft')}: ${inWords(seconds)}`)
    before = seconds
  }
  clearInterval(ticking)
  ticking = setInterval(tick, 500)
  tick()
}

function finish(outcome: Exclude<CibaState, CibaPending>): void {
  endBusy?.()
  clearInterval(ticking)
  const { status } = outcome
  const isComplete = status === 'complete'
  const again = one('again')
  ;(again.closest('section') as HTMLElement).dataset['status'] = status
  one('outcome-title').textContent = text(status)
  one('outcome-text').textContent = text(`${status}Text`)
  one('outcome-code').textContent = isComplete ? '' : codeOf(status, outcome.error)
  again.textContent = text(status === 'expired' ? 'sendAgain' : 'tryAgain')
  again.hidden = isComplete
  show('outcome')
  say(text(`${status}Text`))
  if (isComplete) {
    goingTo = outcome.returnTo ?? returnTo
    location.replace(goingTo)
  }
}

/** What the heading says already needs no code. */
function codeOf(status: string, error: string): string {
  return [status, 'expired_token', 'access_denied'].includes(error) ? '' : text('code', { code: error })
}

function fail(error: unknown): void {
  const { status = 0, error: code = String(error) } = error as Partial<CibaRequestError>
  // The server knows more: perhaps another tab has signed in.
  if (shown && status === 404) location.replace(location.href)
  else if (shown) finish({ status: 'failed', transaction: shown, error: code })
  else {
    endBusy?.()
    if (isHidden('form')) {
      setAddress()
      show('form')
    }
    notify(status, code, error as Partial<CibaRequestError>)
  }
}

function notify(
  status: number,
  code: string,
  { retryAfter = 60, message = '' }: Partial<CibaRequestError>,
): void {
  // The code is the OP's, and may be any word: "constructor" too.
  const kind = Object.hasOwn(notices, code) ? notices[code] : notices[status]
  const words = text(kind?.text ?? 'refused', { time: inWords(retryAfter) })
  const input = kind?.field && document.getElementById(kind.field)
  if (input) {
    const error = one(`${kind.field}-error`)
    error.textContent = words
    error.hidden = false
    input.setAttribute('aria-invalid', 'true')
    input.focus()
    return
  }
  const notice = one('notice')
  const [what, detail] = notice.children
  if (what) what.textContent = words
  if (detail) detail.textContent = kind ? '' : code === 'request_refused' ? message : text('code', { code })
  notice.hidden = false
  notice.focus()
}

function clearNotice(): void {
  for (const error of startForm.querySelectorAll<HTMLElement>('.error')) error.hidden = true
  for (const input of startForm.querySelectorAll('[aria-invalid]')) input.removeAttribute('aria-invalid')
  one('notice').hidden = true
}

function on(id: string, event: 'click' | 'submit', act: () => void): void {
  document.getElementById(id)?.addEventListener(event, (happened) => {
    happened.preventDefault()
    act()
  })
}

on('start', 'submit', () => begin(one('send')))

on('again', 'click', () => {
  const { status } = (one('again').closest('section') as HTMLElement).dataset
  if (status === 'expired' && startForm.checkValidity()) {
    begin(one('again'))
    return
  }
  setAddress()
  show('form')
  one('loginHint').focus()
})

on('check', 'click', () => {
  run?.checkNow()
  const check = one('check')
  check.textContent = text('checking')
  say(text('checking'))
  setTimeout(() => {
    check.textContent = text('checkNow')
  }, 1_500)
})

on('cancel', 'submit', () => {
  const transaction = run?.transaction
  run?.cancel().catch(() => {
    // Whom nobody waits for is not signed in: it is over, whether or not the server knows.
    leaving.abort()
    if (transaction) finish({ status: 'cancelled', transaction, error: 'cancelled' })
  })
})

addEventListener('pageshow', ({ persisted }) => {
  if (!persisted) return
  endBusy?.()
  if (goingTo !== undefined) location.replace(goingTo)
})

const { transaction } = main.dataset
if (transaction) void follow({}, transaction)
