/**
 * The OP of the benchmarks, a process of its own: as fast as it can be, and it watches how it is asked. ID tokens are signed
 * (ES256) while the person is being asked, so that the token endpoint answers at once. Knows nothing of who asks.
 */
import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import type { BenchEnv, Subject } from './harness.ts'
import { listen, type Served } from './subject.ts'

/** How the OP behaves; `set` changes it. */
export interface OpConfig {
  /** Seconds between token requests. @default 5 */
  readonly interval?: number
  /** Seconds that a request lives. @default 600 */
  readonly expiresIn?: number
  /** How many token requests of each login are told to come back later; `null`: all. @default 0 */
  readonly pending?: number | null
  /** More claims of the ID tokens. */
  readonly claims?: object
}

/** One authentication request, as it came; `requests` asks for those since the last time. */
export interface OpRequest {
  readonly authReqId: string
  readonly loginHint: string
  readonly notificationToken?: string
}

/** What the OP has seen since `reset`. */
export interface OpStats {
  /** By path. */
  readonly requests: Readonly<Record<string, number>>
  readonly granted: number
  /** Token requests sooner than the interval after the last answer; the first one may come at any time. */
  readonly early: number
  /** The most that any was too early, in milliseconds. */
  readonly earliestByMs: number
  /** Token requests for a login while another one was in flight. */
  readonly atOnce: number
}

interface Login {
  readonly tokens: string
  asked: number
  inFlight: boolean
  answeredAt: number
}

export const clientID = 'bench'
export const clientSecret = 'a client secret of more than 32 bytes'

const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const jwks = JSON.stringify({
  keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'es256', alg: 'ES256', use: 'sig' }],
})
const json = { 'content-type': 'application/json', 'cache-control': 'no-store' }

/** An ES256 JWT. */
function signed(claims: object): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const text = `${part({ alg: 'ES256', kid: 'es256', typ: 'JWT' })}.${part(claims)}`
  const signature = sign('sha256', Buffer.from(text), { key: privateKey, dsaEncoding: 'ieee-p1363' })
  return `${text}.${signature.toString('base64url')}`
}

/** Starts the OP, off the core under test. Its questions are `set`, `requests`, `stats` and `reset`. */
export function startOp(env: BenchEnv, config: OpConfig = {}): Promise<Subject> {
  return env.spawn('op-subject', config, { core: 'other' })
}

/** What runs in the process of the OP. */
export async function serveOp(config: OpConfig): Promise<Served> {
  const op = new Op(config)
  const { origin } = await listen(op.receive)
  op.issuer = origin
  return { origin, answers: op.answers }
}

class Op {
  issuer = ''
  #config: OpConfig
  readonly #logins = new Map<string, Login>()
  #requests: OpRequest[] = []
  #counts: Record<string, number> = {}
  #stats = { granted: 0, early: 0, earliestByMs: 0, atOnce: 0 }

  constructor(config: OpConfig) {
    this.#config = config
  }

  readonly receive: RequestListener = (req, res) => {
    const path = req.url ?? ''
    this.#counts[path] = (this.#counts[path] ?? 0) + 1
    if (path === '/.well-known/openid-configuration') return answer(res, 200, this.#metadata())
    if (path === '/jwks') return answer(res, 200, jwks)
    let body = ''
    req.setEncoding('latin1')
    req.on('data', (chunk: string) => {
      body += chunk
    })
    req.on('end', () => {
      const parameters = new URLSearchParams(body)
      if (path === '/bc-authorize') this.#authenticate(parameters, res)
      else if (path === '/token') this.#token(parameters.get('auth_req_id') ?? '', req, res)
      else answer(res, 404, '{}')
    })
  }

  readonly answers = {
    set: (config: OpConfig) => {
      this.#config = { ...this.#config, ...config }
    },
    requests: () => this.#requests.splice(0),
    stats: (): OpStats => ({ requests: this.#counts, ...this.#stats }),
    reset: () => {
      this.#logins.clear()
      this.#requests = []
      this.#counts = {}
      this.#stats = { granted: 0, early: 0, earliestByMs: 0, atOnce: 0 }
    },
  }

  #metadata(): string {
    return JSON.stringify({
      issuer: this.issuer,
      jwks_uri: `${this.issuer}/jwks`,
      token_endpoint: `${this.issuer}/token`,
      backchannel_authentication_endpoint: `${this.issuer}/bc-authorize`,
      backchannel_token_delivery_modes_supported: ['poll', 'ping'],
      token_endpoint_auth_methods_supported: ['client_secret_basic'],
      id_token_signing_alg_values_supported: ['ES256'],
      grant_types_supported: ['urn:openid:params:grant-type:ciba'],
      subject_types_supported: ['public'],
      response_types_supported: ['code'],
    })
  }

  #authenticate(parameters: URLSearchParams, res: ServerResponse): void {
    const { interval = 5, expiresIn = 600, claims } = this.#config
    const loginHint = parameters.get('login_hint') ?? ''
    const notificationToken = parameters.get('client_notification_token')
    const authReqId = randomBytes(16).toString('base64url')
    const accessToken = randomBytes(32).toString('base64url')
    const now = Math.floor(Date.now() / 1000)
    const idToken = signed({
      iss: this.issuer,
      sub: loginHint,
      aud: clientID,
      iat: now,
      exp: now + 3_600,
      auth_time: now,
      at_hash: createHash('sha256').update(accessToken).digest().subarray(0, 16).toString('base64url'),
      ...claims,
    })
    const tokens = JSON.stringify({
      access_token: accessToken,
      token_type: 'Bearer',
      expires_in: 3_600,
      scope: 'openid',
      id_token: idToken,
    })
    this.#logins.set(authReqId, { tokens, asked: 0, inFlight: false, answeredAt: 0 })
    // Who pings is not the one who waits for tokens: nobody else asks for the list.
    if (notificationToken !== null) this.#requests.push({ authReqId, loginHint, notificationToken })
    answer(res, 200, JSON.stringify({ auth_req_id: authReqId, expires_in: expiresIn, interval }))
  }

  #token(authReqId: string, req: IncomingMessage, res: ServerResponse): void {
    const now = performance.now()
    const login = this.#logins.get(authReqId)
    if (!login || !req.headers.authorization) {
      refuse(res, 'invalid_grant')
      return
    }
    const { interval = 5, pending = 0 } = this.#config
    const earlyByMs = interval * 1000 - (now - login.answeredAt)
    if (login.asked > 0 && earlyByMs > 0) {
      this.#stats.early++
      this.#stats.earliestByMs = Math.max(this.#stats.earliestByMs, earlyByMs)
    }
    if (login.inFlight) this.#stats.atOnce++
    login.inFlight = true
    login.asked++
    res.once('close', () => {
      login.inFlight = false
      login.answeredAt = performance.now()
    })
    if (pending === null || login.asked <= pending) refuse(res, 'authorization_pending')
    else {
      this.#logins.delete(authReqId)
      this.#stats.granted++
      answer(res, 200, login.tokens)
    }
  }
}

function refuse(res: ServerResponse, error: string): void {
  answer(res, 400, JSON.stringify({ error }))
}

function answer(res: ServerResponse, status: number, body: string): void {
  res.writeHead(status, { ...json, 'content-length': Buffer.byteLength(body) }).end(body)
}
