/**
 * THE MATRIX: a whole login for each client authentication method, delivery mode and form of the request, by an app
 * that is registered by its own `cibaClientMetadata()`. The OP is oidc-provider, except for push, which it cannot do.
 */
import { X509Certificate } from 'node:crypto'
import { expect } from 'chai'
import { decodeJwt, type JWK } from 'jose'
import { type CibaOptions, cibaClientMetadata, type PublicJwk } from '../../lib/index.ts'
import { type Browser, type Status, startApp } from '../support/app.ts'
import { type TestCertificates, testCertificates } from '../support/certificates.ts'
import { clientAssertionOf, requestObjectOf } from '../support/client-jwts.ts'
import { type FullOp, startFullOp } from '../support/full-op.ts'
import { CLIENT_SECRET, privateJwk, scenes } from '../support/real-op.ts'
import { type Call, startScriptedOp } from '../support/scripted-op.ts'

const methods = [
  'client_secret_basic',
  'client_secret_post',
  'client_secret_jwt',
  'private_key_jwt',
  'tls_client_auth',
  'self_signed_tls_client_auth',
] as const
const modes = ['poll', 'ping', 'push'] as const
const forms = ['plain', 'signed'] as const

interface Cell {
  readonly method: (typeof methods)[number]
  readonly mode: (typeof modes)[number]
  readonly form: (typeof forms)[number]
}

const cells: readonly Cell[] = methods.flatMap((method) =>
  modes.flatMap((mode) => forms.map((form) => ({ method, mode, form }))),
)
const nameOf = ({ method, mode, form }: Cell) => `${method}, ${mode}, ${form} request`
const clientIdOf = (cell: Cell) => nameOf(cell).replace(/\W+/g, '-')
const isTls = ({ method }: Cell) => method.endsWith('tls_client_auth')

const idsOf = ({ method, mode, form }: Cell) => [
  'AUTH-1',
  ...(method.endsWith('_jwt') ? ['AUTH-2', 'AUTH-3'] : []),
  ...(method.endsWith('tls_client_auth') ? ['AUTH-5'] : []),
  form === 'signed' ? 'SIG-1' : 'REQ-1',
  ...(mode === 'poll' ? ['POLL-12'] : ['REQ-4']),
  ...(mode === 'push' ? ['PUSH-3', 'PUSH-8'] : []),
]

/** A request of the client, as either OP saw it. */
interface Seen {
  /** Where the client sent it. */
  readonly origin: string
  readonly authorization: string | undefined
  readonly form: Readonly<Record<string, unknown>>
}

interface Login {
  readonly anonymous: string | undefined
  readonly outcome: Status
  readonly user: string | undefined
  /** The one for the authentication, then those for tokens. */
  readonly seen: readonly Seen[]
  readonly issuer: string
  /** Where the requests belong. */
  readonly origin: string
}

