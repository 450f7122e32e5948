/** The clients of the OP for tests: they come while it runs, and hear of logouts. Knows nothing of requests. */
import type { AdapterFactory, Provider } from 'oidc-provider'
import { asHttps } from '../../lib/testing/op-configuration.ts'

/** RFC 7591. http URLs on loopback are called as such wherever oidc-provider insists on https. */
export interface ClientRegistration {
  readonly client_id: string
  readonly [member: string]: unknown
}

export class OpClients {
  readonly #ids = new Set<string>()
  readonly #adapter: AdapterFactory
  readonly #provider: () => Provider

  constructor(adapter: AdapterFactory, provider: () => Provider) {
    this.#adapter = adapter
    this.#provider = provider
  }

  /** Adds a client, or replaces it; rejects for metadata that oidc-provider refuses. */
  async register(client: ClientRegistration): Promise<void> {
    const endpoint = client['backchannel_client_notification_endpoint']
    const metadata = {
      ...client,
      ...(typeof endpoint === 'string' && { backchannel_client_notification_endpoint: asHttps(endpoint) }),
    }
    await this.#adapter('Client').upsert(client.client_id, metadata)
    await this.#find(client.client_id).catch((error: { error_description?: string }) => {
      throw new Error(`oidc-provider refuses the client: ${error.error_description}`, { cause: error })
    })
    this.#ids.add(client.client_id)
  }

  /** Sends a logout token to all who want one; rejects when one of them answers neither 200 nor 204. */
  async backchannelLogout(sub: string, sid?: string): Promise<void> {
    for (const id of this.#ids) {
      const client = await this.#find(id)
      if (client?.backchannelLogoutUri) await client.backchannelLogout(sub, sid)
    }
  }

  #find(id: string): Promise<LogoutSender | undefined> {
    return this.#provider().Client.find(id) as Promise<LogoutSender | undefined>
  }
}

/** What the types of oidc-provider leave out. */
interface LogoutSender {
  readonly backchannelLogoutUri?: string
  backchannelLogout(sub: string, sid?: string): Promise<void>
}
