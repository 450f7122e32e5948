// One card for each caller, each with a state of its own: not verified, asked, verified, or with the record open.
import { startCiba } from '/ciba/client.js'

const NOT_YET = 'Not verified'

const ENDINGS = {
  denied: 'Denied on the phone. Be careful.',
  expired: 'No answer in time.',
  cancelled: 'Cancelled. The phone may still show the request.',
  failed: 'That did not work.',
}

const REFUSALS = {
  401: 'You are signed out. Load this page again.',
  429: 'Asked too often. Wait a few minutes.',
  503: 'The identity provider is away. Try again in a moment.',
}

function follow(card) {
  const part = (name) => card.querySelector(`[data-part="${name}"]`)
  const button = (name) => card.querySelector(`[data-do="${name}"]`)
  const path = `/customers/${card.dataset.customer}/record`
  let run
  let approval
  let ticking
  let busy = false

  function show(state, status) {
    const isHere = card.contains(document.activeElement)
    card.dataset.state = state
    part('status').textContent = status
    part('status').classList.toggle('bad', state === 'unverified' && status !== NOT_YET)
    part('code').hidden = state !== 'asked'
    part('time').hidden = state !== 'asked'
    part('record').hidden = state !== 'open'
    button('verify').hidden = state !== 'unverified'
    button('cancel').hidden = state !== 'asked'
    button('open').hidden = state !== 'verified'
    button('close').hidden = state !== 'open'
    if (state !== 'asked') clearInterval(ticking)
    // The button that was pressed is gone: whoever uses a keyboard stays on the card. Other cards do not call.
    if (isHere) card.querySelector('button:not([hidden])').focus()
  }

  function countDown(expiresIn) {
    const time = part('time')
    const end = Date.now() + expiresIn * 1000
    time.max = Math.max(time.max, expiresIn)
    const tick = () => {
      time.value = Math.max(0, (end - Date.now()) / 1000)
    }
    clearInterval(ticking)
    ticking = setInterval(tick, 500)
    tick()
  }

  async function verify() {
    if (busy) return
    busy = true
    part('time').max = 1
    try {
      run = startCiba({}, { start: path })
      for await (const state of run) {
        if (state.status === 'pending') {
          part('code').textContent = state.bindingMessage ?? ''
          if (card.dataset.state !== 'asked') show('asked', 'Asked. Read this code to the caller:')
          countDown(state.expiresIn)
        } else if (state.status === 'complete') {
          approval = state.transaction
          show('verified', 'Verified')
        } else show('unverified', ENDINGS[state.status])
      }
    } catch (error) {
      show('unverified', REFUSALS[error.status] ?? ENDINGS.failed)
    } finally {
      busy = false
    }
  }

  /** The same request again, with the approval: a single time. */
  async function open() {
    if (busy) return
    busy = true
    try {
      const response = await fetch(path, { method: 'POST', headers: { 'ciba-approval': approval } })
      if (!response.ok) return show('unverified', REFUSALS[response.status] ?? 'Verify again.')
      const { record } = await response.json()
      part('record').replaceChildren(
        ...Object.entries(record).flatMap(([name, value]) => [text('dt', name), text('dd', value)]),
      )
      show('open', 'Verified. The record opens once.')
    } catch {
      show('unverified', 'No connection. Verify again.')
    } finally {
      busy = false
    }
  }

  function close() {
    part('record').replaceChildren()
    show('unverified', NOT_YET)
  }

  button('verify').addEventListener('click', verify)
  button('cancel').addEventListener('click', () => run.cancel().catch(() => {}))
  button('open').addEventListener('click', open)
  button('close').addEventListener('click', close)
}

function text(name, content) {
  const element = document.createElement(name)
  element.textContent = content
  return element
}

for (const card of document.querySelectorAll('[data-customer]')) follow(card)
