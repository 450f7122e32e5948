/**
 * People who only want to sign in, one after the other, while something else goes on. Asserts that each of their steps gets
 * the answer it deserves, in time.
 */
import { expect } from 'chai'
import type { LoadedApp } from './loaded.ts'
import type { ScriptedOp } from './scripted-op.ts'
import { Visitor } from './visitor.ts'

/** How long one step may take, in milliseconds. */
const patienceMs = 5_000

/** Signs somebody in, in ping mode. */
export async function signIn(app: LoadedApp, op: ScriptedOp, loginHint = 'alice'): Promise<void> {
  const visitor = new Visitor(app.origin)
  const inTime = () => AbortSignal.timeout(patienceMs)
  const started = await visitor.post('/ciba/start', { loginHint }, inTime())
  expect(started.status, JSON.stringify(started.body)).to.equal(202)
  const { transaction } = started.body
  // Others may have asked the OP meanwhile.
  const asked = op.callsTo('backchannel').findLast(({ params }) => params.get('login_hint') === loginHint)
  const authReqId = String(asked?.answer?.['auth_req_id'])
  op.onToken(await op.tokens({ authReqId }))
  const poll = visitor.post('/ciba/poll', { transaction, wait: 20 }, inTime())
  expect((await op.ping(app.notificationUrl, { authReqId })).status).to.equal(204)
  const { status, body } = await poll
  expect(status, JSON.stringify(body)).to.equal(200)
  expect(body).to.deep.equal({ transaction, status: 'complete' })
  expect(await visitor.user()).to.equal('alice')
}

/** Signs people in for as long as `trouble` lasts, and returns how many. */
export async function signInDuring(
  trouble: Promise<unknown>,
  app: LoadedApp,
  op: ScriptedOp,
  hintOf: (n: number) => string = () => 'alice',
): Promise<number> {
  let isOver = false
  const over = trouble.finally(() => {
    isOver = true
  })
  over.catch(() => {}) // who waits for it below says so
  let signedIn = 0
  while (!isOver) {
    await signIn(app, op, hintOf(signedIn))
    signedIn += 1
  }
  await over
  return signedIn
}
