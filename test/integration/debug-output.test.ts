/** What `DEBUG=express-ciba:*` shows of logins and failures: enough to follow them, and no secret [SEC-11]. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { expect } from 'chai'

const supportURL = (file: string) => JSON.stringify(new URL(`../support/${file}`, import.meta.url).href)
const libraryURL = JSON.stringify(new URL('../../lib/index.ts', import.meta.url).href)

/**
 * Runs in a process of its own, so that nothing it writes can escape: one login after the other, each going wrong in
 * its own way but for the first. Sends all that must stay secret to its parent. With `echo`, the OP repeats secrets
 * in its error descriptions; with `keys`, requests are signed and tokens are bound to a key.
 */
const program = ({ echo, keys }: Variant) => `
const { generateKeyPairSync } = await import('node:crypto')
const { startApp } = await import(${supportURL('app.ts')})
const { startScriptedOp, html, pending, slowDown, unavailable } = await import(${supportURL('scripted-op.ts')})
const { authenticationRequest } = await import(${supportURL('scripted-answers.ts')})
const { createCibaClient } = await import(${libraryURL})

const hint = 'hint-of-alice@example.com'
const userCode = 'user-code-4711'
const clientSecret = 'client-secret-of-the-test'
const secret = 'sealing-secret-of-the-test'
const privateKey = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
const [jwk, pem, dpopJwk] = [
  privateKey().export({ format: 'jwk' }),
  privateKey().export({ format: 'pem', type: 'pkcs8' }),
  privateKey().export({ format: 'jwk' }),
]
const signing = { requestObjectSigningKey: jwk, clientAssertionSigningKey: pem, dpop: dpopJwk }
const op = await startScriptedOp({ clientSecret })
const app = await startApp({
  options: {
    issuerBaseURL: op.issuer, deliveryMode: 'ping', clientSecret, secret, httpTimeout: 1, userCodeParameter: true,
    ...(${keys} && signing),
  },
})
const browser = app.browser()
const handles = []
const start = () => browser.start({ loginHint: hint, userCode })
const begin = async () => {
  const { body } = await start()
  handles.push(body.transaction)
  return body.transaction
}
const lastCall = () => op.callsTo('backchannel').at(-1)
const says = (error, status = 400) => () => {
  const token = authenticationRequest(lastCall())['client_notification_token']
  const words = [hint, userCode, token, lastCall()?.answer?.auth_req_id, clientSecret].join(' ')
  return { status, json: { error, ...(${echo} && { error_description: words }) } }
}

// Logins whose first token request is answered like this.
const tokens = (overrides = {}) => () => op.tokens({
  ...overrides,
  response: { ...(${keys} && { token_type: 'DPoP' }), ...overrides.response },
})
for (const answer of [
  tokens({ response: { refresh_token: 'refresh-token-of-the-test' } }),
  pending(),
  slowDown(),
  unavailable('9'),
  html(200),
  says('access_denied'),
  says('expired_token'),
  says('invalid_request'),
  says('invalid_client', 401),
  { reset: 'before-answer' },
  { reset: 'mid-body' },
  tokens({ claims: { iss: 'https://evil.example' } }),
  tokens({ claims: { at_hash: 'wrong' } }),
  tokens({ claims: { sub: 5 } }),
  tokens({ header: { kid: 'unknown' } }),
  tokens({ response: { id_token: 'not.a.token' } }),
  tokens({ response: { token_type: 'mac' } }),
]) {
  op.onToken(answer)
  const { length } = op.callsTo('token')
  const transaction = await begin()
  await op.ping(app.notificationUrl)
  await op.waitForCall('token', length + 1)
  await browser.poll(transaction, 0.2)
}
await browser.agent.get('/me')
await browser.agent.post('/ciba/logout')

// The same without a browser.
const client = createCibaClient({
  issuerBaseURL: op.issuer, clientID: op.clientId, clientSecret, secret, baseURL: app.origin, deliveryMode: 'ping',
  userCodeParameter: true, allowInsecureRequests: true, ...(${keys} ? signing : {}),
})
for (const answer of [tokens(), says('access_denied')]) {
  op.onToken(answer)
  const { transaction } = await client.start({ loginHint: hint, userCode })
  handles.push(transaction)
  const token = authenticationRequest(lastCall())['client_notification_token']
  await client.notify('Bearer ' + token + 'x', { auth_req_id: lastCall().answer.auth_req_id })
  await client.notify('Bearer ' + token, { auth_req_id: 'of-another-request' })
  const { proceed } = await client.notify('Bearer ' + token, { auth_req_id: lastCall().answer.auth_req_id })
  proceed()
  const outcome = await client.wait(transaction)
  if (outcome.status === 'complete') await client.fetch(outcome, op.issuer + '/resource')
  await client.cancel(transaction)
}
await client.close()

// Starts that go wrong.
op.onBackchannel(
  says('unknown_user_id'), says('invalid_user_code'), says('access_denied', 403), unavailable(), html(200),
  { reset: 'before-answer' }, { hang: true }, { json: { auth_req_id: 'acknowledged-without-expiry' } },
)
for (let index = 0; index < 8; index++) await start()

// Pings that are none.
await begin()
await op.ping(app.notificationUrl, { token: 'forged.token' })
await op.ping(app.notificationUrl, { authReqId: 'of-another-request' })
await op.ping(app.notificationUrl, { body: 'no JSON' })

// An OP that is gone.
await op.down()
await start()
await app.close()

const secrets = {
  hint, userCode, clientSecret, secret,
  basic: Buffer.from('client:' + clientSecret).toString('base64'),
  refresh: 'refresh-token-of-the-test',
  'of-another-request': 'of-another-request',
  'acknowledged-without-expiry': 'acknowledged-without-expiry',
  'private key of requests': jwk.d,
  'private key of assertions': pem.split('\\n')[1],
  'private key of tokens': dpopJwk.d,
}
handles.forEach((handle, index) => { secrets['transaction ' + index] = handle })
op.calls.forEach((call, index) => {
  const { auth_req_id, access_token, id_token } = call.answer ?? {}
  Object.assign(secrets, {
    ['auth_req_id ' + index]: auth_req_id,
    ['access_token ' + index]: access_token,
    ['id_token ' + index]: id_token,
    ['notification token ' + index]:
      call.endpoint === 'backchannel' ? authenticationRequest(call)['client_notification_token'] : undefined,
    ['request object ' + index]: call.params.get('request') ?? undefined,
    ['assertion ' + index]: call.params.get('client_assertion') ?? undefined,
    ['proof ' + index]: call.headers['dpop'],
  })
})
await op.stop()
process.send(secrets)
process.disconnect()
`

