/** What a browser does at an OP's end_session_endpoint. Knows oidc-provider's form, and nothing else of it. */

/** Resolves with where the OP sends the browser in the end; rejects when it refuses. */
export async function followEndSession(endSessionUrl: string): Promise<string | null> {
  const asking = await fetch(endSessionUrl)
  const page = await asking.text()
  if (!asking.ok) throw new Error(`the OP answered ${asking.status}: ${page}`)
  const [, action = ''] = /action="([^"]+)"/.exec(page) ?? []
  const [, xsrf = ''] = /name="xsrf" value="([^"]+)"/.exec(page) ?? []
  const cookie = asking.headers.getSetCookie().map((line) => line.split(';', 1)[0])
  const done = await fetch(action, {
    method: 'POST',
    redirect: 'manual',
    headers: { cookie: cookie.join('; ') },
    body: new URLSearchParams({ xsrf, logout: 'yes' }),
  })
  await done.body?.cancel()
  return done.headers.get('location')
}
