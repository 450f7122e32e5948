/**
 * An OP that is a function in the process under test, for where the OP must cost next to nothing. It keeps token requests
 * waiting until it is told otherwise.
 */
import { randomBytes } from 'node:crypto'
import type { CibaClientOptions } from '../../lib/index.ts'
import type { Ping } from './ping-terms.ts'

/** What a client needs to ask it. */
export function localOpOptions(op: LocalOp): CibaClientOptions {
  return {
    issuerBaseURL: 'https://op.example',
    clientID: 'bench',
    clientSecret: 'a client secret of more than 32 bytes',
    baseURL: 'https://app.example',
    secret: 'a secret of more than 32 bytes, the same everywhere',
    customFetch: op.fetch,
  }
}

/** Answers every start at once, and token requests when it is told to. */
export class LocalOp {
  /** The pings that the starts so far are waiting for. */
  readonly issued: Ping[] = []
  /** How many token requests have come. */
  asked = 0
  #waiting: (() => void)[] = []

  readonly fetch: NonNullable<CibaClientOptions['customFetch']> = async (url, { body }) => {
    if (url.endsWith('/token')) {
      this.asked++
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve)
      })
      return json(400, { error: 'access_denied' })
    }
    if (!url.endsWith('/bc-authorize')) return json(200, metadata)
    const authReqId = randomBytes(16).toString('base64url')
    const notificationToken = new URLSearchParams(String(body)).get('client_notification_token')
    if (notificationToken !== null) this.issued.push({ authReqId, notificationToken })
    return json(200, { auth_req_id: authReqId, expires_in: 7_200, interval: 3_600 })
  }

  /** Denies whatever waits. */
  letGo(): void {
    for (const release of this.#waiting.splice(0)) release()
  }
}

const metadata = {
  issuer: 'https://op.example',
  jwks_uri: 'https://op.example/jwks',
  token_endpoint: 'https://op.example/token',
  backchannel_authentication_endpoint: 'https://op.example/bc-authorize',
  backchannel_token_delivery_modes_supported: ['poll', 'ping'],
  token_endpoint_auth_methods_supported: ['client_secret_basic'],
}

function json(status: number, body: object): Response {
  return new Response(JSON.stringify(body), { status, headers: { 'content-type': 'application/json' } })
}
