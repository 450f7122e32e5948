/**
 * Keeps what one OP stores, in memory, for as long as the OP runs. oidc-provider's own in-memory adapter drops an
 * entry the moment it expires and so answers `invalid_grant` where `expired_token` is meant; this one lets
 * oidc-provider look at the date. Knows nothing of what the entries mean.
 */
import type { Adapter, AdapterFactory, AdapterPayload } from 'oidc-provider'

/** Every call has storages of its own, one for each model: OPs in one process never mix. */
export function memoryAdapter(): AdapterFactory {
  const storages = new Map<string, Map<string, AdapterPayload>>()
  return (model): Adapter => {
    const entries = storages.get(model) ?? new Map<string, AdapterPayload>()
    storages.set(model, entries)

    async function findBy(property: 'uid' | 'userCode', value: string): Promise<AdapterPayload | undefined> {
      for (const payload of entries.values()) if (payload[property] === value) return payload
      return undefined
    }

    return {
      async upsert(id, payload) {
        entries.set(id, payload)
      },
      async find(id) {
        return entries.get(id)
      },
      findByUid: (uid) => findBy('uid', uid),
      findByUserCode: (userCode) => findBy('userCode', userCode),
      async consume(id) {
        const payload = entries.get(id)
        if (payload) entries.set(id, { ...payload, consumed: Math.floor(Date.now() / 1000) })
      },
      async destroy(id) {
        entries.delete(id)
      },
      async revokeByGrantId(grantId) {
        for (const [id, payload] of entries) if (payload.grantId === grantId) entries.delete(id)
      },
    }
  }
}
