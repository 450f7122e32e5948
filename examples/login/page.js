// The browser's half of a login: start, wait, show the outcome. Tokens never come here.

const element = (id) => document.getElementById(id)

async function post(path, body, signal) {
  const headers = { 'content-type': 'application/json' }
  const response = await fetch(path, { method: 'POST', headers, body: JSON.stringify(body), signal })
  const answer = await response.json().catch(() => ({})) // 204 has no body
  return { response, ...answer }
}

const sleep = (ms, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms)
    signal.addEventListener('abort', () => {
      clearTimeout(timer)
      reject(signal.reason)
    })
  })

/** Asks until the login has an outcome. The server holds each answer for up to 25 seconds. */
async function waitForOutcome(transaction, signal) {
  for (;;) {
    const askedAt = Date.now()
    try {
      const answer = await post('/ciba/poll', { transaction, wait: 25 }, signal)
      if (answer.response.status >= 500) throw new Error(answer.error)
      if (answer.status !== 'pending') return answer
      element('trouble').textContent = ''
      countDown(answer.expiresIn)
      // Held for a while: ask again at once. Answered at once: do as told.
      if (Date.now() - askedAt < 1000) await sleep(1000 * retryAfter(answer.response), signal)
    } catch (error) {
      if (signal.aborted) throw error
      if (Date.now() > current.endsAt) return { status: 'expired' }
      element('trouble').textContent = 'No connection. Trying again…'
      await sleep(2000, signal)
    }
  }
}

const retryAfter = (response) => Number(response.headers.get('retry-after')) || 1

const OUTCOMES = {
  denied: ['Denied', 'The request was denied on the phone. Nobody was signed in.'],
  expired: ['Too late', 'Nobody answered in time.'],
  cancelled: ['Cancelled', 'You stopped this sign-in. Ignore the request if your phone still shows it.'],
  failed: ['That did not work', 'Something went wrong between this app and the identity provider.'],
}

const START_ERRORS = {
  429: ['Too many tries', 'Wait a few minutes, then try again.'],
  503: ['Not now', 'The identity provider cannot be reached. Try again in a moment.'],
}

let current

async function start(event) {
  event.preventDefault()
  const form = event.target
  const button = form.querySelector('button')
  button.disabled = true
  try {
    const answer = await post('/ciba/start', Object.fromEntries(new FormData(form)))
    if (answer.response.ok) await wait(answer)
    else showOutcome(START_ERRORS[answer.response.status] ?? OUTCOMES.failed)
  } catch {
    showOutcome(OUTCOMES.failed)
  } finally {
    button.disabled = false
  }
}

async function wait({ transaction, bindingMessage, expiresIn }) {
  const waiting = new AbortController()
  current = { transaction, waiting, expiresIn }
  element('binding').hidden = !bindingMessage
  element('binding-message').hidden = !bindingMessage
  element('binding-message').textContent = bindingMessage ?? ''
  element('trouble').textContent = ''
  show('waiting')
  countDown(expiresIn)
  try {
    const answer = await waitForOutcome(transaction, waiting.signal)
    if (answer.status === 'complete') location.assign(answer.returnTo ?? '/')
    else showOutcome(OUTCOMES[answer.status] ?? OUTCOMES.failed)
  } catch (error) {
    if (!waiting.signal.aborted) throw error
  } finally {
    clearInterval(current.ticking)
  }
}

async function cancel() {
  current.waiting.abort()
  showOutcome(OUTCOMES.cancelled)
  await post('/ciba/cancel', { transaction: current.transaction })
}

function countDown(expiresIn) {
  current.endsAt = Date.now() + expiresIn * 1000
  const tick = () => {
    const seconds = Math.max(0, Math.ceil((current.endsAt - Date.now()) / 1000))
    element('remaining').max = current.expiresIn
    element('remaining').value = seconds
    element('remaining-text').textContent = `${seconds} ${seconds === 1 ? 'second' : 'seconds'} left`
  }
  clearInterval(current.ticking)
  current.ticking = setInterval(tick, 500)
  tick()
}

function showOutcome([title, text]) {
  element('outcome-title').textContent = title
  element('outcome-text').textContent = text
  show('outcome')
}

function show(view) {
  for (const section of document.querySelectorAll('[data-view]'))
    section.hidden = section.dataset.view !== view
  const focus = document.querySelector(`[data-view=${view}] :is(h1[tabindex], input)`)
  focus?.focus()
}

async function signOut() {
  const { response } = await post('/ciba/logout', {}).catch(() => ({}))
  if (response?.ok) location.assign('/')
  else element('sign-out-error').textContent = 'Signing out did not work. Try again.'
}

element('start')?.addEventListener('submit', start)
element('cancel')?.addEventListener('click', cancel)
element('again')?.addEventListener('click', () => show('form'))
element('sign-out')?.addEventListener('click', signOut)
