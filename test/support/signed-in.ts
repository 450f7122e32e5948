/**
 * Browsers of people who are signed in, and routes of an app that use their tokens. Knows nothing of what is asserted.
 */
import type { NextFunction, Request, Response } from 'express'
import type { ResponseOverrides } from './id-tokens.ts'
import type { Browser, Web, WebOptions } from './web.ts'

type Handler = (req: Request, res: Response) => Promise<unknown>

/** On Express 4, too, a rejection reaches the error handler. */
export const handled = (handler: Handler) => (req: Request, res: Response, next: NextFunction) => {
  handler(req, res).catch(next)
}

/** `GET /token` says the access token, `GET /tokens` all that is known of the login, `GET /userinfo` what the OP says. */
export const tokenRoutes: NonNullable<WebOptions['own']> = (app) => {
  app.get(
    '/token',
    handled(async (req, res) => res.json({ token: await req.ciba.getAccessToken() })),
  )
  app.get('/tokens', (req, res) => {
    res.json({ user: req.ciba.user, tokens: req.ciba.tokens })
  })
  app.get(
    '/userinfo',
    handled(async (req, res) => res.json(await req.ciba.fetchUserInfo())),
  )
}

/** The first tokens of a login: the access token is worth nothing any more, the refresh token is there. */
export const expired: ResponseOverrides = {
  response: { access_token: 'access-0', refresh_token: 'refresh-0', expires_in: 0 },
}

/** As {@link expired}, but the access token is good for another half a minute, and was for an hour before. */
export const expiring: ResponseOverrides = { response: { ...expired.response, expires_in: 30 } }

/** A browser where the person has just signed in, and nothing of that is left to be done. */
export async function signIn(
  web: Web,
  overrides: ResponseOverrides = {},
  browser: Browser = web.browser(),
): Promise<Browser> {
  const transaction = await browser.begin(String(overrides.claims?.['sub'] ?? 'alice'))
  const old = browser.sessionId as string
  await web.approve(overrides)
  const { body, text } = await browser.poll(transaction, 5)
  if (body.status !== 'complete') throw new Error(`the poll was answered: ${text}`)
  await browser.get('/me') // which shows that the answer has arrived
  if (await web.sessions.read(old)) throw new Error('the session before is still there')
  if (overrides === expiring) await age(web, browser)
  return browser
}

/** Makes the login one of an hour ago: tokens that never lived for long are left alone for half their life. */
async function age({ sessions }: Web, { sessionId = '' }: Browser): Promise<void> {
  const session = await sessions.read(sessionId)
  const login = session?.ciba?.login
  if (!session?.ciba || !login) throw new Error('nobody is signed in')
  const older = { ...session, ciba: { ...session.ciba, login: { ...login, at: login.at - 3_600_000 } } }
  await new Promise<void>((resolve, reject) => {
    sessions.set(sessionId, older, (error) => (error ? reject(error) : resolve()))
  })
}

/** The login as it is in the session store. */
export async function storedLogin({ sessions }: Web, { sessionId = '' }: Browser) {
  return (await sessions.read(sessionId))?.ciba?.login
}
