// Asks the phone of whoever stands here, shows the code large, and goes on when the phone says yes.
import { startCiba } from '/ciba/client.js'

const ENDINGS = {
  denied: 'Denied on the phone',
  expired: 'Nobody answered in time',
  cancelled: 'Cancelled',
  failed: 'That did not work',
}

const REFUSALS = { 429: 'Too many tries. Please wait a few minutes', 503: 'Not possible right now' }

/** How long an outcome stays, before the screen is the next person's. */
const OUTCOME_MS = 10_000

const element = (id) => document.getElementById(id)
const form = element('start')
let run
let endsAt
let starting

form.addEventListener('submit', async (event) => {
  event.preventDefault()
  if (starting) return
  starting = true
  try {
    await signIn(Object.fromEntries(new FormData(form)))
  } catch (error) {
    end(REFUSALS[error.status] ?? ENDINGS.failed)
  } finally {
    starting = false
  }
})

async function signIn(member) {
  element('time').max = 1
  const onTrouble = (error) => {
    element('trouble').textContent = error ? 'No connection. Trying again…' : ''
  }
  run = startCiba(member, { onTrouble })
  for await (const state of run) {
    if (state.status === 'pending') {
      element('code').textContent = state.bindingMessage ?? ''
      endsAt = Date.now() + state.expiresIn * 1000
      element('time').max = Math.max(element('time').max, state.expiresIn)
      tick()
      show('waiting')
    } else if (state.status === 'complete') location.replace('/')
    else end(ENDINGS[state.status])
  }
}

function end(title) {
  element('outcome').textContent = title
  show('outcome')
  setTimeout(startOver, OUTCOME_MS)
}

/** A fresh page: nothing of the last person is left in it. */
function startOver() {
  location.replace('/')
}

function show(view) {
  const [section] = [...document.querySelectorAll('[data-view]')].filter((each) => {
    each.hidden = each.dataset.view !== view
    return !each.hidden
  })
  if (!section.contains(document.activeElement)) section.querySelector('[tabindex="-1"]')?.focus()
}

function tick() {
  if (endsAt) element('time').value = Math.max(0, (endsAt - Date.now()) / 1000)
}

setInterval(tick, 500)
element('cancel').addEventListener('click', () => run.cancel().catch(startOver))
element('again').addEventListener('click', startOver)
addEventListener('pageshow', (event) => event.persisted && location.reload())
form.elements.member.focus()
