/**
 * The same app, written by hand on openid-client 6: the same routes and requests, the same checks of the tokens, the session
 * regenerated and saved before the answer. It has no lease of the token request, no second chance for a lost answer, no
 * transactions beside the session, no limit of starts, no long-poll, and no check where a request comes from.
 */
import { createHash, randomBytes, randomUUID, timingSafeEqual } from 'node:crypto'
import express, { type Express, type Request } from 'express'
import type { Session } from 'express-session'
import * as oidc from 'openid-client'
import { createTransport } from '../../lib/protocol/transport.ts'
import { acrValues, connectRedis, type LoginConfig, maxAge, sessions } from './login-terms.ts'
import { clientID, clientSecret } from './op.ts'
import { listen, runSubject } from './subject.ts'

/** The request that a session has under way. */
interface Pending {
  readonly transaction: string
  readonly authReqId: string
  readonly interval: number
  readonly requestedAt: number
  readonly expiresAt: number
  readonly nextAt: number
}

type HandSession = Session & { pending?: Pending | undefined; user?: oidc.IDToken; tokens?: object }
type Tokens = Awaited<ReturnType<typeof oidc.genericGrantRequest>>

const grantType = 'urn:openid:params:grant-type:ciba'
const toleranceSeconds = 30
const seconds = () => Math.floor(Date.now() / 1000)
const sessionOf = (req: Request) => req.session as HandSession

function done(act: (callback: (error?: unknown) => void) => unknown): Promise<void> {
  return new Promise((resolve, reject) => {
    act((error) => (error ? reject(error as Error) : resolve()))
  })
}

/** What `enableNonRepudiationChecks`, which looks at the signature, and `genericGrantRequest` leave open. */
function check(tokens: Tokens, { requestedAt }: Pending): oidc.IDToken {
  const claims = tokens.claims()
  if (!claims) throw new Error('no ID token')
  const { acr, auth_time, at_hash, azp, iat, nonce, sub } = claims
  if (sub.length === 0 || sub.length > 255) throw new Error('unexpected "sub"')
  if (iat < requestedAt - toleranceSeconds) throw new Error('issued before it was asked for')
  if (iat > seconds() + toleranceSeconds) throw new Error('issued in the future')
  if (azp !== undefined && azp !== clientID) throw new Error('unexpected "azp"')
  if (nonce !== undefined) throw new Error('unexpected "nonce"')
  if (typeof acr !== 'string' || !acrValues.includes(acr)) throw new Error('unexpected "acr"')
  if (typeof auth_time !== 'number' || auth_time + maxAge < requestedAt - toleranceSeconds) {
    throw new Error('authenticated too long ago')
  }
  const digest = createHash('sha256').update(tokens.access_token).digest()
  if (at_hash !== digest.subarray(0, 16).toString('base64url')) throw new Error('unexpected "at_hash"')
  return claims
}

await runSubject(async ({ issuer, mode, redis: path, transport = 'fetch' }: LoginConfig) => {
  const config = await oidc.discovery(
    new URL(issuer),
    clientID,
    { id_token_signed_response_alg: 'ES256' },
    oidc.ClientSecretBasic(clientSecret),
    { execute: [oidc.allowInsecureRequests, oidc.enableNonRepudiationChecks] },
  )
  if (transport === 'request') {
    const { fetch } = createTransport({ connectTimeoutMs: 5_000 })
    config[oidc.customFetch] = (url, init) => fetch(url, init as unknown as Parameters<typeof fetch>[1])
  }
  /** Whom the OP may ping about: the notification token, and whether it has. */
  const awaited = new Map<string, { readonly token: Buffer; isReady: boolean }>()
  let app: Express | undefined
  const { origin } = await listen((req, res) => app?.(req, res))
  app = express()

  app.post('/ciba/notification', express.json(), (req, res) => {
    const token = Buffer.from(/^Bearer (.+)$/i.exec(req.headers.authorization ?? '')?.[1] ?? '')
    const known = awaited.get(String(req.body?.auth_req_id))
    if (!known || token.length !== known.token.length || !timingSafeEqual(token, known.token)) {
      res.status(401).set('WWW-Authenticate', 'Bearer').end()
      return
    }
    known.isReady = true
    res.status(204).end()
  })

  app.use(sessions(await connectRedis(path)))

  app.post('/ciba/start', express.json(), async (req, res) => {
    const { loginHint } = req.body as { loginHint?: unknown }
    if (typeof loginHint !== 'string' || loginHint === '') {
      res.status(400).json({ error: 'invalid_request' })
      return
    }
    const requestedAt = seconds()
    const token = mode === 'ping' ? randomBytes(32).toString('base64url') : undefined
    const acknowledgement = await oidc.initiateBackchannelAuthentication(config, {
      scope: 'openid',
      login_hint: loginHint,
      acr_values: acrValues.join(' '),
      max_age: String(maxAge),
      ...(token !== undefined && { client_notification_token: token }),
    })
    const { auth_req_id: authReqId, expires_in: expiresIn, interval = 5 } = acknowledgement
    if (token !== undefined) awaited.set(authReqId, { token: Buffer.from(token), isReady: false })
    const transaction = randomUUID()
    const now = Date.now()
    const [expiresAt, nextAt] = [now + expiresIn * 1000, now + interval * 1000]
    sessionOf(req).pending = { transaction, authReqId, interval, requestedAt, expiresAt, nextAt }
    res.status(202).set('Cache-Control', 'no-store')
    res.json({ transaction, status: 'pending', expiresIn, interval })
  })

  app.post('/ciba/poll', express.json(), async (req, res) => {
    res.set('Cache-Control', 'no-store')
    const { pending } = sessionOf(req)
    if (!pending || req.body?.transaction !== pending.transaction) {
      res.status(404).json({ error: 'unknown_transaction' })
      return
    }
    const { transaction, authReqId, interval, expiresAt, nextAt } = pending
    const stillPending = () => {
      const expiresIn = Math.ceil((expiresAt - Date.now()) / 1000)
      res.set('Retry-After', String(interval)).json({ transaction, status: 'pending', expiresIn, interval })
    }
    if (Date.now() < nextAt && !awaited.get(authReqId)?.isReady) return stillPending()
    let tokens: Tokens
    try {
      tokens = await oidc.genericGrantRequest(config, grantType, { auth_req_id: authReqId })
    } catch (error) {
      const code = error instanceof oidc.ResponseBodyError ? error.error : undefined
      if (code !== 'authorization_pending' && code !== 'slow_down') throw error
      const slower = interval + (code === 'slow_down' ? 5 : 0)
      sessionOf(req).pending = { ...pending, interval: slower, nextAt: Date.now() + slower * 1000 }
      return stillPending()
    }
    awaited.delete(authReqId)
    const user = check(tokens, pending)
    await done((callback) => req.session.regenerate(callback))
    Object.assign(req.session, { user, tokens: { ...tokens } })
    await done((callback) => req.session.save(callback))
    res.json({ transaction, status: 'complete' })
  })

  app.get('/me', (req, res) => {
    res.json({ sub: sessionOf(req).user?.sub })
  })
  return { origin }
})
