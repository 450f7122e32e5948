/**
 * Whole logins at the full OP, by an app that is registered there by nothing but its own client metadata. Asserts
 * nothing.
 */
import { generateKeyPairSync, type JsonWebKey } from 'node:crypto'
import type { Express } from 'express'
import { type CibaClientMetadata, type CibaOptions, cibaClientMetadata } from '../../lib/index.ts'
import { type AppOptions, type Browser, type Status, startApp, type TestApp } from './app.ts'
import { type FullApproval, type FullOp, type FullOpOptions, startFullOp } from './full-op.ts'

/** Of clients that have a secret, unless they say otherwise: 64 bytes, for HS512. */
export const CLIENT_SECRET = 'a client secret of the sixty-four bytes that HS512 needs, and...'

/** What an app is started beside. */
export interface Surroundings {
  readonly op: FullOp
  /** Of the app. */
  readonly origin: string
}

export interface SceneOptions {
  /** One that is there already, or how to start one. */
  readonly op?: FullOp | FullOpOptions
  /**
   * Of `ciba()`. By default plain http, ping mode and {@link CLIENT_SECRET}; what a browser posts to the start route
   * is the authentication request.
   */
  readonly options?: CibaOptions | ((surroundings: Surroundings) => CibaOptions)
  /** What is registered beside `client_id`, `client_secret` and `cibaClientMetadata(options)`. */
  readonly registration?: object
  /** As for the app. */
  readonly before?: AppOptions['before']
  readonly session?: AppOptions['session']
  /** Mounts routes behind those of {@link Scene.get}. */
  readonly after?: (app: Express) => void
}

export interface LoginOptions {
  readonly request?: object
  readonly approval?: FullApproval
  /** @default the browser of the scene */
  readonly by?: Browser
}

export interface Scene {
  readonly op: FullOp
  readonly app: TestApp
  readonly browser: Browser
  /** What was registered of the client. */
  readonly metadata: CibaClientMetadata
  /** From the start over the approval to how it ended. */
  login(options?: LoginOptions): Promise<Status>
  /** Asks the app, and gives the JSON of a good answer. */
  get<Answer = Record<string, unknown>>(path: AppRoute | (string & {}), by?: Browser): Promise<Answer>
}

/** `/tokens`: all of them. `/token`: a fresh one. `/userinfo`. `/resource`: what the OP's resource answers to a POST. */
export type AppRoute = '/me' | '/tokens' | '/token' | '/userinfo' | '/resource'

/** Starts apps, and OPs for them, that end with the test. */
export function scenes(hook: Mocha.HookFunction = afterEach): (options?: SceneOptions) => Promise<Scene> {
  const cleanup: (() => Promise<void>)[] = []
  hook(async () => {
    for (const undo of cleanup.splice(0).reverse()) await undo()
  })
  return async (given = {}) => {
    const op = isStarted(given.op) ? given.op : await startFullOp(given.op)
    if (op !== given.op) cleanup.push(() => op.close())
    let metadata: CibaClientMetadata | undefined
    const app = await startApp({
      ...(given.before && { before: given.before }),
      ...(given.session && { session: given.session }),
      async options(origin) {
        const options = optionsOf(given, { op, origin })
        metadata = cibaClientMetadata(options)
        const { clientID: client_id = '', clientSecret } = options
        const secret = clientSecret === undefined ? {} : { client_secret: clientSecret }
        await op.register({ client_id, ...secret, ...metadata, ...given.registration })
        return options
      },
      after(express) {
        mount(express, op)
        given.after?.(express)
      },
    })
    cleanup.push(() => app.close())
    const browser = app.browser()
    return {
      op,
      app,
      browser,
      metadata: metadata as CibaClientMetadata,
      async login({ request, approval, by = browser } = {}) {
        const transaction = await by.begin(request)
        const { authReqId } = await op.waitForRequest()
        const outcome = by.outcome(transaction)
        await op.approve(authReqId, approval)
        return outcome
      },
      async get(path, by = browser) {
        const { status, body, text } = await by.agent.get(path)
        if (status !== 200) throw new Error(`${path} was answered ${status}: ${text}`)
        return body
      },
    }
  }
}

function isStarted(op: SceneOptions['op']): op is FullOp {
  return op !== undefined && 'issuer' in op
}

function optionsOf({ options }: SceneOptions, surroundings: Surroundings): CibaOptions {
  return {
    issuerBaseURL: surroundings.op.issuer,
    clientID: 'app',
    clientSecret: CLIENT_SECRET,
    baseURL: surroundings.origin,
    deliveryMode: 'ping',
    allowInsecureRequests: true,
    startLimiter: false,
    startParams: (req) => req.body,
    ...(typeof options === 'function' ? options(surroundings) : options),
  }
}

function mount(app: Express, op: FullOp): void {
  app.get('/tokens', (req, res) => {
    res.json(req.ciba.tokens)
  })
  app.get('/token', async (req, res) => {
    res.json(await req.ciba.getAccessToken())
  })
  app.get('/userinfo', async (req, res) => {
    res.json(await req.ciba.fetchUserInfo())
  })
  app.get('/resource', async (req, res) => {
    const answer = await req.ciba.fetch(op.resource, { method: 'POST', body: 'a body' })
    res.status(answer.status).json(await answer.json())
  })
}

/** Lets seconds pass for the OP and the app of a test; timers take no notice. */
export function timeTravel(): (seconds: number) => void {
  const { now } = Date
  let passed = 0
  afterEach(() => {
    Date.now = now
    passed = 0
  })
  return (seconds) => {
    passed += seconds
    Date.now = () => now() + passed * 1000
  }
}

/** A private key for one algorithm, as an operator may have it. */
export function privateJwk(
  alg: 'ES256' | 'PS256' | 'EdDSA' | 'Ed25519' | 'RSA-OAEP-256' | 'ECDH-ES',
): JsonWebKey {
  const { privateKey } = generate(alg)
  return { ...privateKey.export({ format: 'jwk' }), alg }
}

function generate(alg: string) {
  if (alg.startsWith('Ed')) return generateKeyPairSync('ed25519')
  return alg.includes('ES')
    ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
    : generateKeyPairSync('rsa', { modulusLength: 2048 })
}
