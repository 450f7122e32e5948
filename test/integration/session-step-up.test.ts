/** A second login in a session that has one already, while its tokens are being refreshed. */
import { expect } from 'chai'
import { later } from '../support/outcomes.ts'
import type { Answer } from '../support/scripted-op.ts'
import { expired, signIn, tokenRoutes } from '../support/signed-in.ts'
import { until, webs } from '../support/web.ts'

describe('a second login in a session', () => {
  const start = webs()

  it('does not let a refresh of the first one bring its session back [SEC-7]', async () => {
    const web = await start({ own: tokenRoutes })
    const browser = await signIn(web, expired)
    const old = browser.copy()
    const oldID = browser.sessionId ?? ''
    const answer = later<Answer>()
    web.op.onToken(() => answer.promise)
    const refreshing = old.copy().get('/token').then()
    await web.op.waitForCall('token', 2)

    const saving = later<void>()
    web.sessions.beforeSet = (id) => (id === oldID ? saving.promise : undefined)
    answer.resolve(
      await web.op.refreshed({ response: { access_token: 'access-1', refresh_token: 'refresh-1' } }),
    )
    await until(
      'the refreshed tokens are being saved',
      () => web.op.callsTo('token')[1]?.answeredAt !== undefined,
    )

    const transaction = await browser.begin()
    await web.approve({ response: { access_token: 'of the second login' } })
    expect((await browser.poll(transaction, 5)).body.status).to.equal('complete')
    expect((await browser.get('/me')).body.signedIn).to.equal(true)
    saving.resolve()
    await refreshing
    await until('the old session is gone', async () => (await web.sessions.read(oldID)) === undefined)
    expect((await old.get('/me')).body.signedIn).to.equal(false)
    expect((await browser.get('/tokens')).body.tokens.accessToken).to.equal('of the second login')
  })
})
