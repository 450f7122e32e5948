// Signs out when nobody touches the screen, and tells the server of touches, so that its session lasts as long.
const idleMs = document.querySelector('[data-idle]').dataset.idle * 1000
const done = document.getElementById('done')
const left = document.getElementById('left')
const warning = document.getElementById('warning')

/** The last third is when to ask whether anybody is there. */
const warningMs = idleMs / 3

let touchedAt = Date.now()
let toldAt = touchedAt
let leaving = false

for (const event of ['pointerdown', 'pointermove', 'keydown', 'wheel', 'touchstart']) {
  addEventListener(event, () => (touchedAt = Date.now()), { passive: true })
}

const ticking = setInterval(() => {
  const leftMs = touchedAt + idleMs - Date.now()
  left.value = Math.max(0, leftMs / 1000)
  const said = leftMs < warningMs ? 'Still there? Touch the screen.' : ''
  if (warning.textContent !== said) warning.textContent = said
  if (leftMs <= 0) leave()
  else if (touchedAt > toldAt) void tell()
}, 250)

/** At most once a second. */
async function tell() {
  if (Date.now() - toldAt < 1000) return
  toldAt = Date.now()
  const response = await fetch('/touch', { method: 'POST' }).catch(() => undefined)
  if (response?.status === 401) location.replace('/')
}

function leave() {
  clearInterval(ticking)
  if (!leaving) done.requestSubmit()
}

done.addEventListener('submit', () => (leaving = true))
addEventListener('pageshow', (event) => event.persisted && location.reload())
