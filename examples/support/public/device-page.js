// Shows new requests, and drops decided and expired ones, without anybody pressing reload.
history.replaceState(null, '', '/device')
const shown = [...document.querySelectorAll('[data-request]')].map((card) => card.dataset.request).join()

setInterval(async () => {
  if (document.hidden) return
  try {
    const requests = await (await fetch('/device/requests')).json()
    if (requests.map((request) => request.authReqId).join() !== shown) location.reload()
  } catch {
    // The OP is gone for now: look again the next time.
  }
}, 1000)