describe('ciba(), every way to sign in', function () {
  this.timeout(30_000)

  const assertionKey = privateJwk('PS256')
  const requestKey = privateJwk('ES256')
  const logins = new Map<Cell, Promise<Login>>()
  const cleanup: (() => Promise<void>)[] = []
  let certificates: TestCertificates
  let plainOp: FullOp
  let tlsOp: FullOp

  // All at once: most of a login in poll mode is waiting for the interval of five seconds.
  before(async () => {
    certificates = await testCertificates()
    plainOp = await startFullOp()
    cleanup.push(() => plainOp.close())
    tlsOp = await startFullOp({ mtlsAliases: true })
    cleanup.push(() => tlsOp.close())
    for (const cell of cells) {
      const running = cell.mode === 'push' ? loginByPush(cell) : login(cell)
      running.catch(() => {}) // its own test reports it
      logins.set(cell, running)
    }
  })

  after(() => Promise.allSettled(logins.values()))

  const scene = scenes(after)

  after(async () => {
    for (const undo of cleanup.splice(0).reverse()) await undo()
  })

  function optionsOf(cell: Cell): CibaOptions {
    const { method, mode, form } = cell
    const { ca, client, selfSigned } = certificates
    return {
      clientID: clientIdOf(cell),
      clientSecret: method.startsWith('client_secret') ? CLIENT_SECRET : undefined,
      clientAuthMethod: method,
      deliveryMode: mode,
      ...(method === 'private_key_jwt' && { clientAssertionSigningKey: assertionKey }),
      ...(isTls(cell) && { mtls: { ...(method === 'tls_client_auth' ? client : selfSigned), ca } }),
      ...(form === 'signed' && { requestObjectSigningKey: requestKey }),
    }
  }

  async function login(cell: Cell): Promise<Login> {
    const op = isTls(cell) ? tlsOp : plainOp
    const { browser } = await scene({ op, options: optionsOf(cell) })
    const clientId = clientIdOf(cell)
    const signedIn = await signIn(browser, async () => {
      const request = [...op.requests.values()].find((one) => one.clientID === clientId)
      await op.approve(String(request?.authReqId))
    })
    const seen = op.received.map(({ host, headers, form }) => {
      return {
        origin: `${isTls(cell) ? 'https' : 'http'}://${host}`,
        authorization: headers.authorization,
        form,
      }
    })
    const own = seen.filter((one) => senderOf(one) === clientId)
    return { ...signedIn, seen: own, issuer: op.issuer, origin: op.mtlsOrigin ?? op.issuer }
  }

  async function loginByPush(cell: Cell): Promise<Login> {
    const { ca, server } = certificates
    const op = await startScriptedOp({
      clientId: clientIdOf(cell),
      clientSecret: CLIENT_SECRET,
      ...(isTls(cell) && { tls: server, mtls: { ...server, ca } }),
    })
    cleanup.push(() => op.stop())
    let options: CibaOptions = { issuerBaseURL: op.issuer, allowInsecureRequests: true, ...optionsOf(cell) }
    const app = await startApp({
      options: (origin) => {
        options = { ...options, baseURL: origin }
        return options
      },
    })
    cleanup.push(() => app.close())
    const signedIn = await signIn(app.browser(), async () => {
      await op.push(String(cibaClientMetadata(options).backchannel_client_notification_endpoint))
    })
    const calls = [...op.callsTo('backchannel'), ...op.callsTo('token')]
    for (const call of calls) await verify(cell, call, [...(cibaClientMetadata(options).jwks?.keys ?? [])])
    const seen = calls.map(({ url, headers, params }) => {
      const { authorization } = headers
      return { origin: new URL(url).origin, authorization, form: Object.fromEntries(params) }
    })
    return { ...signedIn, seen, issuer: op.issuer, origin: op.mtlsOrigin ?? op.issuer }
  }

  /** What oidc-provider does by itself. */
  async function verify({ method, form }: Cell, call: Call, keys: readonly PublicJwk[]): Promise<void> {
    const key = (alg: string) => keys.find((one) => one.alg === alg) as JWK
    if (form === 'signed') await requestObjectOf(call, key('ES256'))
    if (method === 'client_secret_jwt') await clientAssertionOf(call, Buffer.from(CLIENT_SECRET))
    if (method === 'private_key_jwt') await clientAssertionOf(call, key('PS256'))
    if (method.endsWith('tls_client_auth')) {
      const { cert } = method === 'tls_client_auth' ? certificates.client : certificates.selfSigned
      expect(call.certificate).to.equal(new X509Certificate(cert).fingerprint256)
    }
  }

  for (const cell of cells) {
    it(`signs in: ${nameOf(cell)} [${idsOf(cell).join(', ')}]`, async () => {
      const { anonymous, outcome, user, seen, issuer, origin } = await (logins.get(cell) as Promise<Login>)
      expect(anonymous, 'before').to.equal(undefined)
      expect(outcome).to.have.property('status', 'complete')
      expect(user).to.equal('alice')
      const [asked, ...redeemed] = seen
      expect(redeemed).to.have.length(cell.mode === 'push' ? 0 : 1)
      expect(Object.keys(asked?.form ?? {})).to.have.members([
        ...credentialsIn[cell.method],
        ...(cell.form === 'signed' ? ['request'] : ['scope', 'login_hint']),
        ...(cell.form === 'plain' && cell.mode !== 'poll' ? ['client_notification_token'] : []),
      ])
      for (const one of redeemed) {
        const credentials = cell.method === 'client_secret_basic' ? [] : credentialsIn[cell.method]
        expect(Object.keys(one.form)).to.have.members([...credentials, 'grant_type', 'auth_req_id'])
      }
      for (const one of seen) {
        expect(one.origin).to.equal(origin)
        expect(basicOf(one)).to.deep.equal(
          cell.method === 'client_secret_basic' ? [clientIdOf(cell), CLIENT_SECRET] : undefined,
        )
      }
      const assertions = seen.flatMap(({ form }) => form['client_assertion'] ?? []).map(claimsOf)
      for (const { aud, iss, sub } of assertions) {
        expect({ aud, iss, sub }).to.deep.equal({ aud: issuer, iss: clientIdOf(cell), sub: clientIdOf(cell) })
      }
      expect(new Set(assertions.map(({ jti }) => jti))).to.have.property('size', assertions.length)
    })
  }
})

/** The parameters by which a client says who it is. */
const credentialsIn: Readonly<Record<Cell['method'], readonly string[]>> = {
  client_secret_basic: ['client_id'],
  client_secret_post: ['client_id', 'client_secret'],
  client_secret_jwt: ['client_id', 'client_assertion', 'client_assertion_type'],
  private_key_jwt: ['client_id', 'client_assertion', 'client_assertion_type'],
  tls_client_auth: ['client_id'],
  self_signed_tls_client_auth: ['client_id'],
}

async function signIn(browser: Browser, approve: () => Promise<void>) {
  const anonymous = await browser.user()
  const transaction = await browser.begin()
  const outcome = browser.outcome(transaction)
  await approve()
  return { anonymous, outcome: await outcome, user: await browser.user() }
}

const claimsOf = (jwt: unknown) => decodeJwt(String(jwt))

function basicOf({ authorization }: Seen): string[] | undefined {
  if (authorization === undefined) return undefined
  const [scheme = '', value = ''] = authorization.split(' ')
  expect(scheme).to.equal('Basic')
  const pair = Buffer.from(value, 'base64').toString().split(':')
  return pair.map((one) => decodeURIComponent(one.replaceAll('+', ' ')))
}

function senderOf(seen: Seen): unknown {
  return seen.form['client_id'] ?? basicOf(seen)?.[0]
}