interface Variant {
  readonly echo: boolean
  readonly keys: boolean
}

interface Output {
  readonly output: string
  readonly secrets: Readonly<Record<string, string>>
}

async function run(variant: Variant): Promise<Output> {
  const code = program(variant)
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', code], {
    env: { ...process.env, DEBUG: 'express-ciba,express-ciba:*' },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  if (!child.stdout || !child.stderr) throw new Error('stdout and stderr are pipes')
  const sent = new Promise<Output['secrets']>((resolve) => {
    child.once('message', (message) => resolve(message as Output['secrets']))
  })
  const ended = once(child, 'close')
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)])
  const [status] = await ended
  if (status !== 0) throw new Error(`the program ended with ${status}: ${err}`)
  return { output: out + err, secrets: await sent }
}

describe('DEBUG=express-ciba:*', function () {
  this.timeout(40_000)

  for (const [what, variant, more] of [
    ['holds no secret', { echo: false, keys: false }, []],
    ['holds no secret that the OP repeats in an error_description', { echo: true, keys: false }, []],
    [
      'holds neither a private key nor what was signed with it',
      { echo: false, keys: true },
      ['request object', 'assertion', 'proof'],
    ],
  ] as const) {
    it(`follows logins and failures, and ${what} [SEC-11, ERR-6]`, async () => {
      const { output, secrets } = await run(variant)
      for (const sign of [
        /started/,
        /pinged/,
        /is complete/,
        /is denied/,
        /is failed/,
        /no answer/,
        /refused/,
      ]) {
        expect(output).to.match(sign)
      }
      const names = Object.keys(secrets)
      const always = ['auth_req_id', 'access_token', 'id_token', 'notification token', 'transaction']
      for (const kind of [...always, ...more]) {
        expect(
          names.some((name) => name.startsWith(kind) && secrets[name]),
          kind,
        ).to.equal(true)
      }
      const found = names.filter((name) => secrets[name] && output.includes(secrets[name]))
      expect(found).to.deep.equal([])
    })
  }
})
