// Asks for the approval of one payment, waits for the phone, then sends the same payment again with the approval.
import { startCiba } from '/ciba/client.js'

const ENDINGS = {
  denied: 'Denied on the phone',
  expired: 'Nobody answered in time',
  cancelled: 'Cancelled',
  failed: 'That did not work',
}

const REFUSALS = {
  wrong_action: 'The approval was for another amount or payee, so the bank refused this one.',
  approval_used: 'This approval has been used already: it pays once.',
  not_granted: 'Something else was granted than was asked for.',
}

const element = (id) => document.getElementById(id)
const form = element('payment')
let run
let endsAt
let busy = false

form.addEventListener('submit', async (event) => {
  event.preventDefault()
  // A double click asks once.
  if (busy) return
  busy = true
  element('refusal').textContent = ''
  try {
    await pay(Object.fromEntries(new FormData(form)))
  } catch (error) {
    element('refusal').textContent = error.error === 'refused' ? ENDINGS.failed : error.message
    show('form')
  } finally {
    busy = false
  }
})

async function pay(payment) {
  // Spelled as the phone spells it.
  const amount = Number(payment.amount.replace(',', '.')).toFixed(2)
  element('asked').textContent = `${amount} EUR to ${payment.to.trim()}`
  element('time').max = 1
  const onTrouble = (error) => {
    element('trouble').textContent = error ? 'No connection. Trying again…' : ''
  }
  run = startCiba(payment, { start: '/payments', onTrouble })
  for await (const state of run) {
    if (state.status === 'pending') {
      element('code').textContent = state.bindingMessage ?? ''
      endsAt = Date.now() + state.expiresIn * 1000
      element('time').max = Math.max(element('time').max, state.expiresIn)
      tick()
      show('waiting')
    }
  }
  const { status, transaction } = await run
  if (status === 'complete') await usePermission(transaction, payment)
  else end(ENDINGS[status], 'Nothing was paid.')
}

/** The same request again, with the approval. Not repeated: an approval pays once, whatever becomes of the answer. */
async function usePermission(approval, payment) {
  const amount = element('cheat').checked
    ? (payment.amount.replace(',', '.') * 10).toFixed(2)
    : payment.amount
  const response = await fetch('/payments', {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'ciba-approval': approval },
    body: JSON.stringify({ ...payment, amount }),
  })
  const { paid, granted, error, error_description } = await response.json()
  if (!response.ok) return end('Refused', `${REFUSALS[error] ?? error_description} Nothing was paid.`)
  const details = granted.flatMap((detail) => Object.entries(detail))
  element('granted')
    .querySelector('dl')
    .replaceChildren(...details.flatMap(([name, value]) => [text('dt', name), text('dd', value)]))
  element('paid').append(text('li', `${paid.amount} EUR to ${paid.to}`))
  element('nothing').hidden = true
  end('Paid', '', true)
}

function end(title, why, isPaid = false) {
  endsAt = undefined
  element('outcome').textContent = title
  element('why').textContent = why
  element('granted').hidden = !isPaid
  show('done')
}

function text(name, content) {
  const made = document.createElement(name)
  made.textContent = content
  return made
}

function show(view) {
  for (const section of document.querySelectorAll('[data-view]')) {
    if (section.dataset.view !== view) section.hidden = true
    else if (section.hidden) {
      section.hidden = false
      section.querySelector('[tabindex="-1"]').focus()
    }
  }
}

function tick() {
  if (endsAt) element('time').value = Math.max(0, (endsAt - Date.now()) / 1000)
}

setInterval(tick, 500)
element('cancel').addEventListener('click', () => run.cancel().catch(() => end(ENDINGS.cancelled, '')))
element('again').addEventListener('click', () => show('form'))
